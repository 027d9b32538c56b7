/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Named members of one JSON object (RFC 8259), strictly and without a library: json-c takes a lock
 * of libc's for every text, which a child made by fork(2) may find held for ever, and leaves copies
 * of tokens in what it frees. Nothing is allocated or copied here but what is asked for.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MEMBERS_DEPTH_MAX 8

enum member_kind {
        MEMBER_ABSENT,
        MEMBER_STRING,
        MEMBER_NUMBER, /* an integer of 1 to 15 digits, not negative */
        MEMBER_OTHER,
};

struct member {
        const char *name; /* in: what is looked for */
        enum member_kind kind;
        const char *bytes; /* of a string: what is between its quotes; borrowed from the text */
        size_t size;
        uint64_t number;
};

/* Looks for `n` members. False: the text is not one well-formed object, or one of them occurs
 * twice. */
bool members_read(const char *bytes, size_t size, struct member *members, size_t n);

/* Decodes a string of printable ASCII, spaces among them, into `out`, which has room for the
 * member's size and a NUL. False: it is not one, or has something else in it. */
bool member_text(const struct member *member, char *out);
