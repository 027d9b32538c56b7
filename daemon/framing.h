/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Whether it is certain where a request ends (RFC 9112, 6.3 and 11.2). libmicrohttpd forgives what
 * leaves it in doubt: it takes the first of several Content-Length, passes over one with a blank
 * before its colon, and reads a Transfer-Encoding beside a Content-Length or in HTTP/1.0. What one
 * end takes for the rest of a body is the next request to the other, and whoever passes requests on
 * for somebody else would pass on that one, too.
 */

#include <stdbool.h>
#include <stddef.h>

struct framing {
        bool old; /* HTTP/1.0 */
        bool has_length;
        bool has_coding;
        bool doubtful;
};

/* A head begins, of this version of HTTP ("HTTP/1.1"). */
void framing_begin(struct framing *framing, const char *version);

/* The next field of it, by its name, which neither begins nor ends with a blank; */
static inline void framing_take(struct framing *framing, const char *name, size_t size)
{
        framing->doubtful |= size == 0 || name[0] == ' ' || name[0] == '\t' ||
                             name[size - 1] == ' ' || name[size - 1] == '\t';
}

/* and that it is a Content-Length, */
void framing_take_length(struct framing *framing);

/* or a Transfer-Encoding. */
void framing_take_coding(struct framing *framing);

/* Once all fields were taken. */
bool framing_is_certain(const struct framing *framing);
