/* SPDX-License-Identifier: MIT */

#include "world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define TIMEOUT (20 * SECONDS)

/* What one tick answers, and more than that. */
#define TICK 256
#define MANY 300
#define ROOM 600

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

static struct caller many[MANY];

/* So many begin to wait, each for what it names alone, or all for the same. */
static void many_ask(struct world *world, int n, bool apart)
{
        char name[16] = "same";

        for (int i = 0; i < n; i++) {
                if (apart)
                        (void)snprintf(name, sizeof(name), "s%d", i);
                many[i] = (struct caller){};
                world_ask_user(world, &many[i], name);
                assert_waits(&many[i]);
        }
}

static size_t n_waiting(const struct world *world)
{
        return world_counters(world).waiters;
}

static bool wants_a_turn(const struct world *world)
{
        return broker_next_tick_ms(world->broker) <= world->now_ms;
}

static void begin_for_many(struct world *world)
{
        world_init(world);
        world->settings.max_waiters = world->settings.max_waiters_per_flight = ROOM;
        world->settings.max_flights = ROOM;
        world->settings.max_in_flight = 1;
        world_start(world);
}

static void one_turn_answers_so_many_and_the_next_the_rest(void **state)
{
        struct world world;

        (void)state;
        for (int n = TICK - 1; n <= MANY; n++) {
                const bool left = n > TICK;

                begin_for_many(&world);
                many_ask(&world, n, n % 2);
                world_suspend(&world, TIMEOUT);
                world_turn(&world);
                assert_int_equal(n_waiting(&world), left ? n - TICK : 0);
                assert_int_equal(wants_a_turn(&world), left);
                world_turn(&world);
                assert_int_equal(n_waiting(&world), 0);
                assert_false(wants_a_turn(&world));
                assert_int_equal(world_counters(&world).timed_out, n);
                for (int i = 0; i < n; i++)
                        assert_reason(&many[i], REASON_REQUEST_TIMEOUT);
                world_end(&world);
        }
}

/* Nothing starts before all of them are answered: it would be fetched for nobody. */
static void what_only_the_overdue_wait_for_is_not_sent(void **state)
{
        struct caller hangs = {}, late = {};
        struct world world;

        (void)state;
        begin_for_many(&world);
        world_ask_user(&world, &hangs, "hangs");
        many_ask(&world, MANY, true);
        world_advance(&world, 1 * SECONDS);
        world_ask_user(&world, &late, "late");
        world_suspend(&world, TIMEOUT - 1 * SECONDS);
        world_turn(&world);
        assert_int_equal(world_counters(&world).dropped, TICK - 1); /* but what is under way */
        world_finish(&world, NULL, ENDING_TOKEN);
        assert_int_equal(world.n_fetches, 0);
        world_turn(&world);
        assert_int_equal(world_counters(&world).dropped, MANY);
        assert_non_null(world_fetch_of(&world, "late"));
        assert_int_equal(world_counters(&world).fetches, 2);
        world_end(&world);
}

static void what_was_about_to_start_for_the_overdue_is_not_sent(void **state)
{
        struct caller hangs = {}, starts = {}, other = {}, asks = {};
        struct world world;

        (void)state;
        begin_for_many(&world);
        world_ask_user(&world, &hangs, "hangs");
        world_ask_user(&world, &starts, "starts");
        world_advance(&world, 1);
        many_ask(&world, MANY, false);
        world.settings.request_timeout_ms = 2 * TIMEOUT;
        world_reconfigure(&world);
        world_ask_user(&world, &other, "starts"); /* for longer than they */
        world.busy = true;
        world_finish(&world, NULL, ENDING_TOKEN);
        world_suspend(&world, 2 * TIMEOUT);
        world_turn(&world);
        world.busy = false;
        world_ask_user(&world, &asks, "hangs"); /* a hit, and the loop does what is left */
        assert_hit(&asks, 1);
        assert_reason(&other, REASON_REQUEST_TIMEOUT);
        assert_int_equal(world.n_fetches, 0);
        world_turn(&world);
        assert_int_equal(n_waiting(&world), 0);
        assert_int_equal(world_counters(&world).fetches, 1);
        world_end(&world);
}

/* Whatever comes of the fetch meanwhile. */
static void the_overdue_get_nothing_that_comes_before_their_turn(void **state)
{
        static const enum ending endings[] = {ENDING_TOKEN, ENDING_SUBJECT_REFUSED,
                                              ENDING_THROTTLED, ENDING_CREDENTIALS_REFUSED};
        struct caller late;
        struct world world;

        (void)state;
        for (size_t i = 0; i < sizeof(endings) / sizeof(endings[0]); i++) {
                late = (struct caller){};
                begin_for_many(&world);
                many_ask(&world, MANY, false);
                world_advance(&world, 1 * SECONDS);
                world_ask_user(&world, &late, "same");
                world_suspend(&world, TIMEOUT - 1 * SECONDS);
                world_turn(&world);
                assert_int_equal(n_waiting(&world), MANY - TICK + 1);
                world_finish(&world, NULL, endings[i]);
                assert_int_equal(n_waiting(&world), 0);
                assert_int_equal(late.reason, ending_reason(endings[i]));
                for (int k = 0; k < MANY; k++)
                        assert_reason(&many[k], REASON_REQUEST_TIMEOUT);
                assert_true(wants_a_turn(&world)); /* to see that nobody is left */
                world_turn(&world);
                assert_false(wants_a_turn(&world));
                world_end(&world);
        }
}

static void the_overdue_may_have_the_old_token_still(void **state)
{
        struct world world;
        uint64_t serial;

        (void)state;
        begin_for_many(&world);
        serial = world_prime(&world, "same", 3600);
        world_advance(&world, 3580 * SECONDS);
        many_ask(&world, MANY, false); /* it is spent */
        world_suspend(&world, 2 * SECONDS);
        world_turn(&world);
        assert_int_equal(n_waiting(&world), MANY - TICK);
        world_finish(&world, NULL, ENDING_TOKEN);
        for (int i = 0; i < MANY; i++)
                assert_old_token(&many[i], serial, REASON_REQUEST_TIMEOUT);
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
                cmocka_unit_test(one_turn_answers_so_many_and_the_next_the_rest),
                cmocka_unit_test(what_only_the_overdue_wait_for_is_not_sent),
                cmocka_unit_test(what_was_about_to_start_for_the_overdue_is_not_sent),
                cmocka_unit_test(the_overdue_get_nothing_that_comes_before_their_turn),
                cmocka_unit_test(the_overdue_may_have_the_old_token_still),
        };

        return cmocka_run_group_tests_name("deadline", tests, NULL, NULL);
}
