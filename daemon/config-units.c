/* SPDX-License-Identifier: MIT */

/*
 * Digits, then at most one suffix, and nothing else: no spaces, no signs, no fractions. A leading
 * zero is refused, because half of the world reads an octal number there. All arithmetic is in
 * integers and checked, so what is accepted is exact.
 */

#include "config-units.h"

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

int config_units_parse(enum config_unit unit, const char *string, uint64_t *ret_value)
{
        const struct suffix *suffix = suffixes[unit];
        size_t n_digits = strspn(string, "0123456789");
        uint64_t value = 0;

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
