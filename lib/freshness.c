/* SPDX-License-Identifier: MIT */

#include "freshness.h"

#define SPREAD_MIN_MS ((uint64_t)300 * 1000)

static uint64_t min(uint64_t a, uint64_t b)
{
        return a < b ? a : b;
}

static uint64_t max(uint64_t a, uint64_t b)
{
        return a > b ? a : b;
}

static uint64_t margin(uint64_t lifetime_ms, const struct freshness_limits *limits)
{
        return min(limits->margin_ms, lifetime_ms / 10);
}

uint64_t freshness_refresh_at_ms(uint64_t sent_at_ms, uint64_t expires_at_ms,
                                 const struct freshness_limits *limits, uint32_t random)
{
        const uint64_t lifetime_ms = expires_at_ms - sent_at_ms;
        const uint64_t reserve_ms = min(max(lifetime_ms / 5, SPREAD_MIN_MS), lifetime_ms / 2);
        /* 0.9 to 1.1 times the reserve */
        const uint64_t spread_ms = reserve_ms * 9 / 10 + ((reserve_ms / 5) * random >> 32);
        const uint64_t earliest_ms = lifetime_ms / 2;
        const uint64_t needed_ms = margin(lifetime_ms, limits) + limits->timeout_ms;
        uint64_t latest_ms;

        if (lifetime_ms < needed_ms || lifetime_ms - needed_ms < earliest_ms)
                return sent_at_ms + earliest_ms;
        latest_ms = lifetime_ms - needed_ms;
        return sent_at_ms + min(max(lifetime_ms - spread_ms, earliest_ms), latest_ms);
}

enum freshness freshness_of(const struct token *token, const struct freshness_limits *limits,
                            uint64_t due_since_ms, uint64_t now_ms)
{
        const uint64_t lifetime_ms = token->expires_at_ms - token->sent_at_ms;

        if (now_ms + FRESHNESS_LIVE_MIN_MS > token->expires_at_ms)
                return FRESHNESS_ENDED;
        if (token->capped)
                return token->sent_at_ms < due_since_ms ? FRESHNESS_DUE : FRESHNESS_FRESH;
        if (token->expires_at_ms - now_ms < margin(lifetime_ms, limits))
                return FRESHNESS_SPENT;
        if (now_ms >= token->refresh_at_ms || token->sent_at_ms < due_since_ms)
                return FRESHNESS_DUE;
        return FRESHNESS_FRESH;
}

const char *freshness_name(enum freshness freshness)
{
        static const char *const names[] = {
                [FRESHNESS_ENDED] = "ended",
                [FRESHNESS_SPENT] = "spent",
                [FRESHNESS_DUE] = "due",
                [FRESHNESS_FRESH] = "fresh",
        };

        return names[freshness];
}
