/* SPDX-License-Identifier: MIT */
#pragma once

/* What a caller is answered. */

#include <stdbool.h>
#include <stdint.h>

#include "reason.h"
#include "request.h"
#include "text.h"
#include "token.h"

/* Where the token came from, in the terms of RFC 9211 §2. */
enum cache_status {
        CACHE_STATUS_HIT,         /* from memory */
        CACHE_STATUS_FWD_MISS,    /* there was none */
        CACHE_STATUS_FWD_STALE,   /* the one there was is spent */
        CACHE_STATUS_FWD_REQUEST, /* the one there was did not satisfy the request */
};

struct client_settings;
struct rule;

struct reply {
        enum reason reason; /* REASON_NONE: here is the token */
        const struct rule
                *rule; /* that decided; NULL: none was selected. In the policy, or static */
        const struct client_settings *client; /* that was meant; NULL: none was found */
        enum subject_kind subject_kind;       /* as the client application settles it */
        struct token *token;                  /* one reference, the receiver's to drop */
        struct text asked_scope; /* canonical; in the request's or the settings' memory */
        struct text scope;     /* granted; in the token's memory, the request's or the settings' */
        uint64_t expires_in_s; /* at least 1 */
        unsigned int retry_after_s; /* 0: do not say */
        enum cache_status cache_status;
        bool collapsed;     /* served by a fetch that another request began */
        enum reason detail; /* with a token: why it is not a better one; REASON_NONE: it is as good
                             * as can be */
};
