/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * The log: where standard error is the journal, entries with fields of their own; otherwise lines
 * on standard error, as text or as JSON. Nothing waits for a reader: where nobody reads, lines are
 * dropped, counted, and told of when there is room again (a file on a disk that hangs can still
 * stall us). Lines that repeat are folded, but for events that are a change of state, and for what
 * is said at level debug.
 *
 * Only the thread that called log_init() logs; any other that tries is a bug, and aborts. Before
 * log_init() and after log_deinit() nothing is written.
 *
 * Never a token, a secret, a body or an Authorization header, at any level.
 */

#include <stdbool.h>
#include <stdint.h>

#include "config.h"
#include "log-event.h"

/* Looks at what standard error is. Call once, before privileges or descriptors change. */
void log_init(enum log_level level, enum log_format format);

/* The same with another journal: `socket` is its path (borrowed), `stream` what systemd says that
 * standard error is, NULL for nothing. */
void log_init_with(enum log_level level, enum log_format format, const char *socket,
                   const char *stream);

/* Tells what is folded and what was dropped, if it can be written. */
void log_deinit(void);

/* From now on. */
void log_configure(enum log_level level, enum log_format format);

/* Whether this thread may log. */
bool log_is_mine(void);

/* One line; its end is added, control characters are replaced. Lines with the same format repeat
 * each other; where the format is just "%s", those with the same text. */
void log_line(enum log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));

#define log_error(...)   log_line(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warning(...) log_line(LOG_LEVEL_WARNING, __VA_ARGS__)
#define log_info(...)    log_line(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...)   log_line(LOG_LEVEL_DEBUG, __VA_ARGS__)

/* An event, at its level, with what is known of it besides the text (NULL: nothing). Events that
 * fold repeat each other if client, URL and reason are the same. */
void log_event(enum log_event event, const struct log_fields *fields, const char *format, ...)
        __attribute__((format(printf, 3, 4)));

/* log_event(LOG_EVENT_READY, LOG_FIELDS(.count = 2), "ready: %d client applications", 2) */
#define LOG_FIELDS(...) (&(const struct log_fields){__VA_ARGS__})

/* Time has passed (CLOCK_BOOTTIME): tells what was folded long enough, and what was dropped. */
void log_tick(uint64_t now_ms);
uint64_t log_next_tick_ms(void);

struct log_counters {
        uint64_t lines;   /* written */
        uint64_t folded;  /* counted in another */
        uint64_t dropped; /* could not be written */
};

void log_get_counters(struct log_counters *ret);
