/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Header fields that say what a form would, for callers that can put bytes into a header and cannot
 * encode them. Nothing is decoded: the bytes of a value are what is meant.
 */

#include <stdbool.h>

#include "request.h"
#include "text.h"

#define REQUEST_FIELDS_MAX 6

/* All that is in here is borrowed. */
struct request_fields {
        bool seen[REQUEST_FIELDS_MAX];
        struct text values[REQUEST_FIELDS_MAX];
        const char *repeated; /* the name of one that came again; NULL: none did */
        const char *unknown;  /* a name that only begins like one of them; NULL: none */
};

/* Takes a header field, if its name is one of those that count, in any case; others are ignored. */
void request_fields_take(struct request_fields *fields, const char *name, const char *value);

/*
 * Reads them as request_parse() reads a query. What they borrow must live as long as the request. A
 * name that begins like one that counts is a slip that would change what is asked for, so it is
 * refused; so is a subject between spaces, which may be lost on the way (RFC 9110 §5.5). 0, -ENOMEM
 * or a reason: UNKNOWN_FIELD, REPEATED_PARAMETER, SPACED_SUBJECT, MISSING_SUBJECT,
 * AMBIGUOUS_SUBJECT, EMPTY_SUBJECT, LONG_SUBJECT, BAD_SUBJECT, BAD_SCOPE, BAD_MIN_TTL.
 */
int request_fields_parse(struct token_request *request, const struct request_fields *fields);
