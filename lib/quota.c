/* SPDX-License-Identifier: MIT */

/*
 * Each take puts the moment when everything will have come back one share of the period further
 * off; none is left when that moment is a whole period away, or would be if what is set aside were
 * used now. Later it needs no more room than now. Microseconds, since a million a second is a rate,
 * too.
 */

#include "quota.h"

#include <assert.h>

/* Rounded up: never more than allowed. */
static uint64_t share_us(struct rate rate)
{
        return (rate.period_ms * 1000 + rate.count - 1) / rate.count;
}

static uint64_t full_at_us(const struct quota *quota, uint64_t now_ms)
{
        return quota->full_at_us > now_ms * 1000 ? quota->full_at_us : now_ms * 1000;
}

int quota_reserve(struct quota *quota, struct rate rate, uint64_t now_ms, uint64_t *ret_left_ms)
{
        uint64_t would_be_us, limit_us;

        if (rate.count > 0) {
                would_be_us = full_at_us(quota, now_ms) + share_us(rate) * (quota->n_reserved + 1);
                limit_us = now_ms * 1000 + share_us(rate) * rate.count;
                if (would_be_us > limit_us) {
                        *ret_left_ms = (would_be_us - limit_us + 999) / 1000;
                        return QUOTA_E_SPENT;
                }
        }
        quota->n_reserved++;
        return 0;
}

void quota_take(struct quota *quota, struct rate rate, uint64_t now_ms)
{
        quota_release(quota);
        if (rate.count > 0)
                quota->full_at_us = full_at_us(quota, now_ms) + share_us(rate);
}

void quota_untake(struct quota *quota, struct rate rate)
{
        quota->n_reserved++;
        if (rate.count > 0)
                quota->full_at_us -= share_us(rate);
}

void quota_release(struct quota *quota)
{
        assert(quota->n_reserved > 0);
        quota->n_reserved--;
}
