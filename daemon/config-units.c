/* SPDX-License-Identifier: MIT */

/*
 * Digits, then at most one suffix, and nothing else: no spaces, no signs, no fractions. A leading
 * zero is refused, because half of the world reads an octal number there. All arithmetic is in
 * integers and checked, so what is accepted is exact.
 *
 * A date is written in one way only, YYYY-MM-DD, and must be a day of the calendar: mktime() and
 * its kin would make the 1st of March of a 29th of February.
 */

#include "config-units.h"

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

struct suffix {
        const char *name;
        uint64_t factor;
};

static const struct suffix count_suffixes[] = {{"", 1}, {NULL, 0}};

static const struct suffix size_suffixes[] = {
        {"", 1}, {"K", 1ULL << 10}, {"M", 1ULL << 20}, {"G", 1ULL << 30}, {NULL, 0},
};

static const struct suffix duration_suffixes[] = {
        {"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}, {"d", 86400000}, {NULL, 0},
};

static const struct suffix *const suffixes[] = {
        [CONFIG_UNIT_COUNT] = count_suffixes,
        [CONFIG_UNIT_SIZE] = size_suffixes,
        [CONFIG_UNIT_DURATION] = duration_suffixes,
};

static bool is_leap(uint64_t year)
{
        return (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
}

/* Leap years from the year 1 to this one. */
static uint64_t count_leaps(uint64_t year)
{
        return year / 4 - year / 100 + year / 400;
}

static uint64_t days_of_month(uint64_t year, uint64_t month)
{
        static const uint8_t days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};

        return days[month - 1] + (month == 2 && is_leap(year));
}

static int parse_date(const char *string, uint64_t *ret_value)
{
        uint64_t fields[3] = {0}, n_days; /* year, month, day */
        size_t field = 0;

        for (size_t i = 0; i < sizeof("YYYY-MM-DD") - 1; i++) {
                if (i == 4 || i == 7) {
                        if (string[i] != '-')
                                return CONFIG_UNITS_E_MALFORMED;
                        field++;
                        continue;
                }
                if (string[i] < '0' || string[i] > '9')
                        return CONFIG_UNITS_E_MALFORMED;
                fields[field] = fields[field] * 10 + (uint64_t)(string[i] - '0');
        }
        if (string[sizeof("YYYY-MM-DD") - 1] != '\0' || fields[0] < 1970 || fields[1] < 1 ||
            fields[1] > 12 || fields[2] < 1 || fields[2] > days_of_month(fields[0], fields[1]))
                return CONFIG_UNITS_E_MALFORMED;

        n_days = (fields[0] - 1970) * 365 + count_leaps(fields[0] - 1) - count_leaps(1969);
        for (uint64_t month = 1; month < fields[1]; month++)
                n_days += days_of_month(fields[0], month);
        *ret_value = (n_days + fields[2] - 1) * 24 * 60 * 60;
        return 0;
}

int config_units_parse(enum config_unit unit, const char *string, uint64_t *ret_value)
{
        const struct suffix *suffix;
        size_t n_digits;
        uint64_t value = 0;

        if (unit == CONFIG_UNIT_DATE)
                return parse_date(string, ret_value);

        suffix = suffixes[unit];
        n_digits = strspn(string, "0123456789");
        if (n_digits == 0 || (n_digits > 1 && string[0] == '0'))
                return CONFIG_UNITS_E_MALFORMED;
        while (suffix->name && strcmp(suffix->name, string + n_digits) != 0)
                suffix++;
        if (!suffix->name)
                return CONFIG_UNITS_E_MALFORMED;

        for (size_t i = 0; i < n_digits; i++)
                if (__builtin_mul_overflow(value, 10, &value) ||
                    __builtin_add_overflow(value, (uint64_t)(string[i] - '0'), &value))
                        return CONFIG_UNITS_E_OVERFLOW;
        if (__builtin_mul_overflow(value, suffix->factor, &value))
                return CONFIG_UNITS_E_OVERFLOW;

        *ret_value = value;
        return 0;
}
