/* SPDX-License-Identifier: MIT */

#include "world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <openssl/sha.h>

#include "client.h"

#define USER_URL     "https://issuer.example/U/token"
#define CUSTOMER_URL "https://issuer.example/C/token"
#define MOBILE_URL   "https://other.example/U/token"
#define LOBBY_URL    "https://issuer.example/token?user_type=customer&domain_hint=T"

static const struct client_settings clients[WORLD_CLIENTS] = {
        [CLIENT_PORTAL] = {.name = "portal",
                           .client_id = "0001-portal",
                           .identity = 11,
                           .token_url = {USER_URL, CUSTOMER_URL},
                           .default_scope = DEFAULT_SCOPE},
        [CLIENT_MOBILE] = {.name = "mobile",
                           .client_id = "0002-mobile",
                           .identity = 12,
                           .token_url = {MOBILE_URL, NULL}},
        [CLIENT_DESK] = {.name = "desk",
                         .client_id = "0003-desk",
                         .identity = 13,
                         .token_url = {USER_URL, NULL},
                         .default_scope = DEFAULT_SCOPE},
        [CLIENT_LOBBY] = {.name = "lobby",
                          .identity = 14,
                          .token_url = {[AUDIENCE_ANONYMOUS] = LOBBY_URL},
                          .default_scope = DEFAULT_SCOPE},
};

/* A configuration that the broker was given; while it holds, or a caller who asked under it has not
 * been answered. */
struct given {
        struct client_settings clients[WORLD_CLIENTS];
        struct settings settings;
        struct policy policy;
        size_t n_users;
};

static const char *const client_secrets[WORLD_CLIENTS] = {"one&1=%", "two", "three",
                                                          CLIENT_PLACEHOLDER_SECRET};

static void hold_for_ever(struct world *world, struct fetch *fetch)
{
        (void)world;
        (void)fetch;
}

static char *copy(const char *text)
{
        char *copied = text ? strdup(text) : NULL;

        assert_int_equal(!copied, !text);
        return copied;
}

static struct given *given_new(const struct world *world)
{
        struct given *given = calloc(1, sizeof(*given));

        assert_non_null(given);
        given->n_users = 1;
        given->settings = world->settings;
        given->settings.clients = given->clients;
        given->policy = world->policy;
        for (size_t i = 0; i < world->settings.n_clients; i++) {
                struct client_settings *client = &given->clients[i];

                *client = world->clients[i];
                client->name = copy(client->name);
                client->client_id = copy(client->client_id);
                client->default_scope = copy(client->default_scope);
                for (int k = 0; k < _AUDIENCE_N; k++)
                        client->token_url[k] = copy(client->token_url[k]);
        }
        return given;
}

static void release(struct given *given)
{
        if (--given->n_users > 0)
                return;
        for (size_t i = 0; i < given->settings.n_clients; i++) {
                free(given->clients[i].name);
                free(given->clients[i].client_id);
                free(given->clients[i].default_scope);
                for (int k = 0; k < _AUDIENCE_N; k++)
                        free(given->clients[i].token_url[k]);
        }
        free(given);
}

/* FNV-1a */
static uint64_t hash_of(const char *text)
{
        uint64_t hash = UINT64_C(0xcbf29ce484222325);

        while (text && *text)
                hash = (hash ^ (unsigned char)*text++) * UINT64_C(0x100000001b3);
        return hash;
}

void world_init(struct world *world)
{
        static uint64_t number;

        *world = (struct world){.number = ++number,
                                .now_ms = 1234567,
                                .wall_ahead_ms = INT64_C(1767225600000),
                                .peer = {.known = true, .uid = 0, .pid = 1},
                                .script = hold_for_ever,
                                .settings =
                                        {
                                                .n_clients = WORLD_CLIENTS_USUAL,
                                                .max_entries = 1000,
                                                .max_memory_bytes = 1 << 20,
                                                .request_timeout_ms = 20 * SECONDS,
                                                .expiry_margin_ms = 30 * SECONDS,
                                                .upstream_timeout_ms = 10 * SECONDS,
                                                .default_lifetime_ms = 5 * MINUTES,
                                                .max_waiters = 256,
                                                .max_waiters_per_flight = 128,
                                                .max_flights = 128,
                                                .max_in_flight = 32,
                                                .max_in_flight_total = 64,
                                                .max_memories = 1000,
                                                .max_token_bytes = 16384,
                                        },
                                .policy = {.own_uid = 990}};
        memcpy(world->clients, clients, sizeof(clients));
        for (size_t i = 0; i < WORLD_CLIENTS; i++)
                world->secrets[i][0] = client_secrets[i];
        list_init(&world->fetches);
        list_init(&world->unused);
        for (size_t i = 0; i < WORLD_FETCHES_MAX; i++)
                list_push_back(&world->unused, &world->fetch[i].link);
}

void world_start(struct world *world)
{
        static const uint8_t hash_key[SIPHASH_KEY_BYTES] = "0123456789abcde";

        assert_true(world->settings.max_in_flight_total <= WORLD_FETCHES_MAX);
        assert_true(world->settings.n_clients <= WORLD_CLIENTS);
        world->settings.clients = world->clients;
        for (size_t i = 0; i < world->settings.n_clients; i++)
                client_digest(world->clients[i].identity_sha256, &world->clients[i], NULL);
        world->given = given_new(world);
        assert_int_equal(broker_new(&world->broker, &world->given->settings, &world->given->policy,
                                    hash_key),
                         0);
        for (size_t i = 0; i < world->settings.n_clients; i++)
                assert_true(world_read_secrets(world, i));
        broker_tick(world->broker, world->now_ms, world_wall_ms(world));
        world_check(world);
}

int64_t world_wall_ms(const struct world *world)
{
        return (int64_t)world->now_ms + world->wall_ahead_ms;
}

void world_end(struct world *world)
{
        struct broker_counters counters;

        world->busy = false;
        world_abort(world);
        counters = world_counters(world);
        assert_int_equal(counters.flights, 0);
        assert_int_equal(counters.waiters, 0);
        assert_int_equal(counters.in_flight, 0);
        assert_int_equal(world->n_waiting, 0);
        assert_int_equal(world->n_fetches, 0);
        assert_int_equal(world->n_purging, 0);
        assert_true(broker_is_idle(world->broker));
        world_drop(world);
}

void world_drop(struct world *world)
{
        broker_free(world->broker);
        world->broker = NULL;
        world->given->n_users = 1; /* a test may have taken replies itself */
        release(world->given);
        world->given = NULL;
}

struct broker_counters world_counters(const struct world *world)
{
        struct broker_counters counters;

        broker_get_counters(world->broker, &counters);
        return counters;
}

static void take_token(struct world *world, struct caller *caller, const struct reply *reply)
{
        const struct token *token = reply->token;

        assert_non_null(token);
        script_read_token(token_value(token), &caller->matter, &caller->serial,
                          &caller->expires_at_ms);
        if (caller->matter.kind == SUBJECT_EXCHANGE && caller->expires_at_ms > token->expires_at_ms)
                caller->expires_at_ms = token->expires_at_ms; /* it ends with its subject token */
        assert_int_equal(caller->expires_at_ms, token->expires_at_ms);
        assert_true(world->now_ms + 1000 <= caller->expires_at_ms);
        assert_int_equal(reply->expires_in_s, (caller->expires_at_ms - world->now_ms) / 1000);
        assert_true(scope_includes(reply->scope, caller->matter.scope));
        assert_true(caller->serial > 0 && caller->serial <= world->serial);
        if (caller->serial + WORLD_MINTED > world->serial)
                assert_int_equal(world->minted_at[caller->serial % WORLD_MINTED], caller->url_hash);
        if (caller->rejects && caller->serial == caller->rejected_serial)
                assert_int_equal(reply->detail, REASON_REPEATED_TOKEN);
        SHA256((const unsigned char *)token->bytes, token->value_size, caller->sha256);
}

/* A reason may say for how long it holds, where its status allows a Retry-After. */
static void check_retry_after(const struct reply *reply)
{
        const struct reason_info *info = reason_info(reply->reason);
        const unsigned int max_s = reply->reason == REASON_FETCHES_SPENT ? 86400 : 300;

        assert_true(reply->retry_after_s == info->retry_after_s ||
                    (info->status >= 429 && reply->retry_after_s >= 1 &&
                     reply->retry_after_s <= max_s));
}

/* WORLD_CLIENTS: there is none any more. */
static size_t client_of(const struct world *world, struct text client_id)
{
        for (size_t i = 0; i < world->settings.n_clients; i++)
                if (text_equal(client_id, TEXT(client_sent_id(&world->clients[i]))))
                        return i;
        assert_true(world->n_reconfigured > 0 || world->settings.n_clients < WORLD_CLIENTS_USUAL);
        return WORLD_CLIENTS;
}

/* Rights are those of the rules of this moment, whenever it was that the caller asked. */
static void check_rights(const struct world *world, const struct caller *caller,
                         const struct reply *reply)
{
        const struct rule *rule = NULL;
        size_t client;
        bool gone;
        int r;

        r = policy_select(broker_policy(world->broker), &caller->peer, &caller->request.keys,
                          &rule);
        client = client_of(world, caller->matter.client_id);
        /* What is gone is judged by what the caller's words meant since. */
        gone = client == WORLD_CLIENTS || world->clients[client].identity != caller->identity;
        if (reply->rule || !gone)
                assert_ptr_equal(reply->rule, r ? NULL : rule);
        if (reply->reason)
                return;
        assert_int_equal(r, 0);
        if (!gone)
                assert_int_equal(policy_check_client(rule, client), 0);
        assert_int_equal(policy_check_subject(rule, caller->matter.kind, caller->matter.subject),
                         0);
        assert_int_equal(policy_check_scope(rule, caller->matter.scope), 0);
        assert_int_equal(policy_check_scope(rule, reply->scope), 0);
}

static void take_reply(struct world *world, struct caller *caller, struct reply *reply)
{
        caller->n_replies++;
        caller->reason = reply->reason;
        caller->serial = 0;
        caller->expires_at_ms = 0;
        caller->answered_at_ms = world->now_ms;
        caller->cache_status = reply->cache_status;
        caller->collapsed = reply->collapsed;
        caller->detail = reply->detail;
        caller->retry_after_s = reply->retry_after_s;
        caller->rule = reply->rule;
        check_rights(world, caller, reply);
        /* What a reply borrows is there until now. */
        if (reply->client)
                assert_true(strlen(reply->client->name) > 0);
        assert_true(reply->asked_scope.size == 0 || reply->asked_scope.bytes[0] != 0);
        if (reply->reason == REASON_NONE) {
                take_token(world, caller, reply);
        } else {
                assert_null(reply->token);
                check_retry_after(reply);
        }
        token_unref(reply->token);
        reply->token = NULL;
        request_deinit(&caller->request);
        release(caller->given);
        caller->given = NULL;
}

static void take_command_reply(struct world *world, struct waiter *waiter)
{
        struct caller *caller = list_entry(waiter, struct caller, waiter);

        assert_true(caller->waits);
        assert_null(waiter->flight);
        caller->waits = false;
        world->n_waiting--;
        if (!world->late)
                assert_true(world->now_ms <= caller->asked_at_ms + caller->timeout_ms);
        take_reply(world, caller, &waiter->reply);
        /* Whoever could have had the old token all the time was not kept for long. */
        if (!world->late && caller->serial && caller->detail &&
            caller->detail != REASON_REPEATED_TOKEN)
                assert_true(world->now_ms <= caller->asked_at_ms + 2 * SECONDS);
        /* The broker must not look at it any more. */
        memset(waiter, 0xa5, sizeof(*waiter));
}

static void check_fetch(struct world *world, const struct fetch *fetch, const char *client_name)
{
        const struct client_settings *client;
        size_t n_at_url = 0;

        assert_true(client_of(world, fetch->matter.client_id) < WORLD_CLIENTS);
        client = &world->clients[client_of(world, fetch->matter.client_id)];
        assert_string_equal(client_name, client->name);
        assert_int_equal(client_is_anonymous(client), fetch->matter.kind == SUBJECT_ANONYMOUS);
        assert_string_equal(fetch->url, client->token_url[grant_audience(fetch->matter.kind)]);
        list_for_each (link, &world->fetches) {
                const struct fetch *other = list_entry(link, struct fetch, link);

                if (other == fetch)
                        continue;
                if (!fetch->flight->detached && !other->flight->detached)
                        assert_false(script_same_matter(&fetch->matter, &other->matter));
                n_at_url += strcmp(fetch->url, other->url) == 0;
        }
        assert_true(n_at_url < world->settings.max_in_flight || world->lowered);
}

static bool is_deserted(const struct command *command)
{
        struct waiter *waiter = NULL;

        while ((waiter = broker_next_waiter(command->flight, waiter)))
                if (!list_entry(waiter, struct caller, waiter)->hung_up)
                        return false;
        return true;
}

static void take_fetch(struct world *world, struct command *command)
{
        struct list *link = list_first(&world->unused);
        struct fetch *fetch;

        if (command->waited && is_deserted(command)) {
                secret_deinit(&command->form);
                world->n_unsent++;
                broker_fetch_dropped(world->broker, command->flight, world->now_ms);
                return;
        }
        assert_non_null(link);
        list_unlink(link);
        fetch = list_entry(link, struct fetch, link);
        *fetch = (struct fetch){
                .flight = command->flight,
                .form = command->form,
                .sent_at_ms = world->now_ms,
                .ends_at_ms = TIMERHEAP_NEVER,
                .lifetime_s = 3600,
        };
        assert_true(strlen(command->url) < sizeof(fetch->url));
        memcpy(fetch->url, command->url, strlen(command->url) + 1);
        list_push_back(&world->fetches, &fetch->link);
        world->n_fetches++;
        script_read_form(fetch);
        check_fetch(world, fetch, command->client);
        world->script(world, fetch);
}

static void forget_fetch(struct world *world, struct fetch *fetch)
{
        list_unlink(&fetch->link);
        list_push_back(&world->unused, &fetch->link);
        world->n_fetches--;
        secret_deinit(&fetch->form);
}

static void take_cancel(struct world *world, const struct flight *flight)
{
        list_for_each (link, &world->fetches) {
                struct fetch *fetch = list_entry(link, struct fetch, link);

                if (fetch->flight == flight) {
                        forget_fetch(world, fetch);
                        world->n_cancelled++;
                        return;
                }
        }
        fail_msg("a fetch was cancelled that is not under way");
}

/* The broker has them as they are in the files, but for one that is there twice. */
static void check_secrets(const struct world *world, size_t client)
{
        struct text before = {};

        for (size_t i = 0; i < CREDENTIALS_MAX; i++) {
                const struct secret *set = broker_secret(world->broker, client, i);
                const char *secret = world->secrets[client][i];
                struct text expected = secret ? TEXT(secret) : (struct text){};

                if (text_equal(expected, before))
                        expected = (struct text){};
                assert_true(text_equal((struct text){set->bytes, set->size}, expected));
                before = expected;
        }
}

bool world_read_secrets(struct world *world, size_t client)
{
        struct secret secrets[CREDENTIALS_MAX] = {};
        bool changed;

        for (size_t i = 0; i < CREDENTIALS_MAX; i++) {
                const char *secret = world->secrets[client][i];

                if (secret)
                        assert_int_equal(secret_assign(&secrets[i], secret, strlen(secret)), 0);
        }
        changed = broker_set_secrets(world->broker, client, secrets);
        check_secrets(world, client);
        if (world->reading[client]) {
                world->reading[client] = false;
                broker_secrets_read(world->broker, client, world->now_ms);
        }
        return changed;
}

static void take_read(struct world *world, size_t client)
{
        assert_true(client < world->settings.n_clients);
        assert_false(world->reading[client]);
        world->reading[client] = true;
        world->n_reads++;
        if (!world->slow_files)
                (void)world_read_secrets(world, client);
}

static void take_note(struct world *world, const struct note *note)
{
        assert_true(note->kind < WORLD_NOTES);
        assert_true(strlen(note->client) > 0);
        assert_true(!note->url || strlen(note->url) > 0);
        world->n_notes[note->kind]++;
        world->last_note = *note;
}

static void take_purged(struct world *world, struct purge *purge)
{
        assert_true(list_empty(&purge->link));
        assert_true(world->n_purging > 0);
        world->n_purging--;
        world->last_purge = purge;
}

/* Does all that the broker wants done, unless the loop is busy. */
static void drain(struct world *world)
{
        struct command command;

        if (world->busy)
                return;
        while (broker_next(world->broker, world->now_ms, &command)) {
                switch (command.kind) {
                case COMMAND_FETCH: take_fetch(world, &command); break;
                case COMMAND_READ_SECRETS: take_read(world, command.client_index); break;
                case COMMAND_NOTE: take_note(world, &command.note); break;
                case COMMAND_CANCEL: take_cancel(world, command.flight); break;
                case COMMAND_REPLY: take_command_reply(world, command.waiter); break;
                case COMMAND_PURGED: take_purged(world, command.purge); break;
                }
        }
        world_check(world);
}

static bool same_peer(const struct peer *a, const struct peer *b)
{
        return a->known == b->known && a->tcp == b->tcp && a->uid == b->uid && a->n_groups == 0 &&
               b->n_groups == 0 && !a->unit && !b->unit && a->entitled_by == b->entitled_by;
}

/* Whoever asks the same again brings along how it was judged, as a connection does that is kept. */
static void make_request(struct world *world, struct caller *caller, const struct wish *wish)
{
        static char before[sizeof(caller->form)];

        memcpy(before, caller->form, sizeof(before));
        memset(caller->form, 0, sizeof(caller->form));
        caller_make_request(caller, &world->clients[wish->client], wish);
        if (memcmp(before, caller->form, sizeof(before)) != 0 ||
            !same_peer(&caller->peer, &world->peer) || caller->request.held_secret ||
            caller->world != world->number)
                caller->verdict = (struct verdict){};
        caller->world = world->number;
        caller->request.verdict = &caller->verdict;
}

void world_ask(struct world *world, struct caller *caller, struct wish wish)
{
        struct reply reply;
        int r;

        assert_false(caller->waits);
        make_request(world, caller, &wish);
        caller->asked_at_ms = world->now_ms;
        caller->n_replies = 0;
        caller->hung_up = false;
        caller->waiter = (struct waiter){};
        caller->peer = world->peer;
        caller->timeout_ms = world->settings.request_timeout_ms;
        caller->identity = world->clients[wish.client].identity;
        caller->url_hash = hash_of(
                world->clients[wish.client].token_url[grant_audience(caller->matter.kind)]);
        caller->given = world->given;
        caller->given->n_users++;
        r = broker_ask(world->broker, &caller->request, &caller->peer, world->now_ms,
                       &caller->waiter, &reply);
        if (r == BROKER_E_WAIT) {
                caller->waits = true;
                world->n_waiting++;
        } else {
                assert_int_equal(r, 0);
                world->n_old_at_once += reply.reason == REASON_NONE &&
                                        reply.cache_status != CACHE_STATUS_HIT;
                take_reply(world, caller, &reply);
        }
        drain(world);
}

void world_ask_user(struct world *world, struct caller *caller, const char *username)
{
        world_ask(world, caller, (struct wish){.subject = TEXT(username)});
}

void world_set_policy(struct world *world, const struct policy *policy)
{
        assert_int_equal(
                broker_reconfigure(world->broker, &world->given->settings, policy, world->now_ms),
                0);
        assert_ptr_equal(broker_policy(world->broker), policy);
        world->policy = *policy;
        drain(world);
}

/* Which readings go on: those of clients that are still there. */
static void carry_readings(struct world *world, const struct settings *before)
{
        bool reading[WORLD_CLIENTS] = {};

        for (size_t i = 0; i < world->settings.n_clients; i++)
                for (size_t j = 0; j < before->n_clients; j++)
                        if (before->clients[j].identity == world->clients[i].identity)
                                reading[i] = world->reading[j];
        memcpy(world->reading, reading, sizeof(reading));
}

static bool is_lower(const struct settings *a, const struct settings *b)
{
        return a->max_waiters < b->max_waiters || a->max_flights < b->max_flights ||
               a->max_in_flight < b->max_in_flight ||
               a->max_in_flight_total < b->max_in_flight_total;
}

void world_reconfigure(struct world *world)
{
        struct given *before = world->given, *given = given_new(world);

        assert_int_equal(
                broker_reconfigure(world->broker, &given->settings, &given->policy, world->now_ms),
                0);
        assert_ptr_equal(broker_policy(world->broker), &given->policy);
        world->lowered |= is_lower(&given->settings, &before->settings);
        world->given = given;
        carry_readings(world, &before->settings);
        release(before);
        world->n_reconfigured++;
        for (size_t i = 0; i < world->settings.n_clients; i++)
                if (!world->reading[i])
                        (void)world_read_secrets(world, i);
        drain(world);
}

bool world_purge(struct world *world, const struct filter *filter, struct purge *purge)
{
        int r;

        r = broker_purge(world->broker, filter, world->now_ms, purge);
        assert_true(r == 0 || r == BROKER_E_WAIT);
        world->n_purging += r == BROKER_E_WAIT;
        drain(world);
        return r == BROKER_E_WAIT;
}

void world_turn(struct world *world)
{
        if (broker_next_tick_ms(world->broker) <= world->now_ms)
                broker_tick(world->broker, world->now_ms, world_wall_ms(world));
        drain(world);
}

static uint64_t next_ending_ms(struct world *world, struct fetch **ret)
{
        uint64_t at_ms = TIMERHEAP_NEVER;

        *ret = NULL;
        list_for_each (link, &world->fetches) {
                struct fetch *fetch = list_entry(link, struct fetch, link);

                if (fetch->ends_at_ms < at_ms) {
                        at_ms = fetch->ends_at_ms;
                        *ret = fetch;
                }
        }
        return at_ms;
}

void world_advance(struct world *world, uint64_t ms)
{
        const uint64_t until_ms = world->now_ms + ms;
        unsigned int n_idle = 0;

        assert_true(until_ms >= world->now_ms);

        for (;;) {
                const uint64_t tick_ms = broker_next_tick_ms(world->broker);
                struct fetch *fetch;
                const uint64_t ending_ms = next_ending_ms(world, &fetch);
                const uint64_t next_ms = tick_ms < ending_ms ? tick_ms : ending_ms;
                const bool tick = tick_ms < ending_ms ||
                                  (tick_ms == ending_ms && world->tick_first);

                if (next_ms > until_ms)
                        break;
                /* The loop does not spin: work that is left over gets less at every turn. */
                n_idle = next_ms > world->now_ms ? 0 : n_idle + 1;
                assert_true(n_idle < 1000);
                if (next_ms > world->now_ms)
                        world->now_ms = next_ms;
                if (tick || !fetch)
                        world_turn(world);
                else
                        world_finish(world, fetch, fetch->ending);
        }
        world->now_ms = until_ms;
}

void world_suspend(struct world *world, uint64_t ms)
{
        world->now_ms += ms;
        world->late = true;
}

struct fetch *world_oldest(struct world *world)
{
        struct list *link = list_first(&world->fetches);

        return link ? list_entry(link, struct fetch, link) : NULL;
}

struct fetch *world_fetch_of(struct world *world, const char *username)
{
        const struct subject_matter wanted = {.client_id = TEXT(clients[CLIENT_PORTAL].client_id),
                                              .kind = SUBJECT_USERNAME,
                                              .subject = TEXT(username),
                                              .scope = TEXT(DEFAULT_SCOPE)};

        list_for_each (link, &world->fetches) {
                struct fetch *fetch = list_entry(link, struct fetch, link);

                if (script_same_matter(&fetch->matter, &wanted))
                        return fetch;
        }
        return NULL;
}

void world_finish(struct world *world, struct fetch *fetch, enum ending ending)
{
        char body[SCRIPT_BODY_MAX_BYTES];
        struct fetch_result result;

        if (!fetch)
                fetch = world_oldest(world);
        assert_non_null(fetch);
        fetch->ending = ending;
        if (ending_is_token(ending) && !fetch->repeated_serial)
                world->minted_at[++world->serial % WORLD_MINTED] = hash_of(fetch->url);
        world->n_secret_ends += ending == ENDING_CREDENTIALS_REFUSED;
        result = script_answer(body, fetch, world->serial);
        broker_fetch_done(world->broker, fetch->flight, &result, world->now_ms,
                          world_wall_ms(world));
        forget_fetch(world, fetch);
        drain(world);
}

void world_finish_for_good(struct world *world, const char *username, enum ending ending)
{
        struct fetch *fetch = world_fetch_of(world, username);

        assert_non_null(fetch);
        while (fetch) {
                world_finish(world, fetch, ending);
                if (!ending_is_retried(ending))
                        return;
                /* The longest pause is 600 ms. */
                for (int i = 0; i < 60 && !(fetch = world_fetch_of(world, username)); i++)
                        world_advance(world, 10);
        }
}

void world_abort(struct world *world)
{
        world->aborted = true;
        broker_abort(world->broker, world->now_ms);
        drain(world);
}

uint64_t world_prime(struct world *world, const char *username, uint64_t lifetime_s)
{
        struct caller caller = {};
        struct fetch *fetch;

        world_ask_user(world, &caller, username);
        assert_waits(&caller);
        fetch = world_fetch_of(world, username);
        assert_non_null(fetch);
        fetch->lifetime_s = lifetime_s;
        world_finish(world, fetch, ENDING_TOKEN);
        assert_token(&caller, world->serial);
        return world->serial;
}

struct explanation world_explain(struct world *world, const char *username)
{
        struct caller caller = {};
        struct explanation explanation;

        caller_make_request(&caller, &world->clients[CLIENT_PORTAL],
                            &(struct wish){.subject = TEXT(username)});
        broker_explain(world->broker, &caller.request, &world->peer, world->now_ms, &explanation);
        explanation.grant = (struct grant){}; /* it borrows from the request */
        request_deinit(&caller.request);
        return explanation;
}
