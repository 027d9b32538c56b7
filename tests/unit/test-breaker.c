/* SPDX-License-Identifier: MIT */

#include "breaker.h"

#include "helpers.h"

#define BEGIN_MS  UINT64_C(1000000)
#define PROBE_KEY 77
#define SECOND_MS UINT64_C(2000) /* the step after the first */

static struct breaker breaker;
static uint64_t now_ms;

static void begin(void)
{
        breaker = (struct breaker){};
        now_ms = BEGIN_MS;
}

/* A failure after the connection was made, for a key. */
static void fail_for(uint64_t key)
{
        breaker_failed(&breaker, key, REASON_ISSUER_ERROR, true, now_ms);
}

/* What a request that may start does. */
static void start(uint64_t key)
{
        assert_true(breaker_may_start(&breaker, now_ms));
        breaker_started(&breaker, key);
}

static void open_it(void)
{
        for (uint64_t key = 1; key <= BREAKER_FAILURES; key++)
                fail_for(key);
}

static void assert_closed(void)
{
        assert_int_equal(breaker_state(&breaker, now_ms), BREAKER_CLOSED);
        assert_true(breaker_may_start(&breaker, now_ms));
        assert_int_equal(breaker_left_ms(&breaker, now_ms), 0);
        assert_int_equal(breaker_next_ms(&breaker), UINT64_MAX);
}

/* For just so long from now on. */
static void assert_open_for(uint64_t left_ms)
{
        assert_int_equal(breaker_state(&breaker, now_ms), BREAKER_OPEN);
        assert_false(breaker_may_start(&breaker, now_ms));
        assert_int_equal(breaker_left_ms(&breaker, now_ms), left_ms);
        assert_int_equal(breaker_next_ms(&breaker), now_ms + left_ms);
        assert_int_equal(breaker_state(&breaker, now_ms + left_ms - 1), BREAKER_OPEN);
        assert_int_equal(breaker_left_ms(&breaker, now_ms + left_ms - 1), 1);
}

static void pass_to_half_open(void)
{
        now_ms = breaker_next_ms(&breaker);
        assert_int_equal(breaker_state(&breaker, now_ms), BREAKER_HALF_OPEN);
        assert_int_equal(breaker_left_ms(&breaker, now_ms), 0);
        assert_int_equal(breaker_next_ms(&breaker), UINT64_MAX);
}

static void a_new_one_is_closed_and_lets_everything_start(void **state)
{
        (void)state;
        begin();
        for (uint64_t key = 0; key < 100; key++)
                start(key);
        assert_closed();
        assert_int_equal(breaker.last_failure_at_ms, 0);
        assert_int_equal(breaker.last_success_at_ms, 0);
}

static void five_failures_in_a_row_over_three_keys_open_it(void **state)
{
        static const struct {
                uint64_t keys[8];
                int opens_at; /* 0: not at all */
        } cases[] = {
                {{1, 2, 3, 4, 5, 6, 7, 8}, 5}, {{1, 2, 3, 3, 3, 3, 3, 3}, 5},
                {{1, 1, 1, 2, 3, 1, 1, 1}, 5}, {{1, 1, 1, 1, 1, 1, 1, 1}, 0},
                {{1, 2, 1, 2, 1, 2, 1, 2}, 0}, {{1, 2, 1, 2, 1, 2, 1, 3}, 8},
                {{1, 1, 1, 1, 1, 2, 3, 1}, 7}, {{0, 0, 0, 1, 2, 0, 0, 0}, 5},
        };

        (void)state;
        for (size_t i = 0; i < N_OF(cases); i++) {
                begin();
                for (int n = 1; n <= 8; n++) {
                        const bool open = cases[i].opens_at > 0 && n >= cases[i].opens_at;

                        fail_for(cases[i].keys[n - 1]);
                        assert_int_equal(breaker_state(&breaker, now_ms),
                                         open ? BREAKER_OPEN : BREAKER_CLOSED);
                }
                assert_int_equal(breaker.opened, cases[i].opens_at > 0);
        }
}

static void one_key_is_enough_where_the_issuer_was_not_reached(void **state)
{
        (void)state;
        begin();
        for (int n = 1; n < BREAKER_FAILURES; n++) {
                breaker_failed(&breaker, 1, REASON_ISSUER_UNREACHABLE, false, now_ms);
                assert_closed();
        }
        breaker_failed(&breaker, 1, REASON_ISSUER_UNREACHABLE, false, now_ms);
        assert_open_for(BREAKER_FIRST_MS);
        assert_int_equal(breaker.last_failure, REASON_ISSUER_UNREACHABLE);
        assert_int_equal(breaker.last_failure_at_ms, now_ms);
}

static void a_success_ends_the_row_and_forgets_its_keys(void **state)
{
        (void)state;
        begin();
        for (int n = 0; n < 20; n++) {
                for (uint64_t key = 1; key < BREAKER_FAILURES; key++)
                        fail_for(key);
                assert_closed();
                breaker_succeeded(&breaker, ++now_ms);
                assert_int_equal(breaker.last_success_at_ms, now_ms);
        }
        /* Keys that failed before the success do not count towards three. */
        for (int n = 0; n < BREAKER_FAILURES; n++)
                fail_for(1);
        assert_closed();
        assert_int_equal(breaker.opened, 0);
}

static void it_stays_open_for_its_time_and_then_takes_one_probe(void **state)
{
        (void)state;
        begin();
        open_it();
        assert_open_for(BREAKER_FIRST_MS);
        pass_to_half_open();
        start(PROBE_KEY);
        assert_false(breaker_may_start(&breaker, now_ms));
        assert_false(breaker_may_start(&breaker, now_ms + 3600000)); /* while it takes */
        breaker_succeeded(&breaker, now_ms);
        assert_closed();
        /* The next row begins from nothing. */
        for (uint64_t key = 1; key < BREAKER_FAILURES; key++)
                fail_for(key);
        assert_closed();
        fail_for(1);
        assert_open_for(BREAKER_FIRST_MS);
}

static void each_failed_probe_doubles_the_time_up_to_a_minute(void **state)
{
        static const uint64_t steps_ms[] = {1000,  2000,  4000,  8000, 16000,
                                            32000, 60000, 60000, 60000};

        (void)state;
        begin();
        open_it();
        for (size_t i = 0; i < N_OF(steps_ms); i++) {
                assert_open_for(steps_ms[i]);
                assert_int_equal(breaker.opened, i + 1);
                pass_to_half_open();
                start(PROBE_KEY);
                now_ms += 500;
                fail_for(PROBE_KEY);
        }
        pass_to_half_open();
        start(PROBE_KEY);
        breaker_succeeded(&breaker, now_ms);
        open_it();
        assert_open_for(1000);
}

static void a_dropped_probe_frees_the_place_and_changes_nothing_else(void **state)
{
        (void)state;
        begin();
        open_it();
        pass_to_half_open();
        start(PROBE_KEY);
        breaker_dropped(&breaker);
        assert_int_equal(breaker_state(&breaker, now_ms), BREAKER_HALF_OPEN);
        start(PROBE_KEY + 1);
        assert_false(breaker_may_start(&breaker, now_ms));
        fail_for(PROBE_KEY + 1);
        assert_open_for(SECOND_MS);
        assert_int_equal(breaker.opened, 2);

        begin();
        start(1);
        breaker_dropped(&breaker);
        assert_closed();
        assert_int_equal(breaker.failures, 0);
}

/* Requests that began before it opened end at any time. */
static void a_late_failure_changes_nothing_while_it_is_open(void **state)
{
        (void)state;
        begin();
        open_it();
        now_ms += 300;
        for (uint64_t key = 1; key < 50; key++)
                fail_for(key);
        assert_open_for(BREAKER_FIRST_MS - 300);
        assert_int_equal(breaker.opened, 1);
}

static void a_late_failure_changes_nothing_before_or_beside_the_probe(void **state)
{
        (void)state;
        begin();
        open_it();
        pass_to_half_open();
        fail_for(1);
        assert_int_equal(breaker_state(&breaker, now_ms), BREAKER_HALF_OPEN);
        start(PROBE_KEY);
        for (uint64_t key = 1; key < 50; key++)
                fail_for(key);
        assert_int_equal(breaker_state(&breaker, now_ms), BREAKER_HALF_OPEN);
        assert_false(breaker_may_start(&breaker, now_ms)); /* there is still one probe only */
        assert_int_equal(breaker.opened, 1);
        fail_for(PROBE_KEY);
        assert_open_for(SECOND_MS);
        assert_int_equal(breaker.opened, 2);
}

static void a_late_success_closes_what_failures_opened(void **state)
{
        (void)state;
        begin();
        open_it();
        now_ms += 300;
        breaker_succeeded(&breaker, now_ms);
        assert_closed();

        begin();
        open_it();
        pass_to_half_open();
        start(PROBE_KEY);
        breaker_succeeded(&breaker, now_ms);
        assert_closed();
        fail_for(PROBE_KEY); /* it had been a probe, and is one failure in a row now */
        assert_closed();
}

static void a_hold_lasts_as_long_as_the_issuer_says(void **state)
{
        (void)state;
        begin();
        breaker_held(&breaker, 3000, now_ms);
        assert_open_for(3000);
        assert_true(breaker.held);
        assert_int_equal(breaker.holds, 1);
        assert_int_equal(breaker.opened, 0);
        assert_int_equal(breaker.last_failure, REASON_ISSUER_THROTTLES);
        assert_int_equal(breaker.last_failure_at_ms, now_ms);
        pass_to_half_open();
        assert_int_equal(now_ms, BEGIN_MS + 3000);
        start(PROBE_KEY);
        assert_false(breaker_may_start(&breaker, now_ms));
        breaker_succeeded(&breaker, now_ms);
        assert_closed();
        assert_false(breaker.held);
}

static void a_hold_without_a_length_doubles_from_a_second_to_a_minute(void **state)
{
        static const uint64_t steps_ms[] = {1000, 2000, 4000, 8000, 16000, 32000, 60000, 60000};

        (void)state;
        begin();
        for (size_t i = 0; i < N_OF(steps_ms); i++) {
                breaker_held(&breaker, 0, now_ms);
                assert_open_for(steps_ms[i]);
                assert_int_equal(breaker.holds, i + 1);
                pass_to_half_open();
                start(PROBE_KEY);
        }
        breaker_succeeded(&breaker, now_ms);
        breaker_held(&breaker, 0, now_ms);
        assert_open_for(1000);
}

/* Several requests are under way, and each is told to come back later. */
static void holds_that_arrive_together_are_one(void **state)
{
        (void)state;
        begin();
        breaker_held(&breaker, 0, now_ms);
        for (int i = 0; i < 20; i++)
                breaker_held(&breaker, 0, now_ms + 10);
        assert_open_for(1000);
        assert_int_equal(breaker.holds, 1);
        pass_to_half_open();
        start(PROBE_KEY);
        breaker_held(&breaker, 0, now_ms);
        assert_open_for(2000);
        assert_int_equal(breaker.holds, 2);
}

static void a_longer_hold_extends_and_a_shorter_one_does_not_shorten(void **state)
{
        (void)state;
        begin();
        breaker_held(&breaker, 5000, now_ms);
        breaker_held(&breaker, 3000, now_ms);
        assert_open_for(5000);
        breaker_held(&breaker, 0, now_ms);
        assert_open_for(5000);
        breaker_held(&breaker, 9000, now_ms);
        assert_open_for(9000);
        assert_int_equal(breaker.holds, 1);
        breaker_held(&breaker, 1, now_ms + 8999);
        now_ms += 8999;
        assert_int_equal(breaker_left_ms(&breaker, now_ms), 1);
}

static void a_hold_while_it_is_open_for_failures_only_lengthens_it(void **state)
{
        (void)state;
        begin();
        open_it();
        breaker_held(&breaker, 400, now_ms);
        assert_open_for(BREAKER_FIRST_MS);
        assert_false(breaker.held);
        assert_int_equal(breaker.holds, 0);
        breaker_held(&breaker, 3000, now_ms);
        assert_open_for(3000);
        assert_true(breaker.held);
        assert_int_equal(breaker.holds, 1);
        assert_int_equal(breaker.opened, 1);
}

static void a_hold_is_not_a_failure_and_ends_no_row_of_them(void **state)
{
        (void)state;
        begin();
        for (uint64_t key = 1; key < BREAKER_FAILURES; key++)
                fail_for(key);
        breaker_held(&breaker, 1000, now_ms);
        assert_int_equal(breaker.failures, BREAKER_FAILURES - 1);
        assert_int_equal(breaker.opened, 0);

        begin();
        for (int i = 0; i < 20; i++) {
                breaker_held(&breaker, 1000, now_ms);
                pass_to_half_open();
                start(PROBE_KEY);
        }
        assert_int_equal(breaker.failures, 0);
        assert_int_equal(breaker.opened, 0);
}

/* Some of what was under way when the issuer asked for fewer requests still succeeds. */
static void a_late_success_does_not_shorten_a_hold(void **state)
{
        (void)state;
        begin();
        breaker_held(&breaker, 3000, now_ms);
        now_ms += 10;
        breaker_succeeded(&breaker, now_ms);
        assert_int_equal(breaker.last_success_at_ms, now_ms);
        assert_open_for(2990);
        assert_true(breaker.held);
        pass_to_half_open();
        /* Then it does, as the probe would. */
        start(PROBE_KEY);
        breaker_succeeded(&breaker, now_ms);
        assert_closed();

        /* Nor does it make the next hold of no length begin from a second again. */
        begin();
        breaker_held(&breaker, 0, now_ms);
        breaker_succeeded(&breaker, now_ms);
        assert_open_for(1000);
        pass_to_half_open();
        start(PROBE_KEY);
        breaker_held(&breaker, 0, now_ms);
        assert_open_for(2000);
}

/* The time of the hold has passed, though nobody has looked yet. */
static void a_success_after_a_hold_closes_it(void **state)
{
        (void)state;
        begin();
        breaker_held(&breaker, 3000, now_ms);
        now_ms += 3000;
        breaker_succeeded(&breaker, now_ms);
        assert_closed();
        assert_false(breaker.held);
}

static void a_late_failure_does_not_change_a_hold(void **state)
{
        (void)state;
        begin();
        breaker_held(&breaker, 3000, now_ms);
        open_it();
        assert_open_for(3000);
        assert_true(breaker.held);
        assert_int_equal(breaker.opened, 0);
}

static void the_probe_after_a_hold_decides_as_any_other(void **state)
{
        (void)state;
        begin();
        breaker_held(&breaker, 3000, now_ms);
        pass_to_half_open();
        start(PROBE_KEY);
        fail_for(PROBE_KEY);
        assert_open_for(BREAKER_FIRST_MS);
        assert_false(breaker.held);
        assert_int_equal(breaker.opened, 1);
        pass_to_half_open();
        start(PROBE_KEY);
        breaker_held(&breaker, 7000, now_ms); /* and so does one that is put off */
        assert_open_for(7000);
        assert_true(breaker.held);
        pass_to_half_open();
        assert_true(breaker_may_start(&breaker, now_ms));
        start(PROBE_KEY);
        fail_for(PROBE_KEY);
        assert_open_for(SECOND_MS); /* the row of failures had not ended */
}

/* However the answers come, at any time at most one request is under way that began after it
 * opened, and it starts nothing before its time. */
static void random_answers_never_make_a_second_probe(void **state)
{
        enum { N_LATE = 16 };
        uint64_t seed = 21;

        (void)state;
        for (int round = 0; round < 2000; round++) {
                uint64_t key = 1000, probe = 0, until_ms;
                int n_late = N_LATE;

                begin();
                open_it();
                until_ms = breaker_next_ms(&breaker);
                for (int step = 0; step < 40; step++) {
                        now_ms += random_next(&seed) % 700;
                        switch (random_next(&seed) % 4) {
                        case 0:
                                if (n_late > 0)
                                        fail_for((uint64_t)n_late--);
                                break;
                        case 1:
                                if (probe == 0)
                                        break;
                                if (random_next(&seed) % 2 == 0) {
                                        fail_for(probe);
                                        until_ms = breaker_next_ms(&breaker);
                                } else {
                                        breaker_dropped(&breaker);
                                }
                                probe = 0;
                                break;
                        default:
                                assert_int_equal(breaker_may_start(&breaker, now_ms),
                                                 now_ms >= until_ms && probe == 0);
                                if (now_ms >= until_ms && probe == 0)
                                        start(probe = ++key);
                        }
                }
        }
}

static void the_first_of_the_failures_in_a_row_is_known(void **state)
{
        (void)state;
        begin();
        fail_for(1);
        now_ms += 700;
        fail_for(2);
        assert_int_equal(breaker.failures, 2);
        assert_int_equal(breaker.failing_since_ms, BEGIN_MS);
        breaker_succeeded(&breaker, now_ms);
        assert_int_equal(breaker.failures, 0);
        now_ms += 300;
        fail_for(3);
        assert_int_equal(breaker.failing_since_ms, now_ms);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(a_new_one_is_closed_and_lets_everything_start),
                cmocka_unit_test(five_failures_in_a_row_over_three_keys_open_it),
                cmocka_unit_test(one_key_is_enough_where_the_issuer_was_not_reached),
                cmocka_unit_test(a_success_ends_the_row_and_forgets_its_keys),
                cmocka_unit_test(it_stays_open_for_its_time_and_then_takes_one_probe),
                cmocka_unit_test(each_failed_probe_doubles_the_time_up_to_a_minute),
                cmocka_unit_test(a_dropped_probe_frees_the_place_and_changes_nothing_else),
                cmocka_unit_test(a_late_failure_changes_nothing_while_it_is_open),
                cmocka_unit_test(a_late_failure_changes_nothing_before_or_beside_the_probe),
                cmocka_unit_test(a_late_success_closes_what_failures_opened),
                cmocka_unit_test(a_hold_lasts_as_long_as_the_issuer_says),
                cmocka_unit_test(a_hold_without_a_length_doubles_from_a_second_to_a_minute),
                cmocka_unit_test(holds_that_arrive_together_are_one),
                cmocka_unit_test(a_longer_hold_extends_and_a_shorter_one_does_not_shorten),
                cmocka_unit_test(a_hold_while_it_is_open_for_failures_only_lengthens_it),
                cmocka_unit_test(a_hold_is_not_a_failure_and_ends_no_row_of_them),
                cmocka_unit_test(a_late_success_does_not_shorten_a_hold),
                cmocka_unit_test(a_success_after_a_hold_closes_it),
                cmocka_unit_test(a_late_failure_does_not_change_a_hold),
                cmocka_unit_test(the_probe_after_a_hold_decides_as_any_other),
                cmocka_unit_test(random_answers_never_make_a_second_probe),
                cmocka_unit_test(the_first_of_the_failures_in_a_row_is_known),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
