/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * What several unit tests need: cmocka with the headers it wants, exact copies in which the address
 * sanitizer sees a byte read too far, reproducible randomness, and a hold on malloc(), calloc(),
 * strdup() and free() as the code under test calls them (see tests/unit/meson.build).
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "grant.h"
#include "table.h"
#include "text.h"

#define N_OF(array) (sizeof(array) / sizeof((array)[0]))

/* A literal as a text, the NULs in it included. */
#define BYTES(literal) ((struct text){(literal), sizeof(literal) - 1})

/* The bytes in a block of exactly their size, to be freed by the caller. */
char *copy_exactly(struct text text);

/* Appends to the string in a buffer of `capacity` bytes; fails the test if there is no room. */
void append(char *string, size_t capacity, const char *more);

/* The next of a reproducible sequence; any state is a good seed. */
uint64_t random_next(uint64_t *state);

/* The n-th allocation from now fails, n from 1, and only that one; 0: none does. */
void alloc_fail_at(unsigned int n);

/* Whether the allocation asked for has failed; asking ends it. */
bool alloc_has_failed(void);

/* From now on every freed block is searched for `needle` (borrowed; NULL: none is). */
void frees_watch(const char *needle);

/* How many blocks were freed with the needle still in them. */
size_t frees_dirty(void);

/* A grant's key with the bytes it borrows. */
struct key_buffer {
        uint8_t bytes[GRANT_KEY_MAX_BYTES];
        struct grant_key key;
};

/* Of a user name and one scope, for tests in which grants only have to differ. */
struct grant_key key_of_subject(struct key_buffer *buffer, const char *subject);
struct grant_key key_of_number(struct key_buffer *buffer, unsigned int number);

/* How many buckets a table has; each holds a handful at most, or the test fails. */
uint64_t count_buckets(const struct table *table);

/* Base64url without padding; `ret` has room for 4/3 of it, rounded up, and a NUL. */
void encode_base64url(char *ret, struct text text);
