/* SPDX-License-Identifier: MIT */

/*
 * The way of a line: level → folding (log-fold) → bytes (log-render) → the journal's socket, or
 * standard error (log-sink). What cannot be written is dropped at once; that lines were dropped is
 * said before the next one, and tried every second, so that nobody has to wait for a next one.
 *
 * Time is that of the last log_tick(). Only the time of day in JSON is read here, since lines are
 * also written before and after the loop.
 */

#include "log.h"

#include <assert.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "../lib/siphash.h"
#include "log-fold.h"
#include "log-sink.h"
#include "outlet.h"

/* Between two attempts to tell what was dropped, while nothing else is to be said. */
#define RETRY_MS 1000

static struct {
        bool is_open;
        pthread_t thread;
        enum log_level level;
        enum log_format format;
        struct log_sink sink;
        struct log_fold fold;
        struct log_counters counters;
        uint64_t dropped_said;
        uint64_t retry_at_ms;
        uint64_t now_ms;
} self;

void log_init_with(enum log_level level, enum log_format format, const char *socket,
                   const char *stream)
{
        self.thread = pthread_self();
        self.counters = (struct log_counters){};
        self.dropped_said = 0;
        self.retry_at_ms = 0;
        self.now_ms = 0;
        log_fold_init(&self.fold);
        log_configure(level, format);
        self.is_open = log_sink_open(&self.sink, socket, stream) == 0;
}

void log_init(enum log_level level, enum log_format format)
{
        log_init_with(level, format, OUTLET_JOURNAL, getenv("JOURNAL_STREAM"));
}

void log_configure(enum log_level level, enum log_format format)
{
        self.level = level;
        self.format = format;
}

bool log_is_mine(void)
{
        return self.is_open && pthread_equal(self.thread, pthread_self());
}

static int64_t wall_ms(void)
{
        struct timespec now;

        (void)clock_gettime(CLOCK_REALTIME, &now);
        return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Without a socket to the journal, its stream takes the line at least. 0 or LOG_SINK_E_FULL. */
static int write_record(const struct log_record *record)
{
        char bytes[LOG_RENDER_MAX_BYTES];
        size_t size;
        int r;

        if (self.sink.to_journal) {
                size = log_render_journal(bytes, record);
                r = log_sink_send(&self.sink, bytes, size);
                if (r != LOG_SINK_E_AWAY)
                        return r;
                size = log_render_text(bytes, record, true);
        } else if (self.format == LOG_FORMAT_JSON) {
                size = log_render_json(bytes, record);
        } else {
                size = log_render_text(bytes, record, false);
        }
        return log_sink_write(&self.sink, bytes, size);
}

/* Whether all that was dropped is told. */
static bool confess(void)
{
        const uint64_t dropped = self.counters.dropped - self.dropped_said;
        char message[64];
        struct log_record record = {
                .event = LOG_EVENT_LOG_DROPPED,
                .level = log_event_info(LOG_EVENT_LOG_DROPPED)->level,
                .wall_ms = wall_ms(),
                .message = message,
                .fields = {.count = dropped},
        };

        if (dropped == 0)
                return true;
        self.retry_at_ms = self.now_ms + RETRY_MS;
        (void)snprintf(message, sizeof(message), "%" PRIu64 " log lines could not be written",
                       dropped);
        if (write_record(&record))
                return false;
        self.counters.lines++;
        self.dropped_said = self.counters.dropped;
        return true;
}

static void put(const struct log_record *record)
{
        if (confess() && write_record(record) == 0) {
                self.counters.lines++;
                return;
        }
        self.counters.dropped += 1 + record->others;
        if (self.retry_at_ms <= self.now_ms)
                self.retry_at_ms = self.now_ms + RETRY_MS;
}

/* What lines that repeat each other have in common; whoever can choose it can read the
 * configuration. */
static uint64_t key_of(const struct log_record *record, const char *format)
{
        static const uint8_t key[SIPHASH_KEY_BYTES];
        const char *parts[] = {record->message, NULL, NULL};
        uint64_t words[4] = {record->event};

        if (record->event != LOG_EVENT_NONE) {
                parts[0] = record->fields.client;
                parts[1] = record->fields.url;
                parts[2] = record->fields.reason;
        } else if (strcmp(format, "%s") != 0) {
                parts[0] = format;
        }
        for (size_t i = 0; i < 3; i++)
                if (parts[i])
                        words[i + 1] = siphash(key, parts[i], strlen(parts[i]));
        return siphash(key, words, sizeof(words));
}

static bool may_fold(const struct log_record *record)
{
        if (record->event != LOG_EVENT_NONE)
                return log_event_info(record->event)->folds;
        return record->level != LOG_LEVEL_DEBUG;
}

__attribute__((format(printf, 2, 0))) static void log_record(struct log_record record,
                                                             const char *format, va_list args)
{
        char message[LOG_MESSAGE_MAX_BYTES];
        struct log_copy copy;

        assert(log_is_mine());
        (void)vsnprintf(message, sizeof(message), format, args);
        record.message = message;
        record.wall_ms = wall_ms();
        if (may_fold(&record) &&
            !log_fold_passes(&self.fold, key_of(&record, format), &record, self.now_ms)) {
                self.counters.folded++;
                return;
        }
        log_copy_init(&copy, &record);
        put(&copy.record);
}

void log_line(enum log_level level, const char *format, ...)
{
        const struct log_record record = {.level = level};
        va_list args;

        if (!self.is_open || level > self.level)
                return;
        va_start(args, format);
        log_record(record, format, args);
        va_end(args);
}

void log_event(enum log_event event, const struct log_fields *fields, const char *format, ...)
{
        struct log_record record = {.event = event, .level = log_event_info(event)->level};
        va_list args;

        if (!self.is_open || record.level > self.level)
                return;
        if (fields)
                record.fields = *fields;
        va_start(args, format);
        log_record(record, format, args);
        va_end(args);
}

static void tell_folded(uint64_t until_ms)
{
        const struct log_record *record;

        while ((record = log_fold_take(&self.fold, until_ms))) {
                self.counters.folded--;
                put(record);
        }
}

void log_tick(uint64_t now_ms)
{
        self.now_ms = now_ms;
        if (!self.is_open)
                return;
        tell_folded(now_ms);
        if (now_ms >= self.retry_at_ms)
                (void)confess();
}

uint64_t log_next_tick_ms(void)
{
        const uint64_t fold_ms = log_fold_next_ms(&self.fold);

        if (self.counters.dropped > self.dropped_said && self.retry_at_ms < fold_ms)
                return self.retry_at_ms;
        return fold_ms;
}

void log_deinit(void)
{
        if (!self.is_open)
                return;
        tell_folded(UINT64_MAX);
        (void)confess();
        log_sink_close(&self.sink);
        self.is_open = false;
}

void log_get_counters(struct log_counters *ret)
{
        *ret = self.counters;
}
