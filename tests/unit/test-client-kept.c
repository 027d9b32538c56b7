/* SPDX-License-Identifier: MIT */

#include "kept.h"

#include "client-helpers.h"

#define NOW 1000000

static void set_key(unsigned char key[QUESTION_KEY_BYTES], unsigned int number)
{
        memset(key, 0, QUESTION_KEY_BYTES);
        memcpy(key + 8, &number, sizeof(number)); /* the first eight bytes choose the set */
}

/* Keeps a token of its own for the key. */
static void put(struct kept *kept, unsigned int number, const char *value, uint64_t until_ms)
{
        struct egain_token *token = make_token(value, NOW, 3600);
        unsigned char key[QUESTION_KEY_BYTES];

        set_key(key, number);
        kept_put(kept, key, token, until_ms, NOW);
        egain_token_unref(token);
}

static const char *find(struct kept *kept, unsigned int number, uint64_t now_ms)
{
        unsigned char key[QUESTION_KEY_BYTES];

        set_key(key, number);
        return egain_token_value(kept_find(kept, key, now_ms));
}

static void the_point_is_conservative(void **state)
{
        static const struct {
                uint64_t left_ms, keep_ms, expected_ms;
        } cases[] = {
                {3600000, 10000, 10000}, {3600000, 60000, 60000}, {3600000, 3600000, 60000},
                {3600000, 0, 0},         {100000, 60000, 50000},  {61000, 60000, 30500},
                {60000, 60000, 30000},   {59000, 60000, 29000},   {30001, 60000, 1},
                {30000, 60000, 0},       {29000, 60000, 0},       {0, 60000, 0},
                {50000, 5000, 5000},     {35000, 10000, 5000},    {40000, 10000, 10000},
        };

        (void)state;
        for (size_t i = 0; i < N_OF(cases); i++)
                assert_int_equal(kept_until_ms(NOW, cases[i].left_ms, cases[i].keep_ms),
                                 NOW + cases[i].expected_ms);
}

static void a_token_is_found_until_its_time(void **state)
{
        struct kept kept;

        (void)state;
        assert_int_equal(kept_init(&kept, 64), 0);
        put(&kept, 1, "one", NOW + 500);
        put(&kept, 2, "two", NOW + 600);
        assert_string_equal(find(&kept, 1, NOW + 499), "one");
        assert_null(find(&kept, 3, NOW));
        assert_null(find(&kept, 1, NOW + 500));
        assert_int_equal(kept.n, 1);
        assert_string_equal(find(&kept, 2, NOW + 599), "two");
        kept_deinit(&kept);
}

static void one_whose_time_is_over_is_not_kept(void **state)
{
        struct kept kept;

        (void)state;
        assert_int_equal(kept_init(&kept, 64), 0);
        put(&kept, 1, "old", NOW + 500);
        put(&kept, 1, "new", NOW);
        assert_null(find(&kept, 1, NOW));
        assert_int_equal(kept.n, 0);
        kept_deinit(&kept);
}

static void another_takes_its_place(void **state)
{
        struct kept kept;

        (void)state;
        assert_int_equal(kept_init(&kept, 64), 0);
        put(&kept, 1, "old", NOW + 500);
        put(&kept, 1, "new", NOW + 400);
        assert_string_equal(find(&kept, 1, NOW), "new");
        assert_int_equal(kept.n, 1);
        assert_int_equal(kept.evicted, 0);
        kept_deinit(&kept);
}

static void at_the_cap_the_first_to_end_goes(void **state)
{
        struct kept kept;

        (void)state;
        assert_int_equal(kept_init(&kept, KEPT_WAYS), 0);
        for (unsigned int i = 0; i < KEPT_WAYS; i++)
                put(&kept, i, "x", NOW + 1000 - i);
        assert_int_equal(kept.n, KEPT_WAYS);
        assert_int_equal(kept.evicted, 0);
        put(&kept, 100, "more", NOW + 2000);
        assert_int_equal(kept.n, KEPT_WAYS);
        assert_int_equal(kept.evicted, 1);
        assert_null(find(&kept, KEPT_WAYS - 1, NOW));
        assert_non_null(find(&kept, 0, NOW));
        assert_string_equal(find(&kept, 100, NOW), "more");
        kept_deinit(&kept);
}

static void a_rejected_one_goes_and_no_other(void **state)
{
        struct egain_token *rejected = make_token("bad", NOW, 3600);
        unsigned char key[QUESTION_KEY_BYTES];
        struct kept kept;

        (void)state;
        assert_int_equal(kept_init(&kept, 64), 0);
        put(&kept, 1, "good", NOW + 500);
        put(&kept, 2, "bad", NOW + 500);
        put(&kept, 3, "bad", NOW + 500);
        for (unsigned int i = 1; i <= 2; i++) {
                set_key(key, i);
                kept_reject(&kept, key, rejected);
        }
        assert_non_null(find(&kept, 1, NOW));
        assert_null(find(&kept, 2, NOW));
        assert_non_null(find(&kept, 3, NOW));
        egain_token_unref(rejected);
        kept_deinit(&kept);
}

static void sweeping_drops_what_is_over_once_a_second(void **state)
{
        struct kept kept;

        (void)state;
        assert_int_equal(kept_init(&kept, 64), 0);
        kept_sweep(&kept, NOW);
        put(&kept, 1, "one", NOW + 500);
        put(&kept, 2, "two", NOW + 5000);
        kept_sweep(&kept, NOW + 999);
        assert_int_equal(kept.n, 2);
        kept_sweep(&kept, NOW + 1000);
        assert_int_equal(kept.n, 1);
        kept_deinit(&kept);
}

static void what_goes_is_wiped(void **state)
{
        struct egain_token *borrowed;
        unsigned char key[QUESTION_KEY_BYTES];
        struct kept kept;

        (void)state;
        client_frees_watch("needle-in-a-token");
        assert_int_equal(kept_init(&kept, KEPT_WAYS), 0);
        for (unsigned int i = 0; i < 3 * KEPT_WAYS; i++)
                put(&kept, i, "needle-in-a-token", NOW + 500);
        set_key(key, 3 * KEPT_WAYS - 1);
        borrowed = egain_token_ref(kept_find(&kept, key, NOW));
        kept_clear(&kept);
        assert_int_equal(kept.n, 0);
        /* Who has a reference still has the token. */
        assert_string_equal(egain_token_value(borrowed), "needle-in-a-token");
        egain_token_unref(borrowed);
        kept_deinit(&kept);
        assert_int_equal(client_frees_dirty(), 0);
        free(strdup("a needle-in-a-token that is not wiped"));
        assert_int_equal(client_frees_dirty(), 1);
        client_frees_watch(NULL);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(the_point_is_conservative),
                cmocka_unit_test(a_token_is_found_until_its_time),
                cmocka_unit_test(one_whose_time_is_over_is_not_kept),
                cmocka_unit_test(another_takes_its_place),
                cmocka_unit_test(at_the_cap_the_first_to_end_goes),
                cmocka_unit_test(a_rejected_one_goes_and_no_other),
                cmocka_unit_test(sweeping_drops_what_is_over_once_a_second),
                cmocka_unit_test(what_goes_is_wiped),
        };

        return cmocka_run_group_tests_name("client-kept", tests, NULL, NULL);
}
