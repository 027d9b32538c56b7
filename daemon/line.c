/* SPDX-License-Identifier: MIT */

#include "line.h"

#include <assert.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <time.h>

#define REPLACEMENT "\xef\xbf\xbd" /* U+FFFD */

/* "2026-11-22T14:50:55.123Z", or a year of five digits and more */
#define TIME_MAX_BYTES 48

#define NO_CONTROL 0x100

void line_put(struct line *line, const void *bytes, size_t size)
{
        assert(size <= line->max_bytes - line->size);
        memcpy(line->bytes + line->size, bytes, size);
        line->size += size;
}

void line_put_string(struct line *line, const char *string)
{
        line_put(line, string, strlen(string));
}

void line_put_format(struct line *line, const char *format, ...)
{
        char bytes[192];
        va_list args;
        int size;

        va_start(args, format);
        size = vsnprintf(bytes, sizeof(bytes), format, args);
        va_end(args);
        assert(size >= 0 && (size_t)size < sizeof(bytes));
        line_put(line, bytes, (size_t)size);
}

static void put_number(struct line *line, uint64_t value)
{
        char digits[20];
        size_t at = sizeof(digits);

        do
                digits[--at] = (char)('0' + value % 10);
        while (value /= 10);
        line_put(line, digits + at, sizeof(digits) - at);
}

/* To the second. */
static size_t format_time(char ret[static TIME_MAX_BYTES], time_t seconds)
{
        struct tm tm;

        if (seconds < 0 || !gmtime_r(&seconds, &tm))
                tm = (struct tm){.tm_year = 70, .tm_mday = 1};
        return strftime(ret, TIME_MAX_BYTES, "%Y-%m-%dT%H:%M:%S", &tm);
}

/* Most lines are of the same second as the one before. */
void line_put_time(struct line *line, int64_t wall_ms)
{
        static _Thread_local char last[TIME_MAX_BYTES];
        static _Thread_local size_t last_size;
        static _Thread_local time_t last_seconds;
        const time_t seconds = wall_ms < 0 ? -1 : (time_t)(wall_ms / 1000);
        const unsigned int ms = wall_ms < 0 ? 0 : (unsigned int)(wall_ms % 1000);
        const char fraction[] = {'.', (char)('0' + ms / 100), (char)('0' + ms / 10 % 10),
                                 (char)('0' + ms % 10), 'Z'};

        if (last_size == 0 || seconds != last_seconds) {
                last_size = format_time(last, seconds);
                last_seconds = seconds;
        }
        line_put(line, last, last_size);
        line_put(line, fraction, sizeof(fraction));
}

/* How many bytes the character at the front of `text` has, 0 if none is there; *ret_control tells
 * which control character it is (C0, DEL, C1), NO_CONTROL if none. */
static size_t next_character(struct text text, unsigned int *ret_control)
{
        const uint8_t *in = (const uint8_t *)text.bytes;
        const size_t size = in[0] < 0x80 ? 1 : in[0] < 0xe0 ? 2 : in[0] < 0xf0 ? 3 : 4;

        *ret_control = NO_CONTROL;
        if (size > text.size || !text_is_utf8((struct text){text.bytes, size}))
                return 0;
        if (size == 1 && (in[0] < 0x20 || in[0] == 0x7f))
                *ret_control = in[0];
        if (size == 2 && in[0] == 0xc2 && in[1] < 0xa0)
                *ret_control = in[1];
        return size;
}

/* Bytes at the front of `text` that stand for themselves wherever they are put. */
static size_t plain_size(struct text text)
{
        size_t size = 0;

        while (size < text.size) {
                const uint8_t c = (uint8_t)text.bytes[size];

                if (c < 0x20 || c >= 0x7f || c == '"' || c == '\\')
                        break;
                size++;
        }
        return size;
}

void line_put_text(struct line *line, struct text text, bool json)
{
        while (text.size > 0) {
                unsigned int control;
                size_t size = plain_size(text);

                if (size > 0) {
                        line_put(line, text.bytes, size);
                        text.bytes += size;
                        text.size -= size;
                        continue;
                }
                size = next_character(text, &control);
                if (size == 0) {
                        line_put_string(line, REPLACEMENT);
                        size = 1;
                } else if (control != NO_CONTROL && json) {
                        line_put_format(line, "\\u%04x", control);
                } else if (control != NO_CONTROL) {
                        line_put_string(line, REPLACEMENT);
                } else {
                        if (json && (*text.bytes == '"' || *text.bytes == '\\'))
                                line_put_string(line, "\\");
                        line_put(line, text.bytes, size);
                }
                text.bytes += size;
                text.size -= size;
        }
}

static void put_json_member(struct line *line, const char *name)
{
        line_put_string(line, ",\"");
        line_put_string(line, name);
        line_put_string(line, "\":");
}

void line_put_json_text(struct line *line, const char *name, struct text text)
{
        put_json_member(line, name);
        if (!text.bytes) {
                line_put_string(line, "null");
                return;
        }
        line_put_string(line, "\"");
        line_put_text(line, text, true);
        line_put_string(line, "\"");
}

void line_put_json_name(struct line *line, const char *name, const char *value)
{
        line_put_json_text(line, name, value ? TEXT(value) : (struct text){});
}

void line_put_json_number(struct line *line, const char *name, bool known, uint64_t value)
{
        put_json_member(line, name);
        if (known)
                put_number(line, value);
        else
                line_put_string(line, "null");
}

static void put_field_name(struct line *line, const char *name)
{
        line_put_string(line, name);
        line_put_string(line, "=");
}

void line_put_field_text(struct line *line, const char *name, struct text text)
{
        if (!text.bytes)
                return;
        put_field_name(line, name);
        line_put_text(line, text, false);
        line_put_string(line, "\n");
}

void line_put_field(struct line *line, const char *name, const char *value)
{
        if (value)
                line_put_field_text(line, name, TEXT(value));
}

void line_put_field_number(struct line *line, const char *name, bool known, uint64_t value)
{
        if (!known)
                return;
        put_field_name(line, name);
        put_number(line, value);
        line_put_string(line, "\n");
}

void line_put_field_time(struct line *line, const char *name, int64_t wall_ms)
{
        put_field_name(line, name);
        line_put_time(line, wall_ms);
        line_put_string(line, "\n");
}
