/* SPDX-License-Identifier: MIT */

/*
 * Retry-After and X-RateLimit-Reset. The first byte chooses the time of day, the rest is the value.
 * What is understood must mean the same when it is written in another way, and come nearer as time
 * passes if it is a date, and only then.
 */

#include "fuzz.h"

#include <stdbool.h>
#include <time.h>

#include "retryafter.h"

static const int64_t walls_s[] = {
        1784548800, /* 2026-07-20 12:00:00: '0', and so on */
        0,
        951782399,    /* before the 29th of February 2000 */
        1709164799,   /* and 2024 */
        1483228790,   /* before a leap second */
        4102444799,   /* the end of 2099 */
        253402300790, /* the last seconds of 9999 */
        -62135596800, /* the year 1 */
};

static uint64_t parse(const char *bytes, size_t size, int64_t wall_s)
{
        char *exact = copy_exactly(bytes, size);
        uint64_t ms = 0;
        int r;

        r = retryafter_parse((struct text){exact, size}, wall_s, &ms);
        must(r == 0 || r == RETRYAFTER_E_NONE);
        must((r == 0) == (ms > 0));
        must(ms <= RETRYAFTER_MAX_MS && ms % 1000 == 0);
        must(size == 0 || memcmp(exact, bytes, size) == 0);
        free(exact);
        return ms;
}

/* Blanks around it, which a header field may have, are none of it. */
static void check_blanks(const char *bytes, size_t size, int64_t wall_s, uint64_t ms)
{
        char *padded = malloc(size + 5);

        must(padded);
        padded[0] = ' ';
        padded[1] = '\t';
        for (size_t i = 0; i < size; i++)
                padded[2 + i] = bytes[i];
        padded[2 + size] = ' ';
        padded[3 + size] = '\r';
        padded[4 + size] = '\n';
        must(parse(padded, size + 5, wall_s) == ms);
        free(padded);
}

static bool is_number(const char *bytes, size_t size, uint64_t *ret_s)
{
        *ret_s = 0;
        while (size > 0 && (*bytes == ' ' || *bytes == '\t')) {
                bytes++;
                size--;
        }
        while (size > 0 && (unsigned char)bytes[size - 1] <= ' ')
                size--;
        for (size_t i = 0; i < size; i++) {
                if (bytes[i] < '0' || bytes[i] > '9')
                        return false;
                if (*ret_s < 1000000)
                        *ret_s = *ret_s * 10 + (uint64_t)(bytes[i] - '0');
        }
        return size > 0;
}

static size_t write_date(char *ret, size_t capacity, int form, const struct tm *tm)
{
        switch (form) {
        case 0: return strftime(ret, capacity, "%a, %d %b %Y %T GMT", tm);
        case 1: return strftime(ret, capacity, "%a %b %e %T %Y", tm);
        case 2: return strftime(ret, capacity, "%Y-%m-%dT%TZ", tm);
        case 3: return strftime(ret, capacity, "%Y-%m-%d %T.250 UTC", tm);
        default: return 0;
        }
}

/* A moment that was read from one form is the same in the others. */
static void check_forms(int64_t at_s, int64_t wall_s, uint64_t ms)
{
        const time_t at = (time_t)at_s;
        char date[80];
        struct tm tm;
        size_t size;

        must(gmtime_r(&at, &tm));
        if (tm.tm_year < 1000 - 1900 || tm.tm_year > 9999 - 1900)
                return; /* strftime() writes fewer digits, or more */
        for (int form = 0; (size = write_date(date, sizeof(date), form, &tm)) > 0; form++)
                must(parse(date, size, wall_s) == ms);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        const char *bytes = (const char *)data + 1;
        int64_t wall_s;
        uint64_t seconds, ms;

        if (size-- == 0)
                return 0;
        wall_s = walls_s[(uint8_t)(data[0] - '0') % (sizeof(walls_s) / sizeof(walls_s[0]))];
        ms = parse(bytes, size, wall_s);
        check_blanks(bytes, size, wall_s, ms);
        if (is_number(bytes, size, &seconds)) {
                must(ms == (seconds > 300 ? RETRYAFTER_MAX_MS : seconds * 1000));
                must(parse(bytes, size, wall_s + 1) == ms);
        } else if (ms > 0 && ms < RETRYAFTER_MAX_MS) {
                must(parse(bytes, size, wall_s - 1) == ms + 1000);
                must(parse(bytes, size, wall_s + 1) == ms - 1000);
                check_forms(wall_s + (int64_t)ms / 1000, wall_s, ms);
        }
        return 0;
}
