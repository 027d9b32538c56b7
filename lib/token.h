/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * A token as the issuer gave it: immutable once it is shared, shared by reference, wiped when the
 * last reference goes. The cache holds one reference, every answer on its way to a caller another.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "text.h"

struct token {
        uint64_t serial;        /* of this process; no other token has or had it; never 0 */
        uint64_t sent_at_ms;    /* when the request for it was sent */
        uint64_t refresh_at_ms; /* when a new one is due; its end until somebody sets it */
        uint64_t expires_at_ms; /* its life is counted from sent_at_ms */
        uint64_t label;         /* a keyed fingerprint for the audit record; 0: not computed yet */
        unsigned int refs;
        uint32_t value_size;
        uint32_t n_purges; /* that were asked for before it was sent for; may wrap */
        uint16_t scope_size;
        bool exceeds; /* more scope was granted than was asked for */
        bool capped;  /* it ends with what it was exchanged for: no other lives longer */
        char bytes[]; /* value, scope */
};

/* Copies both texts. 0 or -ENOMEM; *ret is one reference. */
int token_new(struct token **ret, struct text value, struct text scope, uint64_t sent_at_ms,
              uint64_t lifetime_ms);

struct token *token_ref(struct token *token);
void token_unref(struct token *token); /* takes NULL */

static inline struct text token_value(const struct token *token)
{
        return (struct text){token->bytes, token->value_size};
}

/* What was granted, as the issuer spells it; empty where it did not say, or granted what was asked.
 */
static inline struct text token_scope(const struct token *token)
{
        return (struct text){token->bytes + token->value_size, token->scope_size};
}

static inline size_t token_memory(const struct token *token)
{
        return offsetof(struct token, bytes) + token->value_size + token->scope_size;
}
