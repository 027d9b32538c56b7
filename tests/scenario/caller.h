/* SPDX-License-Identifier: MIT */
#pragma once

/* One caller: what it asks for, the waiter it lends to the broker, and what it was answered. */

#include <stdbool.h>
#include <stdint.h>

#include "broker.h"
#include "script.h"
#include "verdict.h"

/* What a caller asks for. */
struct wish {
        size_t client;
        enum subject_kind kind;
        struct text subject;
        struct text subject_token; /* with SUBJECT_EXCHANGE; the subject is its registration_id */
        enum subjecttoken_type subject_token_type;
        const char *scope; /* NULL: the client's default */
        const char *key;   /* sent as client_secret; NULL: none is */
        uint64_t min_ttl_s;
        const struct caller *rejects; /* reports the token that this caller was given */
};

struct caller {
        struct waiter waiter;
        struct token_request request;
        struct peer peer; /* as it was when it asked; the groups and the unit are the test's */
        char form[8192];
        struct verdict verdict; /* for when it asks the same again, in the same world */
        uint64_t world;
        struct subject_matter matter; /* what a token for this caller must be for */
        uint64_t asked_at_ms;
        uint64_t timeout_ms; /* how long it may be kept waiting */
        uint64_t identity;   /* of the client that it asked for, */
        uint64_t url_hash;   /* and of the URL that its token must come from */
        struct given *given; /* what held when it asked (see world.c) */
        bool waits;
        bool hung_up;
        bool rejects;
        uint64_t rejected_serial;
        bool collapsed; /* from here on: what it was answered last */
        unsigned int n_replies;
        enum reason reason;
        const struct rule *rule;
        enum cache_status cache_status;
        enum reason detail;
        unsigned int retry_after_s;
        uint64_t serial; /* of the token; 0: there was none */
        uint8_t sha256[REQUEST_SHA256_BYTES];
        uint64_t expires_at_ms;
        uint64_t answered_at_ms;
};

/* Makes the request, by way of the form that a caller would send. */
void caller_make_request(struct caller *caller, const struct client_settings *client,
                         const struct wish *wish);

#define CALLER_TOKEN_MAX_BYTES 256

/* Writes a JWT that ends at this time of day; `who` makes it another than others. */
struct text caller_subject_token(char ret[static CALLER_TOKEN_MAX_BYTES], int64_t expires_at_s,
                                 const char *who);

/* What a reply must be. */
void assert_hit(const struct caller *caller, uint64_t serial);
void assert_waits(const struct caller *caller);
void assert_token(const struct caller *caller, uint64_t serial);
void assert_reason(const struct caller *caller, enum reason reason);

/* The old token, after a wait or at once, and why it is not a new one. */
void assert_old_token(const struct caller *caller, uint64_t serial, enum reason detail);

/* The reason, with this many seconds in Retry-After. */
void assert_reason_for(const struct caller *caller, enum reason reason, unsigned int seconds);
