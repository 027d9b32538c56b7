/* SPDX-License-Identifier: MIT */

#include "world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define TIMEOUT (20 * SECONDS)

static void a_caller_waits_just_as_long_as_it_may(void **state)
{
        struct caller caller = {};
        struct world world;

        (void)state;
        world_init(&world);
        world_start(&world);
        world_ask_user(&world, &caller, "anna");
        assert_int_equal(broker_next_tick_ms(world.broker), world.now_ms + TIMEOUT);
        world_advance(&world, TIMEOUT - 1);
        assert_waits(&caller);
        world_advance(&world, 1);
        assert_reason(&caller, REASON_REQUEST_TIMEOUT);
        assert_int_equal(caller.answered_at_ms, caller.asked_at_ms + TIMEOUT);
        assert_int_equal(world_counters(&world).timed_out, 1);
        world_end(&world);
}

static void the_fetch_goes_on_without_its_first_caller(void **state)
{
        struct caller first = {}, later = {};
        struct world world;

        (void)state;
        world_init(&world);
        world_start(&world);
        world_ask_user(&world, &first, "anna");
        world_advance(&world, 15 * SECONDS);
        world_ask_user(&world, &later, "anna");
        world_advance(&world, 10 * SECONDS);
        assert_reason(&first, REASON_REQUEST_TIMEOUT);
        assert_waits(&later);
        world_finish(&world, NULL, ENDING_TOKEN);
        assert_token(&later, 1);
        assert_int_equal(world_counters(&world).fetches, 1);
        world_end(&world);
}

static void a_fetch_that_everybody_gave_up_still_fills_the_cache(void **state)
{
        struct caller callers[10] = {};
        struct world world;

        (void)state;
        world_init(&world);
        world_start(&world);
        for (int i = 0; i < 10; i++)
                world_ask_user(&world, &callers[i], "anna");
        world_advance(&world, TIMEOUT);
        for (int i = 0; i < 10; i++)
                assert_reason(&callers[i], REASON_REQUEST_TIMEOUT);
        assert_int_equal(world.n_fetches, 1);
        assert_int_equal(world_counters(&world).flights, 1);
        world_finish(&world, NULL, ENDING_TOKEN);
        world_ask_user(&world, &callers[0], "anna");
        assert_hit(&callers[0], 1);
        world_end(&world);
}

static void who_comes_after_all_gave_up_joins_the_fetch_under_way(void **state)
{
        struct caller first = {}, later = {};
        struct world world;

        (void)state;
        world_init(&world);
        world_start(&world);
        world_ask_user(&world, &first, "anna");
        world_advance(&world, TIMEOUT + 1);
        world_ask_user(&world, &later, "anna");
        assert_waits(&later);
        assert_int_equal(world.n_fetches, 1);
        world_advance(&world, TIMEOUT - 1);
        assert_waits(&later);
        world_finish(&world, NULL, ENDING_TOKEN);
        assert_token(&later, 1);
        assert_true(later.collapsed);
        world_end(&world);
}

static void each_caller_has_a_deadline_of_its_own(void **state)
{
        struct caller callers[10] = {};
        struct world world;

        (void)state;
        world_init(&world);
        world_start(&world);
        for (int i = 0; i < 10; i++) {
                world_ask_user(&world, &callers[i], i % 3 ? "anna" : "bert");
                world_advance(&world, 1500);
        }
        world_advance(&world, TIMEOUT);
        for (int i = 0; i < 10; i++) {
                assert_reason(&callers[i], REASON_REQUEST_TIMEOUT);
                assert_int_equal(callers[i].answered_at_ms, callers[i].asked_at_ms + TIMEOUT);
        }
        world_end(&world);
}

static void an_answer_at_the_deadline_and_the_deadline_make_one_reply(void **state)
{
        (void)state;
        for (int tick_first = 0; tick_first <= 1; tick_first++) {
                struct caller caller = {};
                struct world world;

                world_init(&world);
                world.tick_first = tick_first;
                world_start(&world);
                world_ask_user(&world, &caller, "anna");
                world_oldest(&world)->ends_at_ms = world.now_ms + TIMEOUT;
                world_advance(&world, TIMEOUT);
                if (tick_first)
                        assert_reason(&caller, REASON_REQUEST_TIMEOUT);
                else
                        assert_token(&caller, 1);
                world_ask_user(&world, &caller, "anna");
                assert_hit(&caller, 1);
                world_end(&world);
        }
}

static void a_reply_not_yet_fetched_is_not_given_twice_when_the_time_is_up(void **state)
{
        struct caller caller = {};
        struct world world;

        (void)state;
        world_init(&world);
        world_start(&world);
        world_ask_user(&world, &caller, "anna");
        world.busy = true;
        world_advance(&world, TIMEOUT - 1);
        world_finish(&world, NULL, ENDING_TOKEN);
        world.now_ms += 1;
        world_turn(&world);
        world.busy = false;
        world_turn(&world);
        assert_token(&caller, 1);
        assert_int_equal(world_counters(&world).timed_out, 0);
        world_end(&world);
}

static void a_caller_with_an_old_token_gets_it_after_two_seconds(void **state)
{
        struct caller caller = {};
        struct world world;
        uint64_t serial;

        (void)state;
        world_init(&world);
        world_start(&world);
        serial = world_prime(&world, "anna", 3600);
        world_advance(&world, 3575 * SECONDS);
        world_ask_user(&world, &caller, "anna");
        assert_waits(&caller);
        world_advance(&world, 2 * SECONDS - 1);
        assert_waits(&caller);
        world_advance(&world, 1);
        assert_old_token(&caller, serial, REASON_REQUEST_TIMEOUT);
        assert_int_equal(caller.cache_status, CACHE_STATUS_FWD_STALE);
        assert_int_equal(world_counters(&world).timed_out, 0);
        world_end(&world);
}

static void an_old_token_is_handed_over_before_it_ends(void **state)
{
        struct caller caller = {};
        struct world world;
        uint64_t serial;

        (void)state;
        world_init(&world);
        world_start(&world);
        serial = world_prime(&world, "anna", 3600);
        world_advance(&world, 3598 * SECONDS);
        world_ask_user(&world, &caller, "anna");
        assert_waits(&caller);
        world_advance(&world, 2 * SECONDS);
        assert_old_token(&caller, serial, REASON_REQUEST_TIMEOUT);
        assert_in_range(caller.answered_at_ms, caller.asked_at_ms + 800, caller.asked_at_ms + 1000);
        world_end(&world);
}

static void an_old_token_that_ended_while_waiting_is_not_handed_out(void **state)
{
        struct caller caller = {};
        struct world world;

        (void)state;
        world_init(&world);
        world_start(&world);
        (void)world_prime(&world, "anna", 3600);
        world_advance(&world, 3597 * SECONDS);
        world_ask_user(&world, &caller, "anna");
        assert_waits(&caller);
        world_suspend(&world, 3 * SECONDS); /* past the end, and past the 2 s for the old one */
        world_turn(&world);
        assert_waits(&caller);
        world_advance(&world, TIMEOUT - 3 * SECONDS);
        assert_reason(&caller, REASON_REQUEST_TIMEOUT);
        assert_int_equal(caller.answered_at_ms, caller.asked_at_ms + TIMEOUT);
        world_end(&world);
}

/* Between its making and the turn of the loop that takes it, a reply may grow old. */
static void a_reply_whose_token_ended_before_it_was_taken_is_none(void **state)
{
        (void)state;
        for (int late = 0; late <= 1; late++) {
                struct caller caller = {};
                struct world world;

                world_init(&world);
                world_start(&world);
                world_ask_user(&world, &caller, "anna");
                world_oldest(&world)->lifetime_s = 10;
                world.busy = true;
                world_finish(&world, NULL, ENDING_TOKEN_WITH_SCOPE);
                world_suspend(&world, 9 * SECONDS + (uint64_t)late);
                world.busy = false;
                world_turn(&world);
                if (late)
                        assert_reason(&caller, REASON_REQUEST_TIMEOUT);
                else
                        assert_token(&caller, 1); /* the world checks its expires_in */
                assert_int_equal(world_counters(&world).timed_out, late);
                world_end(&world);
        }
}

static void after_a_sleep_whoever_overslept_is_answered_at_the_first_turn(void **state)
{
        struct caller callers[3] = {};
        struct world world;

        (void)state;
        world_init(&world);
        world_start(&world);
        for (int i = 0; i < 3; i++)
                world_ask_user(&world, &callers[i], "anna");
        world_suspend(&world, 8 * HOURS);
        assert_true(broker_next_tick_ms(world.broker) <= world.now_ms);
        world_turn(&world);
        for (int i = 0; i < 3; i++)
                assert_reason(&callers[i], REASON_REQUEST_TIMEOUT);
        /* The answer of before the sleep is worth nothing any more. */
        world_finish(&world, NULL, ENDING_TOKEN);
        assert_int_equal(world_counters(&world).entries, 0);
        world_ask_user(&world, &callers[0], "anna");
        assert_reason(&callers[0], REASON_ANSWER_UNUSABLE); /* remembered */
        world_advance(&world, 1 * SECONDS);
        world_ask_user(&world, &callers[0], "anna");
        assert_waits(&callers[0]);
        world_end(&world);
}

static void nothing_to_wait_for_means_no_tick(void **state)
{
        struct caller caller = {};
        struct world world;

        (void)state;
        world_init(&world);
        world_start(&world);
        assert_int_equal(broker_next_tick_ms(world.broker), TIMERHEAP_NEVER);
        world_ask_user(&world, &caller, "anna");
        world_finish_for_good(&world, "anna", ENDING_ERROR);
        assert_int_equal(broker_next_tick_ms(world.broker), TIMERHEAP_NEVER);
        (void)world_prime(&world, "bert", 60);
        assert_int_not_equal(broker_next_tick_ms(world.broker), TIMERHEAP_NEVER);
        world_advance(&world, 62 * SECONDS);
        assert_int_equal(broker_next_tick_ms(world.broker), TIMERHEAP_NEVER);
        world_end(&world);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(a_caller_waits_just_as_long_as_it_may),
                cmocka_unit_test(the_fetch_goes_on_without_its_first_caller),
                cmocka_unit_test(a_fetch_that_everybody_gave_up_still_fills_the_cache),
                cmocka_unit_test(who_comes_after_all_gave_up_joins_the_fetch_under_way),
                cmocka_unit_test(each_caller_has_a_deadline_of_its_own),
                cmocka_unit_test(an_answer_at_the_deadline_and_the_deadline_make_one_reply),
                cmocka_unit_test(a_reply_not_yet_fetched_is_not_given_twice_when_the_time_is_up),
                cmocka_unit_test(a_caller_with_an_old_token_gets_it_after_two_seconds),
                cmocka_unit_test(an_old_token_is_handed_over_before_it_ends),
                cmocka_unit_test(an_old_token_that_ended_while_waiting_is_not_handed_out),
                cmocka_unit_test(a_reply_whose_token_ended_before_it_was_taken_is_none),
                cmocka_unit_test(after_a_sleep_whoever_overslept_is_answered_at_the_first_turn),
                cmocka_unit_test(nothing_to_wait_for_means_no_tick),
        };

        return cmocka_run_group_tests_name("deadline", tests, NULL, NULL);
}
