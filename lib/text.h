/* SPDX-License-Identifier: MIT */
#pragma once

/* A run of bytes that somebody else owns. Not NUL-terminated, and a NUL may be in it. */

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

struct text {
        const char *bytes;
        size_t size;
};

#define TEXT(string) ((struct text){.bytes = (string), .size = strlen(string)})

static inline bool text_equal(struct text a, struct text b)
{
        return a.size == b.size && (a.size == 0 || memcmp(a.bytes, b.bytes, a.size) == 0);
}

/* Bytewise, a prefix before what it begins. */
int text_compare(struct text a, struct text b);

/* Well-formed UTF-8: no overlong forms, no surrogates, nothing past U+10FFFF. */
bool text_is_utf8(struct text text);

/* Well-formed UTF-8 in which no control character (C0, DEL, C1) occurs. */
bool text_is_plain_utf8(struct text text);
