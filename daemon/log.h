/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Lines to standard error, never waiting for a reader: where nobody reads, lines are dropped and
 * counted (a file on a disk that hangs can still stall us). Under
 * systemd each begins with its priority, sd-daemon(3).
 *
 * Never a token, a secret, a body or an Authorization header, at any level.
 */

#include <stdbool.h>
#include <stdint.h>

#include "config.h"

/* Looks at what standard error is. Call once, before privileges or descriptors change. */
void log_init(enum log_level level);
void log_deinit(void);

/* One line; its end is added, control characters are replaced. */
void log_line(enum log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));

#define log_error(...)   log_line(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warning(...) log_line(LOG_LEVEL_WARNING, __VA_ARGS__)
#define log_info(...)    log_line(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...)   log_line(LOG_LEVEL_DEBUG, __VA_ARGS__)

/* Lines that could not be written. */
uint64_t log_get_dropped(void);

/* Lets `max` lines a second through, and counts the others. */
struct log_limit {
        uint64_t second;
        unsigned int max;
        unsigned int n;
        uint64_t suppressed; /* since the last line that went through */
};

/* Whether a line may be written now; *ret_suppressed tells how many before it were not. */
bool log_limit_pass(struct log_limit *limit, uint64_t now_ms, uint64_t *ret_suppressed);
