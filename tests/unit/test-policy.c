/* SPDX-License-Identifier: MIT */

#include "policy.h"

#include "helpers.h"

static const struct policy policy = {.own_uid = 990};

static int select_for(const struct peer *peer)
{
        const struct rule *rule;

        return policy_select(&policy, peer, NULL, &rule);
}

static void root_and_our_own_user_are_served_and_nobody_else(void **state)
{
        static const uid_t strangers[] = {1, 989, 991, 1000, 65534, (uid_t)-1};

        (void)state;
        assert_int_equal(select_for(&(struct peer){.known = true, .uid = 0}), 0);
        assert_int_equal(select_for(&(struct peer){.known = true, .uid = 990}), 0);
        for (size_t i = 0; i < N_OF(strangers); i++)
                assert_int_equal(select_for(&(struct peer){.known = true, .uid = strangers[i]}),
                                 REASON_NOT_PERMITTED);
}

/* A peer nobody could name has uid 0 in its structure, and must not be taken for root. */
static void an_unknown_peer_is_not_root(void **state)
{
        (void)state;
        assert_int_equal(select_for(&(struct peer){}), REASON_PEER_GONE);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(root_and_our_own_user_are_served_and_nobody_else),
                cmocka_unit_test(an_unknown_peer_is_not_root),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
