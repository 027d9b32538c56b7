/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Text under construction. Appending never fails visibly: the first failure is kept in `error` and
 * everything after it does nothing, so that a caller checks once, at the end.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "secret.h"

struct text {
        struct secret bytes;
        int error; /* 0 or the first failure */
};

#define TEXT_INIT ((struct text){.bytes = SECRET_INIT(0)})

void text_deinit(struct text *text);

void text_append(struct text *text, const void *bytes, size_t size);
void text_append_str(struct text *text, const char *string);
void text_append_number(struct text *text, int64_t number);

/* A JSON string with its quotes; `string` is UTF-8. */
void text_append_json(struct text *text, const char *string);

/* RFC 4648, section 5, without padding. */
void text_append_base64url(struct text *text, const void *bytes, size_t size);

/* Decodes padded standard base64 (RFC 4648, section 4). 0, -ENOMEM or TEXT_E_MALFORMED. */
int text_decode_base64(struct text *text, const char *base64, size_t size);

enum {
        TEXT_E_MALFORMED = 1,
};

/* Hands out the bytes, which the caller frees; NULL when there are none. Leaves the text empty. */
char *text_take(struct text *text, size_t *ret_size);

bool text_is_utf8(const char *string);
