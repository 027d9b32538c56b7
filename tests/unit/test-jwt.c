/* SPDX-License-Identifier: MIT */

#include "jwt.h"

#include <errno.h>
#include <stdio.h>

#include "helpers.h"

/* Reads the lifetime from a block of exactly the token's size. */
static int lifetime(struct text token, int64_t *ret)
{
        char *exact = copy_exactly(token);
        const int r = jwt_lifetime_s((struct text){exact, token.size}, ret);

        free(exact);
        return r;
}

static int lifetime_of_payload(struct text payload, int64_t *ret)
{
        char token[2048] = "eyJhbGciOiJub25lIn0.";

        encode_base64url(token + strlen(token), payload);
        append(token, sizeof(token), ".c2lnbmF0dXJl");
        return lifetime(TEXT(token), ret);
}

static void assert_lifetime(const char *payload, int64_t expected)
{
        int64_t seconds = 0;

        assert_int_equal(lifetime_of_payload(TEXT(payload), &seconds), 0);
        assert_true(seconds == expected);
}

static void assert_none(struct text payload)
{
        int64_t seconds;

        assert_int_equal(lifetime_of_payload(payload, &seconds), JWT_E_NO_LIFETIME);
}

static void the_lifetime_is_exp_less_iat(void **state)
{
        (void)state;
        assert_lifetime("{\"exp\":1700003600,\"iat\":1700000000}", 3600);
        assert_lifetime("{\"iat\":1,\"sub\":\"pa\",\"aud\":[\"a\",\"b\"],\"exp\":2}", 1);
        assert_lifetime("{\"exp\":5,\"iat\":5}", 0);
        assert_lifetime("{\"exp\":1,\"iat\":5}", -4);
        assert_lifetime("{\"exp\":-1,\"iat\":-5}", 4);
}

/* The payload's size modulo 3 decides how base64 ends. */
static void payloads_of_every_size_are_decoded(void **state)
{
        static const char any[] = ">?~?>>~"; /* its base64 has both - and _ */
        char payload[400];
        size_t size;

        (void)state;
        for (size_t filler = 0; filler < 300; filler++) {
                size = (size_t)snprintf(payload, sizeof(payload), "{\"exp\":9,\"iat\":2,\"x\":\"");
                for (size_t i = 0; i < filler; i++)
                        payload[size++] = any[i % (sizeof(any) - 1)];
                memcpy(payload + size, "\"}", sizeof("\"}"));
                assert_lifetime(payload, 7);
        }
}

static void claims_that_are_no_integers_tell_nothing(void **state)
{
        (void)state;
        assert_none(BYTES("{\"exp\":1700003600}"));
        assert_none(BYTES("{\"iat\":1700003600}"));
        assert_none(BYTES("{}"));
        assert_none(BYTES("{\"exp\":\"1700003600\",\"iat\":1}"));
        assert_none(BYTES("{\"exp\":5,\"iat\":\"1\"}"));
        assert_none(BYTES("{\"exp\":5.5,\"iat\":1}"));
        assert_none(BYTES("{\"exp\":1e9,\"iat\":1}"));
        assert_none(BYTES("{\"exp\":null,\"iat\":1}"));
        assert_none(BYTES("{\"exp\":NaN,\"iat\":1}"));
        assert_none(BYTES("{\"exp\":5,\"iat\":1,\"exp\":9}"));
        assert_none(BYTES("{\"Exp\":5,\"iat\":1}"));
}

static void a_difference_that_overflows_tells_nothing(void **state)
{
        (void)state;
        assert_none(BYTES("{\"exp\":9223372036854775807,\"iat\":-1}"));
        assert_none(BYTES("{\"exp\":99999999999999999999,\"iat\":-99999999999999999999}"));
        assert_none(BYTES("{\"exp\":-9223372036854775808,\"iat\":1}"));
        assert_lifetime("{\"exp\":9223372036854775807,\"iat\":0}", INT64_MAX);
}

static void a_payload_that_is_no_json_object_tells_nothing(void **state)
{
        (void)state;
        assert_none(BYTES("[]"));
        assert_none(BYTES("x"));
        assert_none(BYTES("\0"));
        assert_none(BYTES("{\"exp\":5,\"iat\":1}\0"));
        assert_none(BYTES("{\"exp\":5,\"iat\":1}x"));
        assert_none(BYTES("{\"exp\":5,\"iat\":1,\"x\":\"\xff\"}"));
}

/* "e30" is {}, the long one {"exp":5,"iat":1}. */
static void what_is_not_three_parts_is_no_jwt(void **state)
{
        static const char *const tokens[] = {
                "",
                "opaque",
                ".",
                "..",
                "...",
                "a.b",
                "a..c",
                "a.e30.c",
                "eyJleHAiOjUsImlhdCI6MX0",
                "eyJleHAiOjUsImlhdCI6MX0.",
                ".eyJleHAiOjUsImlhdCI6MX0",
                "a.eyJleHAiOjUsImlhdCI6MX0",
                "a.eyJleHAiOjUsImlhdCI6MX0.c.d",
                "a.b.eyJleHAiOjUsImlhdCI6MX0.d",
                "a.eyJleHAiOjUsImlhdCI6MX0.c.",
                ".a.eyJleHAiOjUsImlhdCI6MX0.c",
        };
        int64_t seconds;

        (void)state;
        for (size_t i = 0; i < N_OF(tokens); i++)
                assert_int_equal(lifetime(TEXT(tokens[i]), &seconds), JWT_E_NO_LIFETIME);
        assert_int_equal(lifetime(BYTES("a.eyJleHAiOjUsImlhdCI6MX0.c"), &seconds), 0);
        assert_int_equal(seconds, 4);
        assert_int_equal(lifetime(BYTES(".eyJleHAiOjUsImlhdCI6MX0."), &seconds), 0);
}

static void what_is_no_base64url_tells_nothing(void **state)
{
        static const char *const payloads[] = {
                "eyJleHAiOjUsImlhdCI6MX0=",
                "eyJleHAiOjUsImlhdCI6MX0==",
                "eyJleHAiOjUsImlhdCI6MX0===",
                "eyJleHAiOjUsImlhdCI6MX0=====",
                "eyJleHAiOjUsImlhdCI6MX",
                "eyJleHAiOjUsImlhdCI6M",
                "eyJleHAiOjUs*mlhdCI6MX0",
                "eyJleHAiOjUs ImlhdCI6MX0",
                " eyJleHAiOjUsImlhdCI6MX0",
                "    eyJleHAiOjUsImlhdCI6MX0",
                "eyJleHAiOjUsImlhdCI6MX0 ",
                "eyJleHAiOjUsImlhdCI6MX0g    ",
                "eyJleHAiOjUsImlhdCI6MX0\n",
                "eyJleHAiOjUsImlhdCI6MX0g\n\n\n\n",
                "eyJleHAiOjUsImlhdCI6MX0g\r\n\r\n",
                "eyJleHAiOjUsImlhdCI6MX0g\t   ",
                "eyJleH=iOjUsImlhdCI6MX0",
                "eyJ4IjoiPj4+Pz8/IiwiZXhwIjo1LCJpYXQiOjF9",
                "====",
                "A",
                "\xc3\xa9\xc3\xa9",
                "AAAA",
        };
        char token[128];
        int64_t seconds;

        (void)state;
        for (size_t i = 0; i < N_OF(payloads); i++) {
                snprintf(token, sizeof(token), "a.%s.c", payloads[i]);
                if (lifetime(TEXT(token), &seconds) != JWT_E_NO_LIFETIME)
                        fail_msg("taken: %s", token);
        }
        assert_int_equal(lifetime(BYTES("a.eyJleHAiOjU\0ImlhdCI6MX0.c"), &seconds),
                         JWT_E_NO_LIFETIME);
}

static void what_was_decoded_is_wiped(void **state)
{
        static const char needle[] = "the subject's name";
        char payload[100], token[200] = "a.";
        int64_t seconds;

        (void)state;
        snprintf(payload, sizeof(payload), "{\"exp\":5,\"iat\":1,\"sub\":\"%s\"}", needle);
        encode_base64url(token + 2, TEXT(payload));
        append(token, sizeof(token), ".c");
        frees_watch(needle);
        assert_int_equal(jwt_lifetime_s(TEXT(token), &seconds), 0);
        assert_int_equal(frees_dirty(), 0);
        frees_watch("eyJ"); /* and so is the copy in base64 */
        assert_int_equal(jwt_lifetime_s(TEXT(token), &seconds), 0);
        assert_int_equal(frees_dirty(), 0);
        frees_watch(NULL);
}

static void out_of_memory_at_every_allocation_is_said(void **state)
{
        int64_t seconds;
        int r = -ENOMEM;

        (void)state;
        for (unsigned int n = 1; r; n++) {
                assert_true(n < 10);
                alloc_fail_at(n);
                r = jwt_lifetime_s(BYTES("a.eyJleHAiOjUsImlhdCI6MX0.c"), &seconds);
                assert_int_equal(r, alloc_has_failed() ? -ENOMEM : 0);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(the_lifetime_is_exp_less_iat),
                cmocka_unit_test(payloads_of_every_size_are_decoded),
                cmocka_unit_test(claims_that_are_no_integers_tell_nothing),
                cmocka_unit_test(a_difference_that_overflows_tells_nothing),
                cmocka_unit_test(a_payload_that_is_no_json_object_tells_nothing),
                cmocka_unit_test(what_is_not_three_parts_is_no_jwt),
                cmocka_unit_test(what_is_no_base64url_tells_nothing),
                cmocka_unit_test(what_was_decoded_is_wiped),
                cmocka_unit_test(out_of_memory_at_every_allocation_is_said),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
