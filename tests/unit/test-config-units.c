/* SPDX-License-Identifier: MIT */

/* Dates: every day of a thousand years against the C library's calendar, and what is no date. The
 * other units are tried by test-config.c. */

#include "../../daemon/config-units.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

static void date_is(const char *string, uint64_t expected_s)
{
        uint64_t value_s;

        assert_int_equal(config_units_parse(CONFIG_UNIT_DATE, string, &value_s), 0);
        assert_int_equal(value_s, expected_s);
}

static void test_known_dates(void **state)
{
        (void)state;
        date_is("1970-01-01", 0);
        date_is("2000-02-29", 951782400);
        date_is("2027-11-01", 1825027200);
        date_is("2038-01-20", 2147558400);
        date_is("2999-12-31", 32503593600);
        date_is("9999-12-31", 253402214400);
}

static void test_every_day(void **state)
{
        struct tm tm;
        char string[16];

        (void)state;
        for (time_t time_s = 0; time_s < (time_t)32503680000; time_s += (time_t)24 * 60 * 60) {
                assert_non_null(gmtime_r(&time_s, &tm));
                assert_int_equal(strftime(string, sizeof(string), "%Y-%m-%d", &tm), 10);
                date_is(string, (uint64_t)time_s);
        }
}

static void test_no_dates(void **state)
{
        static const char *const wrong[] = {
                "",
                "2027",
                "2027-11",
                "2027-11-0",
                "2027-11-011",
                "2027-11-01 ",
                " 2027-11-01",
                "2027-11-01T00:00:00Z",
                "2027-1-01",
                "27-11-01",
                "+2027-11-01",
                "02027-11-01",
                "2027/11/01",
                "20271101",
                "2027-11--1",
                "2027-+1-01",
                "2027- 1-01",
                "2027-0a-01",
                "2027-00-01",
                "2027-13-01",
                "2027-01-00",
                "2027-01-32",
                "2027-04-31",
                "2027-06-31",
                "2027-09-31",
                "2027-11-31",
                "2027-02-29",
                "2028-02-30",
                "2100-02-29",
                "1969-12-31",
                "0000-00-00",
                "01-11-2027",
                "\xd9\xa2\xd9\xa0-11-01",
        };

        (void)state;
        for (size_t i = 0; i < sizeof(wrong) / sizeof(*wrong); i++) {
                uint64_t value_s = 4711;

                assert_int_equal(config_units_parse(CONFIG_UNIT_DATE, wrong[i], &value_s),
                                 CONFIG_UNITS_E_MALFORMED);
                assert_int_equal(value_s, 4711);
        }
}

int main(void)
{
        static const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_known_dates),
                cmocka_unit_test(test_every_day),
                cmocka_unit_test(test_no_dates),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
