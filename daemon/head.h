/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Whether the head of a request came plainly: a name, a colon, at most one blank, a value and CRLF,
 * line by line. libmicrohttpd forgives more than that and does not tell; where a value says whose
 * token is meant, it must not.
 */

#include <stdbool.h>
#include <stddef.h>

struct head {
        size_t n;         /* fields */
        const char *next; /* where the name of the next field has to be; NULL: none was seen */
        bool odd;
};

/* The next field, as libmicrohttpd names it; both are where it keeps them. */
void head_take(struct head *head, const char *name, const char *value);

/* Of a head that begins with its method and has this size, once all fields were taken. */
bool head_is_plain(const struct head *head, const char *method, size_t size_bytes);
