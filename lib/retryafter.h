/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * When an issuer wants to be asked again: Retry-After (RFC 9110 §10.2.3: seconds, or a date in any
 * of the three forms of §5.6.7) and X-RateLimit-Reset as eGain sends it (a UTC date and time, ISO
 * 8601).
 */

#include <stdint.h>

#include "text.h"

/* Nobody is obeyed for longer than this. */
#define RETRYAFTER_MAX_MS 300000

enum {
        RETRYAFTER_E_NONE = 1, /* not there, in the past, or not understood */
};

/*
 * How long to wait from now on, 1 to RETRYAFTER_MAX_MS milliseconds. `wall_s` is the time of day in
 * seconds since 1970. 0 or RETRYAFTER_E_NONE.
 */
int retryafter_parse(struct text value, int64_t wall_s, uint64_t *ret_ms);
