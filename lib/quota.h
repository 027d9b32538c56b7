/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * How much of a rate is used up. The generic cell rate algorithm (ITU-T I.371): `count` at once,
 * and `count` in any period afterwards. What will be used later is set aside first, so that no more
 * can be waiting to be used than there is; it counts from when it is used.
 */

#include <stdint.h>

struct rate {
        uint64_t count; /* 0: no limit */
        uint64_t period_ms;
};

/* A full one is all zeros. */
struct quota {
        uint64_t full_at_us; /* when all that was used will have come back */
        uint64_t n_reserved; /* set aside, and not used yet */
};

enum {
        QUOTA_E_SPENT = 1, /* nothing is left; nothing was set aside */
};

/* Sets one aside. 0, or QUOTA_E_SPENT and in *ret_left_ms after how long there will be one again,
 * should all that is set aside be used. */
int quota_reserve(struct quota *quota, struct rate rate, uint64_t now_ms, uint64_t *ret_left_ms);

/* Uses one that was set aside; … */
void quota_take(struct quota *quota, struct rate rate, uint64_t now_ms);

/* … takes that back, at the same time: it is set aside again; … */
void quota_untake(struct quota *quota, struct rate rate);

/* … or gives it up. */
void quota_release(struct quota *quota);
