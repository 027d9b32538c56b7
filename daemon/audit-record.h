/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * One record: all that it says is copied into it, so that it can wait, and be written by another
 * thread, when the request it is about is long gone. No token is in it, only a fingerprint.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "../lib/secret.h"
#include "../lib/text.h"
#include "audit.h"

/* What is longer is cut. No request that gets a token holds anything as long. */
#define AUDIT_NAME_MAX_BYTES    256 /* of rule, unit and client application, each */
#define AUDIT_SUBJECT_MAX_BYTES REQUEST_SUBJECT_MAX_BYTES
#define AUDIT_SCOPE_MAX_BYTES   REQUEST_SCOPE_MAX_BYTES
#define AUDIT_RECORD_MAX_BYTES \
        (3 * AUDIT_NAME_MAX_BYTES + AUDIT_SUBJECT_MAX_BYTES + AUDIT_SCOPE_MAX_BYTES)

/* In hexadecimal. A subject's digest is half of an HMAC-SHA256, a token's fingerprint a quarter. */
#define AUDIT_DIGEST_DIGITS      32
#define AUDIT_FINGERPRINT_DIGITS 16

enum audit_outcome {
        AUDIT_GRANTED, /* the token goes out, the action was carried out */
        AUDIT_REFUSED, /* the caller, its request or the issuer's opinion of it: 4xx */
        AUDIT_FAILED,  /* the issuer or the daemon: 5xx */
        AUDIT_DROPPED, /* no decision: `count` records of `lane` never were written */
};

/* Grants and refusals never share room. */
enum audit_lane {
        AUDIT_LANE_GRANTS,
        AUDIT_LANE_REFUSALS,
        _AUDIT_LANE_N,
};

/* How subjects and tokens are named in records. */
struct audit_naming {
        enum audit_subjects subjects;
        struct secret key;          /* owned */
        struct evp_mac_ctx_st *mac; /* owned; HMAC-SHA256 under the key */
};

struct audit_record {
        int64_t wall_ms;       /* of the decision; of the last one where several are counted */
        int64_t since_wall_ms; /* of the first one; 0: the record is about a single decision */
        uint64_t count;        /* decisions; entries, of a list or a purge; or records dropped */
        uint64_t fingerprint;  /* of the token; 0: none */
        enum audit_outcome outcome;
        enum audit_lane lane;
        enum audit_action action;
        enum reason reason; /* why; with a token: its detail */
        enum cache_status cache_status;
        bool has_cache_status;
        bool collapsed;
        bool has_uid;
        bool has_subject;
        bool cut; /* a text was longer than what is kept of it */
        enum subject_kind subject_kind;
        uid_t uid;
        pid_t pid; /* 0: not known */

        /* In `bytes`, whatever bytes they are; `.bytes` is NULL where there is none. */
        struct text rule;
        struct text unit;
        struct text client;
        struct text subject;                          /* or: */
        char subject_digest[AUDIT_DIGEST_DIGITS + 1]; /* empty: the subject is clear */
        struct text scope;
        char bytes[];
};

/* Takes the key from the configuration, or makes one up. 0, -ENOMEM or -errno. */
int audit_naming_init(struct audit_naming *naming, const struct audit_config *config);
void audit_naming_deinit(struct audit_naming *naming);

/* The token's fingerprint, never 0; worked out once per token and kept as its label. 0 or -ENOMEM.
 */
int audit_naming_label(const struct audit_naming *naming, struct token *token);

/* A record of one decision. 0 or -ENOMEM. */
int audit_record_new(struct audit_record **ret, const struct audit_decision *decision,
                     const struct audit_naming *naming, int64_t wall_ms);

/* A record that says `count` of them are missing. 0 or -ENOMEM. */
int audit_record_new_dropped(struct audit_record **ret, enum audit_lane lane, uint64_t count,
                             int64_t since_wall_ms, int64_t wall_ms);

/* Takes NULL. */
void audit_record_free(struct audit_record *record);

enum audit_outcome audit_outcome_of(enum reason reason);
enum audit_lane audit_lane_of(enum reason reason);
