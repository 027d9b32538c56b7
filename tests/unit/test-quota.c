/* SPDX-License-Identifier: MIT */

#include "quota.h"

#include "helpers.h"

#define SECOND UINT64_C(1000)
#define MINUTE (60 * SECOND)
#define DAY    (24 * UINT64_C(60) * MINUTE)

static const struct rate rates[] = {
        {600, MINUTE}, {1, SECOND}, {1, DAY},     {7, MINUTE},  {1000000, SECOND},
        {3, 1000},     {1, 1},      {1000, 3000}, {999, 86400}, {2, 7},
};

static bool take(struct quota *quota, struct rate rate, uint64_t now_ms)
{
        uint64_t left_ms;

        if (quota_reserve(quota, rate, now_ms, &left_ms))
                return false;
        quota_take(quota, rate, now_ms);
        return true;
}

/* All that can be had now. */
static uint64_t drain(struct quota *quota, struct rate rate, uint64_t now_ms, uint64_t *ret_left_ms)
{
        uint64_t n = 0;

        for (; quota_reserve(quota, rate, now_ms, ret_left_ms) == 0; n++)
                quota_take(quota, rate, now_ms);
        return n;
}

static void as_many_as_are_counted_can_be_had_at_once_and_none_more(void **state)
{
        (void)state;
        for (size_t i = 0; i < N_OF(rates); i++) {
                struct quota quota = {};
                uint64_t left_ms = 0;

                assert_int_equal(drain(&quota, rates[i], 123456789, &left_ms), rates[i].count);
                assert_true(left_ms > 0);
        }
}

static void a_count_of_none_is_no_limit(void **state)
{
        struct quota quota = {};

        (void)state;
        for (int i = 0; i < 1000; i++)
                assert_true(take(&quota, (struct rate){}, 5));
        assert_int_equal(quota.full_at_us, 0);
}

static void what_was_refused_took_nothing(void **state)
{
        struct quota quota = {}, before;
        uint64_t left_ms;

        (void)state;
        (void)drain(&quota, rates[0], 1000, &left_ms);
        before = quota;
        for (int i = 0; i < 100; i++)
                assert_false(take(&quota, rates[0], 1000));
        assert_int_equal(quota.full_at_us, before.full_at_us);
}

/* Not a millisecond earlier, and always then. */
static void the_time_until_the_next_one_is_exact(void **state)
{
        (void)state;
        for (size_t i = 0; i < N_OF(rates); i++) {
                struct quota quota = {};
                uint64_t now_ms = 1000000, left_ms = 0;

                (void)drain(&quota, rates[i], now_ms, &left_ms);
                for (int k = 0; k < 50; k++) {
                        assert_true(left_ms >= 1);
                        assert_false(take(&quota, rates[i], now_ms + left_ms - 1));
                        now_ms += left_ms;
                        assert_true(take(&quota, rates[i], now_ms));
                        (void)drain(&quota, rates[i], now_ms, &left_ms);
                }
        }
}

static void a_period_without_any_brings_all_back_and_no_more(void **state)
{
        (void)state;
        for (size_t i = 0; i < N_OF(rates); i++) {
                struct quota quota = {};
                uint64_t now_ms = 1000000, left_ms = 0;

                for (int k = 0; k < 3; k++) {
                        assert_int_equal(drain(&quota, rates[i], now_ms, &left_ms), rates[i].count);
                        /* Each was rounded up to a microsecond. */
                        now_ms += rates[i].period_ms + 1 + rates[i].count / 1000;
                }
                now_ms += 1000 * rates[i].period_ms;
                assert_int_equal(drain(&quota, rates[i], now_ms, &left_ms), rates[i].count);
        }
}

/* Whoever asks at any times: from the first on, never more than the burst and the rate. */
static void over_any_time_there_are_never_more_than_the_burst_and_the_rate(void **state)
{
        uint64_t seed = 3;

        (void)state;
        for (size_t i = 0; i < N_OF(rates); i++) {
                const uint64_t begin_ms = 77777;
                const uint64_t step_ms = rates[i].period_ms / rates[i].count + 2;
                uint64_t now_ms = begin_ms, n = 0;
                struct quota quota = {};

                for (int k = 0; k < 20000; k++) {
                        n += take(&quota, rates[i], now_ms);
                        assert_true((n - 1) * rates[i].period_ms <=
                                    (now_ms - begin_ms) * rates[i].count +
                                            (rates[i].count - 1) * rates[i].period_ms);
                        now_ms += random_next(&seed) % step_ms;
                }
        }
}

static void who_always_asks_gets_the_rate(void **state)
{
        const struct rate rate = {7, MINUTE};
        struct quota quota = {};
        uint64_t n = 0;

        (void)state;
        for (uint64_t now_ms = 0; now_ms < 100 * MINUTE; now_ms += 10)
                n += take(&quota, rate, now_ms);
        assert_in_range(n, 7 + 699, 7 + 700);
}

static void what_is_set_aside_is_had_by_nobody_else_until_it_is_given_up(void **state)
{
        (void)state;
        for (size_t i = 0; i < N_OF(rates); i++) {
                const uint64_t now_ms = 1000000;
                struct quota quota = {};
                uint64_t left_ms = 0;

                assert_int_equal(quota_reserve(&quota, rates[i], now_ms, &left_ms), 0);
                assert_int_equal(drain(&quota, rates[i], now_ms, &left_ms), rates[i].count - 1);
                assert_false(take(&quota, rates[i], now_ms + left_ms - 1));
                quota_release(&quota);
                assert_int_equal(quota.n_reserved, 0);
                assert_int_equal(drain(&quota, rates[i], now_ms, &left_ms), 1);
        }
}

static void what_is_used_late_counts_from_then(void **state)
{
        const struct rate rate = {2, MINUTE};
        struct quota quota = {};
        uint64_t left_ms = 0;

        (void)state;
        for (int i = 0; i < 2; i++)
                assert_int_equal(quota_reserve(&quota, rate, 0, &left_ms), 0);
        assert_false(take(&quota, rate, 10 * MINUTE)); /* it does not come back by itself */
        for (int i = 0; i < 2; i++)
                quota_take(&quota, rate, 10 * MINUTE);
        assert_int_equal(quota_reserve(&quota, rate, 10 * MINUTE, &left_ms), QUOTA_E_SPENT);
        assert_int_equal(left_ms, MINUTE / 2);
}

static void what_was_taken_back_was_never_used(void **state)
{
        (void)state;
        for (size_t i = 0; i < N_OF(rates); i++) {
                const uint64_t now_ms = 1000000;
                struct quota quota = {};
                uint64_t left_ms = 0;

                (void)drain(&quota, rates[i], now_ms, &left_ms);
                quota_untake(&quota, rates[i]);
                assert_false(take(&quota, rates[i], now_ms));
                quota_release(&quota);
                assert_int_equal(drain(&quota, rates[i], now_ms, &left_ms), 1);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(as_many_as_are_counted_can_be_had_at_once_and_none_more),
                cmocka_unit_test(a_count_of_none_is_no_limit),
                cmocka_unit_test(what_was_refused_took_nothing),
                cmocka_unit_test(the_time_until_the_next_one_is_exact),
                cmocka_unit_test(a_period_without_any_brings_all_back_and_no_more),
                cmocka_unit_test(over_any_time_there_are_never_more_than_the_burst_and_the_rate),
                cmocka_unit_test(who_always_asks_gets_the_rate),
                cmocka_unit_test(what_is_set_aside_is_had_by_nobody_else_until_it_is_given_up),
                cmocka_unit_test(what_is_used_late_counts_from_then),
                cmocka_unit_test(what_was_taken_back_was_never_used),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
