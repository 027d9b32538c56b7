/* SPDX-License-Identifier: MIT */

/*
 * What a request gets where there is a token: fresh, due and spent; the refresh
 * behind the callers' backs; who waits, for how long, and what for.
 */

#include "world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

/* When the token of an hour is due at the earliest, and at the latest. */
#define DUE_MIN (3600 * SECONDS - 720 * SECONDS * 11 / 10)
#define DUE_MAX (3600 * SECONDS - 720 * SECONDS * 9 / 10)

static void fresh_is_answered_at_once_and_costs_nothing(void **state)
{
        struct caller caller = {};
        struct world world;
        uint64_t serial;

        (void)state;
        world_init(&world);
        world_start(&world);
        serial = world_prime(&world, "anna", 3600);
        world_advance(&world, DUE_MIN - 1 * SECONDS);
        world_ask_user(&world, &caller, "anna");
        assert_hit(&caller, serial);
        assert_int_equal(caller.detail, REASON_NONE);
        assert_int_equal(world_explain(&world, "anna").freshness, FRESHNESS_FRESH);
        assert_int_equal(world.n_fetches, 0);
        world_end(&world);
}

static void due_and_used_is_refreshed_by_a_timer(void **state)
{
        struct caller caller = {};
        struct world world;
        uint64_t serial;

        (void)state;
        world_init(&world);
        world_start(&world);
        serial = world_prime(&world, "anna", 3600);
        world_advance(&world, 1 * MINUTES);
        world_ask_user(&world, &caller, "anna");
        world_advance(&world, DUE_MIN - 1 * MINUTES - 1);
        assert_int_equal(world.n_fetches, 0);
        world_advance(&world, DUE_MAX - DUE_MIN + 2 * SECONDS);
        assert_int_equal(world.n_fetches, 1);
        assert_int_equal(world_counters(&world).refreshes, 1);

        /* The old token stays until the new one is in hand. */
        world_ask_user(&world, &caller, "anna");
        assert_hit(&caller, serial);
        assert_int_equal(world.n_fetches, 1);
        world_finish(&world, NULL, ENDING_TOKEN);
        world_ask_user(&world, &caller, "anna");
        assert_hit(&caller, serial + 1);
        assert_int_equal(world_counters(&world).misses, 1);
        world_end(&world);
}

static void due_and_not_used_is_refreshed_by_the_first_request(void **state)
{
        struct caller caller = {};
        struct world world;
        uint64_t serial;

        (void)state;
        world_init(&world);
        world_start(&world);
        serial = world_prime(&world, "anna", 3600); /* who waited for it has not used it */
        world_advance(&world, 3000 * SECONDS);
        assert_int_equal(world.n_fetches, 0);
        assert_int_equal(world_explain(&world, "anna").freshness, FRESHNESS_DUE);
        for (int i = 0; i < 10; i++) {
                world_ask_user(&world, &caller, "anna");
                assert_hit(&caller, serial);
                assert_int_equal(world.n_fetches, 1);
        }
        world_end(&world);
}

static void used_means_since_the_last_renewal(void **state)
{
        struct caller caller = {};
        struct world world;

        (void)state;
        world_init(&world);
        world_start(&world);
        (void)world_prime(&world, "anna", 3600);
        world_ask_user(&world, &caller, "anna");
        world_advance(&world, DUE_MAX + 2 * SECONDS);
        world_finish(&world, NULL, ENDING_TOKEN); /* a refresh */
        world_advance(&world, 2 * HOURS);
        assert_int_equal(world_counters(&world).fetches, 2);
        assert_int_equal(world_counters(&world).entries, 0); /* ran out, and was wiped */
        assert_int_equal(world_counters(&world).cache.expired, 1);
        world_end(&world);
}

static void refresh_points_of_tokens_fetched_together_are_spread(void **state)
{
        uint64_t first_ms = UINT64_MAX, last_ms = 0;
        unsigned int n_in_tenth[10] = {0};
        struct world world;

        (void)state;
        world_init(&world);
        world_start(&world);
        for (int i = 0; i < 200; i++) {
                char name[16];
                uint64_t in_ms;

                (void)snprintf(name, sizeof(name), "s%d", i);
                (void)world_prime(&world, name, 3600);
                in_ms = world_explain(&world, name).refresh_in_ms;
                assert_in_range(in_ms, DUE_MIN, DUE_MAX);
                first_ms = in_ms < first_ms ? in_ms : first_ms;
                last_ms = in_ms > last_ms ? in_ms : last_ms;
                n_in_tenth[(in_ms - DUE_MIN) * 10 / (DUE_MAX - DUE_MIN + 1)]++;
        }
        assert_true(last_ms - first_ms > (DUE_MAX - DUE_MIN) * 9 / 10);
        for (int i = 0; i < 10; i++)
                assert_in_range(n_in_tenth[i], 5, 40);
        world_end(&world);
}

/* For each lifetime the refresh point lies between L/2 and L - margin - upstream timeout, or at L/2
 * where that is too little. */
static void the_refresh_point_leaves_time_for_a_fetch_whatever_the_lifetime(void **state)
{
        static const struct {
                uint64_t lifetime_s, min_s, max_s;
        } cases[] = {
                {86400, 86400 - 19008, 86400 - 15552},
                {3600, 2808, 2952},
                {1500, 1170, 1230},
                {900, 570, 630},
                {600, 300, 330},
                {300, 150, 165},
                {60, 30, 33},
                {20, 10, 10},
                {2, 1, 1},
        };

        (void)state;
        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
                struct world world;

                world_init(&world);
                world_start(&world);
                for (int k = 0; k < 20; k++) {
                        char name[16];

                        (void)snprintf(name, sizeof(name), "s%d", k);
                        (void)world_prime(&world, name, cases[i].lifetime_s);
                        assert_in_range(world_explain(&world, name).refresh_in_ms,
                                        cases[i].min_s * SECONDS, cases[i].max_s * SECONDS);
                }
                world_end(&world);
        }
}

static void due_does_not_fetch_while_key_url_or_client_forbid(void **state)
{
        static const enum ending endings[] = {
                ENDING_REDIRECT,  ENDING_ERROR,
                ENDING_THROTTLED, ENDING_UNREACHABLE,
                ENDING_CUT,       ENDING_CREDENTIALS_REFUSED,
                ENDING_TIMEOUT,   ENDING_CLIENT_UNAUTHORIZED,
                ENDING_GARBAGE,   ENDING_CERTIFICATE,
        };

        (void)state;
        for (size_t i = 0; i < sizeof(endings) / sizeof(endings[0]); i++) {
                struct caller caller = {};
                struct world world;
                uint64_t serial, fetches;

                world_init(&world);
                world_start(&world);
                serial = world_prime(&world, "anna", 3600);
                world_advance(&world, 3000 * SECONDS);
                world_ask_user(&world, &caller, "anna");
                assert_hit(&caller, serial);
                world_finish(&world, NULL, endings[i]); /* of a refresh: not tried again */
                fetches = world_counters(&world).fetches;
                assert_int_equal(fetches, 2);
                for (int k = 0; k < 50; k++) {
                        world_ask_user(&world, &caller, "anna");
                        assert_hit(&caller, serial);
                        assert_int_equal(world.n_fetches, 0);
                        world_advance(&world, endings[i] == ENDING_THROTTLED ? 10 : 80);
                }
                assert_int_equal(world_counters(&world).fetches, fetches);
                world_end(&world);
        }
}

/* 5 s, doubling to 60 s. */
static void a_refresh_that_fails_is_put_off_further_each_time(void **state)
{
        static const uint64_t steps_s[] = {5, 10, 20, 40, 60, 60};
        struct caller caller = {};
        struct world world;
        uint64_t serial;

        (void)state;
        world_init(&world);
        world_start(&world);
        serial = world_prime(&world, "anna", 3600);
        world_advance(&world, 3000 * SECONDS);
        for (size_t i = 0; i < sizeof(steps_s) / sizeof(steps_s[0]); i++) {
                world_ask_user(&world, &caller, "anna");
                assert_hit(&caller, serial);
                assert_int_equal(world.n_fetches, 1);
                world_finish(&world, NULL, ENDING_REDIRECT);
                assert_int_equal(world_explain(&world, "anna").refresh_held_ms,
                                 steps_s[i] * SECONDS);
                world_advance(&world, steps_s[i] * SECONDS - 1);
                world_ask_user(&world, &caller, "anna");
                assert_hit(&caller, serial);
                assert_int_equal(world.n_fetches, 0);
                world_advance(&world, 1);
        }
        /* Forgotten at success. */
        world_ask_user(&world, &caller, "anna");
        world_finish(&world, NULL, ENDING_TOKEN);
        assert_int_equal(world_counters(&world).memories, 0);
        world_end(&world);
}

static void spent_is_waited_for_two_seconds_by_each_and_then_served(void **state)
{
        struct caller callers[3] = {};
        struct world world;
        uint64_t serial;

        (void)state;
        world_init(&world);
        world_start(&world);
        serial = world_prime(&world, "anna", 3600);
        world_advance(&world, 3575 * SECONDS);
        assert_int_equal(world_explain(&world, "anna").freshness, FRESHNESS_SPENT);
        for (int i = 0; i < 3; i++) {
                world_ask_user(&world, &callers[i], "anna");
                assert_waits(&callers[i]);
                world_advance(&world, 500);
        }
        world_advance(&world, 5 * SECONDS);
        for (int i = 0; i < 3; i++) {
                assert_old_token(&callers[i], serial, REASON_REQUEST_TIMEOUT);
                assert_int_equal(callers[i].answered_at_ms, callers[i].asked_at_ms + 2 * SECONDS);
        }
        assert_int_equal(world_counters(&world).fetches, 1 + 1);
        assert_int_equal(world_counters(&world).served_old, 3);
        /* The answer still comes to good. */
        world_finish(&world, NULL, ENDING_TOKEN);
        world_ask_user(&world, &callers[0], "anna");
        assert_hit(&callers[0], serial + 1);
        world_end(&world);
}

static void spent_is_waited_for_no_longer_than_the_callers_own_time(void **state)
{
        struct caller caller = {};
        struct world world;
        uint64_t serial;

        (void)state;
        world_init(&world);
        world.settings.request_timeout_ms = 1500;
        world_start(&world);
        serial = world_prime(&world, "anna", 3600);
        world_advance(&world, 3575 * SECONDS);
        world_ask_user(&world, &caller, "anna");
        world_advance(&world, 1499);
        assert_waits(&caller);
        world_advance(&world, 1);
        assert_old_token(&caller, serial, REASON_REQUEST_TIMEOUT);
        world_end(&world);
}

static void due_with_min_ttl_not_met_is_waited_for_and_joins_the_refresh(void **state)
{
        struct caller caller = {}, content = {};
        struct world world;
        uint64_t serial;

        (void)state;
        world_init(&world);
        world_start(&world);
        serial = world_prime(&world, "anna", 3600);
        world_advance(&world, 3000 * SECONDS);
        world_ask_user(&world, &content, "anna");
        assert_hit(&content, serial);
        world_ask(&world, &caller, (struct wish){.subject = TEXT("anna"), .min_ttl_s = 1800});
        assert_waits(&caller);
        assert_int_equal(world.n_fetches, 1);
        world_finish(&world, NULL, ENDING_TOKEN);
        assert_token(&caller, serial + 1);
        assert_true(caller.collapsed);
        assert_int_equal(caller.detail, REASON_NONE);
        world_end(&world);
}

static void a_refresh_that_a_caller_joined_is_tried_again_for_it(void **state)
{
        struct caller caller = {};
        struct world world;
        uint64_t serial;

        (void)state;
        world_init(&world);
        world_start(&world);
        serial = world_prime(&world, "anna", 3600);
        world_ask_user(&world, &caller, "anna");
        world_advance(&world, 3575 * SECONDS); /* the refresh has not been answered */
        assert_int_equal(world.n_fetches, 1);
        world_ask_user(&world, &caller, "anna");
        assert_waits(&caller);
        world_finish(&world, NULL, ENDING_ERROR);
        assert_waits(&caller);
        world_advance(&world, 300);
        world_finish(&world, NULL, ENDING_TOKEN);
        assert_token(&caller, serial + 1);
        assert_int_equal(world_counters(&world).retries, 1);
        world_end(&world);
}

static void an_evicted_entry_is_not_stored_again_by_a_refresh(void **state)
{
        (void)state;
        for (int joined = 0; joined <= 1; joined++) {
                struct caller caller = {};
                struct world world;

                world_init(&world);
                world.settings.max_entries = 1;
                world_start(&world);
                (void)world_prime(&world, "anna", 3600);
                world_ask_user(&world, &caller, "anna");
                world_advance(&world, DUE_MAX + 2 * SECONDS);
                assert_non_null(world_fetch_of(&world, "anna"));
                (void)world_prime(&world, "bert", 3600);
                assert_int_equal(world_counters(&world).cache.evicted_entries, 1);
                if (joined) {
                        world_ask_user(&world, &caller, "anna");
                        assert_waits(&caller);
                }
                world_finish(&world, world_fetch_of(&world, "anna"), ENDING_TOKEN);
                assert_int_equal(world_explain(&world, "anna").present, joined);
                assert_int_equal(world_explain(&world, "bert").present, !joined);
                world_end(&world);
        }
}

/* Its life was too short for the fetch, but it was in use: what came is kept for the next caller.
 */
static void renewed_while_it_ended_the_new_one_is_kept(void **state)
{
        struct caller caller = {};
        struct world world;
        uint64_t serial;

        (void)state;
        world_init(&world);
        world_start(&world);
        serial = world_prime(&world, "anna", 3);
        world_advance(&world, 1600);
        world_ask_user(&world, &caller, "anna");
        assert_hit(&caller, serial);
        assert_non_null(world_fetch_of(&world, "anna"));
        world_advance(&world, 600); /* it is not handed out any more */
        world_finish(&world, world_fetch_of(&world, "anna"), ENDING_TOKEN);
        world_ask_user(&world, &caller, "anna");
        assert_hit(&caller, serial + 1);
        world_end(&world);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(fresh_is_answered_at_once_and_costs_nothing),
                cmocka_unit_test(due_and_used_is_refreshed_by_a_timer),
                cmocka_unit_test(due_and_not_used_is_refreshed_by_the_first_request),
                cmocka_unit_test(used_means_since_the_last_renewal),
                cmocka_unit_test(renewed_while_it_ended_the_new_one_is_kept),
                cmocka_unit_test(refresh_points_of_tokens_fetched_together_are_spread),
                cmocka_unit_test(the_refresh_point_leaves_time_for_a_fetch_whatever_the_lifetime),
                cmocka_unit_test(due_does_not_fetch_while_key_url_or_client_forbid),
                cmocka_unit_test(a_refresh_that_fails_is_put_off_further_each_time),
                cmocka_unit_test(spent_is_waited_for_two_seconds_by_each_and_then_served),
                cmocka_unit_test(spent_is_waited_for_no_longer_than_the_callers_own_time),
                cmocka_unit_test(due_with_min_ttl_not_met_is_waited_for_and_joins_the_refresh),
                cmocka_unit_test(a_refresh_that_a_caller_joined_is_tried_again_for_it),
                cmocka_unit_test(an_evicted_entry_is_not_stored_again_by_a_refresh),
        };

        return cmocka_run_group_tests_name("freshness", tests, NULL, NULL);
}
