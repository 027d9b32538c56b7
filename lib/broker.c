/* SPDX-License-Identifier: MIT */

/*
 * One request goes: client application → policy → token URL and scope → entry → memory of refusals
 * → flight → memory of failures, client and URL state → limits → start. What each of these says of
 * it is in broker-question.c; what is done about it is here.
 */

#include "broker.h"

#include <assert.h>
#include <stdlib.h>

#include "broker-private.h"
#include "error.h"
#include "sha256.h"

/* What makes the key for digests of subject tokens another than the one it is made of. */
#define TOKEN_KEY_LABEL "subject tokens"

_Static_assert(SUBJECTTOKEN_KEY_BYTES == SHA256_BYTES, "a digest is taken for the key");

/* Another key of the same secret. */
static void make_token_key(uint8_t ret[static SUBJECTTOKEN_KEY_BYTES],
                           const uint8_t hash_key[static SIPHASH_KEY_BYTES])
{
        uint8_t bytes[sizeof(TOKEN_KEY_LABEL) + SIPHASH_KEY_BYTES] = TOKEN_KEY_LABEL;

        memcpy(bytes + sizeof(TOKEN_KEY_LABEL), hash_key, SIPHASH_KEY_BYTES);
        sha256(bytes, sizeof(bytes), ret);
        secret_wipe(bytes, sizeof(bytes));
}

int broker_new(struct broker **ret, const struct settings *settings, const struct policy *policy,
               const uint8_t hash_key[static SIPHASH_KEY_BYTES])
{
        struct broker *broker;
        int r;

        broker = calloc(1, sizeof(*broker));
        if (!broker)
                return error_trace(-ENOMEM);
        broker->settings = settings;
        broker->policy = policy;
        broker->generation = 1;
        list_init(&broker->purges);
        list_init(&broker->purged);
        memcpy(broker->hash_key, hash_key, SIPHASH_KEY_BYTES);
        make_token_key(broker->token_key, hash_key);
        list_init(&broker->starts);
        list_init(&broker->running);
        list_init(&broker->paused);
        list_init(&broker->cancels);
        list_init(&broker->replies);
        list_init(&broker->reads);

        list_init(&broker->retired);
        list_init(&broker->sweep.link);
        issuers_init(&broker->issuers, settings);
        broker->applications = calloc(settings->n_clients + 1, sizeof(struct application *));
        broker->quotas = calloc(policy->n_rules + 1, sizeof(*broker->quotas));
        r = broker->applications && broker->quotas ? 0 : -ENOMEM;
        for (size_t i = 0; r == 0 && i < settings->n_clients; i++)
                r = application_new(&broker->applications[i], &broker->issuers,
                                    &settings->clients[i], i);
        if (r == 0)
                r = cache_init(&broker->cache, settings->max_entries, settings->max_memory_bytes);
        if (r == 0)
                r = memory_init(&broker->memory, settings->max_memories);
        if (r == 0)
                r = flights_init(&broker->flights, settings->max_flights, settings->max_waiters,
                                 settings->max_waiters_per_flight);
        if (r == 0)
                r = timerheap_init(&broker->deadlines, (uint32_t)settings->max_waiters);
        if (r == 0)
                r = timerheap_init(&broker->pauses, (uint32_t)settings->max_flights);
        if (r) {
                broker_free(broker);
                return error_trace(r);
        }
        *ret = broker;
        return 0;
}

/* Every flight, wherever it is, and its place with it. */
static void free_flights(struct broker *broker)
{
        list_for_each (link, &broker->issuers.all)
                list_entry(link, struct issuer, link)->n_in_flight = 0;
        list_for_each_safe (link, &broker->flights.all) {
                struct flight *flight = list_entry(link, struct flight, all_link);

                list_unlink(&flight->link);
                flight->application->n_flights--;
                flight_free(&broker->flights, flight);
        }
}

void broker_free(struct broker *broker)
{
        if (!broker)
                return;
        assert(list_empty(&broker->replies));
        if (broker->flights.table.now.first)
                free_flights(broker);
        for (size_t i = 0; broker->applications && i < broker->settings->n_clients; i++)
                application_free(broker->applications[i], &broker->issuers);
        list_for_each_safe (link, &broker->retired)
                application_free(list_entry(link, struct application, link), &broker->issuers);

        timerheap_deinit(&broker->pauses);
        timerheap_deinit(&broker->deadlines);
        issuers_deinit(&broker->issuers);
        flights_deinit(&broker->flights);
        memory_deinit(&broker->memory);
        cache_deinit(&broker->cache);
        free(broker->quotas);
        free(broker->applications);
        secret_wipe(broker->hash_key, sizeof(broker->hash_key));
        secret_wipe(broker->token_key, sizeof(broker->token_key));
        free(broker);
}

uint32_t broker_random(struct broker *broker)
{
        broker->random_state++;
        return (uint32_t)siphash(broker->hash_key, &broker->random_state,
                                 sizeof(broker->random_state));
}

struct freshness_limits broker_freshness_limits(const struct broker *broker)
{
        return (struct freshness_limits){
                .margin_ms = broker->settings->expiry_margin_ms,
                .timeout_ms = broker->settings->upstream_timeout_ms,
        };
}

enum freshness broker_freshness(const struct broker *broker, const struct token *token,
                                uint64_t now_ms)
{
        const struct freshness_limits limits = broker_freshness_limits(broker);

        return freshness_of(token, &limits, broker->due_since_ms, now_ms);
}

struct application *broker_application_of(const struct broker *broker, uint64_t identity)
{
        for (size_t i = 0; i < broker->settings->n_clients; i++)
                if (broker->settings->clients[i].identity == identity)
                        return broker->applications[i];
        return NULL;
}

void broker_reply_token(struct broker *broker, struct reply *reply, struct token *token,
                        enum reason detail, uint64_t now_ms)
{
        const struct text granted = token_scope(token);

        if (token->exceeds && !policy_covers_scope(reply->rule, granted)) {
                broker->counters.granted_too_much++;
                broker_reply_reason(reply, REASON_GRANTED_TOO_MUCH, 0);
                return;
        }
        reply->reason = REASON_NONE;
        reply->detail = detail;
        reply->token = token_ref(token);
        reply->expires_in_s = (token->expires_at_ms - now_ms) / 1000;
        if (granted.size > 0)
                reply->scope = granted;
}

void broker_reply_old_token(struct broker *broker, struct reply *reply, struct cache_entry *entry,
                            enum reason detail, uint64_t now_ms)
{
        broker_reply_token(broker, reply, entry->token, detail, now_ms);
        if (!reply->token)
                return;
        entry->used = true;
        broker->counters.served_old++;
}

void broker_reply_reason(struct reply *reply, enum reason reason, uint64_t left_ms)
{
        reply->reason = reason;
        reply->retry_after_s = reason_info(reason)->retry_after_s;
        if (left_ms > 0 && reason_info(reason)->status >= 429)
                reply->retry_after_s = (unsigned int)((left_ms + 999) / 1000);
}

void broker_take_back(struct reply *reply)
{
        token_unref(reply->token);
        *reply = (struct reply){
                .rule = reply->rule,
                .client = reply->client,
                .subject_kind = reply->subject_kind,
                .asked_scope = reply->asked_scope,
                .scope = reply->asked_scope,
                .cache_status = reply->cache_status,
                .collapsed = reply->collapsed,
        };
}

static struct errand errand_of(const struct question *question)
{
        return (struct errand){
                .key = question->key,
                .application = question->application,
                .issuer = question->issuer,
                .subject_token = question->kind == SUBJECT_EXCHANGE
                                         ? &question->request->subject_token
                                         : NULL,
        };
}

static void judge_entry(struct broker *broker, struct question *question, struct reply *reply)
{
        bool reported;

        question->entry = broker_lookup(broker, question->key, question->now_ms);
        question->worth = broker_entry_worth(broker, question, &reply->cache_status, &reported);
        if (reported) {
                question->entry->rejected = true;
                broker->counters.rejections++;
        }
}

/* Joins a flight, which may start by that. */
static void join(struct broker *broker, struct flight *flight, const struct question *question,
                 struct waiter *waiter, const struct reply *so_far, bool collapsed)
{
        *waiter = (struct waiter){
                .reply = *so_far,
                .request = question->request,
                .peer = question->peer,
                .gives_up_at_ms = question->now_ms + broker->settings->request_timeout_ms,
                .has_fallback = question->worth == WORTH_STOPGAP,
        };
        waiter->reply.collapsed = collapsed;
        /* There is room: the heap holds as many as may wait, and this one was admitted. */
        (void)timerheap_set(&broker->deadlines, &waiter->deadline,
                            broker_deadline_ms(broker, question));
        flight_join(&broker->flights, flight, waiter);
        issuer_join(&broker->issuers, flight->issuer, flight, question->peer->uid,
                    question->now_ms);
        broker_start_flights(broker, question->now_ms);
}

struct quota *broker_quota_of(const struct broker *broker, const struct rule *rule)
{
        return rule->fetches.count == 0 ? NULL : &broker->quotas[rule - broker->policy->rules];
}

enum reason broker_fetches_spent(const struct broker *broker, const struct rule *rule,
                                 uint64_t now_ms, uint64_t *ret_left_ms)
{
        struct quota *quota = broker_quota_of(broker, rule), copy;

        if (!quota)
                return REASON_NONE;
        copy = *quota;
        return quota_reserve(&copy, rule->fetches, now_ms, ret_left_ms) ? REASON_FETCHES_SPENT
                                                                        : REASON_NONE;
}

/* Begins a flight for a caller who was admitted. 0, -ENOMEM or REASON_FETCHES_SPENT. */
static int begin(struct broker *broker, const struct question *question, struct flight **ret,
                 uint64_t *ret_left_ms)
{
        struct quota *quota = broker_quota_of(broker, question->rule);
        const struct errand errand = errand_of(question);
        int r;

        if (broker_fetches_spent(broker, question->rule, question->now_ms, ret_left_ms)) {
                broker->counters.fetches_spent++;
                return REASON_FETCHES_SPENT;
        }
        r = broker_begin_flight(ret, broker, &errand, question->peer, question->now_ms);
        if (r)
                return error_trace(r);
        (*ret)->for_rejected = question->entry && question->entry->rejected;
        if (quota) {
                /* There is one left, as was seen above. */
                (void)quota_reserve(quota, question->rule->fetches, question->now_ms, ret_left_ms);
                (*ret)->payer = question->rule;
        }
        return 0;
}

/* Joins the flight for the grant, or begins one. BROKER_E_WAIT, -ENOMEM, or a reason why neither
 * can be, with the time after which it might. */
static int wait_for_fetch(struct broker *broker, const struct question *question,
                          struct waiter *waiter, const struct reply *so_far, uint64_t *ret_left_ms)
{
        struct flight *flight = flights_find(&broker->flights, question->key);
        enum reason reason;
        int r;

        reason = broker_blocked(broker, question, flight, ret_left_ms);
        if (reason) {
                broker->counters.blocked++;
                return reason;
        }
        r = flights_admit(&broker->flights, flight, question->peer->uid);
        if (r)
                return r;
        if (flight) {
                join(broker, flight, question, waiter, so_far, true);
                broker->counters.coalesced++;
                return BROKER_E_WAIT;
        }
        r = begin(broker, question, &flight, ret_left_ms);
        if (r) {
                flights_dismiss(&broker->flights, NULL, question->peer->uid);
                return error_trace(r);
        }
        join(broker, flight, question, waiter, so_far, false);
        broker->counters.misses++;
        return BROKER_E_WAIT;
}

static void answer_from_memory(struct broker *broker, const struct question *question,
                               struct reply *reply)
{
        broker_reply_token(broker, reply, question->entry->token, REASON_NONE, question->now_ms);
        if (!reply->token) {
                broker->counters.refused++;
                return;
        }
        broker->counters.hits++;
        question->entry->used = true;
        if (question->freshness == FRESHNESS_DUE) {
                const struct errand errand = errand_of(question);

                broker_refresh(broker, &errand, question->now_ms);
        }
}

int broker_ask(struct broker *broker, const struct token_request *request, const struct peer *peer,
               uint64_t now_ms, struct waiter *waiter, struct reply *ret)
{
        struct question question = {.request = request, .peer = peer, .now_ms = now_ms};
        uint8_t key_bytes[GRANT_KEY_MAX_BYTES];
        uint64_t left_ms = 0;
        int r;

        broker->counters.requests++;
        r = broker_recall_request(broker, &question, key_bytes);
        if (!r && question.kind == SUBJECT_EXCHANGE &&
            broker_has_ended(broker, &request->subject_token, now_ms))
                r = REASON_SUBJECT_TOKEN_EXPIRED;
        *ret = (struct reply){
                .rule = question.rule,
                .client = question.client_settings,
                .subject_kind = question.kind,
                .asked_scope = question.scope,
                .scope = question.scope,
        };
        if (r)
                goto refuse;
        judge_entry(broker, &question, ret);
        if (question.worth == WORTH_ANSWER) {
                answer_from_memory(broker, &question, ret);
                return 0;
        }
        r = wait_for_fetch(broker, &question, waiter, ret, &left_ms);
        if (r == BROKER_E_WAIT)
                return BROKER_E_WAIT;
        if (question.worth == WORTH_STOPGAP) {
                broker_reply_old_token(broker, ret, question.entry, reason_of_error(r), now_ms);
                broker->counters.refused += !ret->token;
                return 0;
        }
refuse:
        broker->counters.refused++;
        broker_reply_reason(ret, reason_of_error(r), left_ms);
        return 0;
}

void broker_get_counters(const struct broker *broker, struct broker_counters *ret)
{
        *ret = broker->counters;
        ret->cache = broker->cache.counters;
        ret->limits = broker->flights.counters;
        ret->uid_flights_full = broker->flights.flight_shares.refused;
        ret->uid_waiters_full = broker->flights.waiter_shares.refused;
        ret->entries = broker->cache.n_entries;
        ret->memory_bytes = broker->cache.memory_bytes;
        ret->flights = broker->flights.n_flights;
        ret->waiters = broker->flights.n_waiters;
        ret->in_flight = broker->issuers.n_in_flight;
        ret->memories = broker->memory.n;
        ret->memories_evicted = broker->memory.evicted;
}
