/* SPDX-License-Identifier: MIT */

#include "token-object.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"

#define EXPORT __attribute__((visibility("default")))

struct egain_token {
        atomic_uint references;
        struct broker_token answer; /* never changes */
        uint64_t ends_ms;           /* of the boot clock */
};

struct egain_token *token_object_new(struct broker_token *answer, uint64_t asked_ms)
{
        struct egain_token *token = malloc(sizeof(*token));

        if (!token)
                return NULL;
        *token = (struct egain_token){
                .references = 1,
                .answer = *answer,
                .ends_ms = asked_ms + answer->expires_in_s * 1000,
        };
        *answer = (struct broker_token){};
        return token;
}

bool token_object_equal(const struct egain_token *a, const struct egain_token *b)
{
        return strcmp(a->answer.value, b->answer.value) == 0;
}

uint64_t token_object_left_ms(const struct egain_token *token, uint64_t boot_ms)
{
        return token->ends_ms > boot_ms ? token->ends_ms - boot_ms : 0;
}

EXPORT struct egain_token *egain_token_ref(struct egain_token *token)
{
        if (token)
                atomic_fetch_add_explicit(&token->references, 1, memory_order_relaxed);
        return token;
}

EXPORT void egain_token_unref(struct egain_token *token)
{
        if (!token || atomic_fetch_sub_explicit(&token->references, 1, memory_order_acq_rel) != 1)
                return;
        broker_token_deinit(&token->answer);
        free(token);
}

EXPORT const char *egain_token_value(const struct egain_token *token)
{
        return token ? token->answer.value : NULL;
}

EXPORT const char *egain_token_scope(const struct egain_token *token)
{
        return token ? token->answer.scope : NULL;
}

EXPORT uint32_t egain_token_expires_in(const struct egain_token *token)
{
        const uint64_t left_s = token ? token_object_left_ms(token, clock_boot_ms()) / 1000 : 0;

        return left_s < UINT32_MAX ? (uint32_t)left_s : UINT32_MAX;
}
