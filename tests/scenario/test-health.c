/* SPDX-License-Identifier: MIT */

/*
 * What whoever monitors is told of client applications and token URLs, in each state; and that all
 * the ways of asking agree.
 */

#include "world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void begin(struct world *world)
{
        world_init(world);
        world_start(world);
}

/* As said of the client, and of its URL for users; the URL is told of alone, too. */
static struct issuer_health look_at(struct world *world, size_t client)
{
        struct issuer_health alone = {};
        struct client_health health;
        const void *at = NULL;

        broker_look_at_client(world->broker, client, world->now_ms, &health);
        assert_string_equal(health.name, world->clients[client].name);
        assert_true(health.has_issuer[AUDIENCE_USER]);
        do {
                at = broker_look_at_issuer(world->broker, at, world->now_ms, &alone);
                assert_non_null(at);
        } while (strcmp(alone.url, health.issuers[AUDIENCE_USER].url) != 0);
        assert_int_equal(alone.breaker, health.issuers[AUDIENCE_USER].breaker);
        assert_int_equal(alone.left_ms, health.issuers[AUDIENCE_USER].left_ms);
        assert_int_equal(alone.failing_ms, health.issuers[AUDIENCE_USER].failing_ms);
        assert_int_equal(alone.n_in_flight, health.issuers[AUDIENCE_USER].n_in_flight);
        return alone;
}

static enum client_condition condition_of(const struct world *world, size_t client)
{
        struct client_status status;

        assert_true(broker_client_status(world->broker, client, world->now_ms, &status));
        assert_string_equal(status.client, world->clients[client].name);
        return status.condition;
}

/* One more request of a user that nobody asked for before. */
static void meet(struct world *world, size_t client, enum ending ending)
{
        static unsigned int n;
        struct caller caller = {};
        char name[16];

        (void)snprintf(name, sizeof(name), "u%u", n++);
        world_ask(world, &caller,
                  (struct wish){.client = client, .subject = TEXT(name), .scope = "read"});
        assert_waits(&caller);
        for (int tries = 0; caller.waits && tries < 3; tries++) {
                world_finish(world, NULL, ending);
                world_advance(world, caller.waits ? 650 : 0);
        }
        assert_false(caller.waits);
}

static void who_was_never_asked_is_well_and_nothing_is_known(void **state)
{
        struct client_status status;
        struct client_health health;
        struct issuer_health issuer;
        struct world world;

        (void)state;
        begin(&world);
        assert_int_equal(broker_n_clients(world.broker), WORLD_CLIENTS_USUAL);
        for (size_t i = 0; i < WORLD_CLIENTS_USUAL; i++)
                assert_int_equal(condition_of(&world, i), CONDITION_WELL);
        assert_false(
                broker_client_status(world.broker, WORLD_CLIENTS_USUAL, world.now_ms, &status));

        issuer = look_at(&world, CLIENT_PORTAL);
        assert_int_equal(issuer.breaker, BREAKER_CLOSED);
        assert_false(issuer.held || issuer.last_success_known);
        assert_int_equal(issuer.failures, 0);
        assert_int_equal(issuer.last_failure_ago_ms, 0);
        broker_look_at_client(world.broker, CLIENT_MOBILE, world.now_ms, &health);
        assert_false(health.has_issuer[AUDIENCE_CUSTOMER]);
        assert_false(health.has_issuer[AUDIENCE_ANONYMOUS]);
        world_end(&world);
}

static void every_url_is_told_of_once(void **state)
{
        const void *at = NULL;
        struct issuer_health issuer;
        const char *urls[8];
        struct world world;
        size_t n = 0;

        (void)state;
        begin(&world);
        while ((at = broker_look_at_issuer(world.broker, at, world.now_ms, &issuer))) {
                assert_true(n < 8);
                for (size_t i = 0; i < n; i++)
                        assert_string_not_equal(urls[i], issuer.url);
                urls[n++] = issuer.url;
        }
        assert_int_equal(n, 3); /* the portal has two, and the desk shares one of them */
        world_end(&world);
}

static void what_is_under_way_and_what_came_of_it_is_told(void **state)
{
        struct caller callers[2] = {};
        struct issuer_health issuer;
        struct world world;

        (void)state;
        world_init(&world);
        world.settings.max_in_flight = 1;
        world_start(&world);
        world_ask_user(&world, &callers[0], "anna");
        world_ask_user(&world, &callers[1], "bert");
        issuer = look_at(&world, CLIENT_PORTAL);
        assert_int_equal(issuer.n_in_flight, 1);
        assert_int_equal(issuer.n_queued, 1);
        world_finish(&world, NULL, ENDING_TOKEN);
        world_finish(&world, NULL, ENDING_TOKEN);
        world_advance(&world, 7 * SECONDS);
        issuer = look_at(&world, CLIENT_DESK); /* at the same URL */
        assert_true(issuer.last_success_known);
        assert_int_equal(issuer.last_success_ago_ms, 7 * SECONDS);
        assert_int_equal(issuer.n_in_flight + issuer.n_queued, 0);
        world_end(&world);
}

static void an_issuer_that_fails_is_told_of_until_it_is_well(void **state)
{
        struct issuer_health issuer;
        struct world world;

        (void)state;
        begin(&world);
        meet(&world, CLIENT_PORTAL, ENDING_REDIRECT);
        assert_int_equal(condition_of(&world, CLIENT_PORTAL), CONDITION_WELL);
        world_advance(&world, 2 * SECONDS);
        issuer = look_at(&world, CLIENT_PORTAL);
        assert_int_equal(issuer.failures, 1);
        assert_int_equal(issuer.last_failure, REASON_ANSWER_REDIRECT);
        assert_int_equal(issuer.last_failure_ago_ms, 2 * SECONDS);
        assert_int_equal(issuer.failing_ms, 2 * SECONDS);
        assert_int_equal(issuer.breaker, BREAKER_CLOSED);

        for (int i = 0; i < 4; i++)
                meet(&world, CLIENT_PORTAL, ENDING_REDIRECT);
        issuer = look_at(&world, CLIENT_PORTAL);
        assert_int_equal(issuer.breaker, BREAKER_OPEN);
        assert_false(issuer.held);
        assert_int_equal(issuer.opened, 1);
        assert_true(issuer.left_ms > 0);
        assert_int_equal(issuer.failing_ms, 2 * SECONDS);
        assert_int_equal(condition_of(&world, CLIENT_PORTAL), CONDITION_ISSUER_FAILS);
        assert_int_equal(condition_of(&world, CLIENT_DESK), CONDITION_ISSUER_FAILS);
        assert_int_equal(condition_of(&world, CLIENT_MOBILE), CONDITION_WELL);

        world_advance(&world, 1 * MINUTES); /* it is not tried, and still counts as failing */
        assert_int_equal(look_at(&world, CLIENT_PORTAL).breaker, BREAKER_HALF_OPEN);
        assert_int_equal(condition_of(&world, CLIENT_PORTAL), CONDITION_ISSUER_FAILS);
        meet(&world, CLIENT_DESK, ENDING_TOKEN);
        issuer = look_at(&world, CLIENT_PORTAL);
        assert_int_equal(issuer.breaker, BREAKER_CLOSED);
        assert_int_equal(issuer.failures, 0);
        assert_int_equal(issuer.failing_ms, 0);
        assert_int_equal(condition_of(&world, CLIENT_PORTAL), CONDITION_WELL);
        world_end(&world);
}

static void a_hold_is_told_from_a_failure_and_the_worse_of_two_urls_counts(void **state)
{
        struct caller caller = {};
        struct issuer_health issuer;
        struct world world;

        (void)state;
        begin(&world);
        world_ask_user(&world, &caller, "anna");
        world_oldest(&world)->retry_after = "60";
        world_finish(&world, NULL, ENDING_THROTTLED);
        issuer = look_at(&world, CLIENT_PORTAL);
        assert_true(issuer.held);
        assert_int_equal(issuer.breaker, BREAKER_OPEN);
        assert_int_equal(issuer.left_ms, 60 * SECONDS);
        assert_int_equal(issuer.holds, 1);
        assert_int_equal(issuer.opened, 0);
        assert_int_equal(issuer.failures, 0);
        assert_int_equal(condition_of(&world, CLIENT_PORTAL), CONDITION_ISSUER_HOLDS);

        for (int i = 0; i < 5; i++) { /* its other URL, for customers */
                char name[] = "0@example.com";

                name[0] = (char)('0' + i);
                world_ask(&world, &caller,
                          (struct wish){.kind = SUBJECT_EMAIL, .subject = TEXT(name)});
                world_finish(&world, NULL, ENDING_REDIRECT);
        }
        assert_int_equal(condition_of(&world, CLIENT_PORTAL), CONDITION_ISSUER_FAILS);
        assert_int_equal(condition_of(&world, CLIENT_DESK), CONDITION_ISSUER_HOLDS);
        world_end(&world);
}

static void a_client_whose_secret_is_refused_is_told_of_before_its_issuer(void **state)
{
        struct client_health health;
        struct world world;

        (void)state;
        begin(&world);
        meet(&world, CLIENT_PORTAL, ENDING_CREDENTIALS_REFUSED);
        broker_look_at_client(world.broker, CLIENT_PORTAL, world.now_ms, &health);
        assert_true(health.unwell);
        assert_int_equal(health.held_ms, 30 * SECONDS);
        assert_int_equal(condition_of(&world, CLIENT_PORTAL), CONDITION_SECRET_REFUSED);
        assert_int_equal(condition_of(&world, CLIENT_DESK), CONDITION_WELL);
        world_advance(&world, 30 * SECONDS);
        broker_look_at_client(world.broker, CLIENT_PORTAL, world.now_ms, &health);
        assert_int_equal(health.held_ms, 0);
        assert_true(health.unwell); /* nobody has tried it since */
        meet(&world, CLIENT_PORTAL, ENDING_TOKEN);
        broker_look_at_client(world.broker, CLIENT_PORTAL, world.now_ms, &health);
        assert_false(health.unwell);
        assert_int_equal(condition_of(&world, CLIENT_PORTAL), CONDITION_WELL);
        world_end(&world);
}

static void limits_are_those_of_the_configuration(void **state)
{
        struct broker_limits limits;
        struct world world;

        (void)state;
        world_init(&world);
        world.settings.max_entries = 77;
        world.settings.max_memories = 33;
        world_start(&world);
        broker_get_limits(world.broker, &limits);
        assert_int_equal(limits.entries, 77);
        assert_int_equal(limits.memories, 33);
        assert_int_equal(limits.memory_bytes, world.settings.max_memory_bytes);
        assert_int_equal(limits.flights, world.settings.max_flights);
        assert_int_equal(limits.waiters, world.settings.max_waiters);
        assert_int_equal(limits.in_flight, world.settings.max_in_flight_total);
        world_end(&world);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(who_was_never_asked_is_well_and_nothing_is_known),
                cmocka_unit_test(every_url_is_told_of_once),
                cmocka_unit_test(what_is_under_way_and_what_came_of_it_is_told),
                cmocka_unit_test(an_issuer_that_fails_is_told_of_until_it_is_well),
                cmocka_unit_test(a_hold_is_told_from_a_failure_and_the_worse_of_two_urls_counts),
                cmocka_unit_test(a_client_whose_secret_is_refused_is_told_of_before_its_issuer),
                cmocka_unit_test(limits_are_those_of_the_configuration),
        };

        return cmocka_run_group_tests_name("health", tests, NULL, NULL);
}
