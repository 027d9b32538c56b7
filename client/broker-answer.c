/* SPDX-License-Identifier: MIT */

#include "broker-answer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "members.h"

static void wipe_string(char *string)
{
        buffer_wipe_and_free(string, string ? strlen(string) : 0);
}

void broker_token_deinit(struct broker_token *token)
{
        wipe_string(token->value);
        wipe_string(token->scope);
        *token = (struct broker_token){};
}

static int odd(const struct broker_answer *answer, struct broker_error *error)
{
        (void)broker_error_set(error, BROKER_FAULT_NOT_BROKER,
                               "What listens there answers with status %u, and not as this "
                               "version of egain-tokend does.",
                               answer->status);
        return BROKER_ANSWER_E_ODD;
}

/* The member's text, which is wiped when it is freed. NULL: it is none, or memory ran out. */
static char *own_text(const struct member *member)
{
        char *text = malloc(member->size + 1);

        if (text && !member_text(member, text)) {
                buffer_wipe_and_free(text, member->size + 1);
                return NULL;
        }
        return text;
}

static bool read_refusal(const struct broker_answer *answer, struct broker_refusal *ret)
{
        struct member members[] = {{.name = "error"}, {.name = "error_description"}};
        char *error = NULL, *description = NULL;
        bool good;

        good = members_read(answer->body.bytes, answer->body.size, members, 2);
        if (good) {
                error = own_text(&members[0]);
                description = own_text(&members[1]);
                good = error && *error && !strchr(error, ' ') &&
                       strlen(error) < sizeof(ret->error) && description;
        }
        if (good) {
                (void)snprintf(ret->error, sizeof(ret->error), "%s", error);
                (void)snprintf(ret->description, sizeof(ret->description), "%s", description);
        }
        wipe_string(error);
        wipe_string(description);
        return good;
}

static int refusal_of(const struct broker_answer *answer, struct broker_refusal *ret,
                      struct broker_error *error)
{
        *ret = (struct broker_refusal){
                .status = answer->status,
                .retry_after_s = answer->retry_after_s,
        };
        if (answer->json && answer->status >= 400 && read_refusal(answer, ret))
                return BROKER_ANSWER_E_REFUSED;
        return odd(answer, error);
}

int broker_answer_check(const struct broker_answer *answer, struct broker_refusal *refusal,
                        struct broker_error *error)
{
        if (answer->status >= 200 && answer->status < 300)
                return 0;
        return refusal_of(answer, refusal, error);
}

/* False: it has not what a token answer has. Strings for which there was no memory are NULL. */
static bool read_token(const struct broker_answer *answer, struct broker_token *ret)
{
        struct member members[] = {{.name = "access_token"},
                                   {.name = "token_type"},
                                   {.name = "expires_in"},
                                   {.name = "scope"}};
        struct member *value = &members[0], *type = &members[1], *expires_in = &members[2],
                      *scope = &members[3];

        if (!members_read(answer->body.bytes, answer->body.size, members, 4) ||
            value->kind != MEMBER_STRING || value->size == 0 || type->kind != MEMBER_STRING ||
            type->size != strlen("Bearer") || strncasecmp(type->bytes, "Bearer", type->size) != 0 ||
            expires_in->kind != MEMBER_NUMBER || expires_in->number < 1 ||
            (scope->kind != MEMBER_STRING && scope->kind != MEMBER_ABSENT))
                return false;
        *ret = (struct broker_token){
                .value = own_text(value),
                .scope = scope->kind == MEMBER_STRING ? own_text(scope) : strdup(""),
                .expires_in_s = expires_in->number,
        };
        return ret->value && ret->scope && !strchr(ret->value, ' ');
}

int broker_answer_token(const struct broker_answer *answer, struct broker_token *ret,
                        struct broker_refusal *refusal, struct broker_error *error)
{
        if (answer->status != 200)
                return refusal_of(answer, refusal, error);
        *ret = (struct broker_token){};
        if (answer->json && read_token(answer, ret))
                return 0;
        broker_token_deinit(ret);
        return odd(answer, error);
}
