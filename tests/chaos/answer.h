/* SPDX-License-Identifier: MIT */
#pragma once

/* What the daemon answered, taken apart strictly: what is not exactly as documented is not
 * understood. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "reason.h"

enum answer_cache {
        ANSWER_CACHE_NONE,
        ANSWER_CACHE_HIT,
        ANSWER_CACHE_MISS,
        ANSWER_CACHE_STALE,
        ANSWER_CACHE_REQUEST,
        _ANSWER_CACHE_N,
};

extern const char *const answer_cache_names[_ANSWER_CACHE_N];

struct answer {
        unsigned int status;
        bool closes;        /* the connection ends with it */
        enum reason reason; /* REASON_NONE: a token */
        uint32_t retry_after_s;

        /* of a token; borrowed from the bytes of the answer */
        const char *token;
        size_t token_size;
        const char *scope; /* NULL: not told */
        size_t scope_size;
        uint64_t expires_in_s;
        bool issued_type; /* it says which type the token was issued as */
        enum answer_cache cache;
        bool collapsed;
        enum reason detail;
};

enum {
        ANSWER_E_PARTIAL = 1, /* more bytes are to come */
        ANSWER_E_ODD,         /* see the wrong */
};

/* Takes the answer at the beginning of these bytes apart; `bare` where the request asked for
 * nothing but the token. 0 with its size, or an outcome above. */
int answer_parse(struct answer *answer, const char *bytes, size_t size, bool bare, size_t *ret_size,
                 const char **ret_wrong);
