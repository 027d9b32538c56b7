/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * One grant: everything that shapes the issuer's answer, as the bytes that the cache and the
 * flights are keyed by, and as the form that asks the issuer for it.
 */

#include <stdint.h>

#include "request.h"
#include "secret.h"
#include "settings.h"
#include "siphash.h"

#define GRANT_KEY_MAX_BYTES (8 + 1 + 2 + REQUEST_SUBJECT_MAX_BYTES + 2 + REQUEST_SCOPE_MAX_BYTES)

/*
 * A grant as bytes: identity of the client application (8 bytes), kind of subject (1), subject
 * behind its length (2), of an exchange the digest of its subject token (32), and scope behind its
 * length (2): no two grants have the same bytes, whatever is in them.
 */
struct grant_key {
        uint64_t hash; /* SipHash of the bytes */
        size_t size;
        const uint8_t *bytes; /* borrowed */
};

/* What a key is made of, or taken apart into; borrows all of it. */
struct grant {
        uint64_t identity;
        enum subject_kind subject_kind;
        struct text subject;   /* empty if, and only if, there is none to the kind */
        const uint8_t *digest; /* of an exchange; else NULL. SUBJECTTOKEN_DIGEST_BYTES */
        struct text scope;     /* canonical, and not empty */
};

/* The key borrows `buffer`. */
struct grant_key grant_key_make(uint8_t buffer[static GRANT_KEY_MAX_BYTES],
                                const uint8_t hash_key[static SIPHASH_KEY_BYTES],
                                const struct grant *grant);

/*
 * The key of what is known of a grant whatever the subject: of client application and scope on
 * behalf of any, and of client application, registration_id and scope for any subject token. These
 * are equal to none that grant_key_make() makes. Where there is no subject it is just that one.
 */
struct grant_key grant_key_make_any_subject(uint8_t buffer[static GRANT_KEY_MAX_BYTES],
                                            const uint8_t hash_key[static SIPHASH_KEY_BYTES],
                                            const struct grant *grant);

/* Whether a key stands for any subject, and for any subject token. */
bool grant_key_is_any_subject(struct grant_key key);

static inline bool grant_key_equal(struct grant_key a, struct grant_key b)
{
        return a.hash == b.hash && a.size == b.size && memcmp(a.bytes, b.bytes, a.size) == 0;
}

/* The grant that grant_key_make() made this key of. Of a key for any subject, the kind is none. */
struct grant grant_of_key(struct grant_key key);

/* Which token URL serves a kind of subject. */
enum audience grant_audience(enum subject_kind kind);

/* Writes the form for the issuer: everything in the body, as eGain documents it. The subject token
 * matters to an exchange only. 0 or -ENOMEM. */
int grant_form(struct secret *ret, const struct grant *grant, const char *client_id,
               const struct secret *client_secret, const struct subjecttoken *subject_token);
