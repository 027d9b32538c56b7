/* SPDX-License-Identifier: MIT */

#include "json.h"

#include <errno.h>
#include <stdio.h>

#include "helpers.h"

/* Parses from a block of exactly the size. */
static int parse(struct text text, struct json **ret)
{
        char *exact = copy_exactly(text);
        int r;

        *ret = NULL;
        r = json_parse_object(ret, (struct text){exact, text.size});
        free(exact);
        return r;
}

static struct json *parsed(struct text text)
{
        struct json *object;

        if (parse(text, &object) != 0)
                fail_msg("refused: %.*s", (int)text.size, text.bytes);
        assert_non_null(object);
        return object;
}

static void assert_accepted(struct text text)
{
        json_release(parsed(text));
}

static void assert_refused(struct text text)
{
        struct json *object;

        if (parse(text, &object) != JSON_E_INVALID)
                fail_msg("accepted: %.*s", (int)text.size, text.bytes);
        assert_null(object);
}

static void well_formed_objects_are_taken(void **state)
{
        static const struct text good[] = {
                BYTES("{}"),
                BYTES(" {} "),
                BYTES("\r\n\t{\"a\":1}\r\n\t "),
                BYTES("{\"a\":[],\"b\":{},\"c\":[[],{}]}"),
                BYTES("{\"a\":true,\"b\":false,\"c\":null}"),
                BYTES("{\"a\":[1,2,3],\"b\":{\"c\":1,\"d\":2}}"),
                BYTES("{\"a\":\"},{,\\\",\\\\\",\"b\":\"NaN\"}"),
                BYTES("{\"a\":0,\"b\":-0,\"c\":-1,\"d\":0.5,\"e\":-0.5,\"f\":10.05}"),
                BYTES("{\"a\":1E5,\"b\":1e+5,\"c\":1e-5,\"d\":1.5E05,\"e\":-0e0,"
                      "\"f\":1E-007,\"j\":1e-07,\"g\":1e+00,\"h\":100,\"i\":1.00}"),
                BYTES("{\"A\":\"\\u00e9\\ud83d\\ude00\\n\\/\\b\\f\\r\\t\\\"\"}"),
                BYTES("{\"\":1}"),
                BYTES("{\"a\":\"\\u0001\\u000f\\u0010\\u0100\\u1000\"}"),
                BYTES("{\"k\xc3\xa9y\":\"\xf0\x9f\x98\x80\xef\xbf\xbd\x7f\"}"),
                BYTES("{\"a\":\"\\\\u0000\"}"),
        };

        (void)state;
        for (size_t i = 0; i < N_OF(good); i++)
                assert_accepted(good[i]);
}

static void what_is_not_one_object_is_refused(void **state)
{
        static const struct text bad[] = {
                BYTES(""),
                BYTES(" "),
                BYTES("\n"),
                BYTES("null"),
                BYTES("1"),
                BYTES("\"a\""),
                BYTES("[]"),
                BYTES("[{}]"),
                BYTES("true"),
                BYTES("{}{}"),
                BYTES("{} {}"),
                BYTES("{}x"),
                BYTES("{},"),
                BYTES("{}]"),
                BYTES("{}}"),
                BYTES("{}//"),
                BYTES("{}/**/"),
                BYTES("/**/{}"),
                BYTES("{}\v"),
                BYTES("{}\f"),
                BYTES("\xef\xbb\xbf{}"),
                BYTES("{}\xc2\xa0"),
                BYTES("<html><body>Service unavailable</body></html>"),
                BYTES("access_token=abc&expires_in=3600"),
        };

        (void)state;
        for (size_t i = 0; i < N_OF(bad); i++)
                assert_refused(bad[i]);
}

static void every_prefix_of_an_object_is_refused(void **state)
{
        const struct text whole = BYTES("{\"a\":\"\\u00e9\xc3\xa9\",\"b\":[1.5e3,true,null],"
                                        "\"c\":{\"d\":-10}}");

        (void)state;
        for (size_t size = 0; size < whole.size; size++)
                assert_refused((struct text){whole.bytes, size});
        assert_accepted(whole);
}

static void malformed_json_is_refused(void **state)
{
        static const struct text bad[] = {
                BYTES("{,}"),
                BYTES("{\"a\":1,}"),
                BYTES("{\"a\":[1,]}"),
                BYTES("{\"a\" 1}"),
                BYTES("{\"a\":}"),
                BYTES("{\"a\":1 \"b\":2}"),
                BYTES("{a:1}"),
                BYTES("{'a':1}"),
                BYTES("{\"a\":'b'}"),
                BYTES("{\"a\":[}"),
                BYTES("{\"a\":[1 2]}"),
                BYTES("{1:2}"),
                BYTES("{\"a\":tru}"),
                BYTES("{\"a\":truex}"),
                BYTES("{\"a\":True}"),
                BYTES("{\"a\":TRUE}"),
                BYTES("{\"a\":Null}"),
                BYTES("{\"a\":NULL}"),
                BYTES("{\"a\":b}"),
                BYTES("{\"a\":/**/1}"),
                BYTES("{\"a\":1//\n}"),
                BYTES("{\f\"a\":1}"),
                BYTES("{\"a\":1\v}"),
                BYTES("{\"a\":\"\\x\"}"),
                BYTES("{\"a\":\"\\u12\"}"),
                BYTES("{\"a\":\"\\u12g4\"}"),
        };

        (void)state;
        for (size_t i = 0; i < N_OF(bad); i++)
                assert_refused(bad[i]);
}

static void numbers_that_rfc_8259_does_not_have_are_refused(void **state)
{
        static const struct text bad[] = {
                BYTES("{\"a\":NaN}"),      BYTES("{\"a\":nan}"),         BYTES("{\"a\":-NaN}"),
                BYTES("{\"a\":Infinity}"), BYTES("{\"a\":-Infinity}"),   BYTES("{\"a\":infinity}"),
                BYTES("{\"a\":[NaN]}"),    BYTES("{\"a\":{\"b\":NaN}}"), BYTES("{\"a\":01}"),
                BYTES("{\"a\":-01}"),      BYTES("{\"a\":00}"),          BYTES("{\"a\":[1,00]}"),
                BYTES("{\"a\": 00.5}"),    BYTES("{\"a\":[007]}"),       BYTES("{\"a\":-00.5}"),
                BYTES("{\"a\":+1}"),       BYTES("{\"a\":-}"),           BYTES("{\"a\":--1}"),
                BYTES("{\"a\":.5}"),       BYTES("{\"a\":-.5}"),         BYTES("{\"a\":2.}"),
                BYTES("{\"a\":2.e3}"),     BYTES("{\"a\":1e}"),          BYTES("{\"a\":1e+}"),
                BYTES("{\"a\":1.2.3}"),    BYTES("{\"a\":1e5e5}"),       BYTES("{\"a\":0x10}"),
                BYTES("{\"a\":1-2}"),      BYTES("{\"a\":3600abc}"),     BYTES("{\"a\":1 2}"),
                BYTES("{\"a\":1_000}"),
        };

        (void)state;
        for (size_t i = 0; i < N_OF(bad); i++)
                assert_refused(bad[i]);
}

static void a_member_that_occurs_twice_is_refused_however_it_is_written(void **state)
{
        (void)state;
        assert_refused(BYTES("{\"a\":1,\"a\":1}"));
        assert_refused(BYTES("{\"a\":1,\"b\":2,\"a\":3}"));
        assert_refused(BYTES("{\"a\":1,\"\\u0061\":2}"));
        assert_refused(BYTES("{\"a\\/b\":1,\"a/b\":2}"));
        assert_refused(BYTES("{\"access_token\":\"x\",\"access\\u005ftoken\":\"y\"}"));
        assert_refused(BYTES("{\"\":1,\"\":2}"));
        assert_refused(BYTES("{\"a\":[1,2],\"b\":\",\",\"a\":{\"c\":1,\"d\":2}}"));
        /* Not twice: other case, other level. */
        assert_accepted(BYTES("{\"a\":1,\"A\":2}"));
        assert_accepted(BYTES("{\"a\":{\"a\":{\"a\":1}},\"b\":[{\"a\":1},{\"a\":2}]}"));
}

/* Whoever took a text for a C string would read another. */
static void a_nul_is_refused_in_whatever_form(void **state)
{
        (void)state;
        assert_refused(BYTES("{\"a\":\"x\0y\"}"));
        assert_refused(BYTES("{\"a\0\":1}"));
        assert_refused(BYTES("{\0\"a\":1}"));
        assert_refused(BYTES("{}\0"));
        assert_refused(BYTES("{\"a\":1}\0\0\0"));
        assert_refused(BYTES("\0{}"));
        assert_refused(BYTES("{\"expires_in\\u0000x\":1}"));
        assert_refused(BYTES("{\"\\u0000\":1}"));
}

static void control_characters_in_strings_are_refused(void **state)
{
        char text[] = "{\"a\":\"xyz\"}";

        (void)state;
        for (int c = 0; c < 0x20; c++) {
                text[7] = (char)c;
                assert_refused((struct text){text, sizeof(text) - 1});
        }
        assert_refused(BYTES("{\"a\nb\":1}"));
}

static void bad_utf8_is_refused_wherever_it_stands(void **state)
{
        static const char *const bad[] = {
                "\xff",
                "\x80",
                "\xc3",
                "\xc3(",
                "\xc0\x80",
                "\xc1\xbf",
                "\xe0\x80\x80",
                "\xe0\x9f\xbf",
                "\xed\xa0\x80",
                "\xed\xbf\xbf",
                "\xf0\x8f\xbf\xbf",
                "\xf4\x90\x80\x80",
                "\xf5\x80\x80\x80",
                "\xe2\x82",
                "\xf0\x9f\x98",
        };
        static const char *const places[] = {"{\"a\":\"",         "\"}",  "{\"", "\":1}",
                                             "{\"a\":{\"b\":\"x", "y\"}}"};
        char text[64];

        (void)state;
        for (size_t i = 0; i < N_OF(bad); i++) {
                for (size_t k = 0; k < N_OF(places); k += 2) {
                        snprintf(text, sizeof(text), "%s", places[k]);
                        append(text, sizeof(text), bad[i]);
                        append(text, sizeof(text), places[k + 1]);
                        assert_refused(TEXT(text));
                }
        }
}

static void nesting_is_bounded_at_the_exact_depth(void **state)
{
        (void)state;
        for (size_t depth = 1; depth <= (size_t)3 * JSON_DEPTH_MAX; depth++) {
                for (int arrays = 0; arrays < 2; arrays++) {
                        char text[400] = "";

                        for (size_t i = 0; i < depth; i++)
                                append(text, sizeof(text), arrays && i > 0 ? "[" : "{\"a\":");
                        append(text, sizeof(text), "1");
                        for (size_t i = depth; i > 0; i--)
                                append(text, sizeof(text), arrays && i > 1 ? "]" : "}");
                        if (depth + 1 <= JSON_DEPTH_MAX) /* the number is a level, too */
                                assert_accepted(TEXT(text));
                        else
                                assert_refused(TEXT(text));
                }
        }
}

static void texts_are_given_as_they_are_and_nothing_is_converted_to_one(void **state)
{
        struct json *object = parsed(BYTES("{\"text\":\"a\\u00e9\",\"empty\":\"\",\"int\":1,"
                                           "\"null\":null,\"true\":true,\"array\":[\"a\"],"
                                           "\"double\":1.5,\"object\":{\"text\":\"b\"}}"));
        static const char *const others[] = {"int", "null", "true", "array", "double", "object"};
        struct text text;

        (void)state;
        assert_int_equal(json_get_text(object, "text", &text), JSON_MEMBER_PRESENT);
        assert_true(text_equal(text, BYTES("a\xc3\xa9")));
        assert_int_equal(json_get_text(object, "empty", &text), JSON_MEMBER_PRESENT);
        assert_int_equal(text.size, 0);
        for (size_t i = 0; i < N_OF(others); i++)
                assert_int_equal(json_get_text(object, others[i], &text), JSON_MEMBER_INVALID);
        assert_int_equal(json_get_text(object, "absent", &text), JSON_MEMBER_ABSENT);
        assert_int_equal(json_get_text(object, "TEXT", &text), JSON_MEMBER_ABSENT);
        json_release(object);
}

static void integers_are_exact_and_nothing_is_converted_to_one(void **state)
{
        struct json *object = parsed(
                BYTES("{\"zero\":0,\"negative\":-5,\"max\":9223372036854775807,"
                      "\"min\":-9223372036854775808,\"text\":\"3600\",\"fraction\":3599.9,"
                      "\"whole\":3600.0,\"exponent\":1e3,\"null\":null,\"true\":true,"
                      "\"array\":[1]}"));
        static const struct {
                const char *name;
                int64_t value;
        } integers[] = {
                {"zero", 0},
                {"negative", -5},
                {"max", INT64_MAX},
                {"min", INT64_MIN},
        };
        static const char *const others[] = {"text", "fraction", "whole", "exponent",
                                             "null", "true",     "array"};
        int64_t value;

        (void)state;
        for (size_t i = 0; i < N_OF(integers); i++) {
                assert_int_equal(json_get_integer(object, integers[i].name, &value),
                                 JSON_MEMBER_PRESENT);
                assert_true(value == integers[i].value);
        }
        for (size_t i = 0; i < N_OF(others); i++)
                assert_int_equal(json_get_integer(object, others[i], &value), JSON_MEMBER_INVALID);
        assert_int_equal(json_get_integer(object, "absent", &value), JSON_MEMBER_ABSENT);
        json_release(object);
}

static void integers_past_64_bits_saturate(void **state)
{
        static const struct {
                const char *text;
                int64_t value;
        } cases[] = {
                {"{\"a\":9223372036854775808}", INT64_MAX},
                {"{\"a\":18446744073709551615}", INT64_MAX},
                {"{\"a\":18446744073709551616}", INT64_MAX},
                {"{\"a\":99999999999999999999999999999999999999999999}", INT64_MAX},
                {"{\"a\":-9223372036854775809}", INT64_MIN},
                {"{\"a\":-99999999999999999999999999999999999999999999}", INT64_MIN},
        };

        (void)state;
        for (size_t i = 0; i < N_OF(cases); i++) {
                struct json *object = parsed(TEXT(cases[i].text));
                int64_t value = 0;

                assert_int_equal(json_get_integer(object, "a", &value), JSON_MEMBER_PRESENT);
                assert_true(value == cases[i].value);
                json_release(object);
        }
}

static void surrogates_are_one_character_in_pairs_and_none_alone(void **state)
{
        static const struct {
                const char *text, *value;
        } cases[] = {
                {"{\"a\":\"\\ud83d\\ude00\"}", "\xf0\x9f\x98\x80"},
                {"{\"a\":\"\\uDBFF\\uDFFFx\"}", "\xf4\x8f\xbf\xbfx"},
                {"{\"a\":\"\\ud83d\"}", "\xef\xbf\xbd"},
                {"{\"a\":\"\\ud83dx\"}", "\xef\xbf\xbdx"},
                {"{\"a\":\"\\ud83d\\n\"}", "\xef\xbf\xbd\n"},
                {"{\"a\":\"\\ude00\\ud83d\"}", "\xef\xbf\xbd\xef\xbf\xbd"},
                {"{\"a\":\"\\ud83d\\u0041\"}", "\xef\xbf\xbd"
                                               "A"},
                {"{\"a\":\"\\u007f\\u0080\\u07ff\\u0800\\uffff\"}",
                 "\x7f\xc2\x80\xdf\xbf\xe0\xa0\x80\xef\xbf\xbf"},
        };

        (void)state;
        for (size_t i = 0; i < N_OF(cases); i++) {
                struct json *object = parsed(TEXT(cases[i].text));
                struct text text;

                assert_int_equal(json_get_text(object, "a", &text), JSON_MEMBER_PRESENT);
                assert_true(text_equal(text, TEXT(cases[i].value)));
                assert_int_equal(text.bytes[text.size], '\0');
                json_release(object);
        }
        json_release(NULL);
        assert_refused(BYTES("{\"a\":\"\\\0\"}"));
        assert_refused(BYTES("{\"a\":\"\\ud83d\\u12\"}"));
        assert_refused(BYTES("{\"a\":\"\\ud83d\\u0000\"}"));
}

static void any_number_can_be_had_rounded_down(void **state)
{
        static const struct {
                const char *text;
                int64_t value;
        } cases[] = {
                {"{\"a\":5}", 5},      {"{\"a\":1.9}", 1},    {"{\"a\":-1.1}", -2},
                {"{\"a\":1e3}", 1000}, {"{\"a\":25E-1}", 2},  {"{\"a\":1e400}", INT64_MAX},
                {"{\"a\":-0.0}", 0},   {"{\"a\":1e-400}", 0}, {"{\"a\":-1e400}", INT64_MIN},
        };
        struct json *object;
        int64_t value;

        (void)state;
        for (size_t i = 0; i < N_OF(cases); i++) {
                object = parsed(TEXT(cases[i].text));
                assert_int_equal(json_get_number(object, "a", &value), JSON_MEMBER_PRESENT);
                assert_true(value == cases[i].value);
                json_release(object);
        }
        object = parsed(BYTES("{\"a\":\"1\",\"b\":null}"));
        assert_int_equal(json_get_number(object, "a", &value), JSON_MEMBER_INVALID);
        assert_int_equal(json_get_number(object, "b", &value), JSON_MEMBER_INVALID);
        assert_int_equal(json_get_number(object, "c", &value), JSON_MEMBER_ABSENT);
        assert_true(json_has(object, "a") && !json_is_null(object, "a"));
        assert_true(json_has(object, "b") && json_is_null(object, "b"));
        assert_true(!json_has(object, "c") && !json_is_null(object, "c"));
        json_release(object);
}

/* The outermost object has a bound, those in it have none. */
static void members_up_to_the_bound_are_taken_and_not_one_more(void **state)
{
        static char text[JSON_MEMBERS_MAX * 32];

        (void)state;
        for (int n = JSON_MEMBERS_MAX - 1; n <= JSON_MEMBERS_MAX + 1; n++) {
                size_t at = 0;

                for (int i = 0; i < n; i++)
                        at += (size_t)snprintf(text + at, sizeof(text) - at, "%s\"%d\":\":\"",
                                               i ? "," : "{", i);
                at += (size_t)snprintf(text + at, sizeof(text) - at, "}");
                if (n <= JSON_MEMBERS_MAX)
                        assert_accepted((struct text){text, at});
                else
                        assert_refused((struct text){text, at});
                memmove(text + 5, text, at);
                memcpy(text, ((const char[]){'{', '"', 'a', '"', ':'}), 5);
                text[5 + at] = '}';
                assert_accepted((struct text){text, at + 6});
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(well_formed_objects_are_taken),
                cmocka_unit_test(what_is_not_one_object_is_refused),
                cmocka_unit_test(every_prefix_of_an_object_is_refused),
                cmocka_unit_test(malformed_json_is_refused),
                cmocka_unit_test(numbers_that_rfc_8259_does_not_have_are_refused),
                cmocka_unit_test(a_member_that_occurs_twice_is_refused_however_it_is_written),
                cmocka_unit_test(a_nul_is_refused_in_whatever_form),
                cmocka_unit_test(control_characters_in_strings_are_refused),
                cmocka_unit_test(bad_utf8_is_refused_wherever_it_stands),
                cmocka_unit_test(nesting_is_bounded_at_the_exact_depth),
                cmocka_unit_test(texts_are_given_as_they_are_and_nothing_is_converted_to_one),
                cmocka_unit_test(integers_are_exact_and_nothing_is_converted_to_one),
                cmocka_unit_test(integers_past_64_bits_saturate),
                cmocka_unit_test(surrogates_are_one_character_in_pairs_and_none_alone),
                cmocka_unit_test(any_number_can_be_had_rounded_down),
                cmocka_unit_test(members_up_to_the_bound_are_taken_and_not_one_more),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
