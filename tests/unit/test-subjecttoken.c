/* SPDX-License-Identifier: MIT */

#include "subjecttoken.h"

#include <errno.h>
#include <openssl/evp.h>
#include <stdio.h>

#include "helpers.h"
#include "reason.h"

/* HMAC() of libcrypto, which fails where its memory does. */
unsigned char *__real_HMAC(const EVP_MD *md, const void *key, int key_size,
                           const unsigned char *bytes, size_t size, unsigned char *ret,
                           unsigned int *ret_size);
unsigned char *__wrap_HMAC(const EVP_MD *md, const void *key, int key_size,
                           const unsigned char *bytes, size_t size, unsigned char *ret,
                           unsigned int *ret_size);

static bool hmac_fails;

unsigned char *__wrap_HMAC(const EVP_MD *md, const void *key, int key_size,
                           const unsigned char *bytes, size_t size, unsigned char *ret,
                           unsigned int *ret_size)
{
        return hmac_fails ? NULL : __real_HMAC(md, key, key_size, bytes, size, ret, ret_size);
}

#define URN "urn:ietf:params:oauth:token-type:"

/* From a block of exactly its size, which the result borrows. */
static int read_value(struct subjecttoken *ret, struct text value, const char *type)
{
        char *exact = copy_exactly(value);
        const int r = subjecttoken_read(ret, (struct text){exact, value.size}, TEXT(type));

        if (r == 0)
                assert_true(text_equal(ret->value, value));
        free(exact);
        return r;
}

static int read_claims(struct subjecttoken *ret, struct text claims)
{
        char token[2048] = "eyJhbGciOiJub25lIn0.";

        encode_base64url(token + strlen(token), claims);
        append(token, sizeof(token), ".c2ln");
        return read_value(ret, TEXT(token), URN "access_token");
}

static void assert_ends(const char *claims, int64_t expected_s)
{
        struct subjecttoken token;

        assert_int_equal(read_claims(&token, TEXT(claims)), 0);
        if (token.expires_at_s != expected_s)
                fail_msg("%s: %lld", claims, (long long)token.expires_at_s);
}

static void assert_refused(const char *claims, enum reason reason)
{
        struct subjecttoken token;

        assert_int_equal(read_claims(&token, TEXT(claims)), reason);
}

static void the_end_is_exp(void **state)
{
        (void)state;
        assert_ends("{\"exp\":1900000000}", 1900000000);
        assert_ends("{\"iat\":2,\"exp\":1,\"nbf\":3,\"aud\":[\"a\"]}", 1);
        assert_ends("{\"exp\":0}", 0);
        /* A NumericDate may have a fraction (RFC 7519 §2), of which the token never profits. */
        assert_ends("{\"exp\":1900000000.9}", 1900000000);
        assert_ends("{\"exp\":1.9e9}", 1900000000);
        assert_ends("{\"exp\":0.5}", 0);
}

/* What is past is past; what is further than any clock goes never comes. */
static void ends_beyond_all_bounds_are_bounded(void **state)
{
        static const char *const past[] = {"-1", "-0.5", "-1e300", "-9223372036854775808",
                                           "-99999999999999999999"};
        static const char *const never[] = {"1e300", "1e400", "9223372036854775807",
                                            "99999999999999999999999", "9.3e18"};
        char claims[100];
        struct subjecttoken token;

        (void)state;
        for (size_t i = 0; i < N_OF(past); i++) {
                snprintf(claims, sizeof(claims), "{\"exp\":%s}", past[i]);
                assert_ends(claims, 0);
        }
        for (size_t i = 0; i < N_OF(never); i++) {
                snprintf(claims, sizeof(claims), "{\"exp\":%s}", never[i]);
                assert_int_equal(read_claims(&token, TEXT(claims)), 0);
                assert_false(subjecttoken_has_ended(&token, INT64_C(1) << 60));
                assert_true(token.expires_at_s > INT64_C(1) << 50);
        }
}

static void an_end_that_is_none_is_told_from_one_that_is_missing(void **state)
{
        (void)state;
        assert_refused("{}", REASON_SUBJECT_TOKEN_NO_EXP);
        assert_refused("{\"iat\":1,\"Exp\":2,\"expires_in\":3600}", REASON_SUBJECT_TOKEN_NO_EXP);
        assert_refused("{\"exp\":\"1900000000\"}", REASON_SUBJECT_TOKEN_BAD_EXP);
        assert_refused("{\"exp\":null}", REASON_SUBJECT_TOKEN_BAD_EXP);
        assert_refused("{\"exp\":true}", REASON_SUBJECT_TOKEN_BAD_EXP);
        assert_refused("{\"exp\":[1900000000]}", REASON_SUBJECT_TOKEN_BAD_EXP);
        assert_refused("{\"exp\":{}}", REASON_SUBJECT_TOKEN_BAD_EXP);
}

static void what_is_no_jwt_is_refused(void **state)
{
        static const char *const claims[] = {
                "",
                "[]",
                "5",
                "null",
                "{\"exp\":1",
                "{\"exp\":1}x",
                "{\"exp\":1,\"exp\":2}",
                "{\"exp\":NaN}",
                "{\"exp\":Infinity}",
                "{'exp':1}",
                "{\"exp\":1,\"a\":{\"b\":{\"b\":{\"b\":{\"b\":{\"b\":{\"b\":{\"b\":{}}}}}}}}}",
        };
        static const char *const tokens[] = {
                "a",
                "a.b",
                "...",
                "eyJleHAiOjV9",
                ".eyJleHAiOjV9",
                "a.eyJleHAiOjV9",
                "a.eyJleHAiOjV9.b.c",
                "a.eyJleHAiOjV9.b.c.d", /* an encrypted one has five parts */
                "a.eyJleHAiOjV9 .b",
                " a.eyJleHAiOjV9.b",
                "a.eyJleHAiOjV9.b\n",
                "a.eyJleHAiOjV9.b=",
                "a.eyJleHAiOjV9.\xc3\xa4",
                "Bearer a.eyJleHAiOjV9.b",
        };
        struct subjecttoken token;

        (void)state;
        for (size_t i = 0; i < N_OF(claims); i++)
                assert_refused(claims[i], REASON_SUBJECT_TOKEN_NOT_JWT);
        for (size_t i = 0; i < N_OF(tokens); i++)
                assert_int_equal(read_value(&token, TEXT(tokens[i]), URN "jwt"),
                                 REASON_SUBJECT_TOKEN_NOT_JWT);
        assert_int_equal(read_value(&token, BYTES("a.eyJleHAiOjV9.b\0"), URN "jwt"),
                         REASON_SUBJECT_TOKEN_NOT_JWT);
        /* Without a signature it is the issuer's to refuse. */
        assert_int_equal(read_value(&token, TEXT("a.eyJleHAiOjV9."), URN "jwt"), 0);
}

static void three_types_are_taken_and_named_as_they_came(void **state)
{
        static const char value[] = "a.eyJleHAiOjV9.b";
        static const char *const bad[] = {URN "refresh_token",
                                          URN "saml2",
                                          URN "Access_token",
                                          URN "access_token ",
                                          URN "access_toke",
                                          "access_token",
                                          "urn:ietf:params:oauth:token-type:",
                                          "x"};
        static const char *const good[] = {URN "access_token", URN "id_token", URN "jwt"};
        struct subjecttoken token;

        (void)state;
        for (size_t i = 0; i < N_OF(good); i++) {
                assert_int_equal(read_value(&token, TEXT(value), good[i]), 0);
                assert_string_equal(subjecttoken_type_name(token.type), good[i]);
        }
        for (size_t i = 0; i < N_OF(bad); i++)
                assert_int_equal(read_value(&token, TEXT(value), bad[i]),
                                 REASON_BAD_SUBJECT_TOKEN_TYPE);
        assert_int_equal(read_value(&token, TEXT(value), ""), REASON_MISSING_SUBJECT_TOKEN_TYPE);
        assert_int_equal(read_value(&token, TEXT(""), URN "jwt"), REASON_MISSING_SUBJECT_TOKEN);
}

/* A signature fills up what is left of `size` bytes. */
static int read_of_size(size_t size)
{
        static const char begin[] = "eyJhbGciOiJub25lIn0.eyJleHAiOjV9.";
        char *bytes = malloc(size);
        struct subjecttoken token;
        int r;

        assert_non_null(bytes);
        memset(bytes, 's', size);
        memcpy(bytes, begin, sizeof(begin) - 1);
        r = read_value(&token, (struct text){bytes, size}, URN "jwt");
        free(bytes);
        return r;
}

static void it_has_16_kib_at_most(void **state)
{
        (void)state;
        assert_int_equal(SUBJECTTOKEN_MAX_BYTES, 16384);
        assert_int_equal(read_of_size(SUBJECTTOKEN_MAX_BYTES), 0);
        assert_int_equal(read_of_size(SUBJECTTOKEN_MAX_BYTES + 1), REASON_LONG_SUBJECT_TOKEN);
        assert_int_equal(read_of_size(65536), REASON_LONG_SUBJECT_TOKEN);
}

static void it_has_ended_from_exp_on(void **state)
{
        const struct subjecttoken token = {.expires_at_s = 1000};

        (void)state;
        assert_false(subjecttoken_has_ended(&token, 999999));
        assert_true(subjecttoken_has_ended(&token, 1000000));
}

static void digests_tell_tokens_types_and_keys_apart(void **state)
{
        const uint8_t key[SUBJECTTOKEN_KEY_BYTES] = {1}, other_key[SUBJECTTOKEN_KEY_BYTES] = {2};
        const struct subjecttoken tokens[] = {
                {.value = BYTES("a.b.c"), .type = SUBJECTTOKEN_ACCESS_TOKEN, .expires_at_s = 5},
                {.value = BYTES("a.b.d"), .type = SUBJECTTOKEN_ACCESS_TOKEN, .expires_at_s = 5},
                {.value = BYTES("a.b.c"), .type = SUBJECTTOKEN_JWT, .expires_at_s = 5},
                {.value = BYTES("a.b.cc"), .type = SUBJECTTOKEN_ACCESS_TOKEN, .expires_at_s = 5},
        };
        uint8_t digests[N_OF(tokens)][SUBJECTTOKEN_DIGEST_BYTES];
        uint8_t again[SUBJECTTOKEN_DIGEST_BYTES];

        (void)state;
        for (size_t i = 0; i < N_OF(tokens); i++) {
                assert_int_equal(subjecttoken_digest(digests[i], key, &tokens[i]), 0);
                assert_int_equal(subjecttoken_digest(again, key, &tokens[i]), 0);
                assert_memory_equal(digests[i], again, sizeof(again));
                assert_int_equal(subjecttoken_digest(again, other_key, &tokens[i]), 0);
                assert_memory_not_equal(digests[i], again, sizeof(again));
                for (size_t k = 0; k < i; k++)
                        assert_memory_not_equal(digests[i], digests[k], sizeof(again));
        }
}

/* Claims are decoded into memory of their own, which is wiped before it is given back. */
static void nothing_of_it_is_left_behind_even_without_memory(void **state)
{
        static const char needle[] = "a-claim-that-nobody-may-find";
        char claims[200], value[600] = "eyJhbGciOiJub25lIn0.";
        struct subjecttoken token;
        int r = -ENOMEM;

        (void)state;
        snprintf(claims, sizeof(claims), "{\"sub\":\"%s\",\"exp\":5}", needle);
        encode_base64url(value + strlen(value), TEXT(claims));
        append(value, sizeof(value), ".c2ln");
        frees_watch(needle);
        for (unsigned int n = 1; r; n++) {
                assert_true(n < 20);
                alloc_fail_at(n);
                r = subjecttoken_read(&token, TEXT(value), TEXT(URN "jwt"));
                assert_int_equal(r, alloc_has_failed() ? -ENOMEM : 0);
        }
        assert_int_equal(frees_dirty(), 0);
        frees_watch(NULL);
}

static void a_digest_without_memory_is_none(void **state)
{
        static const uint8_t key[SUBJECTTOKEN_KEY_BYTES] = {0};
        const struct subjecttoken token = {.value = BYTES("value")};
        uint8_t digest[SUBJECTTOKEN_DIGEST_BYTES];

        (void)state;
        hmac_fails = true;
        assert_int_equal(subjecttoken_digest(digest, key, &token), -ENOMEM);
        hmac_fails = false;
        assert_int_equal(subjecttoken_digest(digest, key, &token), 0);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(the_end_is_exp),
                cmocka_unit_test(ends_beyond_all_bounds_are_bounded),
                cmocka_unit_test(an_end_that_is_none_is_told_from_one_that_is_missing),
                cmocka_unit_test(what_is_no_jwt_is_refused),
                cmocka_unit_test(three_types_are_taken_and_named_as_they_came),
                cmocka_unit_test(it_has_16_kib_at_most),
                cmocka_unit_test(it_has_ended_from_exp_on),
                cmocka_unit_test(digests_tell_tokens_types_and_keys_apart),
                cmocka_unit_test(a_digest_without_memory_is_none),
                cmocka_unit_test(nothing_of_it_is_left_behind_even_without_memory),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
