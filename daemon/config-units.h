/* SPDX-License-Identifier: MIT */
#pragma once

/* Numbers as the configuration writes them: counts, sizes and durations with units, dates. */

#include <stdint.h>

enum config_unit {
        CONFIG_UNIT_COUNT,    /* 4096 */
        CONFIG_UNIT_SIZE,     /* 4096, 16K, 256M, 1G: bytes; powers of 1024 */
        CONFIG_UNIT_DURATION, /* 500ms, 30s, 5m, 1h, 1d: milliseconds; the unit is required */
        CONFIG_UNIT_DATE,     /* 2027-11-01: seconds from 1970 to 00:00 UTC of that day */
};

enum {
        /* A sign, a fraction, a leading zero, another unit, …; a day that is none, or before 1970.
         */
        CONFIG_UNITS_E_MALFORMED = 1,
        CONFIG_UNITS_E_OVERFLOW, /* over 2^64 − 1 bytes or milliseconds */
};

/* 0, CONFIG_UNITS_E_MALFORMED or CONFIG_UNITS_E_OVERFLOW; *ret_value is set on 0 only. */
int config_units_parse(enum config_unit unit, const char *string, uint64_t *ret_value);
