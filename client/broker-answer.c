/* SPDX-License-Identifier: MIT */

#include "broker-answer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "json.h"

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

/* Every character between ' ' or '!' and '~'. */
static bool is_printable(const char *string, char first)
{
        for (; *string; string++)
                if (*string < first || *string > '~')
                        return false;
        return true;
}

static bool read_refusal(json_object *object, struct broker_refusal *ret)
{
        const char *error = json_get_string(object, "error");
        const char *description = json_get_string(object, "error_description");
        size_t size;

        if (!error || !*error || strlen(error) >= sizeof(ret->error) || !is_printable(error, '!') ||
            !description || !is_printable(description, ' '))
                return false;
        size = strnlen(description, sizeof(ret->description) - 1);
        memcpy(ret->error, error, strlen(error) + 1);
        memcpy(ret->description, description, size);
        ret->description[size] = '\0';
        return true;
}

static int refusal_of(const struct broker_answer *answer, struct broker_refusal *ret,
                      struct broker_error *error)
{
        json_object *object = NULL;
        bool good;

        *ret = (struct broker_refusal){
                .status = answer->status,
                .retry_after_s = answer->retry_after_s,
        };
        if (answer->json && answer->status >= 400)
                object = json_parse(answer->body.bytes, answer->body.size);
        good = object && read_refusal(object, ret);
        json_release(object);
        return good ? BROKER_ANSWER_E_REFUSED : odd(answer, error);
}

int broker_answer_check(const struct broker_answer *answer, struct broker_refusal *refusal,
                        struct broker_error *error)
{
        if (answer->status >= 200 && answer->status < 300)
                return 0;
        return refusal_of(answer, refusal, error);
}

/* 0, -ENOMEM or BROKER_ANSWER_E_ODD. */
static int read_token(json_object *object, struct broker_token *ret)
{
        const char *value = json_get_string(object, "access_token");
        const char *type = json_get_string(object, "token_type");
        const char *scope = json_get_string(object, "scope");
        const int64_t expires_in_s = json_get_number(object, "expires_in");

        if (!value || !*value || !is_printable(value, '!') || !type ||
            strcasecmp(type, "Bearer") != 0 || expires_in_s < 1 ||
            (scope && !is_printable(scope, ' ')))
                return BROKER_ANSWER_E_ODD;
        *ret = (struct broker_token){
                .value = strdup(value),
                .scope = strdup(scope ? scope : ""),
                .expires_in_s = (uint64_t)expires_in_s,
        };
        if (ret->value && ret->scope)
                return 0;
        broker_token_deinit(ret);
        return -ENOMEM;
}

int broker_answer_token(const struct broker_answer *answer, struct broker_token *ret,
                        struct broker_refusal *refusal, struct broker_error *error)
{
        json_object *object;
        int r = BROKER_ANSWER_E_ODD;

        if (answer->status != 200)
                return refusal_of(answer, refusal, error);
        object = answer->json ? json_parse(answer->body.bytes, answer->body.size) : NULL;
        if (object)
                r = read_token(object, ret);
        json_release(object);
        return r == BROKER_ANSWER_E_ODD ? odd(answer, error) : r;
}
