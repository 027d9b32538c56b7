/* SPDX-License-Identifier: MIT */

/*
 * A date is described by a pattern: behind a percent sign a letter names a field (d and D the day
 * of the month, in two digits or padded with a space, b the month's name and m its number, Y and y
 * the year in four digits or two, T hh:mm:ss, W the weekday, whose truth is not checked), and
 * everything else stands for itself. strptime(3) would depend on the locale.
 */

#include "retryafter.h"

#include <stdbool.h>
#include <strings.h>
#include <time.h>

#define SECONDS_MAX_DIGITS 9

/* What a year of two digits puts further ahead was in the last century (RFC 9110 §5.6.7). */
#define FAR_FUTURE_S ((int64_t)50 * 365 * 86400)

struct reader {
        const char *at;
        const char *end;
};

static bool read_number(struct reader *reader, size_t digits, int *ret)
{
        *ret = 0;
        if ((size_t)(reader->end - reader->at) < digits)
                return false;
        for (size_t i = 0; i < digits; i++, reader->at++) {
                if (*reader->at < '0' || *reader->at > '9')
                        return false;
                *ret = *ret * 10 + (*reader->at - '0');
        }
        return true;
}

static bool read_literal(struct reader *reader, char c)
{
        if (reader->at == reader->end || *reader->at != c)
                return false;
        reader->at++;
        return true;
}

static bool read_month_name(struct reader *reader, int *ret)
{
        static const char names[][4] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                        "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};

        if (reader->end - reader->at < 3)
                return false;
        for (int i = 0; i < 12; i++) {
                if (strncasecmp(reader->at, names[i], 3) == 0) {
                        reader->at += 3;
                        *ret = i;
                        return true;
                }
        }
        return false;
}

static bool read_time(struct reader *reader, struct tm *tm)
{
        return read_number(reader, 2, &tm->tm_hour) && read_literal(reader, ':') &&
               read_number(reader, 2, &tm->tm_min) && read_literal(reader, ':') &&
               read_number(reader, 2, &tm->tm_sec) && tm->tm_hour < 24 && tm->tm_min < 60 &&
               tm->tm_sec <= 60;
}

static bool read_field(struct reader *reader, char field, struct tm *tm)
{
        switch (field) {
        case 'W':
                while (reader->at < reader->end && ((*reader->at | 0x20) >= 'a') &&
                       ((*reader->at | 0x20) <= 'z'))
                        reader->at++;
                return true;
        case 'D':
                if (reader->at < reader->end && *reader->at == ' ') {
                        reader->at++;
                        return read_number(reader, 1, &tm->tm_mday);
                }
                return read_number(reader, 2, &tm->tm_mday);
        case 'd': return read_number(reader, 2, &tm->tm_mday);
        case 'b': return read_month_name(reader, &tm->tm_mon);
        case 'm':
                if (!read_number(reader, 2, &tm->tm_mon))
                        return false;
                tm->tm_mon--;
                return true;
        case 'Y':
                if (!read_number(reader, 4, &tm->tm_year))
                        return false;
                tm->tm_year -= 1900;
                return true;
        case 'y': /* of this century: RFC 850 dates that matter lie ahead */
                if (!read_number(reader, 2, &tm->tm_year))
                        return false;
                tm->tm_year += 100;
                return true;
        case 'T': return read_time(reader, tm);
        default: return false; /* GCOVR_EXCL_LINE: all patterns are our own */
        }
}

static bool read_date(struct text value, const char *pattern, int64_t *ret_s)
{
        struct reader reader = {value.bytes, value.bytes + value.size};
        struct tm tm = {};
        int month, day, leap;

        for (; *pattern; pattern++) {
                const bool field = *pattern == '%';

                if (!(field ? read_field(&reader, *++pattern, &tm)
                            : read_literal(&reader, *pattern)))
                        return false;
        }
        if (reader.at != reader.end)
                return false;

        month = tm.tm_mon;
        day = tm.tm_mday;
        leap = tm.tm_sec == 60; /* may be carried over into the next day */
        tm.tm_sec -= leap;
        *ret_s = timegm(&tm) + leap;
        return tm.tm_mon == month && tm.tm_mday == day; /* else a 31st of February was, too */
}

static bool read_seconds(struct text value, int64_t *ret_s)
{
        struct reader reader = {value.bytes, value.bytes + value.size};
        int seconds;

        for (size_t i = 0; i < value.size; i++)
                if (value.bytes[i] < '0' || value.bytes[i] > '9')
                        return false;
        for (; reader.at < reader.end && *reader.at == '0'; reader.at++)
                value.size--;
        if (value.size > SECONDS_MAX_DIGITS) {
                *ret_s = INT32_MAX;
                return true;
        }
        (void)read_number(&reader, value.size, &seconds);
        *ret_s = seconds;
        return true;
}

/* Cuts a fraction of a second and the zone off a date of ISO 8601, if the zone is UTC or not told.
 */
static struct text strip_iso(struct text value)
{
        static const char *const zones[] = {"Z", "z", "+00:00", "+0000", " UTC", " GMT"};
        const char *dot;

        for (size_t i = 0; i < sizeof(zones) / sizeof(zones[0]); i++) {
                const size_t size = strlen(zones[i]);

                if (value.size > size &&
                    memcmp(value.bytes + value.size - size, zones[i], size) == 0) {
                        value.size -= size;
                        break;
                }
        }
        dot = memchr(value.bytes, '.', value.size);
        if (dot) {
                const size_t begin = (size_t)(dot - value.bytes);
                size_t at = begin + 1;

                while (at < value.size && value.bytes[at] >= '0' && value.bytes[at] <= '9')
                        at++;
                if (at == value.size && at > begin + 1)
                        value.size = begin;
        }
        return value;
}

static bool read_any_date(struct text value, int64_t wall_s, int64_t *ret_s)
{
        static const char *const http[] = {
                "%W, %d %b %Y %T GMT", /* IMF-fixdate */
                "%W %b %D %T %Y",      /* asctime */
        };
        static const char *const iso[] = {"%Y-%m-%dT%T", "%Y-%m-%d %T"};
        const struct text stripped = strip_iso(value);

        if (read_date(value, "%W, %d-%b-%y %T GMT", ret_s)) /* RFC 850 */
                return *ret_s - wall_s <= FAR_FUTURE_S;
        for (size_t i = 0; i < sizeof(http) / sizeof(http[0]); i++)
                if (read_date(value, http[i], ret_s))
                        return true;
        for (size_t i = 0; i < sizeof(iso) / sizeof(iso[0]); i++)
                if (read_date(stripped, iso[i], ret_s))
                        return true;
        return false;
}

int retryafter_parse(struct text value, int64_t wall_s, uint64_t *ret_ms)
{
        int64_t seconds;

        while (value.size > 0 && (*value.bytes == ' ' || *value.bytes == '\t')) {
                value.bytes++;
                value.size--;
        }
        while (value.size > 0 && (unsigned char)value.bytes[value.size - 1] <= ' ')
                value.size--;
        if (value.size == 0)
                return RETRYAFTER_E_NONE;

        if (!read_seconds(value, &seconds)) {
                if (!read_any_date(value, wall_s, &seconds))
                        return RETRYAFTER_E_NONE;
                seconds -= wall_s;
        }
        if (seconds <= 0)
                return RETRYAFTER_E_NONE;
        *ret_ms = seconds > RETRYAFTER_MAX_MS / 1000 ? RETRYAFTER_MAX_MS : (uint64_t)seconds * 1000;
        return 0;
}
