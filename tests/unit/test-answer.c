/* SPDX-License-Identifier: MIT */

#include "answer.h"

#include <errno.h>
#include <stdio.h>

#include "helpers.h"

#define SENT_AT_MS         UINT64_C(5000000)
#define MAX_TOKEN_BYTES    64
#define DEFAULT_LIFETIME_S UINT64_C(300)
#define WALL_S             INT64_C(1784548800) /* 2026-07-20 12:00:00 */

static const struct settings settings = {
        .default_lifetime_ms = DEFAULT_LIFETIME_S * 1000,
        .max_token_bytes = MAX_TOKEN_BYTES,
};

/* What was asked for. */
static struct grant grant = {.subject_kind = SUBJECT_USERNAME, .scope = {"asked", 5}};

static int understand(struct answer *ret, unsigned int status, struct text body, bool retry_after)
{
        char *exact = copy_exactly(body);
        const struct fetch_result result = {
                .status = status,
                .body = {exact, body.size},
                .retry_after = retry_after ? BYTES("7") : (struct text){},
        };
        const int r = answer_understand(ret, &result, &settings, &grant, SENT_AT_MS, WALL_S);

        free(exact);
        return r;
}

static struct answer understood(unsigned int status, struct text body, bool retry_after)
{
        struct answer answer;

        assert_int_equal(understand(&answer, status, body, retry_after), 0);
        assert_int_equal(answer.class == ANSWER_TOKEN, answer.token != NULL);
        assert_int_equal(answer.class == ANSWER_TOKEN, answer.reason == REASON_NONE);
        assert_int_equal(answer.hold_ms, answer.class == ANSWER_HOLD && retry_after ? 7000 : 0);
        return answer;
}

static void assert_answer(unsigned int status, struct text body, bool retry_after,
                          enum answer_class class, enum reason reason)
{
        struct answer answer = understood(status, body, retry_after);

        if (answer.class != class || answer.reason != reason)
                fail_msg("status %u, %.*s: class %d, reason %d", status, (int)body.size, body.bytes,
                         answer.class, answer.reason);
        token_unref(answer.token);
}

static void assert_unusable(const char *body)
{
        assert_answer(200, TEXT(body), false, ANSWER_FAILURE, REASON_ANSWER_UNUSABLE);
}

static void assert_lifetime(const char *body, uint64_t seconds)
{
        struct answer answer = understood(200, TEXT(body), false);

        if (!answer.token)
                fail_msg("unusable: %s", body);
        assert_int_equal(answer.token->refs, 1);
        assert_int_equal(answer.token->sent_at_ms, SENT_AT_MS);
        assert_int_equal(answer.token->expires_at_ms, SENT_AT_MS + seconds * 1000);
        token_unref(answer.token);
}

#define TOKEN "{\"access_token\":\"abc\""

static void the_documented_answer_is_a_token(void **state)
{
        struct answer answer = understood(
                200,
                BYTES(" {\"access_token\":\"ey.J-_~+/=\",\"token_type\":\"Bearer\",\r\n"
                      "\"expires_in\":3600,\"scope\":\"core.b core.a\","
                      "\"refresh_token\":\"r\",\"id_token\":\"i\",\"x\":[1,{}]}\n"),
                true);

        (void)state;
        assert_non_null(answer.token);
        assert_true(text_equal(token_value(answer.token), BYTES("ey.J-_~+/=")));
        assert_true(text_equal(token_scope(answer.token), BYTES("core.b core.a")));
        assert_int_equal(answer.token->expires_at_ms, SENT_AT_MS + 3600000);
        assert_int_equal(answer.token->refs, 1);
        token_unref(answer.token);
}

/* Bodies that say who is at fault, and bodies that say nothing we understand. */
enum says { NOTHING, SCOPE, CREDENTIALS, CONFIGURATION, A_TOKEN };

static const struct {
        enum says says;
        struct text body;
} bodies[] = {
        {NOTHING, BYTES("")},
        {NOTHING, BYTES("<html>Service Unavailable</html>")},
        {NOTHING, BYTES("{}")},
        {NOTHING, BYTES("[\"invalid_client\"]")},
        {NOTHING, BYTES("invalid_client")},
        {NOTHING, BYTES("error=invalid_client")},
        {NOTHING, BYTES("{\"error\":\"invalid_grant\"}")},
        {NOTHING, BYTES("{\"error\":\"invalid_request\"}")},
        {NOTHING, BYTES("{\"error\":\"temporarily_unavailable\"}")},
        {NOTHING, BYTES("{\"error\":\"Invalid_Client\"}")},
        {NOTHING, BYTES("{\"error\":\"invalid_client \"}")},
        {NOTHING, BYTES("{\"error\":\"invalid_client\\u0000\"}")},
        {NOTHING, BYTES("{\"error\":[\"invalid_client\"]}")},
        {NOTHING, BYTES("{\"error\":{\"code\":\"invalid_client\"}}")},
        {NOTHING, BYTES("{\"error\":null}")},
        {NOTHING, BYTES("{\"error\":401}")},
        {NOTHING, BYTES("{\"code\":\"400-116\",\"developerMessage\":\"invalid_client\"}")},
        {NOTHING, BYTES("{\"error\":\"invalid_client\",\"error\":\"invalid_client\"}")},
        {NOTHING, BYTES("{\"error\":\"invalid_client\"")},
        {NOTHING, BYTES("{\"error\":\"invalid_client\",\"x\":\"\xff\"}")},
        {SCOPE, BYTES("{\"error\":\"invalid_scope\"}")},
        {CREDENTIALS, BYTES("{\"error\":\"invalid_client\"}")},
        {CREDENTIALS, BYTES("\n{\"error_description\":\"x\",\"error\":\"invalid\\u005fclient\"} ")},
        {CONFIGURATION, BYTES("{\"error\":\"unauthorized_client\"}")},
        {CONFIGURATION, BYTES("{\"error\":\"unsupported_grant_type\"}")},
        {A_TOKEN, BYTES(TOKEN ",\"expires_in\":3600}")},
};

/* The documented table, written again by its lines. */
static void expect(unsigned int status, enum says says, bool retry_after,
                   enum answer_class *ret_class, enum reason *ret_reason)
{
        *ret_class = ANSWER_FAILURE;
        *ret_reason = REASON_ANSWER_UNUSABLE;
        if (status == 200 && says == A_TOKEN) {
                *ret_class = ANSWER_TOKEN;
                *ret_reason = REASON_NONE;
        } else if (status == 429 || (status == 503 && retry_after)) {
                *ret_class = ANSWER_HOLD;
                *ret_reason = REASON_ISSUER_THROTTLES;
        } else if (status >= 500 || status == 408) {
                *ret_reason = REASON_ISSUER_ERROR;
        } else if (status >= 300 && status <= 399) {
                *ret_reason = REASON_ANSWER_REDIRECT;
        } else if (status >= 400 && (status == 401 || says == CREDENTIALS)) {
                *ret_class = ANSWER_CREDENTIALS;
                *ret_reason = REASON_CREDENTIALS_REFUSED;
        } else if (status >= 400 && says == CONFIGURATION) {
                *ret_class = ANSWER_CONFIGURATION;
                *ret_reason = REASON_CLIENT_UNAUTHORIZED;
        } else if (status == 400 || status == 403 || status == 404 || status == 422) {
                *ret_class = ANSWER_REFUSAL;
                *ret_reason = says == SCOPE ? REASON_SCOPE_REFUSED : REASON_SUBJECT_REFUSED;
        }
}

static void every_status_with_every_body_is_classified_as_documented(void **state)
{
        (void)state;
        for (unsigned int status = 0; status <= 700; status++) {
                for (size_t i = 0; i < N_OF(bodies); i++) {
                        for (int retry_after = 0; retry_after < 2; retry_after++) {
                                enum answer_class class;
                                enum reason reason;

                                expect(status, bodies[i].says, retry_after, &class, &reason);
                                assert_answer(status, bodies[i].body, retry_after, class, reason);
                        }
                }
        }
}

/* A few of them by hand, so that the table above cannot be wrong in the same way as the code. */
static void the_cases_that_matter_most_are_classified(void **state)
{
        const struct text html = BYTES("<html>"), token = BYTES(TOKEN ",\"expires_in\":9}");

        (void)state;
        assert_answer(400, html, false, ANSWER_REFUSAL, REASON_SUBJECT_REFUSED);
        assert_answer(404, BYTES(""), false, ANSWER_REFUSAL, REASON_SUBJECT_REFUSED);
        assert_answer(400, BYTES("{\"error\":\"invalid_scope\"}"), false, ANSWER_REFUSAL,
                      REASON_SCOPE_REFUSED);
        assert_answer(401, BYTES("{\"error\":\"invalid_grant\"}"), false, ANSWER_CREDENTIALS,
                      REASON_CREDENTIALS_REFUSED);
        assert_answer(400, BYTES("{\"error\":\"invalid_client\"}"), false, ANSWER_CREDENTIALS,
                      REASON_CREDENTIALS_REFUSED);
        assert_answer(400, BYTES("{\"error\":\"unauthorized_client\"}"), false,
                      ANSWER_CONFIGURATION, REASON_CLIENT_UNAUTHORIZED);
        assert_answer(429, token, false, ANSWER_HOLD, REASON_ISSUER_THROTTLES);
        assert_answer(503, html, true, ANSWER_HOLD, REASON_ISSUER_THROTTLES);
        assert_answer(503, html, false, ANSWER_FAILURE, REASON_ISSUER_ERROR);
        assert_answer(500, html, true, ANSWER_FAILURE, REASON_ISSUER_ERROR);
        assert_answer(302, token, false, ANSWER_FAILURE, REASON_ANSWER_REDIRECT);
        assert_answer(201, token, false, ANSWER_FAILURE, REASON_ANSWER_UNUSABLE);
        assert_answer(204, BYTES(""), false, ANSWER_FAILURE, REASON_ANSWER_UNUSABLE);
        assert_answer(200, BYTES(""), false, ANSWER_FAILURE, REASON_ANSWER_UNUSABLE);
}

static void a_failure_of_the_transport_counts_whatever_else_is_there(void **state)
{
        static const enum reason failures[] = {
                REASON_ANSWER_TOO_LARGE, REASON_ISSUER_CERTIFICATE, REASON_ISSUER_UNREACHABLE,
                REASON_ISSUER_CUT,       REASON_ISSUER_TIMEOUT,
        };

        (void)state;
        for (size_t i = 0; i < N_OF(failures); i++) {
                const struct fetch_result result = {
                        .transport = failures[i],
                        .status = 200,
                        .body = BYTES(TOKEN ",\"expires_in\":3600}"),
                        .retry_after = BYTES("7"),
                };
                struct answer answer;

                assert_int_equal(answer_understand(&answer, &result, &settings, &grant, 0, 0), 0);
                assert_int_equal(answer.class, ANSWER_FAILURE);
                assert_int_equal(answer.reason, failures[i]);
                assert_null(answer.token);
        }
}

#define EXCHANGED TOKEN ",\"expires_in\":60,\"issued_token_type\":"

/* The issuer of another kind of token has not understood what was asked for. */
static void only_an_access_token_may_come_of_an_exchange(void **state)
{
        static const char *const good[] = {
                TOKEN ",\"expires_in\":60}",
                EXCHANGED "\"urn:ietf:params:oauth:token-type:access_token\"}",
                EXCHANGED "null}",
        };
        static const char *const others[] = {
                EXCHANGED "\"urn:ietf:params:oauth:token-type:id_token\"}",
                EXCHANGED "\"urn:ietf:params:oauth:token-type:refresh_token\"}",
                EXCHANGED "\"urn:ietf:params:oauth:token-type:Access_Token\"}",
                EXCHANGED "\"access_token\"}",
                EXCHANGED "\"\"}",
                EXCHANGED "1}",
                EXCHANGED "{}}",
                TOKEN ",\"expires_in\":60,\"token_type\":\"N_A\"}",
        };

        (void)state;
        grant.subject_kind = SUBJECT_EXCHANGE;
        for (size_t i = 0; i < N_OF(good); i++)
                assert_answer(200, TEXT(good[i]), false, ANSWER_TOKEN, REASON_NONE);
        for (size_t i = 0; i < N_OF(others); i++)
                assert_unusable(others[i]);
        grant.subject_kind = SUBJECT_USERNAME;
        for (size_t i = 0; i + 1 < N_OF(others); i++)
                assert_answer(200, TEXT(others[i]), false, ANSWER_TOKEN, REASON_NONE);
}

static void expires_in_is_a_whole_number_or_digits(void **state)
{
        (void)state;
        assert_lifetime(TOKEN ",\"expires_in\":3600}", 3600);
        assert_lifetime(TOKEN ",\"expires_in\":\"3600\"}", 3600);
        assert_lifetime(TOKEN ",\"expires_in\":\"0003600\"}", 3600);
        assert_lifetime(TOKEN ",\"expires_in\":1}", 1);
        assert_lifetime(TOKEN ",\"expires_in\":\"1\"}", 1);
        assert_lifetime(TOKEN ",\"expires_in\":\"0012345987\"}", 12345987);
        assert_unusable(TOKEN ",\"expires_in\":\"00012345987\"}"); /* past ten digits */
}

static void an_expires_in_that_is_neither_makes_the_answer_unusable(void **state)
{
        static const char *const values[] = {
                "0",
                "-0",
                "-1",
                "-3600",
                "3599.9",
                "3600.0",
                "0.5",
                "1e3",
                "3.6e3",
                "\"\"",
                "\"0\"",
                "\"-1\"",
                "\"+5\"",
                "\" 3600\"",
                "\"3600 \"",
                "\"3600abc\"",
                "\"3600.0\"",
                "\"1e3\"",
                "\"0x10\"",
                "\"abc\"",
                "\"3600\\u0000\"",
                "\"\\u0663\"",
                "null",
                "true",
                "[3600]",
                "{\"s\":1}",
                "NaN",
                "Infinity",
                "03600",
                "4294967296",
                "9223372036854775807",
                "9223372036854775808",
                "18446744073709551616",
                "18446744073709555216",
                "1e400",
                "99999999999999999999999999999999999999",
                "-99999999999999999999999999",
                "\"9999999999\"",
                "\"10000000000\"",
                "\"4294970896\"",
                "\"18446744073709555216\"",
        };
        char body[200];

        (void)state;
        for (size_t i = 0; i < N_OF(values); i++) {
                snprintf(body, sizeof(body), TOKEN ",\"expires_in\":%s}", values[i]);
                assert_unusable(body);
        }
}

static void the_longest_lifetime_passes_and_a_second_more_does_not(void **state)
{
        char body[200];

        (void)state;
        snprintf(body, sizeof(body), TOKEN ",\"expires_in\":%ju}",
                 (uintmax_t)ANSWER_LIFETIME_MAX_S);
        assert_lifetime(body, (uint64_t)ANSWER_LIFETIME_MAX_S);
        snprintf(body, sizeof(body), TOKEN ",\"expires_in\":%ju}",
                 (uintmax_t)ANSWER_LIFETIME_MAX_S + 1);
        assert_unusable(body);
        snprintf(body, sizeof(body), TOKEN ",\"expires_in\":\"%ju\"}",
                 (uintmax_t)ANSWER_LIFETIME_MAX_S);
        assert_lifetime(body, (uint64_t)ANSWER_LIFETIME_MAX_S);
        snprintf(body, sizeof(body), TOKEN ",\"expires_in\":\"%ju\"}",
                 (uintmax_t)ANSWER_LIFETIME_MAX_S + 1);
        assert_unusable(body);
}

static void without_expires_in_the_jwt_tells_or_else_the_setting(void **state)
{
        static const struct {
                const char *payload;
                uint64_t seconds; /* 0: unusable */
        } cases[] = {
                {"{\"exp\":107,\"iat\":100}", 7},
                {"{\"exp\":100,\"iat\":100}", 0},
                {"{\"exp\":99,\"iat\":100}", 0},
                {"{\"exp\":99999999,\"iat\":1}", 0},
                {"{\"exp\":107}", DEFAULT_LIFETIME_S},
                {"{\"exp\":\"107\",\"iat\":1}", DEFAULT_LIFETIME_S},
                {"no claims", DEFAULT_LIFETIME_S},
        };
        char body[200];

        (void)state;
        assert_lifetime(TOKEN "}", DEFAULT_LIFETIME_S);
        for (size_t i = 0; i < N_OF(cases); i++) {
                char payload[64];

                encode_base64url(payload, TEXT(cases[i].payload));
                snprintf(body, sizeof(body), "{\"access_token\":\"e30.%s.s\"}", payload);
                if (cases[i].seconds > 0)
                        assert_lifetime(body, cases[i].seconds);
                else
                        assert_unusable(body);
        }
        /* Where the issuer says it, the token is not looked into. */
        assert_lifetime("{\"access_token\":\"a.eyJleHAiOjUsImlhdCI6MX0.c\",\"expires_in\":60}", 60);
        assert_lifetime("{\"access_token\":\"a.eyJleHAiOjUsImlhdCI6MX0.c\"}", 4);
}

static void token_type_is_bearer_in_any_case_or_absent(void **state)
{
        static const char *const good[] = {"Bearer", "bearer", "BEARER", "bEaReR"};
        static const char *const bad[] = {
                "\"\"",     "\"Bearer \"", "\" Bearer\"",  "\"MAC\"",
                "\"DPoP\"", "\"Beare\"",   "\"Bearers\"",  "\"Bearer\\u0000\"",
                "null",     "1",           "[\"Bearer\"]", "true",
                "{}",
        };
        char body[100];

        (void)state;
        for (size_t i = 0; i < N_OF(good); i++) {
                snprintf(body, sizeof(body), TOKEN ",\"expires_in\":5,\"token_type\":\"%s\"}",
                         good[i]);
                assert_lifetime(body, 5);
        }
        for (size_t i = 0; i < N_OF(bad); i++) {
                snprintf(body, sizeof(body), TOKEN ",\"expires_in\":5,\"token_type\":%s}", bad[i]);
                assert_unusable(body);
        }
}

static void an_access_token_that_is_no_visible_ascii_text_is_none(void **state)
{
        static const char *const values[] = {
                "\"\"",
                "null",
                "1",
                "true",
                "[\"abc\"]",
                "{\"a\":\"b\"}",
                "\" \"",
                "\"a b\"",
                "\"abc \"",
                "\" abc\"",
                "\"a\\nb\"",
                "\"a\\u0000b\"",
                "\"abc\\u0000\"",
                "\"\\u007f\"",
                "\"\\u00e9\"",
                "\"\xc3\xa9\"",
                "\"a\\r\\nSet-Cookie: x\"",
                "\"\\ud800\"",
        };
        char body[100];

        (void)state;
        assert_unusable("{}");
        assert_unusable("{\"expires_in\":3600}");
        assert_unusable("{\"Access_Token\":\"abc\",\"expires_in\":3600}");
        assert_unusable("{\"token\":{\"access_token\":\"abc\"},\"expires_in\":3600}");
        for (size_t i = 0; i < N_OF(values); i++) {
                snprintf(body, sizeof(body), "{\"access_token\":%s,\"expires_in\":5}", values[i]);
                assert_unusable(body);
        }
}

static void every_visible_character_may_be_in_a_token(void **state)
{
        (void)state;
        for (int c = 0x01; c < 0x80; c++) {
                char body[100];
                struct answer answer;

                snprintf(body, sizeof(body), "{\"access_token\":\"a\\u%04x\"}", c);
                answer = understood(200, TEXT(body), false);
                assert_int_equal(answer.class == ANSWER_TOKEN, c > 0x20 && c < 0x7f);
                token_unref(answer.token);
        }
}

static void every_character_that_a_scope_may_hold_is_repeated(void **state)
{
        (void)state;
        for (int c = 0x01; c < 0x80; c++) {
                const bool good = c >= 0x20 && c <= 0x7e && c != '"' && c != '\\';
                char body[100];
                struct answer answer;

                snprintf(body, sizeof(body), "{\"access_token\":\"a\",\"scope\":\"\\u%04x\"}", c);
                answer = understood(200, TEXT(body), false);
                assert_int_equal(answer.class == ANSWER_TOKEN, good);
                if (good && c != ' ')
                        assert_int_equal(token_scope(answer.token).bytes[0], c);
                token_unref(answer.token);
        }
}

static void the_longest_token_passes_and_a_byte_more_does_not(void **state)
{
        (void)state;
        for (int size = MAX_TOKEN_BYTES - 1; size <= MAX_TOKEN_BYTES + 1; size++) {
                char body[200], value[MAX_TOKEN_BYTES + 2] = "";
                struct answer answer;

                memset(value, 'x', (size_t)size);
                snprintf(body, sizeof(body), "{\"access_token\":\"%s\"}", value);
                answer = understood(200, TEXT(body), false);
                assert_int_equal(answer.class == ANSWER_TOKEN, size <= MAX_TOKEN_BYTES);
                token_unref(answer.token);
        }
}

static void a_scope_that_could_not_be_repeated_makes_the_answer_unusable(void **state)
{
        static const char *const bad[] = {
                "\"a\\nb\"",   "\"a\\\"b\"",    "\"a\\\\b\"", "\"\xc3\xa9\"", "\"\\u0000\"",
                "\"\\u007f\"", "[\"a\",\"b\"]", "1",          "true",         "{}",
        };
        char body[100];
        struct answer answer;

        (void)state;
        for (size_t i = 0; i < N_OF(bad); i++) {
                snprintf(body, sizeof(body), TOKEN ",\"expires_in\":5,\"scope\":%s}", bad[i]);
                assert_unusable(body);
        }
        answer = understood(200, BYTES(TOKEN ",\"scope\":\"b a  b https://x/.default\"}"), false);
        assert_non_null(answer.token);
        assert_true(text_equal(token_scope(answer.token), BYTES("b a  b https://x/.default")));
        token_unref(answer.token);
}

static void an_issuer_may_leave_the_scope_out_or_empty(void **state)
{
        static const char *const without[] = {
                TOKEN "}",
                TOKEN ",\"scope\":\"\"}",
                TOKEN ",\"scope\":\" \"}",
                TOKEN ",\"scope\":\"    \"}",
                TOKEN ",\"scope\":null}",
        };

        (void)state;
        for (size_t i = 0; i < N_OF(without); i++) {
                struct answer answer = understood(200, TEXT(without[i]), false);

                assert_non_null(answer.token);
                assert_int_equal(token_scope(answer.token).size, 0);
                token_unref(answer.token);
        }
}

static void a_scope_is_not_kept_if_it_is_the_very_one_that_was_asked_for(void **state)
{
        static const struct {
                const char *body;
                const char *kept;
        } cases[] = {
                {TOKEN ",\"expires_in\":500,\"scope\":\"asked\"}", ""},
                {TOKEN ",\"expires_in\":500,\"scope\":\"asked \"}", "asked "},
                {TOKEN ",\"expires_in\":500,\"scope\":\"asked more\"}", "asked more"},
        };

        (void)state;
        for (size_t i = 0; i < N_OF(cases); i++) {
                struct answer answer = understood(200, TEXT(cases[i].body), false);

                assert_non_null(answer.token);
                assert_true(text_equal(token_scope(answer.token), TEXT(cases[i].kept)));
                assert_true(text_equal(token_value(answer.token), BYTES("abc")));
                assert_int_equal(answer.token->sent_at_ms, SENT_AT_MS);
                assert_int_equal(answer.token->expires_at_ms, SENT_AT_MS + 500000);
                assert_int_equal(token_memory(answer.token), offsetof(struct token, bytes) +
                                                                     strlen("abc") +
                                                                     strlen(cases[i].kept));
                token_unref(answer.token);
        }
}

static void a_200_that_is_not_clearly_a_token_is_unusable(void **state)
{
        (void)state;
        assert_unusable("");
        assert_unusable("\n");
        assert_unusable("<!DOCTYPE html><html><body>Login</body></html>");
        assert_unusable("access_token=abc&expires_in=3600");
        assert_unusable("\"abc\"");
        assert_unusable("[" TOKEN "}]");
        assert_unusable(TOKEN);
        assert_unusable(TOKEN "}x");
        assert_unusable(TOKEN "}" TOKEN "}");
        assert_unusable(TOKEN ",\"error\":\"invalid_grant\"}");
        assert_unusable(TOKEN ",\"error\":null}");
        assert_unusable("{\"error\":\"invalid_client\"}");
        assert_unusable(TOKEN ",\"access_token\":\"abc\"}");
        assert_unusable(TOKEN ",\"access\\u005ftoken\":\"def\"}");
        assert_unusable(TOKEN ",\"expires_in\":5,\"expires_in\":500000}");
        assert_unusable(TOKEN ",\"x\":\"\xff\"}");
        assert_unusable(TOKEN ",\"x\":\"\xc0\x80\"}");
        assert_unusable(TOKEN ",\"x\":[[[[[[[[1]]]]]]]]}");
        assert_answer(200, BYTES(TOKEN "}\0"), false, ANSWER_FAILURE, REASON_ANSWER_UNUSABLE);
        assert_answer(200, BYTES(TOKEN ",\"x\":\"\0\"}"), false, ANSWER_FAILURE,
                      REASON_ANSWER_UNUSABLE);
}

/* Retry-After comes first, and X-RateLimit-Reset where it tells nothing. */
static void a_hold_is_as_long_as_the_issuer_says(void **state)
{
        static const struct {
                unsigned int status;
                struct text retry_after;
                struct text ratelimit_reset;
                bool holds;
                uint64_t hold_ms; /* 0: it does not say */
        } cases[] = {
                {429, {}, {}, true, 0},
                {429, BYTES("3"), {}, true, 3000},
                {429, BYTES("300"), {}, true, 300000},
                {429, BYTES("301"), {}, true, 300000},
                {429, BYTES("Mon, 20 Jul 2026 12:00:09 GMT"), {}, true, 9000},
                {429, {}, BYTES("2026-07-20T12:00:11Z"), true, 11000},
                {429, BYTES("3"), BYTES("2026-07-20T12:00:11Z"), true, 3000},
                {429, BYTES("soon"), BYTES("2026-07-20T12:00:11Z"), true, 11000},
                {429, BYTES("0"), BYTES("2026-07-20T12:00:11Z"), true, 11000},
                {429, BYTES("Mon, 20 Jul 2026 11:00:00 GMT"), BYTES("2026-07-20T12:00:11Z"), true,
                 11000},
                {429, BYTES("soon"), BYTES("2026-07-20T11:59:59Z"), true, 0},
                {429, BYTES("-5"), BYTES("junk"), true, 0},
                {503, BYTES("3"), {}, true, 3000},
                {503, BYTES("soon"), {}, true, 0},
                {503, BYTES("0"), {}, true, 0},
                {503, BYTES("soon"), BYTES("2026-07-20T12:00:11Z"), true, 11000},
                {503, {}, BYTES("2026-07-20T12:00:11Z"), false, 0}, /* not asked for by itself */
                {500, BYTES("3"), BYTES("2026-07-20T12:00:11Z"), false, 0},
                {504, BYTES("3"), {}, false, 0},
                {408, BYTES("3"), {}, false, 0},
                {400, BYTES("3"), {}, false, 0},
                {301, BYTES("3"), {}, false, 0},
        };

        (void)state;
        for (size_t i = 0; i < N_OF(cases); i++) {
                const struct fetch_result result = {
                        .status = cases[i].status,
                        .retry_after = cases[i].retry_after,
                        .ratelimit_reset = cases[i].ratelimit_reset,
                };
                struct answer answer;

                assert_int_equal(
                        answer_understand(&answer, &result, &settings, &grant, SENT_AT_MS, WALL_S),
                        0);
                assert_null(answer.token);
                if ((answer.class == ANSWER_HOLD) != cases[i].holds ||
                    answer.hold_ms != cases[i].hold_ms)
                        fail_msg("case %zu: class %d, %d ms", i, answer.class, (int)answer.hold_ms);
                assert_int_equal(answer.reason == REASON_ISSUER_THROTTLES, cases[i].holds);
        }
}

/* A token is due when it runs out, until somebody who knows better says so. */
static void a_token_comes_without_a_refresh_point_of_its_own(void **state)
{
        struct answer answer = understood(200, BYTES(TOKEN ",\"expires_in\":60}"), false);

        (void)state;
        assert_int_equal(answer.token->refresh_at_ms, answer.token->expires_at_ms);
        token_unref(answer.token);
}

/* Our own allocations; those of libraries are out of reach here. */
static void out_of_memory_at_every_allocation_is_said_and_nothing_leaks(void **state)
{
        const struct text body = BYTES(
                "{\"access_token\":\"a.eyJleHAiOjUsImlhdCI6MX0.c\",\"scope\":\"a\"}");
        struct answer answer = {};
        int r = -ENOMEM;

        (void)state;
        for (unsigned int n = 1; r; n++) {
                const struct fetch_result result = {.status = 200, .body = body};

                assert_true(n < 20);
                alloc_fail_at(n);
                r = answer_understand(&answer, &result, &settings, &grant, SENT_AT_MS, WALL_S);
                assert_int_equal(r, alloc_has_failed() ? -ENOMEM : 0);
        }
        assert_non_null(answer.token);
        token_unref(answer.token);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(the_documented_answer_is_a_token),
                cmocka_unit_test(every_status_with_every_body_is_classified_as_documented),
                cmocka_unit_test(the_cases_that_matter_most_are_classified),
                cmocka_unit_test(a_failure_of_the_transport_counts_whatever_else_is_there),
                cmocka_unit_test(only_an_access_token_may_come_of_an_exchange),
                cmocka_unit_test(expires_in_is_a_whole_number_or_digits),
                cmocka_unit_test(an_expires_in_that_is_neither_makes_the_answer_unusable),
                cmocka_unit_test(the_longest_lifetime_passes_and_a_second_more_does_not),
                cmocka_unit_test(without_expires_in_the_jwt_tells_or_else_the_setting),
                cmocka_unit_test(token_type_is_bearer_in_any_case_or_absent),
                cmocka_unit_test(an_access_token_that_is_no_visible_ascii_text_is_none),
                cmocka_unit_test(every_visible_character_may_be_in_a_token),
                cmocka_unit_test(every_character_that_a_scope_may_hold_is_repeated),
                cmocka_unit_test(the_longest_token_passes_and_a_byte_more_does_not),
                cmocka_unit_test(a_scope_that_could_not_be_repeated_makes_the_answer_unusable),
                cmocka_unit_test(an_issuer_may_leave_the_scope_out_or_empty),
                cmocka_unit_test(a_scope_is_not_kept_if_it_is_the_very_one_that_was_asked_for),
                cmocka_unit_test(a_200_that_is_not_clearly_a_token_is_unusable),
                cmocka_unit_test(a_hold_is_as_long_as_the_issuer_says),
                cmocka_unit_test(a_token_comes_without_a_refresh_point_of_its_own),
                cmocka_unit_test(out_of_memory_at_every_allocation_is_said_and_nothing_leaks),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
