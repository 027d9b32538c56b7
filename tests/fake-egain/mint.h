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
        const char *subject;
        const char *scope;
        const char *exchanged; /* SHA-256 of the token that it was exchanged for; NULL: none was */
        int64_t now_s;         /* wall clock */
        int64_t lifetime_s;
        bool repeat; /* the same token as last time, if there was one */
};

/* 0 or -ENOMEM. */
int mint_init(struct mint *mint, size_t token_bytes);
void mint_deinit(struct mint *mint);

/* Appends a token. 0 or -ENOMEM. */
int mint_token(struct mint *mint, const struct mint_order *order, struct text *text);
