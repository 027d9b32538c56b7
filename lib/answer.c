/* SPDX-License-Identifier: MIT */

/*
 * A status says less than it seems: eGain's endpoints answer with RFC 6749's errors, with their
 * API's own, with HTML, or with nothing. So the class comes from the status, and only the three
 * words that speak of us rather than of the subject (invalid_client, unauthorized_client,
 * unsupported_grant_type) are looked for in the body. Nothing in a body is ever repeated to a
 * caller or to the log, because it may hold anything.
 */

#include "answer.h"

#include <strings.h>

#include "error.h"
#include "json.h"
#include "jwt.h"
#include "request.h"
#include "retryafter.h"

#define EXPIRES_IN_MAX_DIGITS 10

/* Of what was granted: more than can be asked for. */
#define SCOPE_MAX_BYTES (4 * (size_t)REQUEST_SCOPE_MAX_BYTES)

static int64_t digits_value(struct text text)
{
        int64_t value = 0;

        if (text.size == 0 || text.size > EXPIRES_IN_MAX_DIGITS)
                return -1;
        for (size_t i = 0; i < text.size; i++) {
                if (text.bytes[i] < '0' || text.bytes[i] > '9')
                        return -1;
                value = value * 10 + (text.bytes[i] - '0');
        }
        return value;
}

bool answer_is_token(struct text value)
{
        uint8_t bad = 0;

        /* To the end whatever is found, in bytes: so the compiler looks at many at once. */
        for (size_t i = 0; i < value.size; i++)
                bad |= (uint8_t)((uint8_t)(value.bytes[i] - 0x21) > 0x7e - 0x21);
        return !bad && value.size > 0;
}

bool answer_is_scope(struct text scope)
{
        if (scope.size > SCOPE_MAX_BYTES)
                return false;
        for (size_t i = 0; i < scope.size; i++)
                if (scope.bytes[i] < 0x20 || scope.bytes[i] > 0x7e || scope.bytes[i] == '"' ||
                    scope.bytes[i] == '\\')
                        return false;
        return scope.size > 0;
}

/* The life of a token in seconds; 0 or less: unusable. 0 or -ENOMEM. */
static int read_lifetime(int64_t *ret, struct json *object, struct text value,
                         const struct settings *settings)
{
        struct text text;
        int r;

        switch (json_get_integer(object, "expires_in", ret)) {
        case JSON_MEMBER_PRESENT: return 0;
        case JSON_MEMBER_INVALID:
                *ret = json_get_text(object, "expires_in", &text) == JSON_MEMBER_PRESENT
                               ? digits_value(text)
                               : -1;
                return 0;
        case JSON_MEMBER_ABSENT: break;
        }
        r = jwt_lifetime_s(value, ret);
        if (r < 0)
                return error_trace(r);
        if (r)
                *ret = (int64_t)(settings->default_lifetime_ms / 1000);
        return 0;
}

/* Whether a member that may be absent is what it should be where it is there. */
static bool is_bearer(struct json *object)
{
        struct text type;

        switch (json_get_text(object, "token_type", &type)) {
        case JSON_MEMBER_ABSENT: return true;
        case JSON_MEMBER_PRESENT: return strcasecmp(type.bytes, "bearer") == 0;
        default: return false;
        }
}

/* Without a single value. */
static bool is_blank(struct text scope)
{
        for (size_t i = 0; i < scope.size; i++)
                if (scope.bytes[i] != ' ')
                        return false;
        return true;
}

/* What was granted; empty where the issuer does not say, which some do with null, "" or blanks. */
static bool read_scope(struct json *object, struct text *ret)
{
        *ret = (struct text){};
        if (json_is_null(object, "scope"))
                return true;
        switch (json_get_text(object, "scope", ret)) {
        case JSON_MEMBER_ABSENT: return true;
        case JSON_MEMBER_PRESENT: break;
        default: return false;
        }
        if (is_blank(*ret))
                *ret = (struct text){};
        return ret->size == 0 || answer_is_scope(*ret);
}

/* Whether what was issued is an access token, where the issuer says. */
static bool is_access_token(struct json *object)
{
        struct text type;

        if (json_is_null(object, "issued_token_type"))
                return true;
        switch (json_get_text(object, "issued_token_type", &type)) {
        case JSON_MEMBER_ABSENT: return true;
        case JSON_MEMBER_PRESENT:
                return text_equal(type, TEXT(subjecttoken_type_name(SUBJECTTOKEN_ACCESS_TOKEN)));
        default: return false;
        }
}

/* *ret stays NULL if there is no usable token. 0 or -ENOMEM. */
static int read_token(struct token **ret, struct text body, const struct settings *settings,
                      const struct grant *grant, uint64_t sent_at_ms)
{
        struct json *object = NULL;
        struct text value, scope;
        int64_t lifetime_s;
        int r;

        r = json_parse_object(&object, body);
        if (r)
                return r < 0 ? error_trace(r) : 0;

        if (json_has(object, "error") ||
            json_get_text(object, "access_token", &value) != JSON_MEMBER_PRESENT ||
            value.size > settings->max_token_bytes || !answer_is_token(value) ||
            !is_bearer(object) || !read_scope(object, &scope) ||
            (grant->subject_kind == SUBJECT_EXCHANGE && !is_access_token(object)))
                goto out;
        r = read_lifetime(&lifetime_s, object, value, settings);
        if (r || lifetime_s <= 0 || lifetime_s > ANSWER_LIFETIME_MAX_S)
                goto out;
        if (text_equal(scope, grant->scope))
                scope = (struct text){};
        r = token_new(ret, value, scope, sent_at_ms, (uint64_t)lifetime_s * 1000);
out:
        json_release(object);
        return error_trace(r);
}

/* The error code of RFC 6749 §5.2, where the body has one that speaks of us; else REASON_NONE. */
static int read_error(enum reason *ret, bool *ret_scope, struct text body)
{
        struct json *object = NULL;
        struct text error;
        int r;

        *ret = REASON_NONE;
        *ret_scope = false;
        r = json_parse_object(&object, body);
        if (r)
                return r < 0 ? error_trace(r) : 0;
        if (json_get_text(object, "error", &error) == JSON_MEMBER_PRESENT) {
                if (text_equal(error, TEXT("invalid_client")))
                        *ret = REASON_CREDENTIALS_REFUSED;
                else if (text_equal(error, TEXT("unauthorized_client")) ||
                         text_equal(error, TEXT("unsupported_grant_type")))
                        *ret = REASON_CLIENT_UNAUTHORIZED;
                *ret_scope = text_equal(error, TEXT("invalid_scope"));
        }
        json_release(object);
        return 0;
}

static int set(struct answer *answer, enum answer_class class, enum reason reason)
{
        *answer = (struct answer){.class = class, .reason = reason};
        return 0;
}

/* The issuer asks for fewer requests, and perhaps says when it wants the next one. */
static int understand_hold(struct answer *ret, const struct fetch_result *result, int64_t wall_s)
{
        uint64_t hold_ms = 0;

        if (retryafter_parse(result->retry_after, wall_s, &hold_ms))
                (void)retryafter_parse(result->ratelimit_reset, wall_s, &hold_ms);
        *ret = (struct answer){
                .class = ANSWER_HOLD, .reason = REASON_ISSUER_THROTTLES, .hold_ms = hold_ms};
        return 0;
}

static int understand_client_error(struct answer *ret, const struct fetch_result *result)
{
        enum reason about_us;
        bool scope;
        int r;

        if (result->status == 408)
                return set(ret, ANSWER_FAILURE, REASON_ISSUER_ERROR);
        r = read_error(&about_us, &scope, result->body);
        if (r)
                return error_trace(r);
        if (about_us == REASON_CREDENTIALS_REFUSED || result->status == 401)
                return set(ret, ANSWER_CREDENTIALS, REASON_CREDENTIALS_REFUSED);
        if (about_us == REASON_CLIENT_UNAUTHORIZED)
                return set(ret, ANSWER_CONFIGURATION, about_us);
        switch (result->status) {
        case 400:
        case 403:
        case 404:
        case 422:
                return set(ret, ANSWER_REFUSAL,
                           scope ? REASON_SCOPE_REFUSED : REASON_SUBJECT_REFUSED);
        default: return set(ret, ANSWER_FAILURE, REASON_ANSWER_UNUSABLE);
        }
}

int answer_understand(struct answer *ret, const struct fetch_result *result,
                      const struct settings *settings, const struct grant *grant,
                      uint64_t sent_at_ms, int64_t wall_s)
{
        struct token *token = NULL;
        int r;

        if (result->transport)
                return set(ret, ANSWER_FAILURE, result->transport);
        if (result->status >= 300 && result->status < 400)
                return set(ret, ANSWER_FAILURE, REASON_ANSWER_REDIRECT);
        if (result->status == 429 || (result->status == 503 && result->retry_after.size > 0))
                return understand_hold(ret, result, wall_s);
        if (result->status >= 400 && result->status < 500)
                return error_trace(understand_client_error(ret, result));
        if (result->status >= 500)
                return set(ret, ANSWER_FAILURE, REASON_ISSUER_ERROR);

        if (result->status == 200) {
                r = read_token(&token, result->body, settings, grant, sent_at_ms);
                if (r)
                        return error_trace(r);
        }
        if (!token)
                return set(ret, ANSWER_FAILURE, REASON_ANSWER_UNUSABLE);
        *ret = (struct answer){.class = ANSWER_TOKEN, .token = token};
        return 0;
}
