/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * A token of somebody else's identity provider that is exchanged for one of the issuer's (RFC 8693
 * §2.1). Who it is for, and whether it is genuine, is the issuer's to judge. Here it is worth a
 * look at its end, which no token that came of it may outlive, and a digest to tell it from others.
 */

#include <stdint.h>

#include "text.h"

/* A longer one is refused. */
#define SUBJECTTOKEN_MAX_BYTES 16384

#define SUBJECTTOKEN_KEY_BYTES    32
#define SUBJECTTOKEN_DIGEST_BYTES 32

/* What it is said to be (RFC 8693 §3); the issuer is told the same. */
enum subjecttoken_type {
        SUBJECTTOKEN_ACCESS_TOKEN,
        SUBJECTTOKEN_ID_TOKEN,
        SUBJECTTOKEN_JWT,
        _SUBJECTTOKEN_TYPE_N,
};

struct subjecttoken {
        struct text value; /* borrowed; empty: there is none */
        enum subjecttoken_type type;
        int64_t expires_at_s; /* since 1970; never negative, and in milliseconds no overflow */
};

/* The URN of a type. */
const char *subjecttoken_type_name(enum subjecttoken_type type);

/*
 * 0, -ENOMEM, or a reason: MISSING_SUBJECT_TOKEN, LONG_SUBJECT_TOKEN, MISSING_SUBJECT_TOKEN_TYPE,
 * BAD_SUBJECT_TOKEN_TYPE, SUBJECT_TOKEN_NOT_JWT, SUBJECT_TOKEN_NO_EXP, SUBJECT_TOKEN_BAD_EXP.
 */
int subjecttoken_read(struct subjecttoken *ret, struct text value, struct text type);

/* Whether it has ended by this time of day. */
static inline bool subjecttoken_has_ended(const struct subjecttoken *token, int64_t wall_ms)
{
        return token->expires_at_s * 1000 <= wall_ms;
}

/* HMAC-SHA-256 of its type and of its own SHA-256: nobody without the key can tell which token it
 * was. 0 or -ENOMEM. */
int subjecttoken_digest(uint8_t ret[static SUBJECTTOKEN_DIGEST_BYTES],
                        const uint8_t key[static SUBJECTTOKEN_KEY_BYTES],
                        const struct subjecttoken *token);
