/* SPDX-License-Identifier: MIT */

#include "share.h"

#include <errno.h>

#include "helpers.h"

static void a_uid_holds_a_quarter_and_at_least_one(void **state)
{
        static const struct {
                size_t limit;
                size_t each;
        } cases[] = {{0, 1}, {1, 1}, {3, 1}, {4, 1}, {7, 1}, {8, 2}, {100, 25}, {1023, 255}};

        (void)state;
        for (size_t i = 0; i < N_OF(cases); i++) {
                struct shares shares;

                assert_int_equal(shares_init(&shares, cases[i].limit), 0);
                for (size_t n = 0; n < cases[i].each; n++) {
                        assert_int_equal(shares_held(&shares, 1000), n);
                        assert_int_equal(shares_take(&shares, 1000), 0);
                }
                assert_int_equal(shares.refused, 0);
                assert_int_equal(shares_take(&shares, 1000), SHARE_E_FULL);
                assert_int_equal(shares_take(&shares, 1000), SHARE_E_FULL);
                assert_int_equal(shares.refused, 2);
                assert_int_equal(shares_held(&shares, 1000), cases[i].each);
                assert_int_equal(shares_take(&shares, 1001), 0); /* another is not concerned */
                shares_give(&shares, 1000);
                assert_int_equal(shares_take(&shares, 1000), 0);
                assert_int_equal(shares.n_uids, 2);
                shares_deinit(&shares); /* forgets what is held */
        }
}

static void root_holds_as_much_as_it_likes(void **state)
{
        struct shares shares;

        (void)state;
        assert_int_equal(shares_init(&shares, 4), 0);
        for (int i = 0; i < 1000; i++)
                assert_int_equal(shares_take(&shares, 0), 0);
        assert_int_equal(shares_held(&shares, 0), 0);
        assert_int_equal(shares.n_uids, 0);
        for (int i = 0; i < 1000; i++)
                shares_give(&shares, 0);
        shares_deinit(&shares);
}

/* Far more than there are buckets, and the last uids that there are. */
static void many_uids_are_told_apart_and_none_is_kept_that_holds_nothing(void **state)
{
        enum { N = 5000 };
        static size_t held[N];
        struct shares shares;
        size_t n_uids = 0;
        uint64_t seed = 4;

        (void)state;
        assert_int_equal(shares_init(&shares, 12), 0);
        for (int step = 0; step < 200000; step++) {
                const size_t i = random_next(&seed) % N;
                const uid_t uid = i < N / 2 ? (uid_t)i + 1 : UINT32_MAX - (uid_t)i;

                assert_int_equal(shares_held(&shares, uid), held[i]);
                if (random_next(&seed) % 2) {
                        assert_int_equal(shares_take(&shares, uid),
                                         held[i] == 3 ? SHARE_E_FULL : 0);
                        n_uids += held[i] == 0;
                        held[i] += held[i] < 3;
                } else if (held[i] > 0) {
                        shares_give(&shares, uid);
                        n_uids -= --held[i] == 0;
                }
                assert_int_equal(shares.n_uids, n_uids);
        }
        shares_deinit(&shares);
}

static void out_of_memory_takes_nothing(void **state)
{
        struct shares shares;

        (void)state;
        alloc_fail_at(1);
        assert_int_equal(shares_init(&shares, 4), -ENOMEM);
        assert_true(alloc_has_failed());
        shares_deinit(&shares);

        assert_int_equal(shares_init(&shares, 100), 0);
        alloc_fail_at(1);
        assert_int_equal(shares_take(&shares, 5), -ENOMEM);
        assert_true(alloc_has_failed());
        assert_int_equal(shares.n_uids, 0);
        assert_int_equal(shares.refused, 0);
        assert_int_equal(shares_held(&shares, 5), 0);
        assert_int_equal(shares_take(&shares, 5), 0);
        alloc_fail_at(1);
        assert_int_equal(shares_take(&shares, 5), 0); /* needs none */
        assert_false(alloc_has_failed());
        shares_deinit(&shares);
}

static void who_holds_more_than_a_lowered_limit_gives_keeps_it(void **state)
{
        struct shares shares;

        (void)state;
        assert_int_equal(shares_init(&shares, 40), 0);
        for (int i = 0; i < 10; i++)
                assert_int_equal(shares_take(&shares, 1000), 0);
        assert_int_equal(shares_take(&shares, 1000), SHARE_E_FULL);
        shares_set_limit(&shares, 8);
        assert_int_equal(shares_held(&shares, 1000), 10);
        for (int i = 0; i < 8; i++) {
                assert_int_equal(shares_take(&shares, 1000), SHARE_E_FULL);
                shares_give(&shares, 1000);
        }
        assert_int_equal(shares_take(&shares, 1000), SHARE_E_FULL);
        shares_give(&shares, 1000);
        assert_int_equal(shares_take(&shares, 1000), 0);
        shares_set_limit(&shares, 16);
        assert_int_equal(shares_take(&shares, 1000), 0);
        assert_int_equal(shares_take(&shares, 1000), 0);
        assert_int_equal(shares_take(&shares, 1000), SHARE_E_FULL);
        shares_deinit(&shares);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(a_uid_holds_a_quarter_and_at_least_one),
                cmocka_unit_test(root_holds_as_much_as_it_likes),
                cmocka_unit_test(many_uids_are_told_apart_and_none_is_kept_that_holds_nothing),
                cmocka_unit_test(out_of_memory_takes_nothing),
                cmocka_unit_test(who_holds_more_than_a_lowered_limit_gives_keeps_it),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
