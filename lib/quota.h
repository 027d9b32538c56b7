/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * How much of a rate is used up. The generic cell rate algorithm (ITU-T I.371): `count` at once,
 * and `count` in any period afterwards, in eight bytes.
 */

#include <stdint.h>

struct rate {
        uint64_t count; /* 0: no limit */
        uint64_t period_ms;
};

/* A full one is all zeros. */
struct quota {
        uint64_t full_at_us; /* when all that was used will have come back */
};

enum {
        QUOTA_E_SPENT = 1, /* nothing is left; nothing was taken */
};

/* Takes one. 0, or QUOTA_E_SPENT and in *ret_left_ms after how long there will be one again. */
int quota_take(struct quota *quota, struct rate rate, uint64_t now_ms, uint64_t *ret_left_ms);
