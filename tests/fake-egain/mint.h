/* SPDX-License-Identifier: MIT */
#pragma once

/* Makes tokens in the shape of a JWT, and makes the last one of a key again when asked to. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "text.h"

#define MINT_KEYS_MAX 100000 /* keys whose last token can be repeated */

struct lh_table;

struct mint {
        struct lh_table *last; /* owned; key → struct stamp */
        uint64_t serial;       /* of the last token */
        size_t token_bytes;    /* the size to aim at */
};

/* What goes into a token; strings are UTF-8 and borrowed. */
struct mint_order {
        const char *tenant;
        const char *client_id;
        const char *kind;
        const char *subject;       /* as asked for; part of the key */
        const char *other_subject; /* what the token says instead; NULL: nothing else */
        const char *scope;
        const char *exchanged;  /* SHA-256 of the token that it was exchanged for; NULL: none was */
        int64_t now_s;          /* wall clock */
        uint64_t now_ms;        /* monotonic clock */
        int64_t lifetime_s;     /* what its receiver is told, one way or the other */
        int64_t jwt_lifetime_s; /* exp - iat */
        unsigned secret_number; /* of the secret it was asked for with */
        bool repeat;            /* the same token as last time, if there was one */
        bool repeat_live;       /* with `repeat`: only one that has a second left */
};

/* 0 or -ENOMEM. */
int mint_init(struct mint *mint, size_t token_bytes);
void mint_deinit(struct mint *mint);

/* Appends a token; whole seconds that are left of it. 0 or -ENOMEM. */
int mint_token(struct mint *mint, const struct mint_order *order, struct text *text,
               int64_t *ret_left_s);
