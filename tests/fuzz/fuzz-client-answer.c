/* SPDX-License-Identifier: MIT */

/*
 * What clients make of an answer. The first byte chooses the status, the second says whether it
 * calls itself JSON ('j') and whether it has Retry-After; the rest is the body. Whatever comes out
 * is fit to be printed or to go into a header, and nothing comes out of an answer of another kind.
 */

#include "fuzz.h"

#include "broker-answer.h"
#include "members.h"

static const unsigned int statuses[] = {
        200, 400, 401, 403, 404, 405, 413, 429, 502, 503, 504, /* '0' to ':' */
        201, 204, 302, 399, 500, 599,
};

static void check_printable(const char *text)
{
        for (const char *at = text; *at; at++)
                must(*at >= ' ' && *at <= '~');
}

static void check_error(const struct broker_error *error)
{
        must(error->fault == BROKER_FAULT_NOT_BROKER && *error->text);
        must(strlen(error->text) < sizeof(error->text));
        check_printable(error->text);
}

static void check_token(const struct broker_answer *answer, const struct broker_token *token)
{
        struct member members[] = {{.name = "access_token"}, {.name = "expires_in"}};

        must(answer->status == 200 && answer->json);
        must(token->value && *token->value && token->scope && token->expires_in_s >= 1);
        check_printable(token->value);
        check_printable(token->scope);
        must(!strchr(token->value, ' '));
        must(members_read(answer->body.bytes, answer->body.size, members, 2));
        must(members[1].number == token->expires_in_s);
        must(members[0].size >= strlen(token->value));
        if (!memchr(members[0].bytes, '\\', members[0].size))
                must(memcmp(members[0].bytes, token->value, members[0].size) == 0);
}

static void check_refusal(const struct broker_answer *answer, const struct broker_refusal *refusal)
{
        must(answer->status >= 400 && answer->json);
        must(refusal->status == answer->status);
        must(refusal->retry_after_s == answer->retry_after_s);
        must(*refusal->error && strlen(refusal->error) < sizeof(refusal->error));
        must(!strchr(refusal->error, ' '));
        must(strlen(refusal->description) < sizeof(refusal->description));
        check_printable(refusal->error);
        check_printable(refusal->description);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        struct broker_answer answer = {.body = BUFFER_INIT(BROKER_HTTP_ANSWER_MAX_BYTES)};
        struct broker_refusal refusal = {}, again = {};
        struct broker_error error = {};
        struct broker_token token = {};
        int r;

        if (size < 2)
                return 0;
        answer.status =
                statuses[(uint8_t)(data[0] - '0') % (sizeof(statuses) / sizeof(statuses[0]))];
        answer.json = data[1] == 'j' || data[1] == 'J';
        answer.retry_after_s = data[1] == 'J' ? 7 : 0;
        must(buffer_append(&answer.body, data + 2, size - 2) == 0);

        r = broker_answer_token(&answer, &token, &refusal, &error);
        must(r == 0 || r == BROKER_ANSWER_E_REFUSED || r == BROKER_ANSWER_E_ODD);
        if (r == 0)
                check_token(&answer, &token);
        else
                must(!token.value && !token.scope);
        if (r == BROKER_ANSWER_E_REFUSED)
                check_refusal(&answer, &refusal);
        if (r == BROKER_ANSWER_E_ODD)
                check_error(&error);

        /* Of another request success is in the status, and a refusal is the same. */
        error = (struct broker_error){};
        if (broker_answer_check(&answer, &again, &error) == 0) {
                must(answer.status >= 200 && answer.status < 300);
        } else {
                must(answer.status < 200 || answer.status >= 300);
                must(strcmp(again.error, refusal.error) == 0);
                must(strcmp(again.description, refusal.description) == 0);
        }
        broker_token_deinit(&token);
        broker_answer_deinit(&answer);
        return 0;
}
