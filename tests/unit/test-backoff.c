/* SPDX-License-Identifier: MIT */

#include "backoff.h"

#include "helpers.h"

static void the_first_step_is_taken_then_each_is_twice_the_last_up_to_a_limit(void **state)
{
        static const uint32_t steps_ms[] = {1000, 2000, 4000, 8000, 16000, 30000, 30000, 30000};
        struct backoff backoff = {};
        uint64_t now_ms = 500;

        (void)state;
        for (size_t i = 0; i < N_OF(steps_ms); i++) {
                backoff_extend(&backoff, 1000, 30000, now_ms);
                assert_int_equal(backoff.step_ms, steps_ms[i]);
                assert_int_equal(backoff.until_ms, now_ms + steps_ms[i]);
                now_ms += 7;
        }
}

static void the_limit_is_met_whatever_the_first_step(void **state)
{
        (void)state;
        for (uint32_t first_ms = 1; first_ms <= 600; first_ms++) {
                struct backoff backoff = {};
                uint32_t last_ms = 0;

                for (int i = 0; i < 12; i++) {
                        backoff_extend(&backoff, first_ms, 600, 0);
                        assert_true(backoff.step_ms <= 600);
                        assert_true(backoff.step_ms == 600 || backoff.step_ms == 2 * last_ms ||
                                    last_ms == 0);
                        last_ms = backoff.step_ms;
                }
                assert_int_equal(last_ms, 600);
        }
}

static void the_longest_steps_do_not_overflow(void **state)
{
        struct backoff backoff = {};

        (void)state;
        for (int i = 0; i < 40; i++)
                backoff_extend(&backoff, 1, UINT32_MAX, 0);
        assert_int_equal(backoff.step_ms, UINT32_MAX);
        assert_int_equal(backoff.until_ms, UINT32_MAX);
}

static void it_holds_until_just_before_its_end(void **state)
{
        struct backoff backoff = {};

        (void)state;
        assert_false(backoff_holds(&backoff, 0));
        assert_int_equal(backoff_left_ms(&backoff, 0), 0);
        backoff_extend(&backoff, 1000, 30000, 5000);
        assert_true(backoff_holds(&backoff, 5000));
        assert_int_equal(backoff_left_ms(&backoff, 5000), 1000);
        assert_true(backoff_holds(&backoff, 5999));
        assert_int_equal(backoff_left_ms(&backoff, 5999), 1);
        assert_false(backoff_holds(&backoff, 6000));
        assert_int_equal(backoff_left_ms(&backoff, 6000), 0);
        assert_int_equal(backoff_left_ms(&backoff, UINT64_MAX), 0);
}

/* The end of a step does not end the row; only a reset does. */
static void the_row_goes_on_until_it_is_reset(void **state)
{
        struct backoff backoff = {};

        (void)state;
        backoff_extend(&backoff, 1000, 30000, 0);
        backoff_extend(&backoff, 1000, 30000, 3600000);
        assert_int_equal(backoff.step_ms, 2000);
        backoff_reset(&backoff);
        assert_false(backoff_holds(&backoff, 3600000));
        backoff_extend(&backoff, 1000, 30000, 3600000);
        assert_int_equal(backoff.step_ms, 1000);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(the_first_step_is_taken_then_each_is_twice_the_last_up_to_a_limit),
                cmocka_unit_test(the_limit_is_met_whatever_the_first_step),
                cmocka_unit_test(the_longest_steps_do_not_overflow),
                cmocka_unit_test(it_holds_until_just_before_its_end),
                cmocka_unit_test(the_row_goes_on_until_it_is_reset),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
