/* SPDX-License-Identifier: MIT */

#include "framing.h"

#include "helpers.h"

#define LENGTH "Content-Length"
#define CODING "Transfer-Encoding"

/* Whether it is certain where a request ends that has fields of these names, up to NULL. */
static bool is_certain(const char *version, const char *const *names)
{
        struct framing framing;

        framing_begin(&framing, version);
        for (; *names; names++) {
                framing_take(&framing, *names, strlen(*names));
                if (strcmp(*names, LENGTH) == 0)
                        framing_take_length(&framing);
                else if (strcmp(*names, CODING) == 0)
                        framing_take_coding(&framing);
        }
        return framing_is_certain(&framing);
}

#define CERTAIN(version, ...) is_certain("HTTP/" version, (const char *const[]){__VA_ARGS__, NULL})

static void what_is_sent_as_a_rule_is_certain(void **state)
{
        (void)state;
        assert_true(CERTAIN("1.1", NULL));
        assert_true(CERTAIN("1.1", "Host", "Accept", "Metadata"));
        assert_true(CERTAIN("1.1", "Host", LENGTH));
        assert_true(CERTAIN("1.1", CODING, "Host"));
        assert_true(CERTAIN("1.0", LENGTH));
        assert_true(CERTAIN("1.1", LENGTH, "Content-Length2", "X-Content-Length", "Content-Lengt"));
        assert_true(CERTAIN("1.1", "a b", "a\tb"));
}

static void two_words_on_the_length_are_not(void **state)
{
        (void)state;
        assert_false(CERTAIN("1.1", LENGTH, LENGTH));
        assert_false(CERTAIN("1.1", LENGTH, "Host", LENGTH));
        assert_false(CERTAIN("1.1", CODING, CODING));
        assert_false(CERTAIN("1.1", LENGTH, CODING));
        assert_false(CERTAIN("1.1", CODING, "Host", LENGTH));
}

static void a_coding_is_not_in_http_1_0(void **state)
{
        (void)state;
        assert_false(CERTAIN("1.0", CODING));
        assert_false(CERTAIN("1.2", CODING));
}

static void blanks_around_a_name_are_not(void **state)
{
        (void)state;
        assert_false(CERTAIN("1.1", "Content-Length "));
        assert_false(CERTAIN("1.1", "Content-Length\t", "Host"));
        assert_false(CERTAIN("1.1", "Host", " Transfer-Encoding"));
        assert_false(CERTAIN("1.1", "\tA"));
        assert_false(CERTAIN("1.1", "A "));
        assert_false(CERTAIN("1.1", " "));
        assert_false(CERTAIN("1.1", ""));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(what_is_sent_as_a_rule_is_certain),
                cmocka_unit_test(two_words_on_the_length_are_not),
                cmocka_unit_test(a_coding_is_not_in_http_1_0),
                cmocka_unit_test(blanks_around_a_name_are_not),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
