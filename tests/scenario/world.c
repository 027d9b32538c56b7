/* SPDX-License-Identifier: MIT */

#include "world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define USER_URL     "https://issuer.example/U/token"
#define CUSTOMER_URL "https://issuer.example/C/token"
#define MOBILE_URL   "https://other.example/U/token"

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
};

static const char *const client_secrets[WORLD_CLIENTS] = {"one&1=%", "two", "three"};

static void hold_for_ever(struct world *world, struct fetch *fetch)
{
        (void)world;
        (void)fetch;
}

void world_init(struct world *world)
{
        *world = (struct world){.now_ms = 1234567,
                                .peer = {.known = true, .uid = 0, .pid = 1},
                                .script = hold_for_ever,
                                .settings = {
                                        .n_clients = WORLD_CLIENTS,
                                        .max_entries = 1000,
                                        .max_memory_bytes = 1 << 20,
                                        .request_timeout_ms = 20 * SECONDS,
                                        .expiry_margin_ms = 30 * SECONDS,
                                        .default_lifetime_ms = 5 * MINUTES,
                                        .max_waiters = 256,
                                        .max_waiters_per_flight = 128,
                                        .max_flights = 128,
                                        .max_in_flight = 32,
                                        .max_in_flight_total = 64,
                                        .max_token_bytes = 16384,
                                        .own_uid = 990,
                                }};
        memcpy(world->clients, clients, sizeof(clients));
        list_init(&world->fetches);
        list_init(&world->unused);
        for (size_t i = 0; i < WORLD_FETCHES_MAX; i++)
                list_push_back(&world->unused, &world->fetch[i].link);
}

void world_start(struct world *world)
{
        static const uint8_t hash_key[SIPHASH_KEY_BYTES] = "0123456789abcde";

        assert_true(world->settings.max_in_flight_total <= WORLD_FETCHES_MAX);
        world->settings.clients = world->clients;
        assert_int_equal(broker_new(&world->broker, &world->settings, hash_key), 0);
        for (size_t i = 0; i < WORLD_CLIENTS; i++) {
                struct secret secret = SECRET_INIT(0);

                assert_int_equal(
                        secret_assign(&secret, client_secrets[i], strlen(client_secrets[i])), 0);
                broker_set_secret(world->broker, i, &secret);
        }
        world_check(world);
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
        assert_true(broker_is_idle(world->broker));
        broker_free(world->broker);
        world->broker = NULL;
}

struct broker_counters world_counters(const struct world *world)
{
        struct broker_counters counters;

        broker_get_counters(world->broker, &counters);
        return counters;
}

void world_check(struct world *world)
{
        const struct broker_counters c = world_counters(world);
        const struct settings *s = &world->settings;

        assert_int_equal(c.requests, c.hits + c.misses + c.coalesced + c.refused);
        assert_int_equal(c.waiters, world->n_waiting);
        assert_int_equal(c.in_flight, world->n_fetches);
        assert_true(c.flights >= c.in_flight);
        if (!world->starved)
                assert_int_equal(c.fetches, c.tokens + c.refusals + c.failures + c.in_flight +
                                                    world->n_cancelled);
        if (!world->starved && !world->aborted)
                assert_int_equal(c.misses, c.fetches + c.dropped + (c.flights - c.in_flight));
        assert_int_equal(c.entries, c.cache.stored - c.cache.expired - c.cache.removed -
                                            c.cache.evicted_entries - c.cache.evicted_memory);
        assert_true((c.entries == 0) == (c.memory_bytes == 0));

        assert_true(c.waiters <= s->max_waiters);
        assert_true(c.flights <= s->max_flights);
        assert_true(c.in_flight <= s->max_in_flight_total);
        assert_true(c.entries <= s->max_entries);
        assert_true(c.memory_bytes <= s->max_memory_bytes);
        assert_int_equal(broker_is_idle(world->broker), c.flights == 0);
        /* A place that is free is not kept from a flight that waits for one. */
        if (c.in_flight < s->max_in_flight && c.in_flight < s->max_in_flight_total)
                assert_int_equal(c.flights, c.in_flight);
}

static void take_token(struct world *world, struct caller *caller, const struct reply *reply)
{
        /* Where the loop was busy, the reply has lain for a while. */
        const uint64_t made_at_ms = world->busy_since_ms ? world->busy_since_ms : world->now_ms;
        const struct token *token = reply->token;

        assert_non_null(token);
        script_read_token(token_value(token), &caller->matter, &caller->serial,
                          &caller->expires_at_ms);
        assert_int_equal(caller->expires_at_ms, token->expires_at_ms);
        assert_true(made_at_ms + 1000 <= caller->expires_at_ms);
        assert_true(reply->expires_in_s >= 1);
        assert_in_range(reply->expires_in_s, (caller->expires_at_ms - world->now_ms) / 1000,
                        (caller->expires_at_ms - made_at_ms) / 1000);
        assert_true(text_equal(reply->scope, caller->matter.scope));
        assert_true(caller->serial > 0 && caller->serial <= world->serial);
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
        if (reply->reason == REASON_NONE) {
                take_token(world, caller, reply);
        } else {
                assert_null(reply->token);
                assert_int_equal(reply->retry_after_s, reason_info(reply->reason)->retry_after_s);
        }
        token_unref(reply->token);
        reply->token = NULL;
        request_deinit(&caller->request);
}

static void take_command_reply(struct world *world, struct waiter *waiter)
{
        struct caller *caller = list_entry(waiter, struct caller, waiter);

        assert_true(caller->waits);
        assert_null(waiter->flight);
        caller->waits = false;
        world->n_waiting--;
        if (!world->late)
                assert_true(world->now_ms <=
                            caller->asked_at_ms + world->settings.request_timeout_ms);
        take_reply(world, caller, &waiter->reply);
        /* The broker must not look at it any more. */
        memset(waiter, 0xa5, sizeof(*waiter));
}

static const struct client_settings *client_of(const struct world *world, struct text client_id,
                                               size_t *ret_index)
{
        for (size_t i = 0; i < WORLD_CLIENTS; i++) {
                if (text_equal(client_id, TEXT(world->clients[i].client_id))) {
                        *ret_index = i;
                        return &world->clients[i];
                }
        }
        fail_msg("the issuer was sent an unknown client_id");
        return NULL;
}

static void check_fetch(struct world *world, const struct fetch *fetch, const char *client_name)
{
        const struct client_settings *client;
        size_t index = 0, n_at_url = 0;

        client = client_of(world, fetch->matter.client_id, &index);
        assert_string_equal(client_name, client->name);
        assert_string_equal(
                fetch->url,
                client->token_url[fetch->matter.kind == SUBJECT_EMAIL ? AUDIENCE_CUSTOMER
                                                                      : AUDIENCE_USER]);
        assert_true(text_equal(fetch->client_secret, TEXT(client_secrets[index])));
        list_for_each (link, &world->fetches) {
                const struct fetch *other = list_entry(link, struct fetch, link);

                if (other == fetch)
                        continue;
                assert_false(script_same_matter(&fetch->matter, &other->matter));
                n_at_url += strcmp(fetch->url, other->url) == 0;
        }
        assert_true(n_at_url < world->settings.max_in_flight);
}

static void take_fetch(struct world *world, struct command *command)
{
        struct list *link = list_first(&world->unused);
        struct fetch *fetch;

        assert_non_null(link);
        list_unlink(link);
        fetch = list_entry(link, struct fetch, link);
        *fetch = (struct fetch){
                .flight = command->flight,
                .url = command->url,
                .form = command->form,
                .sent_at_ms = world->now_ms,
                .ends_at_ms = TIMERHEAP_NEVER,
                .lifetime_s = 3600,
        };
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

/* Does all that the broker wants done, unless the loop is busy. */
static void drain(struct world *world)
{
        struct command command;

        if (world->busy) {
                if (!world->busy_since_ms)
                        world->busy_since_ms = world->now_ms;
                return;
        }
        while (broker_next(world->broker, world->now_ms, &command)) {
                switch (command.kind) {
                case COMMAND_FETCH: take_fetch(world, &command); break;
                case COMMAND_CANCEL: take_cancel(world, command.flight); break;
                case COMMAND_REPLY: take_command_reply(world, command.waiter); break;
                }
        }
        world->busy_since_ms = 0;
        world_check(world);
}

void world_ask(struct world *world, struct caller *caller, struct wish wish)
{
        struct reply reply;
        int r;

        assert_false(caller->waits);
        caller_make_request(caller, &world->clients[wish.client], &wish);
        caller->asked_at_ms = world->now_ms;
        caller->n_replies = 0;
        caller->waiter = (struct waiter){};
        r = broker_ask(world->broker, &caller->request, &world->peer, world->now_ms,
                       &caller->waiter, &reply);
        if (r == BROKER_E_WAIT) {
                caller->waits = true;
                world->n_waiting++;
        } else {
                assert_int_equal(r, 0);
                take_reply(world, caller, &reply);
        }
        drain(world);
}

void world_ask_user(struct world *world, struct caller *caller, const char *username)
{
        world_ask(world, caller, (struct wish){.subject = TEXT(username)});
}

void world_turn(struct world *world)
{
        if (broker_next_tick_ms(world->broker) <= world->now_ms)
                broker_tick(world->broker, world->now_ms);
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
        if (ending_is_token(ending))
                world->serial++;
        result = script_answer(body, fetch, world->serial);
        broker_fetch_done(world->broker, fetch->flight, &result, world->now_ms);
        forget_fetch(world, fetch);
        drain(world);
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
