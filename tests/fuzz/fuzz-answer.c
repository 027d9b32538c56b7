/* SPDX-License-Identifier: MIT */

/*
 * What the issuer answers. The first byte chooses the status, the second what came with it: 't'
 * that there was no answer at all, 'r' that the next line is Retry-After, 'x' that it is
 * X-RateLimit-Reset, 'b' both in this order, anything else none of them; the rest is the body.
 */

#include "fuzz.h"

#include "answer.h"
#include "retryafter.h"

#define SENT_AT_MS      UINT64_C(1000000)
#define WALL_S          INT64_C(1784548800) /* 2026-07-20 12:00:00 */
#define MAX_TOKEN_BYTES 200

static const unsigned int statuses[] = {
        200, 400, 401, 403, 404, 408, 422, 429, 500, 503, /* '0' to '9' */
        0,   100, 201, 204, 206, 302, 304, 418, 599, 999, /* ':' and on */
};

static void check_token(const struct token *token, const struct fetch_result *result)
{
        const struct text value = token_value(token), scope = token_scope(token);
        const uint64_t lifetime_ms = token->expires_at_ms - token->sent_at_ms;

        must(result->transport == REASON_NONE && result->status == 200);
        must(memchr(result->body.bytes, '{', result->body.size));
        must(token->refs == 1 && token->sent_at_ms == SENT_AT_MS);
        must(token->refresh_at_ms == token->expires_at_ms);
        must(lifetime_ms >= 1000 && lifetime_ms % 1000 == 0);
        must(lifetime_ms / 1000 <= (uint64_t)ANSWER_LIFETIME_MAX_S);
        must(value.size >= 1 && value.size <= MAX_TOKEN_BYTES);
        /* Each goes into a header, or into JSON. */
        for (size_t i = 0; i < value.size; i++)
                must(value.bytes[i] > 0x20 && value.bytes[i] < 0x7f);
        for (size_t i = 0; i < scope.size; i++)
                must(scope.bytes[i] >= 0x20 && scope.bytes[i] < 0x7f && scope.bytes[i] != '"' &&
                     scope.bytes[i] != '\\');
}

/* The first of the two that says something counts. */
static uint64_t expected_hold_ms(const struct fetch_result *result)
{
        uint64_t ms = 0;

        if (retryafter_parse(result->retry_after, WALL_S, &ms) == 0 ||
            retryafter_parse(result->ratelimit_reset, WALL_S, &ms) == 0)
                must(ms > 0 && ms <= RETRYAFTER_MAX_MS);
        return ms;
}

static void check_answer(const struct answer *answer, const struct fetch_result *result)
{
        const unsigned int status = result->status;
        const struct reason_info *info = answer->reason ? reason_info(answer->reason) : NULL;

        must((answer->class == ANSWER_TOKEN) == (answer->token != NULL));
        must((answer->class == ANSWER_TOKEN) == (answer->reason == REASON_NONE));
        must(answer->hold_ms == 0 || answer->class == ANSWER_HOLD);
        if (result->transport) {
                must(answer->class == ANSWER_FAILURE && answer->reason == result->transport);
                return;
        }
        switch (answer->class) {
        case ANSWER_TOKEN: check_token(answer->token, result); break;
        case ANSWER_REFUSAL:
                must(status == 400 || status == 403 || status == 404 || status == 422);
                must(answer->reason == REASON_SUBJECT_REFUSED ||
                     answer->reason == REASON_SCOPE_REFUSED);
                must(info->status == 400);
                break;
        case ANSWER_CREDENTIALS:
                must(status >= 400 && status < 500);
                must(answer->reason == REASON_CREDENTIALS_REFUSED);
                break;
        case ANSWER_CONFIGURATION:
                must(status >= 400 && status < 500 && status != 401);
                must(answer->reason == REASON_CLIENT_UNAUTHORIZED);
                break;
        case ANSWER_HOLD:
                must(status == 429 || (status == 503 && result->retry_after.size > 0));
                must(answer->reason == REASON_ISSUER_THROTTLES);
                must(answer->hold_ms == expected_hold_ms(result));
                break;
        case ANSWER_FAILURE: must(status != 401 && status != 429); break;
        }
        /* No fault of the issuer looks like one of the caller. */
        if (info && answer->class != ANSWER_REFUSAL)
                must(info->status == 502 || info->status == 503);
}

/* Cuts off the first line. */
static struct text take_line(struct text *rest)
{
        const char *newline = rest->size > 0 ? memchr(rest->bytes, '\n', rest->size) : NULL;
        const size_t size = newline ? (size_t)(newline - rest->bytes) : rest->size;
        const size_t taken = size + (newline ? 1 : 0);
        const struct text line = {rest->bytes, size};

        *rest = (struct text){rest->bytes + taken, rest->size - taken};
        return line;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        const struct settings settings = {
                .max_token_bytes = MAX_TOKEN_BYTES,
                .default_lifetime_ms = 300000,
        };
        const struct grant grant = {
                .subject_kind = size > 1 && data[1] == 'e' ? SUBJECT_EXCHANGE : SUBJECT_USERNAME,
                .scope = TEXT("a"),
        };
        struct fetch_result result = {};
        struct answer answer = {}, again = {};
        char *bytes;

        if (size < 2)
                return 0;
        bytes = copy_exactly(data + 2, size - 2);
        result.status =
                statuses[(uint8_t)(data[0] - '0') % (sizeof(statuses) / sizeof(statuses[0]))];
        result.body = (struct text){bytes, size - 2};
        if (data[1] == 't')
                result.transport = REASON_ISSUER_CUT;
        if (data[1] == 'r' || data[1] == 'b')
                result.retry_after = take_line(&result.body);
        if (data[1] == 'x' || data[1] == 'b')
                result.ratelimit_reset = take_line(&result.body);

        must(answer_understand(&answer, &result, &settings, &grant, SENT_AT_MS, WALL_S) == 0);
        check_answer(&answer, &result);
        /* The bytes are borrowed, not changed, and mean the same every time. */
        must(size == 2 || memcmp(bytes, data + 2, size - 2) == 0);
        must(answer_understand(&again, &result, &settings, &grant, SENT_AT_MS, WALL_S) == 0);
        must(again.class == answer.class && again.reason == answer.reason);
        must(again.hold_ms == answer.hold_ms);
        token_unref(again.token);
        token_unref(answer.token);
        free(bytes);
        return 0;
}
