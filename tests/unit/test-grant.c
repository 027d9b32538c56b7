/* SPDX-License-Identifier: MIT */

#include "grant.h"

#include <errno.h>
#include <stdio.h>
#include <time.h>

#include "helpers.h"

/* {"alg":"none"}, {"exp":5} */
#define JWT "eyJhbGciOiJub25lIn0.eyJleHAiOjV9.c2ln"

static const uint8_t hash_key[SIPHASH_KEY_BYTES] = "0123456789abcde";

static struct grant_key make_of(uint8_t *buffer, const struct grant *grant)
{
        return grant_key_make(buffer, hash_key, grant);
}

/* On behalf of a subject. */
static struct grant_key make(uint8_t *buffer, uint64_t identity, enum subject_kind kind,
                             struct text subject, struct text scope)
{
        return make_of(buffer, &(struct grant){.identity = identity,
                                               .subject_kind = kind,
                                               .subject = subject,
                                               .scope = scope});
}

static const uint8_t some_digest[SUBJECTTOKEN_DIGEST_BYTES] = "digest of 32 bytes, a \0 in it";

/* A grant of any kind: what there is to it of subject and digest. */
static struct grant any_grant(enum subject_kind kind, struct text subject, struct text scope)
{
        return (struct grant){
                .identity = UINT64_C(0x0123456789abcdef),
                .subject_kind = kind,
                .subject = subject_kind_names(kind) ? subject : (struct text){},
                .digest = kind == SUBJECT_EXCHANGE ? some_digest : NULL,
                .scope = scope,
        };
}

static bool same_grant(const struct grant *a, const struct grant *b)
{
        return a->identity == b->identity && a->subject_kind == b->subject_kind &&
               text_equal(a->subject, b->subject) && text_equal(a->scope, b->scope) &&
               !a->digest == !b->digest &&
               (!a->digest || memcmp(a->digest, b->digest, SUBJECTTOKEN_DIGEST_BYTES) == 0);
}

static void a_key_can_be_taken_apart_again(void **state)
{
        uint8_t buffer[GRANT_KEY_MAX_BYTES];

        (void)state;
        for (enum subject_kind kind = 0; kind < _SUBJECT_KIND_N; kind++) {
                const struct grant made = any_grant(kind, BYTES("p\xc3\xa4 &="), BYTES("a b"));
                const struct grant_key key = make_of(buffer, &made);
                const struct grant grant = grant_of_key(key);

                assert_true(same_grant(&grant, &made));
                assert_false(grant_key_is_any_subject(key));
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
        const struct grant grant = {.identity = 1, .subject = BYTES("pa"), .scope = BYTES("a")};
        uint8_t buffer[GRANT_KEY_MAX_BYTES];
        const struct grant_key key = make(buffer, 1, SUBJECT_USERNAME, BYTES("pa"), BYTES("a"));

        (void)state;
        assert_int_equal(key.hash, siphash(hash_key, key.bytes, key.size));
        assert_int_not_equal(grant_key_make(buffer, other_key, &grant).hash, key.hash);
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

static struct grant_key make_any(uint8_t *buffer, uint64_t identity, struct text scope)
{
        return grant_key_make_any_subject(buffer, hash_key,
                                          &(struct grant){.identity = identity, .scope = scope});
}

static void a_key_for_any_subject_is_that_of_no_subject(void **state)
{
        static const char scope[] = "a b";
        uint8_t a[GRANT_KEY_MAX_BYTES], b[GRANT_KEY_MAX_BYTES];
        const struct grant_key any = make_any(a, 7, TEXT(scope));
        /* Subjects that look like what stands in the key beside an empty one. */
        static const struct text subjects[] = {BYTES("\0"), BYTES("\xff"), BYTES("\3\0a b"),
                                               BYTES("*")};

        (void)state;
        assert_int_equal(any.hash, siphash(hash_key, any.bytes, any.size));
        assert_true(grant_key_is_any_subject(any));
        assert_true(grant_key_equal(any, make_any(b, 7, TEXT(scope))));
        assert_distinct(any, make_any(b, 8, TEXT(scope)));
        assert_distinct(any, make_any(b, 7, BYTES("a")));
        for (size_t i = 0; i < N_OF(subjects); i++) {
                for (enum subject_kind kind = 0; kind < _SUBJECT_KIND_N; kind++) {
                        struct grant grant = any_grant(kind, subjects[i], TEXT(scope));

                        grant.identity = 7;
                        assert_distinct(any, make_of(b, &grant));
                }
        }
}

/* What is known of one grant type says nothing of another. */
static void each_grant_type_has_a_key_for_any_subject_of_its_own(void **state)
{
        uint8_t a[GRANT_KEY_MAX_BYTES], b[GRANT_KEY_MAX_BYTES];

        (void)state;
        for (enum subject_kind i = 0; i < _SUBJECT_KIND_N; i++) {
                const struct grant grant = any_grant(i, BYTES("pa"), BYTES("a"));
                const struct grant_key any = grant_key_make_any_subject(a, hash_key, &grant);

                assert_int_equal(grant_key_equal(any, make_of(b, &grant)), !subject_kind_names(i));
                assert_int_equal(grant_key_is_any_subject(any), subject_kind_names(i));
                for (enum subject_kind k = 0; k < _SUBJECT_KIND_N; k++) {
                        const struct grant other = any_grant(k, BYTES("pb"), BYTES("a"));
                        const bool both = i == k || (i <= SUBJECT_EMAIL && k <= SUBJECT_EMAIL);

                        if (i == SUBJECT_EXCHANGE && k == SUBJECT_EXCHANGE)
                                continue; /* see below */
                        assert_int_equal(grant_key_equal(any, grant_key_make_any_subject(
                                                                      b, hash_key, &other)),
                                         both);
                }
        }
}

static void any_subject_token_is_one_of_the_same_registration(void **state)
{
        static const uint8_t other_digest[SUBJECTTOKEN_DIGEST_BYTES] = "other";
        uint8_t a[GRANT_KEY_MAX_BYTES], b[GRANT_KEY_MAX_BYTES];
        struct grant grant = any_grant(SUBJECT_EXCHANGE, BYTES("okta"), BYTES("a"));
        const struct grant_key any = grant_key_make_any_subject(a, hash_key, &grant);

        (void)state;
        grant.digest = other_digest;
        assert_true(grant_key_equal(any, grant_key_make_any_subject(b, hash_key, &grant)));
        assert_true(text_equal(grant_of_key(any).subject, BYTES("okta")));
        assert_int_equal(grant_of_key(any).subject_kind, _SUBJECT_KIND_N);
        grant.subject = BYTES("octa");
        assert_distinct(any, grant_key_make_any_subject(b, hash_key, &grant));
}

/* One run of bytes, cut into registration_id, digest and scope, or subject and scope, wherever it
 * can be; with what looks like lengths in it. */
static void every_regrouping_across_kinds_is_another_key(void **state)
{
        enum { N = 60 };
        static uint8_t buffers[3 * N][GRANT_KEY_MAX_BYTES];
        struct grant_key keys[3 * N];
        char bytes[N];
        size_t n = 0;

        (void)state;
        for (size_t i = 0; i < N; i++)
                bytes[i] = (char)(i % 4 == 0 ? i : 0);
        for (size_t cut = 1; cut < N; cut++) {
                struct grant grant = {.identity = 1,
                                      .subject_kind = SUBJECT_USERNAME,
                                      .subject = {bytes, cut},
                                      .scope = {bytes + cut, N - cut}};

                keys[n] = make_of(buffers[n], &grant);
                n++;
                grant.subject_kind = SUBJECT_APPLICATION;
                grant.subject = (struct text){};
                keys[n] = make_of(buffers[n], &grant);
                n++;
                if (cut + SUBJECTTOKEN_DIGEST_BYTES >= N)
                        continue;
                grant.subject_kind = SUBJECT_EXCHANGE;
                grant.subject = (struct text){bytes, cut};
                grant.digest = (const uint8_t *)bytes + cut;
                grant.scope.bytes = bytes + cut + SUBJECTTOKEN_DIGEST_BYTES;
                grant.scope.size = N - cut - SUBJECTTOKEN_DIGEST_BYTES;
                keys[n] = make_of(buffers[n], &grant);
                n++;
        }
        for (size_t i = 0; i < n; i++)
                for (size_t k = 0; k < i; k++)
                        assert_distinct(keys[i], keys[k]);
}

/* Few letters and short texts, so that regroupings and look-alikes of length fields abound, digests
 * that look like the texts beside them, and all kinds among one another. */
static void keys_are_equal_only_if_the_grants_are(void **state)
{
        enum { N = 1500 };
        static const char letters[] = {'a', 'b', ' ', '\0', '\1', '\2', '\3', '\x20'};
        static uint8_t buffers[N][GRANT_KEY_MAX_BYTES], digests[N][SUBJECTTOKEN_DIGEST_BYTES];
        static struct grant grants[N];
        static char texts[N][40];
        struct grant_key keys[N];
        const char *given = getenv("GRANT_SEED");
        const uint64_t first_seed = given ? strtoull(given, NULL, 10) : (uint64_t)time(NULL);
        uint64_t seed = first_seed;
        size_t n_same = 0;

        (void)state;
        print_message("# GRANT_SEED=%llu\n", (unsigned long long)first_seed);
        for (size_t i = 0; i < N; i++) {
                const size_t n_subject = 1 + random_next(&seed) % 3;
                const size_t n_scope = 1 + random_next(&seed) % (random_next(&seed) % 8 ? 3 : 36);
                const size_t n_letters = 1 + random_next(&seed) % N_OF(letters);
                const enum subject_kind kind = random_next(&seed) % _SUBJECT_KIND_N;
                struct grant *grant = &grants[i];

                for (size_t k = 0; k < sizeof(texts[i]); k++)
                        texts[i][k] = letters[random_next(&seed) % n_letters];
                for (size_t k = 0; k < SUBJECTTOKEN_DIGEST_BYTES; k++)
                        digests[i][k] = (uint8_t)texts[random_next(&seed) % 8 ? 0 : i][k];
                *grant = any_grant(kind, (struct text){texts[i], n_subject},
                                   (struct text){texts[i] + n_subject, n_scope});
                grant->identity = random_next(&seed) % 2;
                if (kind == SUBJECT_EXCHANGE)
                        grant->digest = digests[i];
                keys[i] = make_of(buffers[i], grant);
                for (size_t k = 0; k < i; k++) {
                        const bool same = same_grant(grant, &grants[k]);

                        assert_int_equal(grant_key_equal(keys[i], keys[k]), same);
                        n_same += same;
                }
        }
        assert_true(n_same > 100);
}

static void users_and_customers_have_their_audiences(void **state)
{
        (void)state;
        assert_int_equal(grant_audience(SUBJECT_USERNAME), AUDIENCE_USER);
        assert_int_equal(grant_audience(SUBJECT_USERID), AUDIENCE_USER);
        assert_int_equal(grant_audience(SUBJECT_EMAIL), AUDIENCE_CUSTOMER);
        assert_int_equal(grant_audience(SUBJECT_APPLICATION), AUDIENCE_USER);
        assert_int_equal(grant_audience(SUBJECT_EXCHANGE), AUDIENCE_USER);
        assert_int_equal(grant_audience(SUBJECT_ANONYMOUS), AUDIENCE_ANONYMOUS);
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
        assert_int_equal(grant_form(&form, &grant, "id 1", &secret, NULL), 0);
        assert_string_equal(form.bytes, "grant_type=password&client_id=id%201"
                                        "&client_secret=a%26b%3Dc%2Bd%25"
                                        "&scope=core.a%20core.b&subject_username=pa");
        secret_deinit(&form);
        secret_deinit(&secret);
}

static void the_other_grants_have_the_documented_forms(void **state)
{
        static const struct {
                enum subject_kind kind;
                const char *form;
        } cases[] = {
                {SUBJECT_APPLICATION, "grant_type=client_credentials&client_id=id&client_secret=s"
                                      "&scope=app.a"},
                {SUBJECT_ANONYMOUS, "grant_type=client_credentials&client_id=id&client_secret=s"
                                    "&scope=app.a"},
                {SUBJECT_EXCHANGE,
                 "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Atoken-exchange"
                 "&client_id=id&client_secret=s&scope=app.a&registration_id=okta%201"
                 "&subject_token_type=urn%3Aietf%3Aparams%3Aoauth%3Atoken-type%3Ajwt"
                 "&subject_token=a.b-_.c"},
        };
        const struct subjecttoken subject_token = {.type = SUBJECTTOKEN_JWT,
                                                   .value = BYTES("a.b-_.c")};
        struct secret form = SECRET_INIT(0), secret = SECRET_INIT(0);

        (void)state;
        assert_int_equal(secret_append_str(&secret, "s"), 0);
        for (size_t i = 0; i < N_OF(cases); i++) {
                const struct grant grant = any_grant(cases[i].kind, BYTES("okta 1"),
                                                     BYTES("app.a"));

                assert_int_equal(grant_form(&form, &grant, "id", &secret, &subject_token), 0);
                assert_string_equal(form.bytes, cases[i].form);
        }
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
                assert_int_equal(grant_form(&form, &grant, "", &none, NULL), 0);
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
        const struct subjecttoken subject_token = {.value = BYTES(JWT)};
        struct secret form = SECRET_INIT(0), secret = SECRET_INIT(0);

        (void)state;
        assert_int_equal(secret_append_str(&secret, "s&scope=more"), 0);
        for (size_t i = 0; i < N_OF(subjects) * _SUBJECT_KIND_N; i++) {
                const struct grant grant = any_grant((enum subject_kind)(i % _SUBJECT_KIND_N),
                                                     TEXT(subjects[i / _SUBJECT_KIND_N]),
                                                     BYTES("!#$%&'()*+,-./ [] {|}~"));
                const enum subject_kind read = grant.subject_kind == SUBJECT_ANONYMOUS
                                                       ? SUBJECT_APPLICATION
                                                       : grant.subject_kind;
                struct token_request request;

                request_init(&request);
                assert_int_equal(grant_form(&form, &grant, "id&=+% ", &secret, &subject_token), 0);
                assert_int_equal(request_parse(&request, form.bytes, form.size, REQUEST_BODY), 0);
                assert_int_equal(request.subject_kind, read);
                assert_int_equal(request.subject_token.value.size,
                                 read == SUBJECT_EXCHANGE ? subject_token.value.size : 0);
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
        const struct grant grant = any_grant(SUBJECT_EXCHANGE, BYTES("okta"),
                                             BYTES("a-rather-long-scope that-makes-it-grow"));
        const struct subjecttoken subject_token = {.value = BYTES("the-client-secret-of-some-length"
                                                                  "-as-part-of-the-subject-token")};
        struct secret secret = SECRET_INIT(0);
        int r = -ENOMEM;

        (void)state;
        assert_int_equal(secret_append_str(&secret, needle), 0);
        frees_watch(needle);
        for (unsigned int n = 1; r; n++) {
                struct secret form = SECRET_INIT(0);

                assert_true(n < 20);
                alloc_fail_at(n);
                r = grant_form(&form, &grant, "id", &secret, &subject_token);
                assert_int_equal(r, alloc_has_failed() ? -ENOMEM : 0);
                secret_deinit(&form);
        }
        secret_deinit(&secret);
        assert_int_equal(frees_dirty(), 0);
        frees_watch(NULL);
}

static void a_form_with_too_little_room_is_not_made_wherever_it_ends(void **state)
{
        const struct grant grant = any_grant(SUBJECT_USERNAME, BYTES("p a"), BYTES("a b"));
        struct secret secret = SECRET_INIT(0);
        size_t limit = 0;
        int r;

        (void)state;
        assert_int_equal(secret_append_str(&secret, "s"), 0);
        do {
                struct secret form = SECRET_INIT(++limit);

                r = grant_form(&form, &grant, "id", &secret, NULL);
                if (r)
                        assert_int_equal(r, SECRET_E_FULL);
                else
                        assert_int_equal(form.size, limit);
                secret_deinit(&form);
        } while (r);
        assert_int_equal(limit, strlen("grant_type=password&client_id=id&client_secret=s"
                                       "&scope=a%20b&subject_username=p%20a"));
        secret_deinit(&secret);
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
                cmocka_unit_test(each_grant_type_has_a_key_for_any_subject_of_its_own),
                cmocka_unit_test(any_subject_token_is_one_of_the_same_registration),
                cmocka_unit_test(every_regrouping_across_kinds_is_another_key),
                cmocka_unit_test(keys_are_equal_only_if_the_grants_are),
                cmocka_unit_test(users_and_customers_have_their_audiences),
                cmocka_unit_test(the_form_is_the_documented_one),
                cmocka_unit_test(the_other_grants_have_the_documented_forms),
                cmocka_unit_test(unreserved_characters_and_no_others_stand_for_themselves),
                cmocka_unit_test(a_form_parses_back_into_the_grant),
                cmocka_unit_test(a_form_with_too_little_room_is_not_made_wherever_it_ends),
                cmocka_unit_test(a_secret_is_nowhere_left_behind_even_without_memory),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
