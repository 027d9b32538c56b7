/* SPDX-License-Identifier: MIT */

/*
 * Each take puts the moment when everything will have come back one share of the period further
 * off; none is left when that moment is a whole period away. Microseconds, since a million a second
 * is a rate, too.
 */

#include "quota.h"

int quota_take(struct quota *quota, struct rate rate, uint64_t now_ms, uint64_t *ret_left_ms)
{
        const uint64_t period_us = rate.period_ms * 1000, now_us = now_ms * 1000;
        uint64_t one_us, full_at_us;

        if (rate.count == 0)
                return 0;
        one_us = (period_us + rate.count - 1) /
                 rate.count; /* rounded up: never more than allowed */
        full_at_us = (quota->full_at_us > now_us ? quota->full_at_us : now_us) + one_us;
        if (full_at_us > now_us + one_us * rate.count) {
                *ret_left_ms = (full_at_us - now_us - one_us * rate.count + 999) / 1000;
                return QUOTA_E_SPENT;
        }
        quota->full_at_us = full_at_us;
        return 0;
}
