/* SPDX-License-Identifier: MIT */

#include "world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void a_life_is_counted_from_when_the_fetch_was_sent(void **state)
{
        struct caller callers[2] = {};
        struct world world;
        uint64_t sent_at_ms;

        (void)state;
        world_init(&world);
        world.settings.max_in_flight = 1;
        world_start(&world);
        world_ask_user(&world, &callers[0], "before");
        world_ask_user(&world, &callers[1], "anna");
        world_advance(&world, 3 * SECONDS); /* in the queue, which does not count */
        world_finish(&world, NULL, ENDING_TOKEN);
        sent_at_ms = world.now_ms;
        world_oldest(&world)->lifetime_s = 60;
        world_advance(&world, 10 * SECONDS); /* on the way, which does */
        world_finish(&world, NULL, ENDING_TOKEN);
        assert_token(&callers[1], 2);
        assert_int_equal(callers[1].expires_at_ms, sent_at_ms + 60 * SECONDS);
        world_end(&world);
}

static void a_token_that_ends_on_the_way_is_an_unusable_answer(void **state)
{
        static const struct {
                uint64_t lifetime_s, latency_ms;
                bool usable;
        } cases[] = {
                {1, 0, true},
                {1, 1, false},
                {10, 9 * SECONDS, true},
                {10, 9 * SECONDS + 1, false},
                {10, 10 * SECONDS, false},
                {10, 15 * SECONDS, false},
                {10, 8 * HOURS, false}, /* asleep in between */
        };

        (void)state;
        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
                struct caller callers[2] = {};
                struct world world;

                world_init(&world);
                world_start(&world);
                for (int j = 0; j < 2; j++)
                        world_ask_user(&world, &callers[j], "anna");
                world_oldest(&world)->lifetime_s = cases[i].lifetime_s;
                world_suspend(&world, cases[i].latency_ms);
                world_finish(&world, NULL, ENDING_TOKEN);
                world_advance(&world, 1 * SECONDS);
                for (int j = 0; j < 2; j++) {
                        /* It is worth another try, if there is time. */
                        if (callers[j].waits)
                                world_finish_for_good(&world, "anna", ENDING_GARBAGE);
                        if (cases[i].usable)
                                assert_token(&callers[j], 1);
                        else
                                assert_reason(&callers[j], REASON_ANSWER_UNUSABLE);
                }
                assert_int_equal(world_counters(&world).entries, cases[i].usable);
                world_end(&world);
        }
}

static void a_token_is_a_hit_until_the_margin_and_then_waited_for(void **state)
{
        static const struct {
                uint64_t lifetime_s, spent_at_ms; /* the first moment at which it is */
        } cases[] = {
                {3600, 3570 * SECONDS + 1}, /* the margin of 30 s */
                {300, 270 * SECONDS + 1},   /* just as long as a tenth of the life */
                {60, 54 * SECONDS + 1},     /* a tenth */
                {11, 9900 + 1},             /* a tenth, with hardly more than a second left */
        };

        (void)state;
        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
                struct caller caller = {};
                struct world world;
                uint64_t serial;

                world_init(&world);
                world_start(&world);
                serial = world_prime(&world, "anna", cases[i].lifetime_s);
                world_advance(&world, cases[i].spent_at_ms - 1);
                world_ask_user(&world, &caller, "anna");
                assert_hit(&caller, serial);
                world_advance(&world, 1);
                world_ask_user(&world, &caller, "anna");
                assert_waits(&caller);
                world_finish(&world, NULL, ENDING_TOKEN);
                assert_token(&caller, serial + 1);
                assert_int_equal(caller.cache_status, CACHE_STATUS_FWD_STALE);
                assert_int_equal(world_counters(&world).entries, 1);
                assert_int_equal(world_counters(&world).cache.replaced, 1);
                world_end(&world);
        }
}

static void with_less_than_a_second_left_a_token_is_no_more(void **state)
{
        (void)state;
        for (int late_ms = 0; late_ms <= 1; late_ms++) {
                struct caller caller = {};
                struct world world;
                uint64_t serial;

                world_init(&world);
                world.settings.expiry_margin_ms = 0;
                world_start(&world);
                serial = world_prime(&world, "anna", 60);
                world_advance(&world, 59 * SECONDS + (uint64_t)late_ms);
                world_ask_user(&world, &caller, "anna");
                if (late_ms == 0) {
                        assert_hit(&caller, serial);
                } else {
                        assert_waits(&caller);
                        world_finish_for_good(&world, "anna", ENDING_ERROR);
                        assert_reason(&caller, REASON_ISSUER_ERROR);
                        assert_int_equal(caller.cache_status, CACHE_STATUS_FWD_MISS);
                }
                world_end(&world);
        }
}

static void min_ttl_brings_a_new_token_where_the_old_one_is_too_short(void **state)
{
        struct caller caller = {};
        struct world world;
        struct wish wish = {.subject = TEXT("anna"), .min_ttl_s = 600};
        uint64_t serial;

        (void)state;
        world_init(&world);
        world_start(&world);
        serial = world_prime(&world, "anna", 3600);
        world_advance(&world, 3000 * SECONDS);
        world_ask(&world, &caller, wish);
        assert_hit(&caller, serial);
        world_advance(&world, 1);
        world_ask_user(&world, &caller, "anna");
        assert_hit(&caller, serial);
        world_ask(&world, &caller, wish);
        assert_waits(&caller);
        world_finish(&world, NULL, ENDING_TOKEN);
        assert_token(&caller, serial + 1);
        assert_int_equal(caller.cache_status, CACHE_STATUS_FWD_REQUEST);
        world_end(&world);
}

static void min_ttl_beyond_any_life_costs_one_fetch_in_a_tenth_of_it(void **state)
{
        static const struct {
                uint64_t lifetime_s, young_ms;
        } cases[] = {
                {3600, 360 * SECONDS},
                {120, 12 * SECONDS},
                {60, 10 * SECONDS},
        };

        (void)state;
        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
                struct wish wish = {.subject = TEXT("anna"), .min_ttl_s = 999999999};
                struct caller caller = {};
                struct world world;
                uint64_t serial;

                world_init(&world);
                world_start(&world);
                serial = world_prime(&world, "anna", cases[i].lifetime_s);
                world_ask(&world, &caller, wish);
                assert_hit(&caller, serial);
                world_advance(&world, cases[i].young_ms - 1);
                world_ask(&world, &caller, wish);
                assert_hit(&caller, serial);
                world_advance(&world, 1);
                world_ask(&world, &caller, wish);
                assert_waits(&caller);
                world_finish(&world, NULL, ENDING_TOKEN);
                assert_token(&caller, serial + 1);
                world_ask(&world, &caller, wish);
                assert_hit(&caller, serial + 1);
                world_end(&world);
        }
}

static void callers_content_with_the_old_token_do_not_wait_for_the_new_one(void **state)
{
        struct caller caller = {}, waiting = {};
        struct world world;
        uint64_t serial;

        (void)state;
        world_init(&world);
        world_start(&world);
        serial = world_prime(&world, "anna", 3600);
        world_advance(&world, 10 * MINUTES);
        world_ask(&world, &waiting, (struct wish){.subject = TEXT("anna"), .min_ttl_s = 3599});
        assert_waits(&waiting);
        world_ask_user(&world, &caller, "anna");
        assert_hit(&caller, serial);
        world_finish(&world, NULL, ENDING_TOKEN);
        assert_token(&waiting, serial + 1);
        world_ask_user(&world, &caller, "anna");
        assert_hit(&caller, serial + 1);
        world_end(&world);
}

static void what_ran_out_is_dropped_without_anybody_asking(void **state)
{
        struct broker_counters counters;
        struct world world;

        (void)state;
        world_init(&world);
        world_start(&world);
        for (int i = 0; i < 900; i++) {
                char name[32];

                (void)snprintf(name, sizeof(name), "s%d", i);
                (void)world_prime(&world, name, i < 600 ? 60 : 120);
        }
        assert_int_equal(world_counters(&world).entries, 900);
        world_advance(&world, 61 * SECONDS); /* more at one time than one tick drops */
        counters = world_counters(&world);
        assert_int_equal(counters.entries, 300);
        assert_int_equal(counters.cache.expired, 600);
        world_advance(&world, 60 * SECONDS);
        counters = world_counters(&world);
        assert_int_equal(counters.entries, 0);
        assert_int_equal(counters.memory_bytes, 0);
        assert_int_equal(counters.cache.expired, 900);
        world_end(&world);
}

static void after_a_sleep_nothing_past_its_end_is_served_even_before_the_first_tick(void **state)
{
        static const uint64_t sleeps_ms[] = {1 * HOURS, 8 * HOURS, 30 * DAYS};

        (void)state;
        for (size_t i = 0; i < sizeof(sleeps_ms) / sizeof(sleeps_ms[0]); i++) {
                struct caller caller = {};
                struct world world;

                world_init(&world);
                world_start(&world);
                (void)world_prime(&world, "anna", 3600);
                world_suspend(&world, sleeps_ms[i]);
                world_ask_user(&world, &caller, "anna");
                assert_waits(&caller);
                world_advance(&world, 1 * SECONDS);
                assert_int_equal(world_counters(&world).entries, 0);
                world_finish(&world, NULL, ENDING_TOKEN);
                assert_token(&caller, 2);
                world_end(&world);
        }
}

static void a_new_token_outlives_the_end_of_the_one_it_replaced(void **state)
{
        struct caller caller = {};
        struct world world;

        (void)state;
        world_init(&world);
        world_start(&world);
        (void)world_prime(&world, "anna", 60);
        world_advance(&world, 55 * SECONDS);
        (void)world_prime(&world, "anna", 60);
        world_advance(&world, 10 * SECONDS);
        world_ask_user(&world, &caller, "anna");
        assert_hit(&caller, 2);
        assert_int_equal(world_counters(&world).cache.expired, 0);
        world_advance(&world, 60 * SECONDS);
        assert_int_equal(world_counters(&world).entries, 0);
        assert_int_equal(world_counters(&world).cache.expired, 1);
        world_end(&world);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(a_life_is_counted_from_when_the_fetch_was_sent),
                cmocka_unit_test(a_token_that_ends_on_the_way_is_an_unusable_answer),
                cmocka_unit_test(a_token_is_a_hit_until_the_margin_and_then_waited_for),
                cmocka_unit_test(with_less_than_a_second_left_a_token_is_no_more),
                cmocka_unit_test(min_ttl_brings_a_new_token_where_the_old_one_is_too_short),
                cmocka_unit_test(min_ttl_beyond_any_life_costs_one_fetch_in_a_tenth_of_it),
                cmocka_unit_test(callers_content_with_the_old_token_do_not_wait_for_the_new_one),
                cmocka_unit_test(what_ran_out_is_dropped_without_anybody_asking),
                cmocka_unit_test(
                        after_a_sleep_nothing_past_its_end_is_served_even_before_the_first_tick),
                cmocka_unit_test(a_new_token_outlives_the_end_of_the_one_it_replaced),
        };

        return cmocka_run_group_tests_name("expiry", tests, NULL, NULL);
}
