/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * What the issuer's answer means: bytes from outside in, a token or a typed failure out. RFC 6749
 * §5.1 and §5.2, read strictly: what is not clearly a token is none.
 */

#include <stdbool.h>
#include <stdint.h>

#include "grant.h"
#include "reason.h"
#include "settings.h"
#include "text.h"
#include "token.h"

/* A longer life than this is taken for nonsense. */
#define ANSWER_LIFETIME_MAX_S (INT64_C(366) * 86400)

/* How one request to the issuer ended, as the transport saw it. Borrowed. */
struct fetch_result {
        enum reason transport; /* REASON_NONE: there is an answer; else why there is none */
        unsigned int status;   /* HTTP status */
        struct text body;
        struct text retry_after;     /* header fields; empty: not there */
        struct text ratelimit_reset; /* X-RateLimit-Reset */
};

enum answer_class {
        ANSWER_TOKEN,
        ANSWER_REFUSAL,       /* of this subject or scope */
        ANSWER_CREDENTIALS,   /* our client_id and secret are not accepted */
        ANSWER_CONFIGURATION, /* our client application may not do this at all */
        ANSWER_HOLD,          /* the issuer asks for fewer requests */
        ANSWER_FAILURE,       /* anything else: of the issuer, or on the way */
};

struct answer {
        enum answer_class class;
        enum reason reason;  /* REASON_NONE with ANSWER_TOKEN, and only then */
        struct token *token; /* one reference, the receiver's */
        uint64_t hold_ms;    /* with ANSWER_HOLD: for how long; 0: the issuer does not say */
};

/* Visible ASCII, since a token has to fit into an Authorization header (RFC 6750 §2.1). */
bool answer_is_token(struct text value);

/* What may be said to be granted: RFC 6749 §3.3, but for the number of spaces, since what is
 * repeated to callers must be printable. */
bool answer_is_scope(struct text scope);

/*
 * 0 or -ENOMEM. `grant` is what was asked for. Of an exchange, the answer may tell the type of the
 * token that was issued (RFC 8693 §2.2.1): no other than an access token can be used. A scope that
 * was granted word for word is not kept with the token, which is as if the issuer had not said:
 * hundreds of thousands of tokens have the same. The token's life counts from `sent_at_ms`;
 * `wall_s` is the time of day, in seconds since 1970, which dates in header fields are compared
 * with.
 */
int answer_understand(struct answer *ret, const struct fetch_result *result,
                      const struct settings *settings, const struct grant *grant,
                      uint64_t sent_at_ms, int64_t wall_s);
