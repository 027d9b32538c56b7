/* SPDX-License-Identifier: MIT */

#include "script.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const struct {
        enum reason transport;
        unsigned int status;
        const char *body;
        enum reason reason;
} endings[_ENDING_N] = {
        [ENDING_TOKEN] = {.status = 200},
        [ENDING_TOKEN_WITH_SCOPE] = {.status = 200},
        [ENDING_SUBJECT_REFUSED] = {.status = 400,
                                    .body = "{\"error\":\"invalid_grant\"}",
                                    .reason = REASON_SUBJECT_REFUSED},
        [ENDING_SCOPE_REFUSED] = {.status = 400,
                                  .body = "{\"error\":\"invalid_scope\"}",
                                  .reason = REASON_SCOPE_REFUSED},
        [ENDING_CREDENTIALS_REFUSED] = {.status = 401,
                                        .body = "{\"error\":\"invalid_client\"}",
                                        .reason = REASON_CREDENTIALS_REFUSED},
        [ENDING_CLIENT_UNAUTHORIZED] = {.status = 400,
                                        .body = "{\"error\":\"unauthorized_client\"}",
                                        .reason = REASON_CLIENT_UNAUTHORIZED},
        [ENDING_THROTTLED] = {.status = 429, .body = "", .reason = REASON_ISSUER_THROTTLES},
        [ENDING_UNAVAILABLE] = {.status = 503, .body = "", .reason = REASON_ISSUER_THROTTLES},
        [ENDING_ERROR] = {.status = 500, .body = "oops", .reason = REASON_ISSUER_ERROR},
        [ENDING_GARBAGE] = {.status = 200,
                            .body = "<html>Welcome</html>",
                            .reason = REASON_ANSWER_UNUSABLE},
        [ENDING_UNREACHABLE] = {.transport = REASON_ISSUER_UNREACHABLE,
                                .reason = REASON_ISSUER_UNREACHABLE},
        [ENDING_TIMEOUT] = {.transport = REASON_ISSUER_TIMEOUT, .reason = REASON_ISSUER_TIMEOUT},
        [ENDING_CUT] = {.transport = REASON_ISSUER_CUT, .reason = REASON_ISSUER_CUT},
        [ENDING_REDIRECT] = {.status = 302, .reason = REASON_ANSWER_REDIRECT},
        [ENDING_TOO_LARGE] = {.transport = REASON_ANSWER_TOO_LARGE,
                              .reason = REASON_ANSWER_TOO_LARGE},
        [ENDING_CERTIFICATE] = {.transport = REASON_ISSUER_CERTIFICATE,
                                .reason = REASON_ISSUER_CERTIFICATE},
};

bool ending_is_token(enum ending ending)
{
        return endings[ending].reason == REASON_NONE;
}

bool ending_is_refusal(enum ending ending)
{
        return ending == ENDING_SUBJECT_REFUSED || ending == ENDING_SCOPE_REFUSED;
}

bool ending_is_hold(enum ending ending)
{
        return endings[ending].reason == REASON_ISSUER_THROTTLES;
}

bool ending_is_retried(enum ending ending)
{
        return ending == ENDING_ERROR || ending == ENDING_GARBAGE || ending == ENDING_UNREACHABLE ||
               ending == ENDING_TIMEOUT || ending == ENDING_CUT;
}

enum reason ending_reason(enum ending ending)
{
        return endings[ending].reason;
}

static int hex_value(char c)
{
        static const char digits[] = "0123456789ABCDEF";
        const char *digit = c ? strchr(digits, c) : NULL;

        assert_non_null(digit);
        return (int)(digit - digits);
}

/* Decodes in place; what we send has percent signs in their one canonical form, and no plus. */
static struct text decode(char *bytes, size_t size)
{
        size_t out = 0;

        for (size_t in = 0; in < size; in++) {
                assert_int_not_equal(bytes[in], '+');
                if (bytes[in] != '%') {
                        bytes[out++] = bytes[in];
                        continue;
                }
                assert_true(size - in >= 3);
                bytes[out++] = (char)(hex_value(bytes[in + 1]) << 4 | hex_value(bytes[in + 2]));
                in += 2;
        }
        return (struct text){bytes, out};
}

enum parameter {
        GRANT_TYPE,
        CLIENT_ID,
        CLIENT_SECRET,
        SCOPE,
        USERNAME,
        USERID,
        EMAIL,
        REGISTRATION_ID,
        SUBJECT_TOKEN,
        SUBJECT_TOKEN_TYPE,
        N_PARAMETERS,
};

static void take_pair(struct text values[N_PARAMETERS], char *pair, size_t size)
{
        static const char *const names[N_PARAMETERS] = {
                [GRANT_TYPE] = "grant_type",       [CLIENT_ID] = "client_id",
                [CLIENT_SECRET] = "client_secret", [SCOPE] = "scope",
                [USERNAME] = "subject_username",   [USERID] = "subject_userid",
                [EMAIL] = "subject_email",         [REGISTRATION_ID] = "registration_id",
                [SUBJECT_TOKEN] = "subject_token", [SUBJECT_TOKEN_TYPE] = "subject_token_type",
        };
        char *equals = memchr(pair, '=', size);
        struct text name;

        assert_non_null(equals);
        name = (struct text){pair, (size_t)(equals - pair)};
        for (int i = 0; i < N_PARAMETERS; i++) {
                if (!text_equal(name, TEXT(names[i])))
                        continue;
                assert_null(values[i].bytes);
                values[i] = decode(equals + 1, size - name.size - 1);
                return;
        }
        fail_msg("the issuer was sent an unknown parameter: %.*s", (int)name.size, name.bytes);
}

/* On behalf of whom; no other parameter but the four that are always there may be. */
static void take_subject(struct fetch *fetch, const struct text values[N_PARAMETERS])
{
        struct subject_matter *matter = &fetch->matter;
        int n = 0;

        for (int i = USERNAME; i < N_PARAMETERS; i++)
                n += values[i].bytes != NULL;
        if (text_equal(values[GRANT_TYPE], TEXT("password"))) {
                assert_int_equal(n, 1);
                for (int i = USERNAME; i <= EMAIL; i++) {
                        if (!values[i].bytes)
                                continue;
                        matter->kind = SUBJECT_USERNAME + (i - USERNAME);
                        matter->subject = values[i];
                }
                assert_non_null(matter->subject.bytes);
        } else if (text_equal(values[GRANT_TYPE], TEXT("client_credentials"))) {
                assert_int_equal(n, 0);
                matter->kind = strstr(fetch->url, "user_type=customer") ? SUBJECT_ANONYMOUS
                                                                        : SUBJECT_APPLICATION;
        } else {
                assert_true(text_equal(values[GRANT_TYPE],
                                       TEXT("urn:ietf:params:oauth:grant-type:token-exchange")));
                assert_int_equal(n, 3);
                matter->kind = SUBJECT_EXCHANGE;
                matter->subject = values[REGISTRATION_ID];
                matter->subject_token = values[SUBJECT_TOKEN];
                assert_true(matter->subject.size > 0 && matter->subject_token.size > 0);
                while (!text_equal(values[SUBJECT_TOKEN_TYPE],
                                   TEXT(subjecttoken_type_name(matter->subject_token_type)))) {
                        matter->subject_token_type++;
                        assert_true(matter->subject_token_type < _SUBJECTTOKEN_TYPE_N);
                }
        }
}

void script_read_form(struct fetch *fetch)
{
        char *at = fetch->form.bytes, *const end = at + fetch->form.size;
        struct text values[N_PARAMETERS] = {};

        while (at < end) {
                char *stop = memchr(at, '&', (size_t)(end - at));

                if (!stop)
                        stop = end;
                take_pair(values, at, (size_t)(stop - at));
                at = stop + 1;
        }
        for (int i = GRANT_TYPE; i <= SCOPE; i++)
                assert_non_null(values[i].bytes);
        fetch->matter.client_id = values[CLIENT_ID];
        fetch->matter.scope = values[SCOPE];
        fetch->client_secret = values[CLIENT_SECRET];
        take_subject(fetch, values);
}

bool script_same_matter(const struct subject_matter *a, const struct subject_matter *b)
{
        return a->kind == b->kind && text_equal(a->client_id, b->client_id) &&
               text_equal(a->subject, b->subject) && text_equal(a->scope, b->scope) &&
               text_equal(a->subject_token, b->subject_token) &&
               a->subject_token_type == b->subject_token_type;
}

static char *put_hex(char *out, struct text text)
{
        static const char digits[] = "0123456789abcdef";

        for (size_t i = 0; i < text.size; i++) {
                *out++ = digits[(unsigned char)text.bytes[i] >> 4];
                *out++ = digits[text.bytes[i] & 0xf];
        }
        *out++ = '.';
        return out;
}

/* What a token begins with: hexadecimal, so that nothing in a subject can be mistaken for more. */
static size_t put_matter(char *out, const struct subject_matter *matter)
{
        char *const begin = out;

        out = put_hex(out, matter->client_id);
        out = put_hex(out, TEXT(subject_kind_name(matter->kind)));
        out = put_hex(out, matter->subject);
        assert_true(matter->subject_token.size < 2000);
        out = put_hex(out, matter->subject_token);
        *out++ = (char)('0' + matter->subject_token_type);
        out = put_hex(out, matter->scope);
        return (size_t)(out - begin);
}

struct fetch_result script_answer(char body[static SCRIPT_BODY_MAX_BYTES],
                                  const struct fetch *fetch, uint64_t serial)
{
        static const char head[] = "{\"token_type\":\"bearer\",\"access_token\":\"";
        struct fetch_result result = {
                .transport = endings[fetch->ending].transport,
                .status = endings[fetch->ending].status,
        };
        char *out = body, *const end = body + SCRIPT_BODY_MAX_BYTES;
        uint64_t expires_at_ms = fetch->sent_at_ms + fetch->lifetime_s * 1000;
        uint64_t lifetime_s = fetch->lifetime_s;
        const struct text granted = fetch->granted ? TEXT(fetch->granted) : fetch->matter.scope;

        if (fetch->retry_after)
                result.retry_after = TEXT(fetch->retry_after);
        else if (fetch->ending == ENDING_UNAVAILABLE)
                result.retry_after = TEXT("1");
        if (fetch->ratelimit_reset)
                result.ratelimit_reset = TEXT(fetch->ratelimit_reset);
        if (fetch->repeated_serial) {
                serial = fetch->repeated_serial;
                expires_at_ms = fetch->repeated_expires_at_ms;
                lifetime_s = (expires_at_ms - fetch->sent_at_ms) / 1000;
        }
        if (!ending_is_token(fetch->ending)) {
                if (endings[fetch->ending].body)
                        result.body = TEXT(endings[fetch->ending].body);
                return result;
        }
        out += snprintf(out, (size_t)(end - out), "%s", head);
        out += put_matter(out, &fetch->matter);
        out += snprintf(out, (size_t)(end - out),
                        "%" PRIu64 ".%" PRIu64 "\",\"expires_in\":%" PRIu64, serial, expires_at_ms,
                        lifetime_s);
        if (fetch->ending == ENDING_TOKEN_WITH_SCOPE)
                out += snprintf(out, (size_t)(end - out), ",\"scope\":\"%.*s\"", (int)granted.size,
                                granted.bytes);
        out += snprintf(out, (size_t)(end - out), "}");
        result.body = (struct text){body, (size_t)(out - body)};
        return result;
}

void script_read_token(struct text token, const struct subject_matter *wanted, uint64_t *ret_serial,
                       uint64_t *ret_expires_at_ms)
{
        char begin[SCRIPT_BODY_MAX_BYTES], rest[64] = "", *end;
        const size_t size = put_matter(begin, wanted);

        if (token.size <= size || memcmp(token.bytes, begin, size) != 0)
                fail_msg("a token of another: %.*s instead of %.*s", (int)token.size, token.bytes,
                         (int)size, begin);
        assert_true(token.size - size < sizeof(rest));
        memcpy(rest, token.bytes + size, token.size - size);
        *ret_serial = strtoull(rest, &end, 10);
        assert_int_equal(*end, '.');
        *ret_expires_at_ms = strtoull(end + 1, &end, 10);
        assert_int_equal(*end, '\0');
}
