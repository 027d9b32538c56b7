/* SPDX-License-Identifier: MIT */

/*
 * One request goes: client application → policy → token URL and scope → entry → flight → limits.
 * The verdict of the policy comes before anything is looked up or joined, so that neither content
 * nor timing tells a caller without rights what is here.
 *
 * A flight is in exactly one list, by its state: its issuer's queue, `starts` (may be sent, command
 * not fetched yet), `running`, or `cancels`. A waiter is in a flight, or in `replies` with its
 * reply complete. The reply embedded in a waiter is put together in two steps: what only the
 * question knows (scope asked for, why memory did not do) when it begins to wait, the rest when it
 * ends.
 *
 * A caller who waits for a new token although the old one still lives gets the old one where no new
 * one comes: an issuer that fails is no reason to withhold a token that works.
 */

#include "broker.h"

#include <assert.h>
#include <stdlib.h>

#include "client.h"
#include "error.h"
#include "issuer.h"

/* How much one broker_tick() does at most. */
#define TICK_EXPIRE_MAX 256

/* Entries are dropped on whole seconds, so that a full cache does not wake the loop for each. */
#define EXPIRE_GRAIN_MS 1000

/* A token this young satisfies any min_ttl: asking again would bring no longer one. */
#define YOUNG_MS 10000

struct broker {
        const struct settings *settings;
        uint8_t hash_key[SIPHASH_KEY_BYTES];
        struct secret *secrets; /* one per client */
        struct cache cache;
        struct flights flights;
        struct issuers issuers;
        struct timerheap deadlines; /* waiters */
        struct list starts;
        struct list running;
        struct list cancels;
        struct list replies;
        bool draining;
        struct broker_counters counters;
};

int broker_new(struct broker **ret, const struct settings *settings,
               const uint8_t hash_key[static SIPHASH_KEY_BYTES])
{
        struct broker *broker;
        int r;

        broker = calloc(1, sizeof(*broker));
        if (!broker)
                return error_trace(-ENOMEM);
        broker->settings = settings;
        memcpy(broker->hash_key, hash_key, SIPHASH_KEY_BYTES);
        list_init(&broker->starts);
        list_init(&broker->running);
        list_init(&broker->cancels);
        list_init(&broker->replies);

        broker->secrets = calloc(settings->n_clients, sizeof(*broker->secrets));
        r = broker->secrets ? 0 : -ENOMEM;
        if (r == 0)
                r = cache_init(&broker->cache, settings->max_entries, settings->max_memory_bytes);
        if (r == 0)
                r = flights_init(&broker->flights, settings->max_flights, settings->max_waiters,
                                 settings->max_waiters_per_flight);
        if (r == 0)
                r = issuers_init(&broker->issuers, settings);
        if (r == 0)
                r = timerheap_init(&broker->deadlines, (uint32_t)settings->max_waiters);
        if (r) {
                broker_free(broker);
                return error_trace(r);
        }
        *ret = broker;
        return 0;
}

static struct flight *flight_of(struct list *link)
{
        return list_entry(link, struct flight, link);
}

static void free_flights(struct broker *broker, struct list *list)
{
        list_for_each_safe (link, list) {
                list_unlink(link);
                flight_free(&broker->flights, flight_of(link));
        }
}

void broker_free(struct broker *broker)
{
        if (!broker)
                return;
        free_flights(broker, &broker->starts);
        free_flights(broker, &broker->running);
        free_flights(broker, &broker->cancels);
        assert(list_empty(&broker->replies));

        timerheap_deinit(&broker->deadlines);
        issuers_deinit(&broker->issuers);
        flights_deinit(&broker->flights);
        cache_deinit(&broker->cache);
        for (size_t i = 0; broker->secrets && i < broker->settings->n_clients; i++)
                secret_deinit(&broker->secrets[i]);
        free(broker->secrets);
        secret_wipe(broker->hash_key, sizeof(broker->hash_key));
        free(broker);
}

void broker_set_secret(struct broker *broker, size_t client, struct secret *secret)
{
        assert(client < broker->settings->n_clients);
        secret_move(&broker->secrets[client], secret);
}

static struct issuer *issuer_of(struct broker *broker, const struct flight *flight)
{
        const struct client_settings *client = &broker->settings->clients[flight->client];

        return issuers_find(&broker->issuers, client->token_url[flight->audience]);
}

/* Moves what may start from the queues to `starts`. */
static void start_flights(struct broker *broker)
{
        struct flight *flight;

        while ((flight = issuers_start(&broker->issuers))) {
                flight->state = FLIGHT_STARTING;
                list_push_back(&broker->starts, &flight->link);
        }
}

static void reply_with_token(struct reply *reply, struct token *token, uint64_t now_ms)
{
        const struct text granted = token_scope(token);

        reply->reason = REASON_NONE;
        reply->token = token_ref(token);
        reply->expires_in_s = (token->expires_at_ms - now_ms) / 1000;
        if (granted.size > 0)
                reply->scope = granted;
}

static void reply_with_reason(struct reply *reply, enum reason reason)
{
        reply->reason = reason;
        reply->retry_after_s = reason_info(reason)->retry_after_s;
}

/* Ends the waiting of a waiter whose reply is complete. */
static void release_waiter(struct broker *broker, struct waiter *waiter)
{
        timerheap_cancel(&broker->deadlines, &waiter->deadline);
        flight_leave(&broker->flights, waiter);
        list_push_back(&broker->replies, &waiter->link);
}

/* Answers every waiter with the token, or (NULL) with the reason. */
static void answer_waiters(struct broker *broker, struct flight *flight, enum reason reason,
                           struct token *token, uint64_t now_ms)
{
        list_for_each_safe (link, &flight->waiters) {
                struct waiter *waiter = list_entry(link, struct waiter, link);

                if (token)
                        reply_with_token(&waiter->reply, token, now_ms);
                else
                        reply_with_reason(&waiter->reply, reason);
                release_waiter(broker, waiter);
        }
}

/* No new token came: who waited gets the old one while it lives, else the reason. */
static void fail_waiters(struct broker *broker, struct flight *flight, enum reason reason,
                         uint64_t now_ms)
{
        broker->counters.failures++;
        answer_waiters(broker, flight, reason, cache_lookup(&broker->cache, flight->key, now_ms),
                       now_ms);
}

static bool satisfies(const struct token *token, uint64_t min_ttl_ms, uint64_t now_ms)
{
        const uint64_t lifetime_ms = token->expires_at_ms - token->sent_at_ms;
        const uint64_t young_ms = lifetime_ms / 10 > YOUNG_MS ? lifetime_ms / 10 : YOUNG_MS;

        return token->expires_at_ms - now_ms >= min_ttl_ms || now_ms - token->sent_at_ms < young_ms;
}

/* Answers from memory if memory does, else says why not in reply->cache_status. */
static bool try_memory(struct broker *broker, struct grant_key key,
                       const struct token_request *request, uint64_t now_ms, struct reply *reply)
{
        struct token *token = cache_lookup(&broker->cache, key, now_ms);

        if (!token) {
                reply->cache_status = CACHE_STATUS_FWD_MISS;
                return false;
        }
        if (token_freshness(token, broker->settings->expiry_margin_ms, now_ms) == FRESHNESS_SPENT) {
                reply->cache_status = CACHE_STATUS_FWD_STALE;
                return false;
        }
        if (!satisfies(token, request->min_ttl_ms, now_ms)) {
                reply->cache_status = CACHE_STATUS_FWD_REQUEST;
                return false;
        }
        reply->cache_status = CACHE_STATUS_HIT;
        reply_with_token(reply, token, now_ms);
        broker->counters.hits++;
        return true;
}

/* Joins the flight for the grant, or begins one. BROKER_E_WAIT, -ENOMEM or a reason. */
static int wait_for_fetch(struct broker *broker, struct grant_key key, size_t client,
                          enum audience audience, uint64_t now_ms, struct waiter *waiter,
                          const struct reply *so_far)
{
        struct flight *flight = flights_find(&broker->flights, key);
        const bool joins = flight;
        int r;

        if (broker->draining && (!joins || flight->state == FLIGHT_CANCELLED))
                return REASON_SHUTTING_DOWN;
        r = flights_admit(&broker->flights, flight);
        if (r)
                return r;
        if (!joins) {
                r = flight_new(&flight, &broker->flights, key, client, audience);
                if (r)
                        return error_trace(r);
        }

        *waiter = (struct waiter){.reply = *so_far};
        waiter->reply.collapsed = joins;
        flight_join(&broker->flights, flight, waiter);
        (void)timerheap_set(&broker->deadlines, &waiter->deadline,
                            now_ms + broker->settings->request_timeout_ms);
        if (joins) {
                broker->counters.coalesced++;
        } else {
                broker->counters.misses++;
                issuer_enqueue(&broker->issuers, issuer_of(broker, flight), flight);
                start_flights(broker);
        }
        return BROKER_E_WAIT;
}

static int ask(struct broker *broker, const struct token_request *request, const struct peer *peer,
               uint64_t now_ms, struct waiter *waiter, struct reply *reply)
{
        const enum audience audience = grant_audience(request->subject_kind);
        const struct settings *settings = broker->settings;
        const struct client_settings *client;
        uint8_t key_bytes[GRANT_KEY_MAX_BYTES];
        struct grant_key key;
        size_t index;
        int r;

        r = client_select(settings, request, &index);
        if (r)
                return r;
        client = &settings->clients[index];
        r = policy_check(settings, peer);
        if (r)
                return r;
        if (!client->token_url[audience])
                return REASON_NO_TOKEN_URL;

        if (request->scope.size > 0)
                reply->scope = request->scope;
        else if (client->default_scope)
                reply->scope = TEXT(client->default_scope);
        else
                return REASON_MISSING_SCOPE;

        key = grant_key_make(key_bytes, broker->hash_key, client->identity, request, reply->scope);
        if (try_memory(broker, key, request, now_ms, reply))
                return 0;
        r = wait_for_fetch(broker, key, index, audience, now_ms, waiter, reply);
        if (r != BROKER_E_WAIT && reply->cache_status != CACHE_STATUS_FWD_MISS) {
                /* No new token can be had now, but the old one lives. */
                reply_with_token(reply, cache_lookup(&broker->cache, key, now_ms), now_ms);
                broker->counters.hits++;
                return 0;
        }
        return r;
}

int broker_ask(struct broker *broker, const struct token_request *request, const struct peer *peer,
               uint64_t now_ms, struct waiter *waiter, struct reply *ret)
{
        int r;

        *ret = (struct reply){};
        broker->counters.requests++;
        r = ask(broker, request, peer, now_ms, waiter, ret);
        if (r == BROKER_E_WAIT || r == 0)
                return r;
        broker->counters.refused++;
        reply_with_reason(ret, reason_of_error(r));
        return 0;
}

/* The fetch of a flight begins: it is the caller's of broker_next() from here. */
static int begin_fetch(struct broker *broker, struct flight *flight, uint64_t now_ms,
                       struct command *ret)
{
        const struct client_settings *client = &broker->settings->clients[flight->client];
        const struct grant grant = grant_of_key(flight->key);
        struct secret form = SECRET_INIT(0);
        int r;

        r = grant_form(&form, &grant, client->client_id, &broker->secrets[flight->client]);
        if (r) {
                secret_deinit(&form);
                return error_trace(r);
        }
        flight->state = FLIGHT_RUNNING;
        flight->sent_at_ms = now_ms;
        list_push_back(&broker->running, &flight->link);
        broker->counters.fetches++;
        *ret = (struct command){
                .kind = COMMAND_FETCH,
                .flight = flight,
                .url = client->token_url[flight->audience],
                .client = client->name,
                .form = form,
        };
        return 0;
}

/* Ends a flight that holds a place at its issuer, and lets the next one have it. */
static void end_flight(struct broker *broker, struct flight *flight)
{
        list_unlink(&flight->link);
        issuer_finish(&broker->issuers, issuer_of(broker, flight));
        flight_free(&broker->flights, flight);
        start_flights(broker);
}

bool broker_next(struct broker *broker, uint64_t now_ms, struct command *ret)
{
        struct list *link;

        link = list_first(&broker->cancels);
        if (link) {
                struct flight *flight = flight_of(link);

                *ret = (struct command){.kind = COMMAND_CANCEL, .flight = flight};
                list_unlink(link);
                flight_free(&broker->flights, flight);
                return true;
        }
        while ((link = list_first(&broker->starts))) {
                struct flight *flight = flight_of(link);

                list_unlink(link);
                if (flight->n_waiters == 0) {
                        broker->counters.dropped++;
                        end_flight(broker, flight);
                        continue;
                }
                if (begin_fetch(broker, flight, now_ms, ret) == 0)
                        return true;
                fail_waiters(broker, flight, REASON_OUT_OF_MEMORY, now_ms);
                end_flight(broker, flight);
        }
        link = list_first(&broker->replies);
        if (link) {
                list_unlink(link);
                *ret = (struct command){.kind = COMMAND_REPLY,
                                        .waiter = list_entry(link, struct waiter, link)};
                return true;
        }
        return false;
}

/* A token came: it is kept if the cache can, and goes to all who waited either way. */
static void take_token(struct broker *broker, struct flight *flight, struct token *token,
                       uint64_t now_ms)
{
        if (token_freshness(token, 0, now_ms) == FRESHNESS_ENDED) {
                fail_waiters(broker, flight, REASON_ANSWER_UNUSABLE, now_ms);
                return;
        }
        broker->counters.tokens++;
        (void)cache_store(&broker->cache, flight->key, token);
        answer_waiters(broker, flight, REASON_NONE, token, now_ms);
}

void broker_fetch_done(struct broker *broker, struct flight *flight,
                       const struct fetch_result *result, uint64_t now_ms)
{
        struct answer answer;
        int r;

        assert(flight->state == FLIGHT_RUNNING);

        r = answer_understand(&answer, result, broker->settings, flight->sent_at_ms);
        if (r < 0)
                answer = (struct answer){.class = ANSWER_FAILURE, .reason = REASON_OUT_OF_MEMORY};

        switch (answer.class) {
        case ANSWER_TOKEN:
                take_token(broker, flight, answer.token, now_ms);
                token_unref(answer.token);
                break;
        case ANSWER_REFUSAL:
                /* What the issuer takes back is not handed out any more. */
                broker->counters.refusals++;
                cache_remove(&broker->cache, flight->key);
                answer_waiters(broker, flight, answer.reason, NULL, now_ms);
                break;
        default: fail_waiters(broker, flight, answer.reason, now_ms); break;
        }
        end_flight(broker, flight);
}

static void time_out(struct broker *broker, struct waiter *waiter, uint64_t now_ms)
{
        struct flight *flight = waiter->flight;
        struct token *old = cache_lookup(&broker->cache, flight->key, now_ms);

        if (old)
                reply_with_token(&waiter->reply, old, now_ms);
        else
                reply_with_reason(&waiter->reply, REASON_REQUEST_TIMEOUT);
        broker->counters.timed_out++;
        release_waiter(broker, waiter);

        if (flight->n_waiters == 0 && flight->state == FLIGHT_QUEUED) {
                broker->counters.dropped++;
                issuer_dequeue(issuer_of(broker, flight), flight);
                flight_free(&broker->flights, flight);
        }
}

void broker_tick(struct broker *broker, uint64_t now_ms)
{
        struct timer *timer;

        while ((timer = timerheap_pop(&broker->deadlines, now_ms)))
                time_out(broker, list_entry(timer, struct waiter, deadline), now_ms);
        (void)cache_expire(&broker->cache, now_ms, TICK_EXPIRE_MAX);
}

uint64_t broker_next_tick_ms(const struct broker *broker)
{
        const uint64_t deadline_ms = timerheap_next_ms(&broker->deadlines);
        uint64_t expiry_ms = cache_next_expiry_ms(&broker->cache);

        if (expiry_ms != TIMERHEAP_NEVER)
                expiry_ms = (expiry_ms / EXPIRE_GRAIN_MS + 1) * EXPIRE_GRAIN_MS;
        return deadline_ms < expiry_ms ? deadline_ms : expiry_ms;
}

void broker_drain(struct broker *broker)
{
        broker->draining = true;
}

bool broker_is_idle(const struct broker *broker)
{
        return broker->flights.n_flights == 0 && list_empty(&broker->replies);
}

void broker_abort(struct broker *broker, uint64_t now_ms)
{
        broker_drain(broker);
        for (size_t i = 0; i < broker->issuers.n; i++) {
                struct issuer *issuer = &broker->issuers.all[i];

                list_for_each_safe (link, &issuer->queue) {
                        struct flight *flight = flight_of(link);

                        answer_waiters(broker, flight, REASON_SHUTTING_DOWN, NULL, now_ms);
                        issuer_dequeue(issuer, flight);
                        flight_free(&broker->flights, flight);
                }
        }
        list_for_each_safe (link, &broker->starts) {
                answer_waiters(broker, flight_of(link), REASON_SHUTTING_DOWN, NULL, now_ms);
                end_flight(broker, flight_of(link));
        }
        list_for_each_safe (link, &broker->running) {
                struct flight *flight = flight_of(link);

                answer_waiters(broker, flight, REASON_SHUTTING_DOWN, NULL, now_ms);
                issuer_finish(&broker->issuers, issuer_of(broker, flight));
                flight->state = FLIGHT_CANCELLED;
                list_unlink(link);
                list_push_back(&broker->cancels, link);
        }
}

void broker_get_counters(const struct broker *broker, struct broker_counters *ret)
{
        *ret = broker->counters;
        ret->cache = broker->cache.counters;
        ret->limits = broker->flights.counters;
        ret->entries = broker->cache.n_entries;
        ret->memory_bytes = broker->cache.memory_bytes;
        ret->flights = broker->flights.n_flights;
        ret->waiters = broker->flights.n_waiters;
        ret->in_flight = broker->issuers.n_in_flight;
}
