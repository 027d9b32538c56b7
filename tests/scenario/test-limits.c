/* SPDX-License-Identifier: MIT */

#include "world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void ask_numbered(struct world *world, struct caller *caller, int number)
{
        char name[16];

        (void)snprintf(name, sizeof(name), "s%d", number);
        world_ask_user(world, caller, name);
}

static void prime_numbered(struct world *world, int number)
{
        char name[16];

        (void)snprintf(name, sizeof(name), "s%d", number);
        (void)world_prime(world, name, 3600);
}

static void callers_up_to_the_limit_wait_and_one_more_is_turned_away(void **state)
{
        struct caller callers[6] = {};
        struct world world;

        (void)state;
        world_init(&world);
        world.settings.max_waiters = 5;
        world_start(&world);
        for (int i = 0; i < 5; i++) {
                ask_numbered(&world, &callers[i], i % 2);
                assert_waits(&callers[i]);
        }
        assert_int_equal(world_counters(&world).limits.waiters_full, 0);
        ask_numbered(&world, &callers[5], 0); /* would join */
        assert_reason(&callers[5], REASON_WAITERS_FULL);
        ask_numbered(&world, &callers[5], 2); /* would begin */
        assert_reason(&callers[5], REASON_WAITERS_FULL);
        assert_int_equal(world_counters(&world).limits.waiters_full, 2);
        assert_int_equal(world_counters(&world).refused, 2);

        world_finish(&world, NULL, ENDING_TOKEN);
        ask_numbered(&world, &callers[5], 2);
        assert_waits(&callers[5]);
        world_end(&world);
}

static void callers_of_one_key_up_to_the_limit_wait_and_others_are_not_affected(void **state)
{
        struct caller callers[4] = {}, other = {};
        struct world world;

        (void)state;
        world_init(&world);
        world.settings.max_waiters_per_flight = 3;
        world_start(&world);
        for (int i = 0; i < 3; i++) {
                world_ask_user(&world, &callers[i], "anna");
                assert_waits(&callers[i]);
        }
        assert_int_equal(world_counters(&world).limits.flight_full, 0);
        world_ask_user(&world, &callers[3], "anna");
        assert_reason(&callers[3], REASON_FLIGHT_FULL);
        world_ask_user(&world, &other, "bert");
        assert_waits(&other);
        assert_int_equal(world_counters(&world).limits.flight_full, 1);

        /* Who gave up has left a place. */
        world_advance(&world, world.settings.request_timeout_ms);
        world_ask_user(&world, &callers[3], "anna");
        assert_waits(&callers[3]);
        world_end(&world);
}

static void keys_up_to_the_limit_are_fetched_and_one_more_is_turned_away(void **state)
{
        struct caller callers[5] = {};
        struct world world;

        (void)state;
        world_init(&world);
        world.settings.max_flights = 3;
        world.settings.max_in_flight = 2; /* the queued count too */
        world_start(&world);
        for (int i = 0; i < 3; i++) {
                ask_numbered(&world, &callers[i], i);
                assert_waits(&callers[i]);
        }
        assert_int_equal(world_counters(&world).limits.flights_full, 0);
        ask_numbered(&world, &callers[3], 3);
        assert_reason(&callers[3], REASON_FLIGHTS_FULL);
        assert_int_equal(world_counters(&world).limits.flights_full, 1);
        ask_numbered(&world, &callers[4], 2); /* joining is no new key */
        assert_waits(&callers[4]);

        world_finish(&world, NULL, ENDING_REDIRECT);
        ask_numbered(&world, &callers[3], 3);
        assert_waits(&callers[3]);
        world_end(&world);
}

static void a_fetch_that_nobody_waits_for_any_more_still_counts(void **state)
{
        struct caller caller = {};
        struct world world;

        (void)state;
        world_init(&world);
        world.settings.max_flights = 1;
        world_start(&world);
        world_ask_user(&world, &caller, "anna");
        world_advance(&world, world.settings.request_timeout_ms);
        assert_reason(&caller, REASON_REQUEST_TIMEOUT);
        world_ask_user(&world, &caller, "bert");
        assert_reason(&caller, REASON_FLIGHTS_FULL);
        world_finish(&world, NULL, ENDING_TOKEN);
        world_ask_user(&world, &caller, "bert");
        assert_waits(&caller);
        world_end(&world);
}

static void hits_are_served_when_every_limit_is_reached(void **state)
{
        struct caller waiting = {}, caller = {};
        struct world world;
        uint64_t serial;

        (void)state;
        world_init(&world);
        world.settings.max_waiters = 1;
        world.settings.max_waiters_per_flight = 1;
        world.settings.max_flights = 1;
        world.settings.max_in_flight = 1;
        world_start(&world);
        serial = world_prime(&world, "anna", 3600);
        world_ask_user(&world, &waiting, "bert");
        assert_waits(&waiting);
        world_ask_user(&world, &caller, "anna");
        assert_hit(&caller, serial);
        world_end(&world);
}

static void a_spent_token_is_served_at_once_where_a_limit_keeps_a_new_one_away(void **state)
{
        (void)state;
        for (int limit = 0; limit < 3; limit++) {
                struct caller waiting[2] = {}, caller = {};
                struct world world;
                uint64_t serial;

                world_init(&world);
                if (limit == 0)
                        world.settings.max_waiters = 1;
                if (limit == 1)
                        world.settings.max_flights = 1;
                if (limit == 2)
                        world.settings.max_waiters_per_flight = 1;
                world_start(&world);
                serial = world_prime(&world, "anna", 100); /* spent when 10 s are left */
                world_advance(&world, 95 * SECONDS);
                world_ask_user(&world, &waiting[0], limit == 2 ? "anna" : "bert");
                assert_waits(&waiting[0]);
                world_ask_user(&world, &caller, "anna");
                assert_token(&caller, serial);
                assert_int_equal(world_counters(&world).refused, 0);

                /* Past its end there is nothing left to serve. */
                world_advance(&world, 5 * SECONDS);
                world_ask_user(&world, &caller, "anna");
                if (limit == 2)
                        assert_waits(&caller); /* in the place of the one who got the old token */
                else
                        assert_reason(&caller,
                                      limit == 0 ? REASON_WAITERS_FULL : REASON_FLIGHTS_FULL);
                world_end(&world);
        }
}

static void the_cache_holds_as_many_as_it_may_and_counts_what_it_evicts(void **state)
{
        struct broker_counters counters;
        struct caller caller = {};
        struct world world;

        (void)state;
        world_init(&world);
        world.settings.max_entries = 10;
        world_start(&world);
        for (int i = 0; i < 9; i++)
                prime_numbered(&world, i);
        assert_int_equal(world_counters(&world).entries, 9);
        prime_numbered(&world, 9);
        counters = world_counters(&world);
        assert_int_equal(counters.entries, 10);
        assert_int_equal(counters.cache.evicted_entries, 0);
        for (int i = 0; i < 10; i++) { /* all but one are in use, the oldest among them */
                if (i == 4)
                        continue;
                ask_numbered(&world, &caller, i);
                assert_hit(&caller, (uint64_t)i + 1);
        }
        prime_numbered(&world, 10);
        counters = world_counters(&world);
        assert_int_equal(counters.entries, 10);
        assert_int_equal(counters.cache.evicted_entries, 1);
        for (int i = 0; i <= 10; i++) {
                if (i == 4)
                        continue;
                ask_numbered(&world, &caller, i);
                assert_hit(&caller, (uint64_t)i + 1);
        }
        ask_numbered(&world, &caller, 4);
        assert_waits(&caller);
        world_end(&world);
}

static void the_cache_takes_no_more_memory_than_it_may(void **state)
{
        struct broker_counters counters;
        uint64_t one_entry_bytes;
        struct world world;

        (void)state;
        world_init(&world);
        world_start(&world);
        prime_numbered(&world, 0);
        one_entry_bytes = world_counters(&world).memory_bytes;
        world_end(&world);

        for (int slack = -1; slack <= 1; slack++) {
                world_init(&world);
                world.settings.max_memory_bytes = one_entry_bytes * 5 + (uint64_t)slack;
                world_start(&world);
                for (int i = 0; i < 5; i++)
                        prime_numbered(&world, i);
                counters = world_counters(&world);
                assert_int_equal(counters.entries, slack < 0 ? 4 : 5);
                assert_int_equal(counters.cache.evicted_memory, slack < 0 ? 1 : 0);
                assert_int_equal(counters.cache.evicted_entries, 0);
                world_end(&world);
        }
}

static void a_token_too_large_for_the_cache_still_reaches_who_waited(void **state)
{
        struct broker_counters counters;
        struct caller callers[2] = {};
        struct world world;

        (void)state;
        world_init(&world);
        world.settings.max_memory_bytes = 200;
        world_start(&world);
        for (int round = 1; round <= 2; round++) {
                for (int i = 0; i < 2; i++)
                        world_ask_user(&world, &callers[i], "anna");
                world_finish(&world, NULL, ENDING_TOKEN);
                for (int i = 0; i < 2; i++)
                        assert_token(&callers[i], (uint64_t)round);
        }
        counters = world_counters(&world);
        assert_int_equal(counters.entries, 0);
        assert_int_equal(counters.cache.refused_too_large, 2);
        assert_int_equal(counters.cache.evicted_memory, 0);
        world_end(&world);
}

static void a_key_evicted_while_it_is_fetched_again_is_stored_for_who_waits(void **state)
{
        struct caller caller = {};
        struct world world;
        uint64_t serial;

        (void)state;
        world_init(&world);
        world.settings.max_entries = 1;
        world_start(&world);
        serial = world_prime(&world, "anna", 100);
        world_advance(&world, 95 * SECONDS);
        world_ask_user(&world, &caller, "anna");
        assert_waits(&caller);
        (void)world_prime(&world, "bert", 3600);
        assert_int_equal(world_counters(&world).cache.evicted_entries, 1);
        world_finish(&world, NULL, ENDING_TOKEN);
        assert_token(&caller, serial + 2);
        world_ask_user(&world, &caller, "anna");
        assert_hit(&caller, serial + 2);
        world_end(&world);
}

static void an_evicted_token_cannot_stand_in_for_a_fetch_that_fails(void **state)
{
        struct caller caller = {};
        struct world world;

        (void)state;
        world_init(&world);
        world.settings.max_entries = 1;
        world_start(&world);
        (void)world_prime(&world, "anna", 100);
        world_advance(&world, 95 * SECONDS);
        world_ask_user(&world, &caller, "anna");
        (void)world_prime(&world, "bert", 3600);
        world_finish(&world, NULL, ENDING_REDIRECT);
        assert_reason(&caller, REASON_ANSWER_REDIRECT);
        world_end(&world);
}

/* The issuer is throttling and well by turns, and nobody takes the notes. */
static void notes_that_nobody_takes_are_bounded_and_those_lost_are_counted(void **state)
{
        enum { KEPT = 32, N = 40 };
        struct caller callers[N] = {};
        uint64_t n_notes = 0;
        struct world world;

        (void)state;
        world_init(&world);
        world.settings.max_in_flight = N;
        world.settings.max_in_flight_total = N;
        world.settings.request_timeout_ms = 5 * MINUTES;
        world_start(&world);
        for (int i = 0; i < N; i++)
                ask_numbered(&world, &callers[i], i);
        assert_int_equal(world.n_fetches, N);
        world.busy = true;
        for (int i = 0; i < N; i++) {
                struct fetch *fetch = world_oldest(&world);

                fetch->retry_after = "1";
                world_finish(&world, fetch, i % 2 ? ENDING_TOKEN : ENDING_THROTTLED);
                world_advance(&world, 1 * SECONDS);
        }
        assert_int_equal(world_counters(&world).notes_lost, N - KEPT);
        world.busy = false;
        world_turn(&world);
        for (int i = 0; i < WORLD_NOTES; i++)
                n_notes += world.n_notes[i];
        assert_int_equal(n_notes, KEPT);
        assert_int_equal(world_counters(&world).notes_lost, N - KEPT);
        world_end(&world);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(callers_up_to_the_limit_wait_and_one_more_is_turned_away),
                cmocka_unit_test(
                        callers_of_one_key_up_to_the_limit_wait_and_others_are_not_affected),
                cmocka_unit_test(keys_up_to_the_limit_are_fetched_and_one_more_is_turned_away),
                cmocka_unit_test(a_fetch_that_nobody_waits_for_any_more_still_counts),
                cmocka_unit_test(hits_are_served_when_every_limit_is_reached),
                cmocka_unit_test(
                        a_spent_token_is_served_at_once_where_a_limit_keeps_a_new_one_away),
                cmocka_unit_test(the_cache_holds_as_many_as_it_may_and_counts_what_it_evicts),
                cmocka_unit_test(the_cache_takes_no_more_memory_than_it_may),
                cmocka_unit_test(a_token_too_large_for_the_cache_still_reaches_who_waited),
                cmocka_unit_test(a_key_evicted_while_it_is_fetched_again_is_stored_for_who_waits),
                cmocka_unit_test(an_evicted_token_cannot_stand_in_for_a_fetch_that_fails),
                cmocka_unit_test(notes_that_nobody_takes_are_bounded_and_those_lost_are_counted),
        };

        return cmocka_run_group_tests_name("limits", tests, NULL, NULL);
}
