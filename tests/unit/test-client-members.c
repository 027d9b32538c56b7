/* SPDX-License-Identifier: MIT */

#include "members.h"

#include "client-helpers.h"

/* In a block of just its size, so that a byte read too far is seen. */
static bool read_exactly(const char *text, struct member *members, size_t n, char **ret_copy)
{
        const size_t size = strlen(text);
        char *copy = malloc(size ? size : 1);

        for (size_t i = 0; i < size; i++)
                copy[i] = text[i];
        *ret_copy = copy;
        return members_read(copy, size, members, n);
}

static void members_are_found(void **state)
{
        struct member members[] = {{.name = "a"}, {.name = "b"}, {.name = "c"}, {.name = "d"}};
        char *copy, out[32];

        (void)state;
        assert_true(read_exactly(" {\"x\":[1,{\"a\":2}],\"a\" : \"q\\\"\\u0041\\/\", \"b\":42,\n"
                                 "\"c\":-1.5e+3,\"x\":{}} ",
                                 members, 4, &copy));
        assert_int_equal(members[0].kind, MEMBER_STRING);
        assert_true(member_text(&members[0], out));
        assert_string_equal(out, "q\"A/");
        assert_int_equal(members[1].kind, MEMBER_NUMBER);
        assert_int_equal(members[1].number, 42);
        assert_int_equal(members[2].kind, MEMBER_OTHER);
        assert_int_equal(members[3].kind, MEMBER_ABSENT);
        assert_false(member_text(&members[1], out));
        free(copy);
}

static void what_is_no_object_is_refused(void **state)
{
        static const char *const texts[] = {
                "",
                " ",
                "null",
                "[]",
                "\"a\"",
                "{",
                "{}x",
                "{} {}",
                "{,}",
                "{\"a\"}",
                "{\"a\":}",
                "{\"a\":1,}",
                "{a:1}",
                "{'a':1}",
                "{\"a\":01}",
                "{\"a\":+1}",
                "{\"a\":.5}",
                "{\"a\":1.}",
                "{\"a\":1e}",
                "{\"a\":NaN}",
                "{\"a\":tru}",
                "{\"a\":\"",
                "{\"a\":\"\\",
                "{\"a\":\"\\x\"}",
                "{\"a\":\"\\u00g0\"}",
                "{\"a\":\"\\u00",
                "{\"a\":\"\n\"}",
                "{\"a\":[}",
                "{\"a\":[1,]}",
                "{\"a\":{\"b\"}}",
                "{\"a\":-}",
                "{\"a\":1 2}",
                "{\"a\":1,\"a\":1}",
                "{\"x\":[[[[[[[[[[1]]]]]]]]]]}",
        };

        (void)state;
        for (size_t i = 0; i < N_OF(texts); i++) {
                struct member member = {.name = "a"};
                char *copy;

                if (read_exactly(texts[i], &member, 1, &copy))
                        fail_msg("was taken: %s", texts[i]);
                free(copy);
        }
}

static void a_number_is_one_that_can_be_counted_with(void **state)
{
        static const struct {
                const char *text;
                enum member_kind kind;
                uint64_t number;
        } cases[] = {
                {"{\"a\":0}", MEMBER_NUMBER, 0},
                {"{\"a\":999999999999999}", MEMBER_NUMBER, 999999999999999},
                {"{\"a\":1000000000000000}", MEMBER_OTHER, 0},
                {"{\"a\":-1}", MEMBER_OTHER, 0},
                {"{\"a\":1.0}", MEMBER_OTHER, 0},
                {"{\"a\":1e2}", MEMBER_OTHER, 0},
                {"{\"a\":\"1\"}", MEMBER_STRING, 0},
                {"{\"a\":true}", MEMBER_OTHER, 0},
                {"{\"a\":null}", MEMBER_OTHER, 0},
        };

        (void)state;
        for (size_t i = 0; i < N_OF(cases); i++) {
                struct member member = {.name = "a"};

                assert_true(members_read(cases[i].text, strlen(cases[i].text), &member, 1));
                assert_int_equal(member.kind, cases[i].kind);
                if (member.kind == MEMBER_NUMBER)
                        assert_int_equal(member.number, cases[i].number);
        }
}

static void a_text_is_printable_ascii(void **state)
{
        static const char *const texts[] = {
                "{\"a\":\"\\n\"}",
                "{\"a\":\"\\t\"}",
                "{\"a\":\"\\u0000\"}",
                "{\"a\":\"\\u00fc\"}",
                "{\"a\":\"\xc3\xbc\"}",
                "{\"a\":\"\x7f\"}",
                "{\"a\":\"\\ud83d\\ude00\"}",
        };
        char out[32];

        (void)state;
        for (size_t i = 0; i < N_OF(texts); i++) {
                struct member member = {.name = "a"};

                assert_true(members_read(texts[i], strlen(texts[i]), &member, 1));
                assert_false(member_text(&member, out));
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(members_are_found),
                cmocka_unit_test(what_is_no_object_is_refused),
                cmocka_unit_test(a_number_is_one_that_can_be_counted_with),
                cmocka_unit_test(a_text_is_printable_ascii),
        };

        return cmocka_run_group_tests_name("client-members", tests, NULL, NULL);
}
