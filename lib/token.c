/* SPDX-License-Identifier: MIT */

#include "token.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "error.h"
#include "secret.h"

int token_new(struct token **ret, struct text value, struct text scope, uint64_t sent_at_ms,
              uint64_t lifetime_ms)
{
        static uint64_t last_serial;
        struct token *token;

        assert(value.size > 0 && value.size <= UINT32_MAX && scope.size <= UINT16_MAX);

        token = malloc(offsetof(struct token, bytes) + value.size + scope.size);
        if (!token)
                return error_trace(-ENOMEM);
        *token = (struct token){
                .serial = ++last_serial,
                .refs = 1,
                .value_size = (uint32_t)value.size,
                .scope_size = (uint16_t)scope.size,
                .sent_at_ms = sent_at_ms,
                .refresh_at_ms = sent_at_ms + lifetime_ms,
                .expires_at_ms = sent_at_ms + lifetime_ms,
        };
        memcpy(token->bytes, value.bytes, value.size);
        if (scope.size > 0)
                memcpy(token->bytes + value.size, scope.bytes, scope.size);
        *ret = token;
        return 0;
}

struct token *token_ref(struct token *token)
{
        assert(token->refs > 0);
        token->refs++;
        return token;
}

void token_unref(struct token *token)
{
        if (!token)
                return;
        assert(token->refs > 0);
        if (--token->refs > 0)
                return;
        secret_wipe(token, token_memory(token));
        free(token);
}
