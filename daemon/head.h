/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Whether the head of a request came plainly: after a line that ends with CRLF a name, a colon, at
 * most one blank, a value and CRLF, line by line. libmicrohttpd forgives more than that and does
 * not tell; where a value says whose token is meant, it must not.
 */

#include <stdbool.h>
#include <stddef.h>

struct head {
        size_t n;         /* fields */
        const char *next; /* where the name of the next field has to be */
        bool odd;
};

/* The first line is in; the protocol's version ends it, and is where libmicrohttpd keeps it. */
void head_begin(struct head *head, const char *version);

/* The next field, as libmicrohttpd names it; both are where it keeps them. */
void head_take(struct head *head, const char *name, const char *value);

/* Of a head that begins with its method and has this size, once all fields were taken. One without
 * fields is not. */
bool head_is_plain(const struct head *head, const char *method, size_t size_bytes);
