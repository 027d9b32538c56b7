/* SPDX-License-Identifier: MIT */

#include "pattern.h"

#include "helpers.h"

static bool matches(const char *pattern, struct text text)
{
        char *exact = copy_exactly(text);
        const bool r = pattern_matches(pattern, (struct text){exact, text.size});

        free(exact);
        return r;
}

static void a_star_stands_for_any_bytes_and_all_else_for_itself(void **state)
{
        static const struct {
                const char *pattern;
                const char *text;
                bool matches;
        } cases[] = {
                {"pa", "pa", true},
                {"pa", "paul", false},
                {"pa", "p", false},
                {"pa", "Pa", false},
                {"pa", "", false},
                {"pa*", "pa", true},
                {"pa*", "paul", true},
                {"pa*", "xpaul", false},
                {"*pa", "xpa", true},
                {"*pa", "papa", true},
                {"*pa", "pap", false},
                {"*", "", true},
                {"*", "anything at all", true},
                {"**", "", true},
                {"***a", "a", true},
                {"", "", true},
                {"", "a", false},
                {"a*b*c", "abc", true},
                {"a*b*c", "aXbXbc", true},
                {"a*b*c", "acb", false},
                {"*ab*ab*", "abab", true},
                {"*ab*ab*", "aba", false},
                {"a?c", "abc", false}, /* none of the other characters of shells */
                {"a?c", "a?c", true},
                {"[ab]", "a", false},
                {"[ab]", "[ab]", true},
                {"\\*", "*", false},
                {"\\*", "\\anything", true},
                {"crm@*.service", "crm@1.service", true},
                {"crm@*.service", "crm@1.serviceX", false},
                {"\xc3\xa4*", "\xc3\xa4rger", true},
        };

        (void)state;
        for (size_t i = 0; i < N_OF(cases); i++) {
                if (matches(cases[i].pattern, TEXT(cases[i].text)) != cases[i].matches)
                        fail_msg("%s and %s", cases[i].pattern, cases[i].text);
        }
}

static void a_star_stands_for_a_nul_too(void **state)
{
        (void)state;
        assert_true(matches("a*b", BYTES("a\0b")));
        assert_false(matches("ab", BYTES("a\0b")));
        assert_false(matches("a", BYTES("a\0")));
        assert_false(matches("", BYTES("\0")));
}

/* As one would say it, and exponential. */
static bool plainly_matches(const char *pattern, const char *text, size_t size)
{
        if (*pattern == '\0')
                return size == 0;
        if (*pattern == '*')
                return plainly_matches(pattern + 1, text, size) ||
                       (size > 0 && plainly_matches(pattern, text + 1, size - 1));
        return size > 0 && *pattern == *text && plainly_matches(pattern + 1, text + 1, size - 1);
}

static void random_patterns_and_texts_match_as_a_plain_matcher_says(void **state)
{
        uint64_t seed = 11, n_matched = 0;

        (void)state;
        for (int i = 0; i < 200000; i++) {
                const size_t pattern_size = random_next(&seed) % 9;
                const size_t text_size = random_next(&seed) % 11;
                char pattern[9] = "", text[11];
                bool expected;

                for (size_t k = 0; k < pattern_size; k++)
                        pattern[k] = "ab*a"[random_next(&seed) % 4];
                for (size_t k = 0; k < text_size; k++)
                        text[k] = "aab*"[random_next(&seed) % (i % 8 ? 3 : 4)];
                expected = plainly_matches(pattern, text, text_size);
                n_matched += expected;
                if (matches(pattern, (struct text){text, text_size}) != expected)
                        fail_msg("%s and %.*s", pattern, (int)text_size, text);
        }
        assert_in_range(n_matched, 20000, 180000);
}

/* Where a matcher that tries every star anew would not end before the universe does. */
static void many_stars_take_no_time(void **state)
{
        char text[4096], pattern[202];

        (void)state;
        memset(text, 'a', sizeof(text));
        for (size_t i = 0; i < 200; i++)
                pattern[i] = i % 2 ? 'a' : '*';
        pattern[200] = 'b';
        pattern[201] = '\0';
        for (int i = 0; i < 100; i++)
                assert_false(matches(pattern, (struct text){text, sizeof(text)}));
        pattern[200] = '*';
        assert_true(matches(pattern, (struct text){text, sizeof(text)}));
        assert_true(matches(pattern, (struct text){text, 100}));
        assert_false(matches(pattern, (struct text){text, 99}));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(a_star_stands_for_any_bytes_and_all_else_for_itself),
                cmocka_unit_test(a_star_stands_for_a_nul_too),
                cmocka_unit_test(random_patterns_and_texts_match_as_a_plain_matcher_says),
                cmocka_unit_test(many_stars_take_no_time),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
