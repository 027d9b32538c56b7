/* SPDX-License-Identifier: MIT */

#include "secret.h"

#include <errno.h>

#include "helpers.h"

#define NEEDLE "the needle in the heap"

static void assert_zero(const char *bytes, size_t size)
{
        for (size_t i = 0; i < size; i++)
                assert_int_equal(bytes[i], 0);
}

static void an_empty_buffer_owns_nothing(void **state)
{
        struct secret secret = SECRET_INIT(5);

        (void)state;
        assert_null(secret.bytes);
        secret_clear(&secret);
        secret_deinit(&secret);
        secret_deinit(NULL);
        secret_init(&secret, 7);
        assert_null(secret.bytes);
        assert_int_equal(secret.size, 0);
        assert_int_equal(secret.size_limit, 7);
        assert_int_equal(secret_append(&secret, NULL, 0), 0);
        assert_string_equal(secret.bytes, "");
        secret_deinit(&secret);
}

static void bytes_appended_one_by_one_are_kept_and_end_in_a_nul(void **state)
{
        struct secret secret = SECRET_INIT(0);
        uint8_t byte;

        (void)state;
        for (size_t i = 0; i < 5000; i++) {
                byte = (uint8_t)i;
                assert_int_equal(secret_append(&secret, &byte, 1), 0);
                assert_int_equal(secret.size, i + 1);
                assert_true(secret.capacity > secret.size);
                assert_int_equal(secret.bytes[secret.size], 0);
        }
        for (size_t i = 0; i < 5000; i++)
                assert_int_equal((uint8_t)secret.bytes[i], (uint8_t)i);
        secret_deinit(&secret);
        assert_null(secret.bytes);
        assert_int_equal(secret.capacity, 0);
}

static void the_cap_holds_to_the_byte(void **state)
{
        (void)state;
        /* On both sides of the smallest block, where the cap and the block could be mixed up. */
        static const size_t limits[] = {1, 63, 64, 65, 127, 128, 4096};
        static const char bytes[4097];

        for (size_t i = 0; i < N_OF(limits); i++) {
                struct secret secret = SECRET_INIT(limits[i]);

                assert_int_equal(secret_append(&secret, bytes, limits[i] + 1), SECRET_E_FULL);
                assert_int_equal(secret.size, 0);
                assert_int_equal(secret_append(&secret, bytes, limits[i]), 0);
                assert_int_equal(secret_append_str(&secret, "x"), SECRET_E_FULL);
                assert_int_equal(secret_reserve(&secret, limits[i]), 0);
                assert_int_equal(secret_reserve(&secret, limits[i] + 1), SECRET_E_FULL);
                assert_int_equal(secret_append(&secret, NULL, 0), 0);
                assert_int_equal(secret.size, limits[i]);
                secret_deinit(&secret);
                assert_int_equal(secret.size_limit, limits[i]);
        }
}

static void a_failed_assignment_leaves_the_content(void **state)
{
        struct secret secret = SECRET_INIT(8);

        (void)state;
        assert_int_equal(secret_assign(&secret, "12345678", 8), 0);
        assert_int_equal(secret_assign(&secret, "123456789", 9), SECRET_E_FULL);
        assert_string_equal(secret.bytes, "12345678");
        secret_deinit(&secret);
}

static void sizes_that_overflow_are_out_of_memory(void **state)
{
        volatile size_t huge = SIZE_MAX;
        struct secret secret = SECRET_INIT(0), capped = SECRET_INIT(10);

        (void)state;
        assert_int_equal(secret_append_str(&secret, "kept"), 0);
        assert_int_equal(secret_append(&secret, "x", huge), -ENOMEM);
        assert_int_equal(secret_append(&secret, "x", huge - 4), -ENOMEM);
        assert_int_equal(secret_append(&secret, "x", huge / 2), -ENOMEM);
        assert_int_equal(secret_reserve(&secret, huge), -ENOMEM);
        assert_int_equal(secret_reserve(&capped, huge), SECRET_E_FULL);
        assert_string_equal(secret.bytes, "kept");
        secret_deinit(&secret);
}

static void growing_wipes_the_block_left_behind(void **state)
{
        struct secret secret = SECRET_INIT(0);

        (void)state;
        frees_watch(NEEDLE);
        assert_int_equal(secret_append_str(&secret, NEEDLE), 0);
        for (size_t i = 0; i < 10000; i++)
                assert_int_equal(secret_append(&secret, "x", 1), 0);
        assert_memory_equal(secret.bytes, NEEDLE, strlen(NEEDLE));
        assert_int_equal(frees_dirty(), 0);
        secret_deinit(&secret);
        assert_int_equal(frees_dirty(), 0);
        frees_watch(NULL);
}

/* Functions that write into reserved room, and count it or fail before they do, leave bytes there.
 */
static void the_end_wipes_the_bytes_past_the_size_too(void **state)
{
        struct secret secret = SECRET_INIT(0);

        (void)state;
        frees_watch(NEEDLE);
        assert_int_equal(secret_reserve(&secret, 100), 0);
        assert_string_equal(secret.bytes, "");
        memcpy(secret.bytes + 50, NEEDLE, strlen(NEEDLE));
        secret_deinit(&secret);
        assert_int_equal(frees_dirty(), 0);
        frees_watch(NULL);
}

static void clearing_wipes_and_keeps_the_memory(void **state)
{
        struct secret secret = SECRET_INIT(0);
        const char *before;
        size_t capacity;

        (void)state;
        assert_int_equal(secret_append_str(&secret, NEEDLE), 0);
        before = secret.bytes;
        capacity = secret.capacity;
        secret_clear(&secret);
        assert_ptr_equal(secret.bytes, before);
        assert_int_equal(secret.capacity, capacity);
        assert_int_equal(secret.size, 0);
        assert_zero(before, strlen(NEEDLE));
        secret_deinit(&secret);
}

static void a_shorter_content_leaves_nothing_of_the_longer(void **state)
{
        struct secret secret = SECRET_INIT(0);

        (void)state;
        assert_int_equal(secret_assign(&secret, NEEDLE, strlen(NEEDLE)), 0);
        assert_int_equal(secret_assign(&secret, "ab", 2), 0);
        assert_int_equal(secret.size, 2);
        assert_string_equal(secret.bytes, "ab");
        assert_zero(secret.bytes + 2, strlen(NEEDLE) - 2);
        assert_int_equal(secret_assign(&secret, NULL, 0), 0);
        assert_int_equal(secret.size, 0);
        assert_zero(secret.bytes, 2);
        secret_deinit(&secret);
}

static void moving_hands_over_the_block_and_wipes_the_old_one(void **state)
{
        struct secret from = SECRET_INIT(100), to = SECRET_INIT(200);
        const char *bytes;

        (void)state;
        frees_watch(NEEDLE);
        assert_int_equal(secret_append_str(&to, NEEDLE), 0);
        assert_int_equal(secret_append_str(&from, "new"), 0);
        bytes = from.bytes;
        secret_move(&to, &from);
        assert_int_equal(frees_dirty(), 0);
        frees_watch(NULL);

        assert_ptr_equal(to.bytes, bytes);
        assert_string_equal(to.bytes, "new");
        assert_int_equal(to.size, 3);
        assert_int_equal(to.size_limit, 200);
        assert_true(to.capacity > 3);
        assert_null(from.bytes);
        assert_int_equal(from.size, 0);
        assert_int_equal(from.capacity, 0);
        assert_int_equal(from.size_limit, 100);

        secret_move(&to, &from); /* nothing replaces something */
        assert_null(to.bytes);
        assert_int_equal(to.size, 0);
}

static void out_of_memory_leaves_the_content(void **state)
{
        static const char bytes[1000];
        struct secret secret = SECRET_INIT(0);

        (void)state;
        alloc_fail_at(1);
        assert_int_equal(secret_append_str(&secret, "kept"), -ENOMEM);
        assert_null(secret.bytes);
        assert_int_equal(secret_append_str(&secret, "kept"), 0);
        alloc_fail_at(1);
        assert_int_equal(secret_append(&secret, bytes, sizeof(bytes)), -ENOMEM);
        alloc_fail_at(1);
        assert_int_equal(secret_assign(&secret, bytes, sizeof(bytes)), -ENOMEM);
        assert_true(alloc_has_failed());
        assert_int_equal(secret.size, 4);
        assert_string_equal(secret.bytes, "kept");
        secret_deinit(&secret);
}

static void wiping_nothing_is_harmless(void **state)
{
        char bytes[3] = "ab";

        (void)state;
        secret_wipe(NULL, 0);
        secret_wipe(bytes, 0);
        assert_string_equal(bytes, "ab");
        secret_wipe(bytes + 1, 1);
        assert_string_equal(bytes, "a");
        secret_wipe(bytes, 2);
        assert_zero(bytes, sizeof(bytes));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(an_empty_buffer_owns_nothing),
                cmocka_unit_test(bytes_appended_one_by_one_are_kept_and_end_in_a_nul),
                cmocka_unit_test(the_cap_holds_to_the_byte),
                cmocka_unit_test(a_failed_assignment_leaves_the_content),
                cmocka_unit_test(sizes_that_overflow_are_out_of_memory),
                cmocka_unit_test(growing_wipes_the_block_left_behind),
                cmocka_unit_test(the_end_wipes_the_bytes_past_the_size_too),
                cmocka_unit_test(clearing_wipes_and_keeps_the_memory),
                cmocka_unit_test(a_shorter_content_leaves_nothing_of_the_longer),
                cmocka_unit_test(moving_hands_over_the_block_and_wipes_the_old_one),
                cmocka_unit_test(out_of_memory_leaves_the_content),
                cmocka_unit_test(wiping_nothing_is_harmless),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
