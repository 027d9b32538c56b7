/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * "Not before then": a time that something is put off to, further each time in a row that it had to
 * be, up to a limit.
 */

#include <stdbool.h>
#include <stdint.h>

struct backoff {
        uint64_t until_ms;
        uint32_t step_ms; /* the last one; 0: none so far */
};

/* Puts off by the first step, or by twice the last one. */
static inline void backoff_extend(struct backoff *backoff, uint32_t first_ms, uint32_t max_ms,
                                  uint64_t now_ms)
{
        if (backoff->step_ms == 0)
                backoff->step_ms = first_ms;
        else if (backoff->step_ms > max_ms / 2)
                backoff->step_ms = max_ms;
        else
                backoff->step_ms *= 2;
        backoff->until_ms = now_ms + backoff->step_ms;
}

static inline bool backoff_holds(const struct backoff *backoff, uint64_t now_ms)
{
        return now_ms < backoff->until_ms;
}

static inline uint64_t backoff_left_ms(const struct backoff *backoff, uint64_t now_ms)
{
        return backoff_holds(backoff, now_ms) ? backoff->until_ms - now_ms : 0;
}

static inline void backoff_reset(struct backoff *backoff)
{
        *backoff = (struct backoff){};
}
