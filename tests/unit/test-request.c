/* SPDX-License-Identifier: MIT */

#include "request.h"

#include <errno.h>
#include <openssl/evp.h>
#include <openssl/sha.h>
#include <stdio.h>

#include "helpers.h"

#define NEEDLE "hunter2-is-the-secret"

/* A request with the form it borrows from, in a block of exactly its size. */
struct parsed {
        struct token_request request;
        char *form;
        size_t size;
        int r;
};

static struct parsed parse_from(struct text form, enum request_source source)
{
        struct parsed parsed = {.form = copy_exactly(form), .size = form.size};

        request_init(&parsed.request);
        parsed.r = request_parse(&parsed.request, parsed.form, form.size, source);
        return parsed;
}

static struct parsed parse(const char *form)
{
        return parse_from(TEXT(form), REQUEST_BODY);
}

static void release(struct parsed *parsed)
{
        request_deinit(&parsed->request);
        free(parsed->form);
}

static void assert_outcome(const char *form, int reason)
{
        struct parsed parsed = parse(form);

        if (parsed.r != reason)
                print_error("%s: %d, not %d\n", form, parsed.r, reason);
        assert_int_equal(parsed.r, reason);
        release(&parsed);
}

static void assert_text(struct text text, struct text expected)
{
        assert_int_equal(text.size, expected.size);
        assert_true(text_equal(text, expected));
}

/* grant_type=password and a subject, followed by more. */
#define GOOD "grant_type=password&subject_username=pa"

/* {"alg":"none"}, {"exp":5} */
#define JWT_OF_5 "eyJhbGciOiJub25lIn0.eyJleHAiOjV9.c2ln"

#define URN      "urn:ietf:params:oauth:token-type:"
#define EXCHANGE "grant_type=urn:ietf:params:oauth:grant-type:token-exchange"

/* A whole one, followed by more. */
#define EXCHANGE_WITH(more)                                                                   \
        EXCHANGE "&subject_token=" JWT_OF_5 "&registration_id=okta-1&subject_token_type=" URN \
                 "access_token" more

static void the_documented_form_is_understood(void **state)
{
        struct parsed parsed = parse("grant_type=password&client_id=abc-123&client_secret=s3cr%65t"
                                     "&scope=read+core.write%20admin&subject_username=pa"
                                     "&min_ttl=120");

        (void)state;
        assert_int_equal(parsed.r, 0);
        assert_int_equal(parsed.request.subject_kind, SUBJECT_USERNAME);
        assert_text(parsed.request.subject, BYTES("pa"));
        assert_text(parsed.request.scope, BYTES("admin core.write read"));
        assert_text(parsed.request.client, BYTES("abc-123"));
        assert_int_equal(parsed.request.min_ttl_ms, 120000);
        assert_true(parsed.request.keys.n > 0);
        assert_int_equal(parsed.request.basic_client.size, 0);
        assert_int_equal(parsed.request.basic_client_raw.size, 0);
        release(&parsed);
}

static void every_kind_of_subject_is_read_from_its_parameter(void **state)
{
        static const char *const names[] = {"username", "userid", "email"};
        char form[100];

        (void)state;
        for (enum subject_kind kind = SUBJECT_USERNAME; kind <= SUBJECT_EMAIL; kind++) {
                struct parsed parsed;

                assert_string_equal(subject_kind_name(kind), names[kind]);
                snprintf(form, sizeof(form), "subject_%s", names[kind]);
                assert_string_equal(subject_kind_parameter(kind), form);
                snprintf(form, sizeof(form), "subject_%s=a%%40b.c&grant_type=password",
                         names[kind]);
                parsed = parse(form);
                assert_int_equal(parsed.r, 0);
                assert_int_equal(parsed.request.subject_kind, kind);
                assert_text(parsed.request.subject, BYTES("a@b.c"));
                release(&parsed);
        }
}

static void what_is_not_said_stays_empty(void **state)
{
        struct parsed parsed = parse(GOOD);

        (void)state;
        assert_int_equal(parsed.r, 0);
        assert_int_equal(parsed.request.scope.size, 0);
        assert_int_equal(parsed.request.client.size, 0);
        assert_int_equal(parsed.request.min_ttl_ms, 0);
        assert_int_equal(parsed.request.keys.n, 0);
        assert_false(parsed.request.rejects);
        release(&parsed);
}

static void a_parameter_without_a_value_counts_as_absent(void **state)
{
        struct parsed parsed = parse(GOOD "&scope=&client_id=&client_secret=&min_ttl=");

        (void)state;
        assert_int_equal(parsed.r, 0);
        assert_int_equal(parsed.request.scope.size, 0);
        assert_int_equal(parsed.request.client.size, 0);
        assert_int_equal(parsed.request.min_ttl_ms, 0);
        assert_int_equal(parsed.request.keys.n, 0);
        release(&parsed);
        assert_outcome(GOOD "&scope&client_id&client_secret&min_ttl", 0);
        assert_outcome("grant_type=&subject_username=pa", REASON_MISSING_GRANT_TYPE);
        assert_outcome("grant_type&subject_username=pa", REASON_MISSING_GRANT_TYPE);
}

static void a_grant_type_is_asked_for_and_may_be_left_out_of_a_query_only(void **state)
{
        struct parsed parsed;

        (void)state;
        assert_outcome("", REASON_MISSING_GRANT_TYPE);
        assert_outcome("subject_username=pa", REASON_MISSING_GRANT_TYPE);
        assert_outcome("grant_type=implicit&subject_username=pa", REASON_UNSUPPORTED_GRANT_TYPE);
        assert_outcome("grant_type=client_credential", REASON_UNSUPPORTED_GRANT_TYPE);
        assert_outcome("grant_type=urn:ietf:params:oauth:grant-type:token-exchang",
                       REASON_UNSUPPORTED_GRANT_TYPE);
        assert_outcome("grant_type=Password&subject_username=pa", REASON_UNSUPPORTED_GRANT_TYPE);
        assert_outcome("grant_type=password%00&subject_username=pa", REASON_UNSUPPORTED_GRANT_TYPE);
        assert_outcome("grant_type=passwor&subject_username=pa", REASON_UNSUPPORTED_GRANT_TYPE);
        assert_outcome("grant_type=p%61ssword&subject_username=pa", 0);

        parsed = parse_from(TEXT("subject_userid=1"), REQUEST_QUERY);
        assert_int_equal(parsed.r, 0);
        release(&parsed);
        parsed = parse_from(TEXT("subject_userid=1&grant_type=x"), REQUEST_QUERY);
        assert_int_equal(parsed.r, REASON_UNSUPPORTED_GRANT_TYPE);
        release(&parsed);
        parsed = parse_from((struct text){}, REQUEST_QUERY);
        assert_int_equal(parsed.r, REASON_MISSING_SUBJECT);
        release(&parsed);
}

static void exactly_one_subject_is_asked_for(void **state)
{
        (void)state;
        assert_outcome("grant_type=password", REASON_MISSING_SUBJECT);
        assert_outcome("grant_type=password&subject=pa", REASON_MISSING_SUBJECT);
        assert_outcome("grant_type=password&Subject_username=pa", REASON_MISSING_SUBJECT);
        assert_outcome("grant_type=password&username=pa&password=x", REASON_MISSING_SUBJECT);
        assert_outcome(GOOD "&subject_userid=1", REASON_AMBIGUOUS_SUBJECT);
        assert_outcome(GOOD "&subject_userid=", REASON_AMBIGUOUS_SUBJECT);
        assert_outcome(GOOD "&subject_email=a@b&subject_userid=1", REASON_AMBIGUOUS_SUBJECT);
        assert_outcome("grant_type=password&subject_username=", REASON_EMPTY_SUBJECT);
        assert_outcome("grant_type=password&subject_email", REASON_EMPTY_SUBJECT);
}

static void a_subject_is_1_to_256_bytes_after_decoding(void **state)
{
        static const struct {
                size_t size;
                int reason;
        } bounds[] = {
                {0, REASON_EMPTY_SUBJECT},
                {1, 0},
                {256, 0},
                {257, REASON_LONG_SUBJECT},
        };

        (void)state;
        for (size_t i = 0; i < N_OF(bounds); i++) {
                for (int escaped = 0; escaped < 2; escaped++) {
                        char form[1024] = "grant_type=password&subject_userid=";
                        struct parsed parsed;

                        for (size_t k = 0; k < bounds[i].size; k++)
                                append(form, sizeof(form), escaped ? "%7a" : "z");
                        parsed = parse(form);
                        assert_int_equal(parsed.r, bounds[i].reason);
                        if (parsed.r == 0)
                                assert_int_equal(parsed.request.subject.size, bounds[i].size);
                        release(&parsed);
                }
        }
}

static void a_subject_is_plain_utf8_taken_verbatim(void **state)
{
        static const char *const bad[] = {"%00",    "a%00", "%00a",        "%0a",       "a%7F",
                                          "%C2%80", "%c3",  "%C0%AF",      "%ED%A0%80", "\t",
                                          "%ff",    "\xc3", "%F4%90%80%80"};
        char form[100];
        struct parsed parsed;

        (void)state;
        for (size_t i = 0; i < N_OF(bad); i++) {
                snprintf(form, sizeof(form), "grant_type=password&subject_username=%s", bad[i]);
                assert_outcome(form, REASON_BAD_SUBJECT);
        }
        parsed = parse(
                "grant_type=password&subject_username=+M%C3%BCller%2b%26%3D%25%2541 \xc3\xa9;=x");
        assert_int_equal(parsed.r, 0);
        assert_text(parsed.request.subject, BYTES(" M\xc3\xbcller+&=%%41 \xc3\xa9;=x"));
        release(&parsed);
}

/* Every wrong escape in a name and in a value, at the end of the form and before its end. */
static void every_malformed_escape_is_refused_wherever_it_stands(void **state)
{
        static const char *const bad[] = {"%",   "%4",  "%%",  "%g0",    "%0g", "%4%", "%%41",
                                          "% 1", "%1 ", "%+1", "%-1",    "%0x", "%:0", "%@0",
                                          "%`0", "%/0", "%G0", "%u0041", "a%",  "a%4"};
        static const char *const places[] = {
                GOOD "&scope=%s",
                GOOD "&scope=%s&x=y",
                GOOD "&unknown=%s",
                GOOD "&%s=x",
                GOOD "&%s",
                "%s&" GOOD,
                GOOD "&client_secret=%s",
                GOOD "&unknown%s&x=y",
        };
        char form[200];

        (void)state;
        for (size_t i = 0; i < N_OF(bad); i++) {
                for (size_t k = 0; k < N_OF(places); k++) {
                        const char *at = strstr(places[k], "%s");

                        snprintf(form, sizeof(form), "%.*s%s%s", (int)(at - places[k]), places[k],
                                 bad[i], at + 2);
                        assert_outcome(form, REASON_MALFORMED_ESCAPE);
                }
        }
}

static void every_byte_can_be_escaped_in_either_case(void **state)
{
        (void)state;
        for (int byte = 0; byte < 256; byte++) {
                for (int upper = 0; upper < 2; upper++) {
                        const char expected = (char)byte;
                        char form[100];
                        struct parsed parsed;

                        snprintf(form, sizeof(form),
                                 upper ? GOOD "&client_id=%%%02X" : GOOD "&client_id=%%%02x", byte);
                        parsed = parse(form);
                        assert_int_equal(parsed.r, 0);
                        assert_text(parsed.request.client, (struct text){&expected, 1});
                        release(&parsed);
                }
        }
}

static void a_repeat_is_refused_even_if_escapes_hide_it(void **state)
{
        static const char *const names[] = {
                "scope",      "client_id",        "client_secret",        "min_ttl",
                "grant_type", "subject_username", "rejected_token_sha256"};

        (void)state;
        for (size_t i = 0; i < N_OF(names); i++) {
                char form[200];

                snprintf(form, sizeof(form), GOOD "&%s=1&%s=1", names[i], names[i]);
                assert_outcome(form, REASON_REPEATED_PARAMETER);
                snprintf(form, sizeof(form), GOOD "&%s=1&%%%02x%s=2", names[i], names[i][0],
                         names[i] + 1);
                assert_outcome(form, REASON_REPEATED_PARAMETER);
                snprintf(form, sizeof(form), GOOD "&%s&%s=", names[i], names[i]);
                assert_outcome(form, REASON_REPEATED_PARAMETER);
        }
}

static void parameters_we_do_not_read_may_hold_anything_and_repeat(void **state)
{
        (void)state;
        assert_outcome(GOOD "&a=1&a=2&A&=&=x&==&%00=%00&scop=x&scopes=y&Scope=%ff", 0);
        assert_outcome("&&&" GOOD "&&&", 0);
        /* A NUL behind a name makes it another name. */
        assert_outcome(GOOD "&scope%00=\"", 0);
        assert_outcome("grant_type=password&subject_username%00=pa", REASON_MISSING_SUBJECT);
}

static void the_first_equals_sign_parts_name_and_value(void **state)
{
        struct parsed parsed = parse(GOOD "&client_id=a=b==");

        (void)state;
        assert_int_equal(parsed.r, 0);
        assert_text(parsed.request.client, BYTES("a=b=="));
        release(&parsed);
        /* An escaped one belongs to the name. */
        assert_outcome("grant_type=password&subject_username%3dpa", REASON_MISSING_SUBJECT);
}

static void the_first_of_several_mistakes_is_named(void **state)
{
        (void)state;
        assert_outcome(GOOD "&scope=a&scope=b&x=%zz&scope=c", REASON_REPEATED_PARAMETER);
        assert_outcome(GOOD "&x=%zz&scope=a&scope=b&y=1", REASON_MALFORMED_ESCAPE);
        assert_outcome("scope=%zz", REASON_MALFORMED_ESCAPE);
}

static void a_bad_scope_is_refused(void **state)
{
        (void)state;
        assert_outcome(GOOD "&scope=+", REASON_BAD_SCOPE);
        assert_outcome(GOOD "&scope=a++b", REASON_BAD_SCOPE);
        assert_outcome(GOOD "&scope=a%00", REASON_BAD_SCOPE);
        assert_outcome(GOOD "&scope=a%0ab", REASON_BAD_SCOPE);
        assert_outcome(GOOD "&scope=%22", REASON_BAD_SCOPE);
        assert_outcome(GOOD "&scope=%c3%a9", REASON_BAD_SCOPE);
}

static void min_ttl_is_one_to_nine_digits(void **state)
{
        static const char *const bad[] = {"-1",  "%2b1", "+1",  "1+",  "1.5",        "1s",
                                          "0x1", "a",    "1e3", "%00", "1234567890", "1%00"};
        static const struct {
                const char *digits;
                uint64_t ms;
        } good[] = {
                {"0", 0},
                {"1", 1000},
                {"007", 7000},
                {"999999999", UINT64_C(999999999000)},
        };
        char form[100];

        (void)state;
        for (size_t i = 0; i < N_OF(bad); i++) {
                snprintf(form, sizeof(form), GOOD "&min_ttl=%s", bad[i]);
                assert_outcome(form, REASON_BAD_MIN_TTL);
        }
        for (size_t i = 0; i < N_OF(good); i++) {
                struct parsed parsed;

                snprintf(form, sizeof(form), GOOD "&min_ttl=%s", good[i].digits);
                parsed = parse(form);
                assert_int_equal(parsed.r, 0);
                assert_int_equal(parsed.request.min_ttl_ms, good[i].ms);
                release(&parsed);
        }
}

#define HEX_SHA256         \
        "00017f80ff"       \
        "0123456789abcdef" \
        "0123456789ABCDEF" \
        "aAbBcCdDeEfF1029384756"

static void a_rejected_token_is_sixty_four_hexadecimal_digits_in_any_case(void **state)
{
        static const uint8_t expected[REQUEST_SHA256_BYTES] = {
                0x00, 0x01, 0x7f, 0x80, 0xff, 0x01, 0x23, 0x45, 0x67, 0x89, 0xab,
                0xcd, 0xef, 0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef, 0xaa,
                0xbb, 0xcc, 0xdd, 0xee, 0xff, 0x10, 0x29, 0x38, 0x47, 0x56};
        static const char *const good[] = {GOOD "&rejected_token_sha256=" HEX_SHA256,
                                           "rejected%5ftoken_sha256=%30"
                                           "0017f80ff"
                                           "0123456789abcdef"
                                           "0123456789ABCDEF"
                                           "aAbBcCdDeEfF1029384756&" GOOD};

        (void)state;
        for (size_t i = 0; i < N_OF(good); i++) {
                struct parsed parsed = parse(good[i]);

                assert_int_equal(parsed.r, 0);
                assert_true(parsed.request.rejects);
                assert_memory_equal(parsed.request.rejected_sha256, expected, sizeof(expected));
                release(&parsed);
        }
}

static void no_rejected_token_is_none(void **state)
{
        static const char *const forms[] = {
                GOOD, GOOD "&rejected_token_sha256",
                GOOD "&rejected_token_sha256=", GOOD "&Rejected_Token_SHA256=x"};

        (void)state;
        for (size_t i = 0; i < N_OF(forms); i++) {
                struct parsed parsed = parse(forms[i]);

                assert_int_equal(parsed.r, 0);
                assert_false(parsed.request.rejects);
                release(&parsed);
        }
}

static void a_rejected_token_of_another_length_or_alphabet_is_refused(void **state)
{
        char form[200], digits[67];

        (void)state;
        for (size_t size = 1; size < sizeof(digits); size++) {
                memset(digits, 'a', size);
                digits[size] = '\0';
                snprintf(form, sizeof(form), GOOD "&rejected_token_sha256=%s", digits);
                assert_outcome(form, size == 64 ? 0 : REASON_BAD_REJECTED_TOKEN);
        }
        /* Every byte at the first, an inner and the last place. */
        for (int byte = 1; byte < 256; byte++) {
                static const int places[] = {0, 31, 63};
                const bool good = strchr("0123456789abcdefABCDEF", byte) != NULL;

                for (size_t i = 0; i < N_OF(places); i++) {
                        const int place = places[i];

                        memset(digits, '5', 64);
                        digits[64] = '\0';
                        snprintf(form, sizeof(form), GOOD "&rejected_token_sha256=%.*s%%%02x%s",
                                 place, digits, byte, digits + place + 1);
                        assert_outcome(form, good ? 0 : REASON_BAD_REJECTED_TOKEN);
                }
        }
        memset(digits, '5', 64);
        snprintf(form, sizeof(form), GOOD "&rejected_token_sha256=%.63s%%00", digits);
        assert_outcome(form, REASON_BAD_REJECTED_TOKEN);
        snprintf(form, sizeof(form), GOOD "&rejected_token_sha256=%.64s%%00", digits);
        assert_outcome(form, REASON_BAD_REJECTED_TOKEN);
        /* A base64url SHA-256, as others spell it, and one with colons. */
        assert_outcome(GOOD "&rejected_token_sha256=47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU",
                       REASON_BAD_REJECTED_TOKEN);
        assert_outcome(GOOD "&rejected_token_sha256=sha256:" HEX_SHA256, REASON_BAD_REJECTED_TOKEN);
}

static void the_application_is_asked_for_without_a_subject(void **state)
{
        struct parsed parsed = parse("grant_type=client_credentials&scope=b+a&client_id=x");

        (void)state;
        assert_int_equal(parsed.r, 0);
        assert_true(parsed.request.has_subject);
        assert_int_equal(parsed.request.subject_kind, SUBJECT_APPLICATION);
        assert_int_equal(parsed.request.subject.size, 0);
        assert_text(parsed.request.scope, BYTES("a b"));
        release(&parsed);
        parsed = parse_from(TEXT("grant_type=client_credentials"), REQUEST_QUERY);
        assert_int_equal(parsed.r, 0);
        assert_int_equal(parsed.request.subject_kind, SUBJECT_APPLICATION);
        release(&parsed);
}

/* Neither does a subject that is lost on the way make a request for the application's own token. */
static void no_grant_falls_through_to_another(void **state)
{
#define APPLICATION "grant_type=client_credentials&"
        (void)state;
        assert_outcome(APPLICATION "subject_username=pa", REASON_UNWANTED_SUBJECT);
        assert_outcome(APPLICATION "subject_userid=", REASON_UNWANTED_SUBJECT);
        assert_outcome(APPLICATION "subject_email", REASON_UNWANTED_SUBJECT);
        assert_outcome(APPLICATION "subject_token=" JWT_OF_5, REASON_UNWANTED_SUBJECT);
        assert_outcome(APPLICATION "subject_token_type=x", REASON_UNWANTED_SUBJECT);
        assert_outcome(APPLICATION "subject_name=pa", REASON_UNWANTED_SUBJECT);
        assert_outcome(APPLICATION "subject%5Fx=1&subject_x=2", REASON_UNWANTED_SUBJECT);
        assert_outcome("subject_=&" APPLICATION, REASON_UNWANTED_SUBJECT);
        assert_outcome(APPLICATION "subject=pa&Subject_username=pa&username=pa&asubject_x=1", 0);
        assert_outcome(APPLICATION "registration_id=x&audience=a&audience=b", 0);
        assert_outcome("grant_type=password&scope=a", REASON_MISSING_SUBJECT);
        assert_outcome("grant_type=password&registration_id=x", REASON_MISSING_SUBJECT);
        assert_outcome("grant_type=password&subject_token=" JWT_OF_5, REASON_MISSING_SUBJECT);
        assert_outcome(GOOD "&subject_token=" JWT_OF_5, REASON_AMBIGUOUS_SUBJECT);
        assert_outcome(GOOD "&subject_token_type=x&audience=a&audience=b&resource=c", 0);
        assert_outcome("", REASON_MISSING_GRANT_TYPE);
        assert_outcome("scope=a&client_id=b", REASON_MISSING_GRANT_TYPE);
        assert_outcome(EXCHANGE_WITH("&subject_username=pa"), REASON_AMBIGUOUS_SUBJECT);
        assert_outcome(EXCHANGE_WITH("&subject_email="), REASON_AMBIGUOUS_SUBJECT);
#undef APPLICATION
}

static void an_exchange_is_read_whole(void **state)
{
        struct parsed parsed = parse(EXCHANGE_WITH(
                "&scope=b+a&client_id=portal&requested_token_type=" URN "access_token&min_ttl=5"));

        (void)state;
        assert_int_equal(parsed.r, 0);
        assert_true(parsed.request.has_subject);
        assert_int_equal(parsed.request.subject_kind, SUBJECT_EXCHANGE);
        assert_text(parsed.request.subject, BYTES("okta-1"));
        assert_text(parsed.request.subject_token.value, BYTES(JWT_OF_5));
        assert_int_equal(parsed.request.subject_token.type, SUBJECTTOKEN_ACCESS_TOKEN);
        assert_int_equal(parsed.request.subject_token.expires_at_s, 5);
        assert_text(parsed.request.scope, BYTES("a b"));
        assert_int_equal(parsed.request.min_ttl_ms, 5000);
        release(&parsed);
}

static void what_an_exchange_must_have_and_must_not_is_said(void **state)
{
        static const char type[] = "&subject_token_type=" URN "access_token";
        static const char token[] = "&subject_token=" JWT_OF_5;
        char form[4096], long_id[130];

        (void)state;
        assert_outcome(EXCHANGE_WITH("&requested_token_type=" URN "jwt"),
                       REASON_BAD_REQUESTED_TOKEN_TYPE);
        assert_outcome(EXCHANGE_WITH("&requested_token_type="), 0);
        assert_outcome(EXCHANGE_WITH("&actor_token=x"), REASON_EXCHANGE_PARAMETER);
        assert_outcome(EXCHANGE_WITH("&actor_token_type=x"), REASON_EXCHANGE_PARAMETER);
        assert_outcome(EXCHANGE_WITH("&resource=https://a"), REASON_EXCHANGE_PARAMETER);
        assert_outcome(EXCHANGE_WITH("&audience=&audience=b"), REASON_EXCHANGE_PARAMETER);
        assert_outcome(EXCHANGE_WITH("&%61udience=b"), REASON_EXCHANGE_PARAMETER);
        assert_outcome(EXCHANGE_WITH("&audience=&audience="), 0);
        assert_outcome(EXCHANGE_WITH("&subject_token="), REASON_REPEATED_PARAMETER);
        assert_outcome(EXCHANGE_WITH("&subject%5ftoken_type=x"), REASON_REPEATED_PARAMETER);
        assert_outcome(EXCHANGE_WITH("&registration_id=x"), REASON_REPEATED_PARAMETER);
        assert_outcome(EXCHANGE_WITH("&requested_token_type=&requested_token_type="),
                       REASON_REPEATED_PARAMETER);

        snprintf(form, sizeof(form), EXCHANGE "%s%s", type, token);
        assert_outcome(form, REASON_MISSING_REGISTRATION_ID);
        snprintf(form, sizeof(form), EXCHANGE "&registration_id=%s%s", type, token);
        assert_outcome(form, REASON_MISSING_REGISTRATION_ID);
        snprintf(form, sizeof(form), EXCHANGE "&registration_id=a%%0ab%s%s", type, token);
        assert_outcome(form, REASON_BAD_REGISTRATION_ID);
        snprintf(form, sizeof(form), EXCHANGE "&registration_id=%%ff%s%s", type, token);
        assert_outcome(form, REASON_BAD_REGISTRATION_ID);
        memset(long_id, 'r', sizeof(long_id));
        long_id[129] = '\0';
        snprintf(form, sizeof(form), EXCHANGE "&registration_id=%s%s%s", long_id, type, token);
        assert_outcome(form, REASON_BAD_REGISTRATION_ID);
        long_id[128] = '\0';
        snprintf(form, sizeof(form), EXCHANGE "&registration_id=%s%s%s", long_id, type, token);
        assert_outcome(form, 0);
        snprintf(form, sizeof(form), EXCHANGE "&registration_id=r%s", token);
        assert_outcome(form, REASON_MISSING_SUBJECT_TOKEN_TYPE);
        snprintf(form, sizeof(form), EXCHANGE "&registration_id=r%s", type);
        assert_outcome(form, REASON_MISSING_SUBJECT_TOKEN);
        snprintf(form, sizeof(form), EXCHANGE "&registration_id=r%s&subject_token=opaque", type);
        assert_outcome(form, REASON_SUBJECT_TOKEN_NOT_JWT);
}

/* Wherever it is, and whatever the rest: a query may be in a log by now. */
static void a_token_in_a_query_is_refused_and_wiped(void **state)
{
        static const char *const queries[] = {
                "subject_username=pa&subject_token=" NEEDLE,
                "subject_token=" NEEDLE,
                "subject%5Ftoken=" NEEDLE "&grant_type=client_credentials",
                EXCHANGE "&registration_id=r&subject_token=" NEEDLE,
                "scope=%zz&subject_token=" NEEDLE,
                "subject_token=%zz" NEEDLE,
                "subject_token=&subject_token=" NEEDLE,
                "subject_username=pa&actor_token=" NEEDLE,
                "subject_username=a&subject_username=b&subject_token=" NEEDLE,
        };

        (void)state;
        for (size_t i = 0; i < N_OF(queries); i++) {
                for (enum request_source source = REQUEST_QUERY; source <= REQUEST_FILTER;
                     source++) {
                        struct parsed parsed = parse_from(TEXT(queries[i]), source);

                        assert_int_equal(parsed.r, REASON_SUBJECT_TOKEN_IN_QUERY);
                        assert_null(memmem(parsed.form, parsed.size, NEEDLE, strlen(NEEDLE)));
                        assert_int_equal(parsed.request.subject_token.value.size, 0);
                        release(&parsed);
                }
                {
                        char *query = copy_exactly(TEXT(queries[i]));
                        const size_t size = strlen(queries[i]);

                        assert_int_equal(request_check_query(query, size),
                                         REASON_SUBJECT_TOKEN_IN_QUERY);
                        assert_null(memmem(query, size, NEEDLE, strlen(NEEDLE)));
                        free(query);
                }
        }
}

static void a_query_beside_a_body_may_hold_anything_else(void **state)
{
        static const char *const queries[] = {"",
                                              "%zz",
                                              "grant_type=x&grant_type=y",
                                              "&&=&",
                                              "subject_token_type=x",
                                              "subject_tokens=x"};

        (void)state;
        for (size_t i = 0; i < N_OF(queries); i++) {
                char *query = copy_exactly(TEXT(queries[i]));

                assert_int_equal(request_check_query(query, strlen(queries[i])), 0);
                free(query);
        }
}

static void an_exchange_is_asked_for_in_a_body_only(void **state)
{
        struct parsed parsed = parse_from(TEXT(EXCHANGE "&registration_id=r"), REQUEST_QUERY);

        (void)state;
        assert_int_equal(parsed.r, REASON_EXCHANGE_IN_QUERY);
        release(&parsed);
}

static void tokens_are_found_by_registration_id(void **state)
{
        struct parsed parsed = parse_from(TEXT("registration_id=okta%2D1"), REQUEST_FILTER);

        (void)state;
        assert_int_equal(parsed.r, 0);
        assert_true(parsed.request.has_subject);
        assert_int_equal(parsed.request.subject_kind, SUBJECT_EXCHANGE);
        assert_text(parsed.request.subject, BYTES("okta-1"));
        release(&parsed);
        parsed = parse_from(TEXT("registration_id=r&subject_email=a"), REQUEST_FILTER);
        assert_int_equal(parsed.r, REASON_AMBIGUOUS_SUBJECT);
        release(&parsed);
        parsed = parse_from(TEXT("registration_id="), REQUEST_FILTER);
        assert_int_equal(parsed.r, REASON_EMPTY_SUBJECT);
        release(&parsed);
}

/* What a caller sends as a secret must be gone from the form, however the parsing ends. */
static void secrets_are_wiped_from_the_form_whatever_the_outcome(void **state)
{
        static const char *const forms[] = {
                GOOD "&client_secret=" NEEDLE,
                GOOD "&password=" NEEDLE "&username=" NEEDLE,
                "client_secret=" NEEDLE "&" GOOD "&password=" NEEDLE,
                "c%6cient_secret=" NEEDLE "&" GOOD,
                "client_secret=" NEEDLE,
                GOOD "&scope=%zz&client_secret=" NEEDLE,
                GOOD "&scope=a&scope=b&password=" NEEDLE,
                GOOD "&client_secret=a&client_secret=" NEEDLE,
                GOOD "&client_secret=" NEEDLE "%",
                GOOD "&client_secret=%zz" NEEDLE,
                GOOD "&subject_email=x&password=" NEEDLE,
                GOOD "&%zz=x&password=" NEEDLE,
                EXCHANGE_WITH("&actor_token=" NEEDLE),
                GOOD "&actor_token=" NEEDLE "&actor_token=" NEEDLE,
        };

        (void)state;
        for (size_t i = 0; i < N_OF(forms); i++) {
                struct parsed parsed = parse(forms[i]);

                if (memmem(parsed.form, parsed.size, NEEDLE, strlen(NEEDLE)))
                        fail_msg("left in: %s", forms[i]);
                release(&parsed);
        }
}

static void a_secret_is_noticed_and_a_password_is_none(void **state)
{
        struct parsed parsed = parse(GOOD "&client_secret=x");

        (void)state;
        assert_true(parsed.request.keys.n > 0);
        release(&parsed);
        parsed = parse(GOOD "&password=x");
        assert_int_equal(parsed.r, 0);
        assert_int_equal(parsed.request.keys.n, 0);
        release(&parsed);
}

/* Any bytes at all: no outcome but those listed, nothing read or written past the form. */
static void random_forms_end_in_a_listed_outcome(void **state)
{
        static const char *const pieces[] = {
                "grant_type",
                "password",
                "subject_username",
                "subject_userid",
                "subject_email",
                "scope",
                "client_id",
                "client_secret",
                "client_credentials",
                EXCHANGE,
                ("subject_token=" JWT_OF_5),
                "subject_token",
                ("subject_token_type=" URN "id_token"),
                "registration_id",
                "audience",
                "min_ttl",
                "rejected_token_sha256",
                "rejected_token_sha256=" HEX_SHA256,
                "=",
                "=",
                "=",
                "&",
                "&",
                "&",
                "%",
                "%4",
                "%41",
                "%00",
                "+",
                "a",
                "12",
                "\xc3\xa9",
                "\xff",
                "%2",
                "6",
        };
        uint64_t seed = 6;

        (void)state;
        for (int round = 0; round < 50000; round++) {
                char form[1200] = "";
                struct parsed parsed;

                for (size_t n = random_next(&seed) % 12; n > 0; n--)
                        append(form, sizeof(form), pieces[random_next(&seed) % N_OF(pieces)]);
                parsed = parse_from(TEXT(form), random_next(&seed) % 2);
                assert_true(parsed.r >= 0 && parsed.r <= REASON_BAD_REJECTED_TOKEN &&
                            parsed.r != REASON_MISSING_SCOPE);
                if (parsed.r == 0) {
                        const struct text subject = parsed.request.subject;

                        assert_int_equal(subject_kind_names(parsed.request.subject_kind),
                                         subject.size > 0);
                        assert_true(subject.size <= REQUEST_SUBJECT_MAX_BYTES);
                        if (subject.size > 0)
                                assert_true(subject.bytes >= parsed.form &&
                                            subject.bytes + subject.size <=
                                                    parsed.form + parsed.size);
                }
                release(&parsed);
        }
}

/* "Basic " and user:password in base64, in a block of exactly its size. */
static char *basic_header(struct text credentials)
{
        char *header = malloc(6 + (credentials.size + 2) / 3 * 4 + 1);

        assert_non_null(header);
        snprintf(header, 7, "Basic ");
        EVP_EncodeBlock((unsigned char *)header + 6, (const unsigned char *)credentials.bytes,
                        (int)credentials.size);
        return header;
}

static void assert_basic(struct text credentials, struct text raw, struct text decoded,
                         bool secret_sent)
{
        char *header = basic_header(credentials);
        struct token_request request;

        request_init(&request);
        assert_int_equal(request_authorization(&request, header), 0);
        assert_text(request.basic_client_raw, raw);
        assert_text(request.basic_client, decoded);
        assert_int_equal(request.keys.n > 0, secret_sent);
        request_deinit(&request);
        free(header);
}

static void basic_gives_the_user_raw_and_decoded(void **state)
{
        (void)state;
        assert_basic(BYTES("app:secret"), BYTES("app"), BYTES("app"), true);
        assert_basic(BYTES("app:"), BYTES("app"), BYTES("app"), false);
        assert_basic(BYTES("a:b:c"), BYTES("a"), BYTES("a"), true);
        assert_basic(BYTES("my+app%21:x"), BYTES("my+app%21"), BYTES("my app!"), true);
        assert_basic(BYTES("100%:x"), BYTES("100%"), BYTES("100%"), true);
        assert_basic(BYTES("a+b%:x"), BYTES("a+b%"), BYTES("a+b%"), true);
        assert_basic(BYTES("a\0b:x"), BYTES("a\0b"), BYTES("a\0b"), true);
}

static void a_second_header_takes_the_place_of_the_first(void **state)
{
        char *first = basic_header(BYTES("a-rather-long-name:x"));
        char *second = basic_header(BYTES("b:"));
        struct token_request request;

        (void)state;
        request_init(&request);
        assert_int_equal(request_authorization(&request, first), 0);
        assert_int_equal(request_authorization(&request, second), 0);
        assert_text(request.basic_client, BYTES("b"));
        assert_text(request.basic_client_raw, BYTES("b"));
        request_deinit(&request);
        free(first);
        free(second);
}

static void basic_of_every_size_is_decoded(void **state)
{
        char credentials[601];

        (void)state;
        memset(credentials, 'u', sizeof(credentials));
        for (size_t size = 2; size <= sizeof(credentials); size++) {
                for (size_t user = 1; user < size; user += 1 + size / 5) {
                        const struct text name = {"u", 1};

                        credentials[user] = ':';
                        if (user == 1)
                                assert_basic((struct text){credentials, size}, name, name,
                                             size > 2);
                        else
                                assert_basic((struct text){credentials, size},
                                             (struct text){credentials, user},
                                             (struct text){credentials, user}, size > user + 1);
                        credentials[user] = 'u';
                }
        }
}

static void assert_authorization(const char *header, int reason)
{
        char *exact = copy_exactly((struct text){header, strlen(header) + 1});
        struct token_request request;

        request_init(&request);
        assert_int_equal(request_authorization(&request, exact), reason);
        if (reason == 0)
                assert_int_equal(request.basic_client_raw.size, 0);
        request_deinit(&request);
        free(exact);
}

static void malformed_basic_is_refused(void **state)
{
        static const char *const bad[] = {
                "Basic",      "Basic ",         "Basic =",         "Basic ====",   "Basic YQ==",
                "Basic OmI=", "Basic YTpi=",    "Basic YTpi====",  "Basic YTp",    "Basic YTpiY",
                "Basic Y=pi", "Basic YT=i",     "Basic YTpi YTpi", "Basic YTpi ",  "Basic YTp\ti",
                "Basic a:bc", "Basic YTp-",     "Basic YTp_",      "Basic YTpi\n", "Basic Y===",
                "Basic =YTp", "Basic YTpi\xc3", "Basic Og==",
        };

        (void)state;
        for (size_t i = 0; i < N_OF(bad); i++)
                assert_authorization(bad[i], REASON_BAD_AUTHORIZATION);
}

static void the_scheme_is_read_in_any_case_and_others_are_ignored(void **state)
{
        static const char *const ignored[] = {"",
                                              "B",
                                              "Basi",
                                              "Bearer abc",
                                              "Basically YTpi",
                                              "Digest YTpi",
                                              "Basic\tYTpi",
                                              " Basic YTpi"};
        static const char *const taken[] = {"basic YTpi", "BASIC YTpi", "bAsIc    YTpi"};

        (void)state;
        for (size_t i = 0; i < N_OF(ignored); i++)
                assert_authorization(ignored[i], 0);
        for (size_t i = 0; i < N_OF(taken); i++) {
                struct token_request request;

                request_init(&request);
                assert_int_equal(request_authorization(&request, taken[i]), 0);
                assert_text(request.basic_client, BYTES("a"));
                request_deinit(&request);
        }
}

static void the_password_of_basic_is_wiped_at_once_and_the_rest_at_the_end(void **state)
{
        char *header = basic_header(BYTES("u:something, then " NEEDLE));
        struct token_request request;

        (void)state;
        frees_watch(NEEDLE);
        request_init(&request);
        assert_int_equal(request_authorization(&request, header), 0);
        assert_null(memmem(request.basic.bytes, request.basic.capacity, NEEDLE, strlen(NEEDLE)));
        request_deinit(&request);
        assert_int_equal(frees_dirty(), 0);
        free(header);

        header = basic_header(BYTES(NEEDLE ":and no colon before"));
        frees_watch(NEEDLE);
        assert_int_equal(request_authorization(&request, header), 0);
        request_deinit(&request);
        assert_int_equal(frees_dirty(), 0);
        frees_watch(NULL);
        free(header);
}

static void out_of_memory_at_every_allocation_of_basic_is_said(void **state)
{
        char credentials[300] = "";
        char *header;
        int r = -ENOMEM;

        (void)state;
        memset(credentials, 'u', sizeof(credentials));
        credentials[290] = ':'; /* the user, twice, takes a larger block */
        header = basic_header((struct text){credentials, sizeof(credentials)});
        for (unsigned int n = 1; r; n++) {
                struct token_request request;

                assert_true(n < 10);
                request_init(&request);
                alloc_fail_at(n);
                r = request_authorization(&request, header);
                assert_int_equal(r, alloc_has_failed() ? -ENOMEM : 0);
                if (r)
                        assert_int_equal(request.basic_client.size, 0);
                request_deinit(&request);
        }
        free(header);
}

static bool has_key(const struct request_keys *keys, size_t i, const char *secret)
{
        uint8_t digest[REQUEST_SHA256_BYTES];

        SHA256((const unsigned char *)secret, strlen(secret), digest);
        return i < keys->n && memcmp(keys->sha256[i], digest, sizeof(digest)) == 0;
}

static void a_client_secret_is_a_key_once_decoded(void **state)
{
        struct parsed parsed = parse("client_secret=a%26b+c%3D%25&" GOOD);

        (void)state;
        assert_int_equal(parsed.r, 0);
        assert_int_equal(parsed.request.keys.n, 1);
        assert_true(has_key(&parsed.request.keys, 0, "a&b c=%"));
        release(&parsed);
        for (int i = 0; i < 4; i++) {
                static const char *const none[] = {GOOD,
                                                   GOOD "&client_secret=", GOOD "&client_secret",
                                                   GOOD "&password=x&username=y"};

                parsed = parse(none[i]);
                assert_int_equal(parsed.r, 0);
                assert_int_equal(parsed.request.keys.n, 0);
                release(&parsed);
        }
}

static void more_keys_than_there_is_room_for_are_left_out(void **state)
{
        struct parsed parsed = parse("client_secret=a&client_secret=b&client_secret=c"
                                     "&client_secret=d&" GOOD);

        (void)state;
        assert_int_equal(parsed.r, REASON_REPEATED_PARAMETER);
        assert_int_equal(parsed.request.keys.n, REQUEST_KEYS_MAX);
        release(&parsed);
}

static void assert_basic_keys(const char *credentials, size_t n, const char *raw,
                              const char *decoded)
{
        char header[512] = "Basic ";
        struct token_request request;

        EVP_EncodeBlock((unsigned char *)header + 6, (const unsigned char *)credentials,
                        (int)strlen(credentials));
        request_init(&request);
        assert_int_equal(request_authorization(&request, header), 0);
        assert_int_equal(request.keys.n, n);
        if (n > 0)
                assert_true(has_key(&request.keys, 0, raw));
        if (n > 1)
                assert_true(has_key(&request.keys, 1, decoded));
        request_deinit(&request);
}

static void the_password_of_basic_is_a_key_as_it_came_and_decoded(void **state)
{
        (void)state;
        assert_basic_keys("crm:secret", 1, "secret", NULL);
        assert_basic_keys("crm:se:cret", 1, "se:cret", NULL);
        assert_basic_keys("crm:", 0, NULL, NULL);
        assert_basic_keys("crm:a%26b", 2, "a%26b", "a&b");
        assert_basic_keys("crm:a+b", 2, "a+b", "a b");
        assert_basic_keys("crm:100%", 1, "100%", NULL);
        assert_basic_keys("crm:%zz", 1, "%zz", NULL);
        assert_basic_keys("c%72m:x", 1, "x", NULL);
}

/* Whichever of them is right: a rule's key is looked for among all. */
static void the_keys_of_a_form_and_of_basic_are_all_kept(void **state)
{
        char form[] = "client_secret=form&" GOOD;
        struct token_request request;

        (void)state;
        request_init(&request);
        assert_int_equal(request_authorization(&request, "Basic Y3JtOmElMjZi"), 0); /* crm:a%26b */
        assert_int_equal(request_parse(&request, form, sizeof(form) - 1, REQUEST_BODY), 0);
        assert_int_equal(request.keys.n, REQUEST_KEYS_MAX);
        assert_true(has_key(&request.keys, 0, "a%26b"));
        assert_true(has_key(&request.keys, 1, "a&b"));
        assert_true(has_key(&request.keys, 2, "form"));
        request_deinit(&request);
}

static void a_filter_may_leave_everything_out(void **state)
{
        static const char *const forms[] = {"", "&&", "unknown=1", "grant_type=whatever",
                                            "scope=&limit=&after=&client_id="};

        (void)state;
        for (size_t i = 0; i < N_OF(forms); i++) {
                struct parsed parsed = parse_from(TEXT(forms[i]), REQUEST_FILTER);

                assert_int_equal(parsed.r, 0);
                assert_false(parsed.request.has_subject);
                assert_int_equal(parsed.request.scope.size, 0);
                assert_int_equal(parsed.request.client.size, 0);
                assert_int_equal(parsed.request.limit, 0);
                assert_int_equal(parsed.request.after, 0);
                release(&parsed);
        }
}

static void a_filter_says_what_is_meant_and_which_page(void **state)
{
        struct parsed parsed = parse_from(
                TEXT("after=18446&client_id=crm&limit=17&subject_email=a%40b&scope=b+a"),
                REQUEST_FILTER);

        (void)state;
        assert_int_equal(parsed.r, 0);
        assert_true(parsed.request.has_subject);
        assert_int_equal(parsed.request.subject_kind, SUBJECT_EMAIL);
        assert_text(parsed.request.subject, TEXT("a@b"));
        assert_text(parsed.request.scope, TEXT("a b"));
        assert_text(parsed.request.client, TEXT("crm"));
        assert_int_equal(parsed.request.limit, 17);
        assert_int_equal(parsed.request.after, 18446);
        release(&parsed);
}

static void a_filter_is_judged_as_strictly_as_any_request(void **state)
{
        static const struct {
                const char *form;
                int reason;
        } cases[] = {
                {"limit=000001&after=0", 0},
                {"limit=999999", 0},
                {"limit=1000000", REASON_BAD_LIMIT},
                {"limit=0000001", REASON_BAD_LIMIT},
                {"limit=-1", REASON_BAD_LIMIT},
                {"limit=1x", REASON_BAD_LIMIT},
                {"limit=+1", REASON_BAD_LIMIT},
                {"after=-1", REASON_BAD_AFTER},
                {"after=0x1", REASON_BAD_AFTER},
                {"after=99999999999999999999", REASON_BAD_AFTER},
                {"limit=1&limit=1", REASON_REPEATED_PARAMETER},
                {"after=1&after=2", REASON_REPEATED_PARAMETER},
                {"subject_email=", REASON_EMPTY_SUBJECT},
                {"subject_email=a&subject_userid=b", REASON_AMBIGUOUS_SUBJECT},
                {"subject_userid=%01", REASON_BAD_SUBJECT},
                {"scope=a++b", REASON_BAD_SCOPE},
                {"limit=%3", REASON_MALFORMED_ESCAPE},
        };

        (void)state;
        for (size_t i = 0; i < N_OF(cases); i++) {
                struct parsed parsed = parse_from(TEXT(cases[i].form), REQUEST_FILTER);

                if (parsed.r != cases[i].reason)
                        fail_msg("%s: %d", cases[i].form, parsed.r);
                release(&parsed);
        }
}

static void who_asks_for_a_token_may_send_any_limit_and_after_and_as_often_as_he_likes(void **state)
{
        static const char form[] = GOOD
                "&limit=x&limit=2&after=&after=y&after=99999999999999999999";

        (void)state;
        for (int source = REQUEST_BODY; source <= REQUEST_QUERY; source++) {
                struct parsed parsed = parse_from(TEXT(form), source);

                assert_int_equal(parsed.r, 0);
                assert_int_equal(parsed.request.limit, 0);
                assert_int_equal(parsed.request.after, 0);
                assert_true(parsed.request.has_subject);
                release(&parsed);
        }
}

static void a_pair_may_come_once(void **state)
{
        const struct request_pair pairs[] = {
                {TEXT("subject_username"), TEXT("pa")},
                {TEXT("scope"), TEXT("a")},
                {TEXT("scope"), TEXT("a")},
        };
        struct token_request request;

        (void)state;
        request_init(&request);
        assert_int_equal(request_take_pairs(&request, pairs, 2), 0);
        request_deinit(&request);
        request_init(&request);
        assert_int_equal(request_take_pairs(&request, pairs, 3), REASON_REPEATED_PARAMETER);
        request_deinit(&request);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(the_documented_form_is_understood),
                cmocka_unit_test(every_kind_of_subject_is_read_from_its_parameter),
                cmocka_unit_test(what_is_not_said_stays_empty),
                cmocka_unit_test(a_parameter_without_a_value_counts_as_absent),
                cmocka_unit_test(a_grant_type_is_asked_for_and_may_be_left_out_of_a_query_only),
                cmocka_unit_test(exactly_one_subject_is_asked_for),
                cmocka_unit_test(a_subject_is_1_to_256_bytes_after_decoding),
                cmocka_unit_test(a_subject_is_plain_utf8_taken_verbatim),
                cmocka_unit_test(every_malformed_escape_is_refused_wherever_it_stands),
                cmocka_unit_test(every_byte_can_be_escaped_in_either_case),
                cmocka_unit_test(a_repeat_is_refused_even_if_escapes_hide_it),
                cmocka_unit_test(parameters_we_do_not_read_may_hold_anything_and_repeat),
                cmocka_unit_test(the_first_equals_sign_parts_name_and_value),
                cmocka_unit_test(the_first_of_several_mistakes_is_named),
                cmocka_unit_test(a_bad_scope_is_refused),
                cmocka_unit_test(min_ttl_is_one_to_nine_digits),
                cmocka_unit_test(a_rejected_token_is_sixty_four_hexadecimal_digits_in_any_case),
                cmocka_unit_test(no_rejected_token_is_none),
                cmocka_unit_test(a_rejected_token_of_another_length_or_alphabet_is_refused),
                cmocka_unit_test(secrets_are_wiped_from_the_form_whatever_the_outcome),
                cmocka_unit_test(the_application_is_asked_for_without_a_subject),
                cmocka_unit_test(no_grant_falls_through_to_another),
                cmocka_unit_test(an_exchange_is_read_whole),
                cmocka_unit_test(what_an_exchange_must_have_and_must_not_is_said),
                cmocka_unit_test(a_token_in_a_query_is_refused_and_wiped),
                cmocka_unit_test(a_query_beside_a_body_may_hold_anything_else),
                cmocka_unit_test(an_exchange_is_asked_for_in_a_body_only),
                cmocka_unit_test(tokens_are_found_by_registration_id),
                cmocka_unit_test(a_secret_is_noticed_and_a_password_is_none),
                cmocka_unit_test(random_forms_end_in_a_listed_outcome),
                cmocka_unit_test(basic_gives_the_user_raw_and_decoded),
                cmocka_unit_test(a_second_header_takes_the_place_of_the_first),
                cmocka_unit_test(basic_of_every_size_is_decoded),
                cmocka_unit_test(malformed_basic_is_refused),
                cmocka_unit_test(the_scheme_is_read_in_any_case_and_others_are_ignored),
                cmocka_unit_test(the_password_of_basic_is_wiped_at_once_and_the_rest_at_the_end),
                cmocka_unit_test(a_pair_may_come_once),
                cmocka_unit_test(out_of_memory_at_every_allocation_of_basic_is_said),
                cmocka_unit_test(a_client_secret_is_a_key_once_decoded),
                cmocka_unit_test(more_keys_than_there_is_room_for_are_left_out),
                cmocka_unit_test(the_password_of_basic_is_a_key_as_it_came_and_decoded),
                cmocka_unit_test(the_keys_of_a_form_and_of_basic_are_all_kept),
                cmocka_unit_test(a_filter_may_leave_everything_out),
                cmocka_unit_test(a_filter_says_what_is_meant_and_which_page),
                cmocka_unit_test(a_filter_is_judged_as_strictly_as_any_request),
                cmocka_unit_test(
                        who_asks_for_a_token_may_send_any_limit_and_after_and_as_often_as_he_likes),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
