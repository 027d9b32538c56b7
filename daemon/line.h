/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * One line of JSON, or one datagram of the journal's native protocol
 * (systemd.io/JOURNAL_NATIVE_PROTOCOL), put together in a buffer of the caller's that holds the
 * worst case: nothing here allocates, and to outgrow the buffer is a bug of ours. Whatever bytes a
 * text has, JSON stays valid JSON in valid UTF-8, and a field ends where it should: bytes that are
 * no UTF-8 become U+FFFD, and control characters (C0, DEL, C1) are escaped in JSON and become
 * U+FFFD elsewhere.
 */

#include <stdbool.h>
#include <stdint.h>

#include "../lib/text.h"

/* One byte of a text becomes so many at most: in JSON ("\u0001"), and elsewhere (U+FFFD). */
#define LINE_JSON_GROWTH  6
#define LINE_PLAIN_GROWTH 3

struct line {
        char *bytes; /* borrowed; not NUL-terminated */
        size_t max_bytes;
        size_t size;
};

void line_put(struct line *line, const void *bytes, size_t size);
void line_put_string(struct line *line, const char *string);

/* For numbers and names of ours: short, and nothing in them to escape. */
void line_put_format(struct line *line, const char *format, ...)
        __attribute__((format(printf, 2, 3)));

/* "2026-11-22T14:50:55.123Z" */
void line_put_time(struct line *line, int64_t wall_ms);

/* What somebody else wrote, made fit for a reader. */
void line_put_text(struct line *line, struct text text, bool json);

/* ',"name":' and the value; null where there is none. */
void line_put_json_text(struct line *line, const char *name, struct text text);
void line_put_json_name(struct line *line, const char *name, const char *value);
void line_put_json_number(struct line *line, const char *name, bool known, uint64_t value);

/* 'NAME=' and the value; nothing where there is none. */
void line_put_field_text(struct line *line, const char *name, struct text text);
void line_put_field(struct line *line, const char *name, const char *value);
void line_put_field_number(struct line *line, const char *name, bool known, uint64_t value);
void line_put_field_time(struct line *line, const char *name, int64_t wall_ms);
