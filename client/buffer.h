/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Bytes that may hold a token: a growable buffer with a hard cap, wiped whenever it moves, shrinks
 * or goes away. The bytes are always followed by a NUL that does not count.
 */

#include <stddef.h>

struct buffer {
        char *bytes; /* owned; NULL while nothing was ever put in */
        size_t size; /* bytes in use, without the final NUL */
        size_t capacity;
        size_t size_limit; /* hard cap on size */
};

enum {
        BUFFER_E_FULL = 1, /* the cap would be exceeded; the buffer is as it was before */
};

#define BUFFER_INIT(limit) ((struct buffer){.size_limit = (limit)})

/* Wipes and frees; the cap stays. Takes NULL. */
void buffer_deinit(struct buffer *buffer);

/* Wipes the bytes, keeps the memory. */
void buffer_clear(struct buffer *buffer);

/* Appends; nothing is appended on failure. 0, -ENOMEM or BUFFER_E_FULL. */
int buffer_append(struct buffer *buffer, const void *bytes, size_t size);
int buffer_append_str(struct buffer *buffer, const char *string);

/* Appends `name=value`, with an '&' before it unless it is the first; the value is percent-encoded
 * as application/x-www-form-urlencoded and a URL's query both take it: every byte but letters,
 * digits and "-._~". 0, -ENOMEM or BUFFER_E_FULL. */
int buffer_append_field(struct buffer *buffer, const char *name, const void *value, size_t size);

/* explicit_bzero() and free(). Takes NULL. */
void buffer_wipe_and_free(void *bytes, size_t size);
