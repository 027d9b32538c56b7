/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Hits that are alike, counted into one record each until their time is over: a bounded table,
 * keyed by all that the record says (but the pid). A hit on what is in the table costs one hash and
 * one compare.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../lib/siphash.h"
#include "audit-record.h"

/* Records at most; the next one pushes out the oldest. */
#define AUDIT_FOLD_MAX 4096

struct audit_fold {
        uint8_t hash_key[SIPHASH_KEY_BYTES];
        struct audit_fold_window *windows; /* owned, AUDIT_FOLD_MAX: a ring, the oldest first */
        union audit_fold_kept_key *keys;   /* owned, one for each of them */
        uint32_t *buckets;                 /* owned; where in `windows`, from 1; 0: nowhere */
        uint32_t first;
        size_t n;
        uint64_t window_ms;
};

/* What a hit is known by; made on the stack, so that counting one allocates nothing. */
struct audit_fold_key {
        uint64_t hash;
        uint32_t size;
        uint8_t bytes[64 + AUDIT_RECORD_MAX_BYTES];
};

enum {
        AUDIT_FOLD_E_FULL = 1, /* take one out first */
};

/* 0, -ENOMEM or -errno. */
int audit_fold_init(struct audit_fold *fold, uint64_t window_ms);
void audit_fold_deinit(struct audit_fold *fold); /* takes one that is all zeros */

/* False: some text is longer than what a record keeps, so that records might look alike which are
 * not. The token must have its label. */
bool audit_fold_key_make(const struct audit_fold *fold, struct audit_fold_key *ret,
                         const struct audit_decision *decision);

/* The record to count the hit into, which stays the table's; NULL: there is none. */
struct audit_record *audit_fold_find(const struct audit_fold *fold,
                                     const struct audit_fold_key *key);

/* Takes `record`, of a hit that audit_fold_find() does not know. 0, -ENOMEM or AUDIT_FOLD_E_FULL,
 * and then the record stays the caller's. */
int audit_fold_add(struct audit_fold *fold, const struct audit_fold_key *key,
                   struct audit_record *record, uint64_t now_ms);

/* When the oldest record's time is over; TIMERHEAP_NEVER: there is none. */
uint64_t audit_fold_next_ms(const struct audit_fold *fold);

/* Takes the oldest record out; it is the caller's. NULL: there is none. */
struct audit_record *audit_fold_take(struct audit_fold *fold);
