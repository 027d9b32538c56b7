/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * How often each uid was refused for each reason of late, so that refusals beyond the first few are
 * counted and not recorded one by one. All peers that are not known are one uid here.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../lib/list.h"
#include "../lib/siphash.h"
#include "audit-record.h"

/* Pairs of uid and reason within one window. What finds no room here is not recorded at all: a
 * user with a range of subordinate uids has more of them than any table. */
#define AUDIT_REFUSALS_MAX 1024

struct audit_refusals_entry;

struct audit_refusals {
        uint8_t hash_key[SIPHASH_KEY_BYTES];
        struct audit_refusals_entry *entries;  /* owned, AUDIT_REFUSALS_MAX */
        struct audit_refusals_entry **buckets; /* owned, as many */
        struct list unused;                    /* audit_refusals_entry::link */
        struct list by_age;                    /* the same, the oldest first */
        uint64_t window_ms;
};

enum {
        AUDIT_REFUSALS_E_FOLDED = 1, /* counted; record nothing */
        AUDIT_REFUSALS_E_FULL,       /* nor counted */
};

/* 0, -ENOMEM or -errno. */
int audit_refusals_init(struct audit_refusals *refusals, uint64_t window_ms);
void audit_refusals_deinit(struct audit_refusals *refusals); /* takes one that is all zeros */

/* Counts a refusal. 0: record it; or as above. */
int audit_refusals_count(struct audit_refusals *refusals, const struct audit_decision *decision,
                         uint64_t now_ms, int64_t wall_ms);

/* When the oldest window is over; TIMERHEAP_NEVER: there is none. */
uint64_t audit_refusals_next_ms(const struct audit_refusals *refusals);

/* How many the oldest window folded; 0 if there is no window. */
uint64_t audit_refusals_folded(const struct audit_refusals *refusals);

/* Ends the oldest window. *ret is the record of what it folded, the caller's, or NULL if that is
 * nothing. Not to be called when there is no window. 0 or -ENOMEM, and then the window stays. */
int audit_refusals_take(struct audit_refusals *refusals, struct audit_record **ret);
