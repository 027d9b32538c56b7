/* SPDX-License-Identifier: MIT */

/*
 * What broker_explain() says in each state, and that looking on changes nothing: what it predicts
 * is what a request then meets.
 */

#include "world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void of_nothing(void **state)
{
        struct explanation e;
        struct world world;

        (void)state;
        world_init(&world);
        world_start(&world);
        e = world_explain(&world, "anna");
        assert_int_equal(e.refused, REASON_NONE);
        assert_string_equal(e.client, "portal");
        assert_string_equal(e.url, world.clients[CLIENT_PORTAL].token_url[AUDIENCE_USER]);
        assert_int_equal(e.cache_status, CACHE_STATUS_FWD_MISS);
        assert_true(e.would_wait);
        assert_false(e.would_serve_old || e.present || e.in_flight || e.held);
        assert_int_equal(e.blocked, REASON_NONE);
        assert_int_equal(e.remembered, REASON_NONE);
        assert_int_equal(e.breaker, BREAKER_CLOSED);
        assert_false(e.last_success_known);
        assert_int_equal(world_counters(&world).requests, 0);
        assert_int_equal(world_counters(&world).flights, 0);
        world_end(&world);
}

static void of_an_entry_in_each_stage_of_its_life(void **state)
{
        struct caller caller = {};
        struct explanation e;
        struct world world;

        (void)state;
        world_init(&world);
        world_start(&world);
        (void)world_prime(&world, "anna", 3600);
        world_advance(&world, 100 * SECONDS);
        e = world_explain(&world, "anna");
        assert_true(e.present && !e.used && !e.rejected && !e.would_wait);
        assert_int_equal(e.freshness, FRESHNESS_FRESH);
        assert_int_equal(e.cache_status, CACHE_STATUS_HIT);
        assert_int_equal(e.age_ms, 100 * SECONDS);
        assert_int_equal(e.left_ms, 3500 * SECONDS);
        assert_in_range(e.refresh_in_ms, 2700 * SECONDS, 2900 * SECONDS);
        assert_true(e.last_success_known);
        assert_int_equal(e.last_success_ago_ms, 100 * SECONDS);

        world_advance(&world, 2900 * SECONDS);
        e = world_explain(&world, "anna");
        assert_int_equal(e.freshness, FRESHNESS_DUE);
        assert_int_equal(e.refresh_in_ms, 0);
        assert_false(e.in_flight); /* looking is no use */
        world_ask_user(&world, &caller, "anna");
        e = world_explain(&world, "anna");
        assert_true(e.used && e.in_flight);
        assert_int_equal(e.waiters, 0);

        world_advance(&world, 575 * SECONDS);
        e = world_explain(&world, "anna");
        assert_int_equal(e.freshness, FRESHNESS_SPENT);
        assert_int_equal(e.cache_status, CACHE_STATUS_FWD_STALE);
        assert_true(e.would_wait && !e.would_serve_old);
        world_ask_user(&world, &caller, "anna");
        assert_int_equal(world_explain(&world, "anna").waiters, 1);
        world_finish_for_good(&world, "anna", ENDING_REDIRECT);
        e = world_explain(&world, "anna");
        assert_true(e.would_serve_old && !e.would_wait);
        assert_int_equal(e.blocked, REASON_ANSWER_REDIRECT);
        assert_int_equal(e.blocked_ms, 5 * SECONDS);
        assert_int_equal(e.remembered, REASON_ANSWER_REDIRECT);
        assert_int_equal(e.failure_left_ms, 1 * SECONDS);
        assert_int_equal(e.refresh_held_ms, 5 * SECONDS);
        assert_int_equal(e.failures, 1);
        assert_int_equal(e.last_failure, REASON_ANSWER_REDIRECT);

        world_advance(&world, 24 * SECONDS + 1);
        e = world_explain(&world, "anna");
        assert_false(e.present);
        world_end(&world);
}

static void of_refusals_breakers_holds_and_clients(void **state)
{
        struct caller caller = {};
        struct explanation e;
        struct world world;

        (void)state;
        world_init(&world);
        world_start(&world);
        world_ask_user(&world, &caller, "anna");
        world_finish(&world, NULL, ENDING_SUBJECT_REFUSED);
        world_advance(&world, 1 * SECONDS);
        e = world_explain(&world, "anna");
        assert_int_equal(e.blocked, REASON_SUBJECT_REFUSED);
        assert_int_equal(e.blocked_ms, 9 * SECONDS);
        assert_int_equal(e.refusal_left_ms, 9 * SECONDS);
        assert_false(e.would_wait || e.would_serve_old);

        world_ask_user(&world, &caller, "bert");
        world_oldest(&world)->retry_after = "20";
        world_finish(&world, NULL, ENDING_THROTTLED);
        e = world_explain(&world, "carl");
        assert_int_equal(e.blocked, REASON_ISSUER_THROTTLES);
        assert_int_equal(e.blocked_ms, 20 * SECONDS);
        assert_true(e.held);
        assert_int_equal(e.breaker, BREAKER_OPEN);
        assert_int_equal(e.breaker_left_ms, 20 * SECONDS);
        world_advance(&world, 20 * SECONDS);
        e = world_explain(&world, "carl");
        assert_int_equal(e.breaker, BREAKER_HALF_OPEN);
        assert_false(e.held);
        assert_true(e.would_wait);

        world_ask_user(&world, &caller, "carl");
        world_finish(&world, NULL, ENDING_CREDENTIALS_REFUSED);
        e = world_explain(&world, "carl");
        assert_int_equal(e.breaker, BREAKER_CLOSED);
        assert_int_equal(e.blocked, REASON_CREDENTIALS_REFUSED);
        assert_int_equal(e.client_held_ms, 30 * SECONDS);
        world_end(&world);
}

static void of_who_may_not_ask_it_says_that_and_no_more(void **state)
{
        struct explanation e;
        struct world world;

        (void)state;
        world_init(&world);
        world_start(&world);
        (void)world_prime(&world, "anna", 3600);
        world.peer = (struct peer){.known = true, .uid = 1000};
        e = world_explain(&world, "anna");
        assert_int_equal(e.refused, REASON_NOT_PERMITTED);
        assert_false(e.present || e.in_flight);
        assert_null(e.url);
        world_end(&world);
}

/* It must not count as a use, push out, start a probe, or count as a request. */
static void looking_on_changes_nothing(void **state)
{
        struct broker_counters before, after;
        struct caller caller = {};
        struct world world;

        (void)state;
        world_init(&world);
        world_start(&world);
        (void)world_prime(&world, "anna", 3600);
        world_ask_user(&world, &caller, "bert");
        world_finish(&world, NULL, ENDING_SUBJECT_REFUSED);
        before = world_counters(&world);
        for (int i = 0; i < 3700; i++) {
                (void)world_explain(&world, "anna");
                (void)world_explain(&world, "bert");
                (void)world_explain(&world, "carl");
                world_advance(&world, 1 * SECONDS);
        }
        after = world_counters(&world);
        assert_int_equal(after.requests, before.requests);
        assert_int_equal(after.fetches, before.fetches);
        assert_int_equal(after.memories, before.memories);
        assert_int_equal(after.entries, 0); /* not used, so not renewed */
        world_end(&world);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(of_nothing),
                cmocka_unit_test(of_an_entry_in_each_stage_of_its_life),
                cmocka_unit_test(of_refusals_breakers_holds_and_clients),
                cmocka_unit_test(of_who_may_not_ask_it_says_that_and_no_more),
                cmocka_unit_test(looking_on_changes_nothing),
        };

        return cmocka_run_group_tests_name("explain", tests, NULL, NULL);
}
