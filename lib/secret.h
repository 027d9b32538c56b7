/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Bytes that must not outlive their use: a growable buffer with a hard cap, wiped whenever it
 * moves, shrinks or goes away. The bytes are always followed by a NUL that does not count, so that
 * a text can be handed to a function that wants a string.
 */

#include <stddef.h>

struct secret {
        char *bytes;       /* owned; NULL while nothing was ever put in */
        size_t size;       /* bytes in use, without the final NUL */
        size_t capacity;   /* bytes allocated */
        size_t size_limit; /* hard cap on size; 0: none */
};

enum {
        SECRET_E_FULL = 1, /* the cap would be exceeded; the buffer is as it was before */
};

#define SECRET_INIT(limit) ((struct secret){.size_limit = (limit)})

void secret_init(struct secret *secret, size_t size_limit);

/* Wipes and frees; the structure is as after secret_init() with the same cap. */
void secret_deinit(struct secret *secret);

/* Wipes the bytes, keeps the memory. */
void secret_clear(struct secret *secret);

/* Makes room for `capacity` bytes in all. 0, -ENOMEM or SECRET_E_FULL. */
int secret_reserve(struct secret *secret, size_t capacity);

/* Appends; nothing is appended on failure. 0, -ENOMEM or SECRET_E_FULL. */
int secret_append(struct secret *secret, const void *bytes, size_t size);
int secret_append_str(struct secret *secret, const char *string);

/* Replaces the content. 0, -ENOMEM or SECRET_E_FULL. */
int secret_assign(struct secret *secret, const void *bytes, size_t size);

/* Hands the content of `from` to `to`, whose own is wiped; copies no byte. */
void secret_move(struct secret *to, struct secret *from);

/* Wipes memory that the compiler believes dead. */
void secret_wipe(void *bytes, size_t size);
