/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * What each uid holds of something that is limited, so that no uid but root's holds more than a
 * quarter of it. Only those who hold something are kept.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct share;

struct shares {
        struct share **buckets; /* owned */
        uint64_t mask;
        size_t n_uids;
        size_t max_each;
        uint64_t refused; /* counter */
};

enum {
        SHARE_E_FULL = 1, /* this uid holds all that it may */
};

/* For something of which there are `limit`. 0 or -ENOMEM. */
int shares_init(struct shares *shares, size_t limit);

/* Of which there are `limit` from now on; who holds more keeps it. */
void shares_set_limit(struct shares *shares, size_t limit);

/* Whatever is still held is forgotten. */
void shares_deinit(struct shares *shares);

/* This uid takes one. 0, -ENOMEM or SHARE_E_FULL, which is counted. */
int shares_take(struct shares *shares, uid_t uid);

/* This uid gives one back that it took. */
void shares_give(struct shares *shares, uid_t uid);

/* How many this uid holds; root's are not counted. */
size_t shares_held(const struct shares *shares, uid_t uid);
