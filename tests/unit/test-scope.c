/* SPDX-License-Identifier: MIT */

#include <stdio.h>

#include "helpers.h"
#include "request.h"

/* A scope with room for more than one may be. */
struct scope {
        char bytes[REQUEST_SCOPE_MAX_BYTES + 16];
        size_t size;
};

static struct scope scope_of(struct text text)
{
        struct scope scope = {.size = text.size};

        memcpy(scope.bytes, text.bytes, text.size);
        return scope;
}

static void assert_becomes(const char *scope, const char *canonical)
{
        char *exact = copy_exactly(TEXT(scope));
        size_t size = strlen(scope);

        assert_int_equal(scope_canonicalise(exact, &size), 0);
        assert_int_equal(size, strlen(canonical));
        assert_memory_equal(exact, canonical, size);
        free(exact);
}

static void assert_refused_untouched(struct text text)
{
        char *exact = copy_exactly(text);
        size_t size = text.size;

        assert_int_equal(scope_canonicalise(exact, &size), REASON_BAD_SCOPE);
        assert_int_equal(size, text.size);
        assert_memory_equal(exact, text.bytes, size);
        free(exact);
}

static void values_are_sorted_bytewise_and_each_is_there_once(void **state)
{
        (void)state;
        assert_becomes("a", "a");
        assert_becomes("a b", "a b");
        assert_becomes("b a", "a b");
        assert_becomes("a a", "a");
        assert_becomes("a b a", "a b");
        assert_becomes("b b b a a", "a b");
        assert_becomes("ab a", "a ab");
        assert_becomes("a Z", "Z a");
        assert_becomes("b !", "! b");
        assert_becomes("core.aiservices knowledge.contentmgr.read",
                       "core.aiservices knowledge.contentmgr.read");
        assert_becomes("https://b/.default https://a/.default",
                       "https://a/.default https://b/.default");
}

static void upper_and_lower_case_are_different_values(void **state)
{
        (void)state;
        assert_becomes("read Read READ", "READ Read read");
}

static void a_space_too_many_or_nothing_at_all_is_refused(void **state)
{
        (void)state;
        assert_refused_untouched(BYTES(""));
        assert_refused_untouched(BYTES(" "));
        assert_refused_untouched(BYTES(" a"));
        assert_refused_untouched(BYTES("a "));
        assert_refused_untouched(BYTES("b  a"));
        assert_refused_untouched(BYTES("b a "));
        assert_refused_untouched(BYTES("b\ta"));
}

/* RFC 6749 §3.3: %x21 / %x23-5B / %x5D-7E. */
static void every_byte_is_judged_as_the_rfc_does(void **state)
{
        (void)state;
        for (int byte = 0; byte < 256; byte++) {
                const bool good = byte == 0x21 || (byte >= 0x23 && byte <= 0x5b) ||
                                  (byte >= 0x5d && byte <= 0x7e);
                char scope[] = {'z', ' ', 'a', (char)byte};
                size_t size = sizeof(scope);

                if (good) {
                        assert_int_equal(scope_canonicalise(scope, &size), 0);
                        assert_int_equal(scope[1], byte);
                } else if (byte != ' ') {
                        assert_refused_untouched((struct text){scope, size});
                }
        }
}

static void the_longest_scope_passes_and_a_byte_more_does_not(void **state)
{
        struct scope scope = {.size = REQUEST_SCOPE_MAX_BYTES};

        (void)state;
        memset(scope.bytes, 'x', sizeof(scope.bytes));
        assert_int_equal(scope_canonicalise(scope.bytes, &scope.size), 0);
        scope.bytes[scope.size - 2] = ' ';
        scope.bytes[scope.size - 1] = 'a'; /* out of order: has to be rewritten */
        assert_int_equal(scope_canonicalise(scope.bytes, &scope.size), 0);
        assert_int_equal(scope.size, REQUEST_SCOPE_MAX_BYTES);
        assert_memory_equal(scope.bytes, "a xx", 4);
        assert_refused_untouched((struct text){scope.bytes, REQUEST_SCOPE_MAX_BYTES + 1});
}

static struct scope scope_of_values(unsigned int n, bool backwards)
{
        struct scope scope = {};

        for (unsigned int i = 0; i < n; i++)
                scope.size += (size_t)snprintf(scope.bytes + scope.size,
                                               sizeof(scope.bytes) - scope.size, "%sv%03u",
                                               i ? " " : "", backwards ? n - i : i);
        return scope;
}

static void as_many_values_as_may_be_pass_and_one_more_does_not(void **state)
{
        (void)state;
        for (int backwards = 0; backwards < 2; backwards++) {
                struct scope scope = scope_of_values(REQUEST_SCOPE_MAX_VALUES, backwards);
                const size_t size = scope.size;

                assert_int_equal(scope_canonicalise(scope.bytes, &scope.size), 0);
                assert_int_equal(scope.size, size);
                scope = scope_of_values(REQUEST_SCOPE_MAX_VALUES + 1, backwards);
                assert_refused_untouched((struct text){scope.bytes, scope.size});
        }
}

/* Any order, and any repeats, of one set become the same bytes, which stay as they are. */
static void every_way_to_write_a_set_has_one_canonical_form(void **state)
{
        static const char *const values[] = {"a", "aa", "b", "a.b", "Z", "~", "!"};
        static const char canonical[] = "! Z a a.b aa b ~";
        uint64_t seed = 5;

        (void)state;
        for (int round = 0; round < 2000; round++) {
                const size_t n_extra = random_next(&seed) % 5;
                const char *picked[N_OF(values) + 5] = {NULL};
                struct scope scope = {};
                size_t n = 0;

                for (; n < N_OF(values) + n_extra; n++) {
                        const size_t at = random_next(&seed) % (n + 1);
                        const char *value = n < N_OF(values)
                                                    ? values[n]
                                                    : values[random_next(&seed) % N_OF(values)];

                        picked[n] = picked[at];
                        picked[at] = value;
                        if (at == n)
                                picked[n] = value;
                }
                for (size_t i = 0; i < n; i++)
                        scope.size += (size_t)snprintf(scope.bytes + scope.size,
                                                       sizeof(scope.bytes) - scope.size, "%s%s",
                                                       i ? " " : "", picked[i]);
                for (int again = 0; again < 2; again++) {
                        assert_int_equal(scope_canonicalise(scope.bytes, &scope.size), 0);
                        assert_int_equal(scope.size, sizeof(canonical) - 1);
                        assert_memory_equal(scope.bytes, canonical, scope.size);
                }
        }
}

static void values_that_only_look_like_repeats_stay(void **state)
{
        struct scope scope = scope_of(BYTES("ab abc a abcd ab"));

        (void)state;
        assert_int_equal(scope_canonicalise(scope.bytes, &scope.size), 0);
        assert_int_equal(scope.size, strlen("a ab abc abcd"));
        assert_memory_equal(scope.bytes, "a ab abc abcd", scope.size);
}

static void the_values_of_a_scope_come_one_after_the_other_whatever_the_spaces(void **state)
{
        static const struct {
                const char *scope;
                const char *values[4];
        } cases[] = {
                {"", {NULL}},
                {"   ", {NULL}},
                {"a", {"a"}},
                {"b a", {"b", "a"}},
                {"  b   a a ", {"b", "a", "a"}},
                {"a\tb", {"a\tb"}},
        };

        (void)state;
        for (size_t i = 0; i < N_OF(cases); i++) {
                char *exact = copy_exactly(TEXT(cases[i].scope));
                const struct text scope = {exact, strlen(cases[i].scope)};
                size_t at = 0;

                for (size_t k = 0; cases[i].values[k]; k++)
                        assert_true(text_equal(scope_next(scope, &at), TEXT(cases[i].values[k])));
                assert_int_equal(scope_next(scope, &at).size, 0);
                assert_int_equal(scope_next(scope, &at).size, 0); /* and stays at the end */
                free(exact);
        }
        assert_int_equal(scope_next((struct text){}, &(size_t){0}).size, 0);
}

static void a_scope_includes_what_has_no_other_values(void **state)
{
        static const struct {
                const char *whole;
                const char *part;
                bool includes;
        } cases[] = {
                {"a b", "a b", true},     {"a b", "b a", true}, {"a b", "a", true},
                {"a b", "b b b", true},   {"a b", "", true},    {"", "", true},
                {"a b", "  b  a ", true}, {"a b", "c", false},  {"a b", "a c", false},
                {"a b", "a b c", false},  {"", "a", false},     {"ab", "a", false},
                {"a", "ab", false},       {"a b", "A", false},  {"b  a", "a b", true},
        };

        (void)state;
        for (size_t i = 0; i < N_OF(cases); i++)
                if (scope_includes(TEXT(cases[i].whole), TEXT(cases[i].part)) != cases[i].includes)
                        fail_msg("'%s' and '%s'", cases[i].whole, cases[i].part);
        assert_true(scope_includes((struct text){}, (struct text){}));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(values_are_sorted_bytewise_and_each_is_there_once),
                cmocka_unit_test(upper_and_lower_case_are_different_values),
                cmocka_unit_test(a_space_too_many_or_nothing_at_all_is_refused),
                cmocka_unit_test(every_byte_is_judged_as_the_rfc_does),
                cmocka_unit_test(the_longest_scope_passes_and_a_byte_more_does_not),
                cmocka_unit_test(as_many_values_as_may_be_pass_and_one_more_does_not),
                cmocka_unit_test(every_way_to_write_a_set_has_one_canonical_form),
                cmocka_unit_test(values_that_only_look_like_repeats_stay),
                cmocka_unit_test(
                        the_values_of_a_scope_come_one_after_the_other_whatever_the_spaces),
                cmocka_unit_test(a_scope_includes_what_has_no_other_values),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
