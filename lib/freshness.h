/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * The stages of a token's life. For a lifetime L, with R = min(max(L/5, 300 s), L/2), it is fresh
 * until its refresh point at about L − R, then due (handed out while a new one is fetched behind
 * the callers' backs), then spent (callers wait for a new one, and get this one only where none
 * comes), and in its last second over. The refresh point is spread by a tenth of R either way, so
 * that tokens fetched together are not renewed together; it leaves room for a fetch before the
 * token is spent. A token that is capped is fresh to its last second, since no other would live
 * longer.
 */

#include <stdint.h>

#include "token.h"

/* A token with less than this left is not handed out: it would be dead on arrival. */
#define FRESHNESS_LIVE_MIN_MS 1000

enum freshness {
        FRESHNESS_ENDED,
        FRESHNESS_SPENT,
        FRESHNESS_DUE,
        FRESHNESS_FRESH,
};

/* What of the configuration matters here. */
struct freshness_limits {
        uint64_t margin_ms;  /* less left is spent; never more than a tenth of the lifetime */
        uint64_t timeout_ms; /* how long a fetch may take */
};

/* The refresh point of a token with this life; `random` spreads it. */
uint64_t freshness_refresh_at_ms(uint64_t sent_at_ms, uint64_t expires_at_ms,
                                 const struct freshness_limits *limits, uint32_t random);

/* A token that was sent for before `due_since_ms` is due at least. */
enum freshness freshness_of(const struct token *token, const struct freshness_limits *limits,
                            uint64_t due_since_ms, uint64_t now_ms);

const char *freshness_name(enum freshness freshness);
