/* SPDX-License-Identifier: MIT */

#include "token.h"

#include <errno.h>

#include "helpers.h"

#define NEEDLE "eyJ.the.token"

static void a_token_holds_copies_of_its_texts(void **state)
{
        char value[] = "value\0with a NUL", scope[] = "a b";
        struct token *token = NULL;

        (void)state;
        assert_int_equal(token_new(&token, (struct text){value, 16}, TEXT(scope), 1000, 500), 0);
        memset(value, 'x', sizeof(value));
        memset(scope, 'x', sizeof(scope));
        assert_true(text_equal(token_value(token), BYTES("value\0with a NUL")));
        assert_true(text_equal(token_scope(token), BYTES("a b")));
        assert_int_equal(token->sent_at_ms, 1000);
        assert_int_equal(token->refresh_at_ms, 1500);
        assert_int_equal(token->expires_at_ms, 1500);
        assert_int_equal(token_memory(token), offsetof(struct token, bytes) + 16 + 3);
        token_unref(token);
}

static void a_token_without_a_scope_has_an_empty_one(void **state)
{
        struct token *token = NULL;

        (void)state;
        assert_int_equal(token_new(&token, TEXT("t"), (struct text){}, 0, 1), 0);
        assert_int_equal(token_scope(token).size, 0);
        assert_int_equal(token_memory(token), offsetof(struct token, bytes) + 1);
        token_unref(token);
}

static void the_last_reference_wipes_and_no_other(void **state)
{
        struct token *token = NULL;

        (void)state;
        frees_watch(NEEDLE);
        assert_int_equal(token_new(&token, TEXT(NEEDLE), TEXT("s"), 0, 1), 0);
        assert_int_equal(token->refs, 1);
        assert_true(text_equal(token_scope(token), BYTES("s")));
        assert_ptr_equal(token_ref(token), token);
        assert_int_equal(token->refs, 2);
        token_unref(token);
        assert_true(text_equal(token_value(token), TEXT(NEEDLE)));
        token_unref(token);
        assert_int_equal(frees_dirty(), 0);
        frees_watch(NULL);
}

/* The watch itself works: what is freed unwiped is found. */
static void an_unwiped_block_would_be_noticed(void **state)
{
        (void)state;
        frees_watch(NEEDLE);
        free(copy_exactly(TEXT("before " NEEDLE " after")));
        assert_int_equal(frees_dirty(), 1);
        frees_watch(NULL);
}

static void letting_go_of_nothing_is_harmless(void **state)
{
        (void)state;
        token_unref(NULL);
}

static void out_of_memory_is_said(void **state)
{
        struct token *token = NULL;

        (void)state;
        alloc_fail_at(1);
        assert_int_equal(token_new(&token, TEXT("t"), TEXT("s"), 0, 1), -ENOMEM);
        assert_true(alloc_has_failed());
        assert_null(token);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(a_token_holds_copies_of_its_texts),
                cmocka_unit_test(a_token_without_a_scope_has_an_empty_one),
                cmocka_unit_test(the_last_reference_wipes_and_no_other),
                cmocka_unit_test(an_unwiped_block_would_be_noticed),
                cmocka_unit_test(letting_go_of_nothing_is_harmless),
                cmocka_unit_test(out_of_memory_is_said),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
