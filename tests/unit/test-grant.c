/* SPDX-License-Identifier: MIT */

#include "grant.h"

#include <errno.h>
#include <stdio.h>

#include "helpers.h"

static const uint8_t hash_key[SIPHASH_KEY_BYTES] = "0123456789abcde";

static struct grant_key make(uint8_t *buffer, uint64_t identity, enum subject_kind kind,
                             struct text subject, struct text scope)
{
        const struct token_request request = {.subject_kind = kind, .subject = subject};

        return grant_key_make(buffer, hash_key, identity, &request, scope);
}

static void a_key_can_be_taken_apart_again(void **state)
{
        uint8_t buffer[GRANT_KEY_MAX_BYTES];

        (void)state;
        for (int kind = 0; kind < _SUBJECT_KIND_N; kind++) {
                const struct grant grant = grant_of_key(make(buffer, UINT64_C(0x0123456789abcdef),
                                                             kind, BYTES("p\xc3\xa4 &="),
                                                             BYTES("a b")));

                assert_int_equal(grant.identity, UINT64_C(0x0123456789abcdef));
                assert_int_equal(grant.subject_kind, kind);
                assert_true(text_equal(grant.subject, BYTES("p\xc3\xa4 &=")));
                assert_true(text_equal(grant.scope, BYTES("a b")));
        }
}

static void the_largest_grant_fills_the_buffer_exactly(void **state)
{
        uint8_t *buffer = malloc(GRANT_KEY_MAX_BYTES);
        char subject[REQUEST_SUBJECT_MAX_BYTES], scope[REQUEST_SCOPE_MAX_BYTES];
        struct grant_key key;
        struct grant grant;

        (void)state;
        assert_non_null(buffer);
        memset(subject, 's', sizeof(subject));
        memset(scope, 'x', sizeof(scope));
        key = make(buffer, UINT64_MAX, SUBJECT_EMAIL, (struct text){subject, sizeof(subject)},
                   (struct text){scope, sizeof(scope)});
        assert_int_equal(key.size, GRANT_KEY_MAX_BYTES);
        grant = grant_of_key(key);
        assert_int_equal(grant.identity, UINT64_MAX);
        assert_true(text_equal(grant.subject, (struct text){subject, sizeof(subject)}));
        assert_true(text_equal(grant.scope, (struct text){scope, sizeof(scope)}));
        free(buffer);
}

static void the_hash_is_of_the_bytes_under_the_key(void **state)
{
        static const uint8_t other_key[SIPHASH_KEY_BYTES] = "another key.....";
        const struct token_request request = {.subject = BYTES("pa")};
        uint8_t buffer[GRANT_KEY_MAX_BYTES];
        const struct grant_key key = make(buffer, 1, SUBJECT_USERNAME, BYTES("pa"), BYTES("a"));

        (void)state;
        assert_int_equal(key.hash, siphash(hash_key, key.bytes, key.size));
        assert_int_not_equal(grant_key_make(buffer, other_key, 1, &request, BYTES("a")).hash,
                             key.hash);
}

static void assert_distinct(struct grant_key a, struct grant_key b)
{
        assert_true(a.size != b.size || memcmp(a.bytes, b.bytes, a.size) != 0);
        assert_false(grant_key_equal(a, b));
}

/* One run of bytes, cut into subject and scope at every place: each cut is a grant of its own. */
static void every_regrouping_of_the_same_bytes_is_another_key(void **state)
{
        static const char bytes[] = "ab c d\1\0\2\0a b c";
        enum { N = sizeof(bytes) - 1 };
        static uint8_t buffers[N][GRANT_KEY_MAX_BYTES];
        struct grant_key keys[N];

        (void)state;
        for (size_t cut = 1; cut < N; cut++) {
                keys[cut] = make(buffers[cut], 1, SUBJECT_USERNAME, (struct text){bytes, cut},
                                 (struct text){bytes + cut, N - cut});
                for (size_t other = 1; other < cut; other++)
                        assert_distinct(keys[cut], keys[other]);
        }
}

static void near_misses_are_other_keys(void **state)
{
        uint8_t a[GRANT_KEY_MAX_BYTES], b[GRANT_KEY_MAX_BYTES];
        const struct grant_key key = make(a, 1, SUBJECT_USERNAME, BYTES("pa"), BYTES("a"));

        (void)state;
        assert_true(grant_key_equal(key, make(b, 1, SUBJECT_USERNAME, BYTES("pa"), BYTES("a"))));
        assert_distinct(key, make(b, 1, SUBJECT_USERID, BYTES("pa"), BYTES("a")));
        assert_distinct(key, make(b, 1, SUBJECT_EMAIL, BYTES("pa"), BYTES("a")));
        assert_distinct(key, make(b, 2, SUBJECT_USERNAME, BYTES("pa"), BYTES("a")));
        assert_distinct(key,
                        make(b, UINT64_C(1) << 32 | 1, SUBJECT_USERNAME, BYTES("pa"), BYTES("a")));
        assert_distinct(key, make(b, UINT64_C(1) << 56, SUBJECT_USERNAME, BYTES("pa"), BYTES("a")));
        assert_distinct(key, make(b, 1, SUBJECT_USERNAME, BYTES("Pa"), BYTES("a")));
        assert_distinct(key, make(b, 1, SUBJECT_USERNAME, BYTES("pa "), BYTES("a")));
        assert_distinct(key, make(b, 1, SUBJECT_USERNAME, BYTES("pa\0"), BYTES("a")));
        assert_distinct(key, make(b, 1, SUBJECT_USERNAME, BYTES("pa"), BYTES("A")));
        assert_distinct(key, make(b, 1, SUBJECT_USERNAME, BYTES("pa"), BYTES("a b")));
}

static void a_key_for_any_subject_is_that_of_no_subject(void **state)
{
        static const char scope[] = "a b";
        uint8_t a[GRANT_KEY_MAX_BYTES], b[GRANT_KEY_MAX_BYTES];
        const struct grant_key any = grant_key_make_any_subject(a, hash_key, 7, TEXT(scope));
        /* Subjects that look like what stands in the key beside an empty one. */
        static const struct text subjects[] = {BYTES("\0"), BYTES("\xff"), BYTES("\3\0a b"),
                                               BYTES("*")};

        (void)state;
        assert_int_equal(any.hash, siphash(hash_key, any.bytes, any.size));
        assert_true(grant_key_equal(any, grant_key_make_any_subject(b, hash_key, 7, TEXT(scope))));
        assert_distinct(any, grant_key_make_any_subject(b, hash_key, 8, TEXT(scope)));
        assert_distinct(any, grant_key_make_any_subject(b, hash_key, 7, BYTES("a")));
        for (size_t i = 0; i < N_OF(subjects); i++)
                for (int kind = 0; kind < _SUBJECT_KIND_N; kind++)
                        assert_distinct(any, make(b, 7, kind, subjects[i], TEXT(scope)));
}

/* Few letters and short texts, so that regroupings and look-alikes of length fields abound. */
static void keys_are_equal_only_if_the_grants_are(void **state)
{
        enum { N = 600 };
        static const char letters[] = {'a', 'b', ' ', '\0', '\1', '\2'};
        static uint8_t buffers[N][GRANT_KEY_MAX_BYTES];
        static char texts[N][8];
        struct grant_key keys[N];
        uint64_t seed = 7;

        (void)state;
        for (size_t i = 0; i < N; i++) {
                const size_t n_subject = 1 + random_next(&seed) % 4;
                const size_t n_scope = 1 + random_next(&seed) % 4;
                struct grant grant;

                for (size_t k = 0; k < sizeof(texts[i]); k++)
                        texts[i][k] = letters[random_next(&seed) % N_OF(letters)];
                keys[i] = make(buffers[i], random_next(&seed) % 2,
                               (enum subject_kind)(random_next(&seed) % _SUBJECT_KIND_N),
                               (struct text){texts[i], n_subject},
                               (struct text){texts[i] + n_subject, n_scope});
                grant = grant_of_key(keys[i]);
                for (size_t k = 0; k < i; k++) {
                        const struct grant other = grant_of_key(keys[k]);
                        const bool same = grant.identity == other.identity &&
                                          grant.subject_kind == other.subject_kind &&
                                          text_equal(grant.subject, other.subject) &&
                                          text_equal(grant.scope, other.scope);

                        assert_int_equal(grant_key_equal(keys[i], keys[k]), same);
                }
        }
}

static void users_and_customers_have_their_audiences(void **state)
{
        (void)state;
        assert_int_equal(grant_audience(SUBJECT_USERNAME), AUDIENCE_USER);
        assert_int_equal(grant_audience(SUBJECT_USERID), AUDIENCE_USER);
        assert_int_equal(grant_audience(SUBJECT_EMAIL), AUDIENCE_CUSTOMER);
}

static void the_form_is_the_documented_one(void **state)
{
        const struct grant grant = {
                .subject_kind = SUBJECT_USERNAME,
                .subject = BYTES("pa"),
                .scope = BYTES("core.a core.b"),
        };
        struct secret form = SECRET_INIT(0), secret = SECRET_INIT(0);

        (void)state;
        assert_int_equal(secret_append_str(&secret, "a&b=c+d%"), 0);
        assert_int_equal(secret_append_str(&form, "what was there before"), 0);
        assert_int_equal(grant_form(&form, &grant, "id 1", &secret), 0);
        assert_string_equal(form.bytes, "grant_type=password&client_id=id%201"
                                        "&client_secret=a%26b%3Dc%2Bd%25"
                                        "&scope=core.a%20core.b&subject_username=pa");
        secret_deinit(&form);
        secret_deinit(&secret);
}

static void unreserved_characters_and_no_others_stand_for_themselves(void **state)
{
        static const char unreserved[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
                                         "0123456789-._~";
        const struct secret none = SECRET_INIT(0);

        (void)state;
        for (int byte = 0; byte < 256; byte++) {
                const char character = (char)byte;
                const struct grant grant = {
                        .subject_kind = SUBJECT_USERID,
                        .subject = {&character, 1},
                        .scope = BYTES("s"),
                };
                struct secret form = SECRET_INIT(0);
                char expected[100];

                snprintf(expected, sizeof(expected),
                         byte && strchr(unreserved, byte) ? "%s%c" : "%s%%%02X",
                         "grant_type=password&client_id=&client_secret=&scope=s&subject_userid=",
                         byte);
                assert_int_equal(grant_form(&form, &grant, "", &none), 0);
                assert_string_equal(form.bytes, expected);
                secret_deinit(&form);
        }
}

/* What we send comes out of our own strict parser as it went in. */
static void a_form_parses_back_into_the_grant(void **state)
{
        static const char *const subjects[] = {"pa",    " ",   "a&b=c",     "100%",
                                               "%41",   "+",   "p\xc3\xa4", "\xf0\x9f\x98\x80",
                                               "a@b.c", "x;y", "\"",        "'"};
        struct secret form = SECRET_INIT(0), secret = SECRET_INIT(0);

        (void)state;
        assert_int_equal(secret_append_str(&secret, "s&scope=more"), 0);
        for (size_t i = 0; i < N_OF(subjects) * _SUBJECT_KIND_N; i++) {
                const struct grant grant = {
                        .subject_kind = (enum subject_kind)(i % _SUBJECT_KIND_N),
                        .subject = TEXT(subjects[i / _SUBJECT_KIND_N]),
                        .scope = BYTES("!#$%&'()*+,-./ [] {|}~"),
                };
                struct token_request request;

                request_init(&request);
                assert_int_equal(grant_form(&form, &grant, "id&=+% ", &secret), 0);
                assert_int_equal(request_parse(&request, form.bytes, form.size, REQUEST_BODY), 0);
                assert_int_equal(request.subject_kind, grant.subject_kind);
                assert_true(text_equal(request.subject, grant.subject));
                assert_true(text_equal(request.scope, grant.scope));
                assert_true(text_equal(request.client, BYTES("id&=+% ")));
                assert_true(request.keys.n > 0);
                request_deinit(&request);
        }
        secret_deinit(&form);
        secret_deinit(&secret);
}

static void a_secret_is_nowhere_left_behind_even_without_memory(void **state)
{
        static const char needle[] = "the-client-secret-of-some-length";
        const struct grant grant = {.subject = BYTES("pa"),
                                    .scope = BYTES("a-rather-long-scope "
                                                   "that-makes-it-grow")};
        struct secret secret = SECRET_INIT(0);
        int r = -ENOMEM;

        (void)state;
        assert_int_equal(secret_append_str(&secret, needle), 0);
        frees_watch(needle);
        for (unsigned int n = 1; r; n++) {
                struct secret form = SECRET_INIT(0);

                assert_true(n < 20);
                alloc_fail_at(n);
                r = grant_form(&form, &grant, "id", &secret);
                assert_int_equal(r, alloc_has_failed() ? -ENOMEM : 0);
                secret_deinit(&form);
        }
        secret_deinit(&secret);
        assert_int_equal(frees_dirty(), 0);
        frees_watch(NULL);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(a_key_can_be_taken_apart_again),
                cmocka_unit_test(the_largest_grant_fills_the_buffer_exactly),
                cmocka_unit_test(the_hash_is_of_the_bytes_under_the_key),
                cmocka_unit_test(every_regrouping_of_the_same_bytes_is_another_key),
                cmocka_unit_test(near_misses_are_other_keys),
                cmocka_unit_test(a_key_for_any_subject_is_that_of_no_subject),
                cmocka_unit_test(keys_are_equal_only_if_the_grants_are),
                cmocka_unit_test(users_and_customers_have_their_audiences),
                cmocka_unit_test(the_form_is_the_documented_one),
                cmocka_unit_test(unreserved_characters_and_no_others_stand_for_themselves),
                cmocka_unit_test(a_form_parses_back_into_the_grant),
                cmocka_unit_test(a_secret_is_nowhere_left_behind_even_without_memory),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
