/* SPDX-License-Identifier: MIT */

#include "retryafter.h"

#include <stdio.h>
#include <time.h>

#include "helpers.h"

#define WALL_S INT64_C(1784548800) /* Monday, 2026-07-20 12:00:00 UTC */
#define NONE   0

/* 0: there is nothing to be understood. */
static uint64_t parse_at(struct text value, int64_t wall_s)
{
        char *exact = copy_exactly(value);
        uint64_t ms = 0;
        int r;

        r = retryafter_parse((struct text){exact, value.size}, wall_s, &ms);
        if (r) {
                assert_int_equal(r, RETRYAFTER_E_NONE);
                assert_int_equal(ms, 0);
        } else {
                assert_in_range(ms, 1, RETRYAFTER_MAX_MS);
        }
        free(exact);
        return ms;
}

static void assert_parse(struct text value, int64_t wall_s, uint64_t expected_ms)
{
        const uint64_t ms = parse_at(value, wall_s);

        if (ms != expected_ms)
                fail_msg("\"%.*s\": %llu, not %llu", (int)value.size, value.bytes,
                         (unsigned long long)ms, (unsigned long long)expected_ms);
}

struct row {
        struct text value;
        uint64_t ms;
};

static void assert_rows(const struct row *rows, size_t n)
{
        for (size_t i = 0; i < n; i++)
                assert_parse(rows[i].value, WALL_S, rows[i].ms);
}

static void seconds_are_digits_and_are_obeyed_up_to_five_minutes(void **state)
{
        static const struct row rows[] = {
                {BYTES("1"), 1000},
                {BYTES("3"), 3000},
                {BYTES("120"), 120000},
                {BYTES("299"), 299000},
                {BYTES("300"), 300000},
                {BYTES("301"), 300000},
                {BYTES("3600"), 300000},
                {BYTES("999999999"), 300000},
                {BYTES("1000000000"), 300000},
                {BYTES("4294967297"), 300000}, /* 1, had it wrapped */
                {BYTES("18446744073709551617"), 300000},
                {BYTES("99999999999999999999999999999999999999999999"), 300000},
                {BYTES("007"), 7000},
                {BYTES("00000000000000000000007"), 7000},
                {BYTES(" 7"), 7000},
                {BYTES("\t7 "), 7000},
                {BYTES("7\r\n"), 7000},
        };

        (void)state;
        assert_rows(rows, N_OF(rows));
}

static void what_is_not_a_number_of_seconds_is_nothing(void **state)
{
        static const struct row rows[] = {
                {{}, NONE},
                {BYTES(""), NONE},
                {BYTES(" "), NONE},
                {BYTES("\t \r\n"), NONE},
                {BYTES("0"), NONE},
                {BYTES("000000000000000000000"), NONE},
                {BYTES("-1"), NONE},
                {BYTES("-120"), NONE},
                {BYTES("-99999999999999999999"), NONE},
                {BYTES("+5"), NONE},
                {BYTES("1.5"), NONE},
                {BYTES("1e3"), NONE},
                {BYTES("0x10"), NONE},
                {BYTES("5s"), NONE},
                {BYTES("5 seconds"), NONE},
                {BYTES("5, 6"), NONE},
                {BYTES("5;"), NONE},
                {BYTES("5\0006"), NONE},
                {BYTES("\0005"), NONE},
                {BYTES("\xd9\xa3"), NONE}, /* an Arabic 3 */
                {BYTES("soon"), NONE},
                {BYTES("\"5\""), NONE},
                {BYTES("NaN"), NONE},
                {BYTES("\xff\xfe"), NONE},
        };

        (void)state;
        assert_rows(rows, N_OF(rows));
}

static void all_three_forms_of_an_http_date_are_read(void **state)
{
        static const struct row rows[] = {
                {BYTES("Mon, 20 Jul 2026 12:00:07 GMT"), 7000},
                {BYTES("Monday, 20-Jul-26 12:00:07 GMT"), 7000},
                {BYTES("Mon Jul 20 12:00:07 2026"), 7000},
                {BYTES("Mon, 20 Jul 2026 12:05:00 GMT"), 300000},
                {BYTES("Mon, 20 Jul 2026 12:05:01 GMT"), 300000},
                {BYTES("Tue, 20 Jul 2027 12:00:00 GMT"), 300000},
                {BYTES("Fri, 31 Dec 9999 23:59:59 GMT"), 300000},
                {BYTES("  Mon, 20 Jul 2026 12:00:07 GMT \r\n"), 7000},
                {BYTES("mon, 20 jul 2026 12:00:07 GMT"), 7000}, /* case does not matter … */
                {BYTES("Sun, 20 Jul 2026 12:00:07 GMT"), 7000}, /* … nor does the weekday */
                {BYTES("Sunday, 20-Jul-26 12:00:07 GMT"), 7000},
                {BYTES("Mon, 20 Jul 2026 12:00:60 GMT"), 60000}, /* a leap second */
        };

        (void)state;
        assert_rows(rows, N_OF(rows));
        /* A day of one digit. */
        assert_parse(BYTES("Wed Jul  1 00:00:09 2026"), INT64_C(1782864000), 9000);
        assert_parse(BYTES("Wed Jul 01 00:00:09 2026"), INT64_C(1782864000), 9000);
}

static void a_date_that_is_not_ahead_is_nothing(void **state)
{
        static const struct row rows[] = {
                {BYTES("Mon, 20 Jul 2026 12:00:00 GMT"), NONE},
                {BYTES("Mon, 20 Jul 2026 11:59:59 GMT"), NONE},
                {BYTES("Sun, 06 Nov 1994 08:49:37 GMT"), NONE},
                {BYTES("Sunday, 06-Nov-94 08:49:37 GMT"), NONE}, /* not 2094 */
                {BYTES("Sun Nov  6 08:49:37 1994"), NONE},
                {BYTES("Thu, 01 Jan 1970 00:00:00 GMT"), NONE},
                {BYTES("Wed, 31 Dec 1969 23:59:59 GMT"), NONE},
                {BYTES("Sat, 01 Jan 0001 00:00:00 GMT"), NONE},
                {BYTES("Sat, 01 Jan 0000 00:00:00 GMT"), NONE},
                {BYTES("2026-07-20T12:00:00Z"), NONE},
                {BYTES("1970-01-01T00:00:00Z"), NONE},
                {BYTES("0000-01-01T00:00:00Z"), NONE},
        };

        (void)state;
        assert_rows(rows, N_OF(rows));
}

/* RFC 9110 §5.6.7: one that seems to be more than fifty years ahead was in the last century. */
static void a_year_of_two_digits_lies_within_fifty_years(void **state)
{
        (void)state;
        assert_parse(BYTES("Friday, 20-Jul-75 12:00:00 GMT"), WALL_S, RETRYAFTER_MAX_MS);
        assert_parse(BYTES("Friday, 20-Jul-77 12:00:00 GMT"), WALL_S, NONE);
        assert_parse(BYTES("Friday, 20-Jul-99 12:00:00 GMT"), WALL_S, NONE);
        assert_parse(BYTES("Friday, 20-Jul-00 12:00:00 GMT"), WALL_S, NONE);
}

static void the_date_of_a_rate_limit_is_read(void **state)
{
        static const struct row rows[] = {
                {BYTES("2026-07-20T12:00:07Z"), 7000},
                {BYTES("2026-07-20T12:00:07z"), 7000},
                {BYTES("2026-07-20T12:00:07"), 7000}, /* it is documented as UTC */
                {BYTES("2026-07-20 12:00:07"), 7000},
                {BYTES("2026-07-20 12:00:07Z"), 7000},
                {BYTES("2026-07-20 12:00:07 UTC"), 7000},
                {BYTES("2026-07-20 12:00:07 GMT"), 7000},
                {BYTES("2026-07-20T12:00:07+00:00"), 7000},
                {BYTES("2026-07-20T12:00:07+0000"), 7000},
                {BYTES("2026-07-20T12:00:07.5Z"), 7000},
                {BYTES("2026-07-20T12:00:07.123Z"), 7000},
                {BYTES("2026-07-20T12:00:07.123456789+00:00"), 7000},
                {BYTES("2026-07-20T12:00:07.123"), 7000},
                {BYTES("2026-07-20T12:06:00Z"), 300000},
                {BYTES("9999-12-31T23:59:59Z"), 300000},
                {BYTES(" 2026-07-20T12:00:07Z\r\n"), 7000},
                /* another zone, which nobody should send */
                {BYTES("2026-07-20T14:00:07+02:00"), NONE},
                {BYTES("2026-07-20T12:00:07-07:00"), NONE},
                {BYTES("2026-07-20T12:00:07 PST"), NONE},
                {BYTES("2026-07-20T12:00:07ZZ"), NONE},
                {BYTES("2026-07-20T12:00:07Z "), 7000},
                {BYTES("2026-07-20T12:00:07."), NONE},
                {BYTES("2026-07-20T12:00:07.Z"), NONE},
                {BYTES("2026-07-20T12:00:07.1.2Z"), NONE},
                {BYTES("2026-07-20T12:00:07,5Z"), NONE},
                {BYTES("2026-07-20T12:00Z"), NONE},
                {BYTES("2026-07-20"), NONE},
                {BYTES("2026-07-20T"), NONE},
                {BYTES("20260720T120007Z"), NONE},
                {BYTES("2026-7-20T12:00:07Z"), NONE},
                {BYTES("26-07-20T12:00:07Z"), NONE},
                {BYTES("+2026-07-20T12:00:07Z"), NONE},
                {BYTES("-2026-07-20T12:00:07Z"), NONE},
                {BYTES("12026-07-20T12:00:07Z"), NONE},
                {BYTES("2026-07-20T12:00:07\0Z"), NONE},
                {BYTES("Z"), NONE},
                {BYTES("."), NONE},
                {BYTES(" UTC"), NONE},
                {BYTES("+00:00"), NONE},
        };

        (void)state;
        assert_rows(rows, N_OF(rows));
}

static void a_date_that_is_none_is_nothing(void **state)
{
        static const struct row rows[] = {
                {BYTES("Mon, 31 Feb 2027 12:00:00 GMT"), NONE},
                {BYTES("Mon, 30 Feb 2028 12:00:00 GMT"), NONE},
                {BYTES("Mon, 31 Sep 2026 12:00:00 GMT"), NONE},
                {BYTES("Mon, 32 Jul 2026 12:00:00 GMT"), NONE},
                {BYTES("Mon, 00 Aug 2026 12:00:00 GMT"), NONE},
                {BYTES("Mon, 99 Aug 2026 12:00:00 GMT"), NONE},
                {BYTES("2027-02-29T12:00:00Z"), NONE},
                {BYTES("2026-00-20T12:00:00Z"), NONE},
                {BYTES("2026-13-20T12:00:00Z"), NONE},
                {BYTES("2026-07-00T12:00:00Z"), NONE},
                {BYTES("2026-07-32T12:00:00Z"), NONE},
                {BYTES("2026-07-20T24:00:00Z"), NONE},
                {BYTES("2026-07-20T12:60:00Z"), NONE},
                {BYTES("2026-07-20T12:00:61Z"), NONE},
                {BYTES("2026-07-20T-1:00:00Z"), NONE},
                {BYTES("Mon, 20 Jul 2026 24:00:00 GMT"), NONE},
                {BYTES("Mon, 20 Jul 2026 12:60:00 GMT"), NONE},
                {BYTES("Mon, 20 Jul 2026 12:00:61 GMT"), NONE},
                {BYTES("Mon, 20 Juli 2026 12:00:07 GMT"), NONE},
                {BYTES("Mon, 20 Foo 2026 12:00:07 GMT"), NONE},
                {BYTES("Mon, 20 Jul 26 12:00:07 GMT"), NONE},
                {BYTES("Mon, 20 Jul 2026 12:00:07"), NONE},
                {BYTES("Mon, 20 Jul 2026 12:00:07 UTC"), NONE},
                {BYTES("Mon, 20 Jul 2026 12:00:07 +0000"), NONE},
                {BYTES("Mon, 20 Jul 2026 12:00:07 GMT+1"), NONE},
                {BYTES("Mon, 20 Jul 2026 12:00:07 GM"), NONE},
                {BYTES("Mon, 20 Jul 2026 12:0:07 GMT"), NONE},
                {BYTES("Mon, 2 Jul 2027 12:00:07 GMT"), NONE},
                {BYTES("Mon 20 Jul 2026 12:00:07 GMT"), NONE},
                {BYTES("Mon,20 Jul 2026 12:00:07 GMT"), NONE},
                {BYTES("Mon, 20-Jul-2026 12:00:07 GMT"), NONE},
                {BYTES("Mon Jul 20 12:00:07 26"), NONE},
                {BYTES("Mon Jul 20 12:00:07 2026 GMT"), NONE},
                {BYTES("Mon Jul 7 12:00:07 2027"), NONE},
                {BYTES("Mon, 20 Jul 2026 12:00:07 GMT, 5"), NONE},
                {BYTES("Mon, 20 Jul"), NONE},
                {BYTES("Mon,"), NONE},
                {BYTES("Mon"), NONE},
                {BYTES(","), NONE},
        };

        (void)state;
        assert_rows(rows, N_OF(rows));
}

static void leap_years_have_their_day_and_others_do_not(void **state)
{
        static const struct {
                int year;
                bool leap;
        } years[] = {{2000, true},  {2024, true},  {2026, false}, {2028, true},
                     {2100, false}, {2200, false}, {2400, true}};

        (void)state;
        for (size_t i = 0; i < N_OF(years); i++) {
                struct tm tm = {.tm_year = years[i].year - 1900, .tm_mon = 1, .tm_mday = 28};
                const int64_t wall_s = timegm(&tm) + 86399; /* a second before midnight */
                char date[40];

                snprintf(date, sizeof(date), "Mon, 29 Feb %d 00:00:01 GMT", years[i].year);
                assert_parse(TEXT(date), wall_s, years[i].leap ? 2000 : NONE);
                snprintf(date, sizeof(date), "%d-02-29T00:00:01Z", years[i].year);
                assert_parse(TEXT(date), wall_s, years[i].leap ? 2000 : NONE);
                snprintf(date, sizeof(date), "Mon, 01 Mar %d 00:00:01 GMT", years[i].year);
                assert_parse(TEXT(date), wall_s, years[i].leap ? RETRYAFTER_MAX_MS : 2000);
        }
}

/* It comes at the end of a day, and so of a month or a year. */
static void a_leap_second_is_the_first_of_the_next_day(void **state)
{
        (void)state;
        assert_parse(BYTES("Sat, 31 Dec 2016 23:59:60 GMT"), INT64_C(1483228795), 5000);
        assert_parse(BYTES("Saturday, 31-Dec-16 23:59:60 GMT"), INT64_C(1483228795), 5000);
        assert_parse(BYTES("2016-12-31T23:59:60Z"), INT64_C(1483228795), 5000);
}

#define N_FORMS 5

/* With the two digits of the year that gcc warns of. */
static size_t write_rfc850(char *ret, size_t capacity, const struct tm *tm)
{
        char day[32], time_of_day[16];

        assert_true(strftime(day, sizeof(day), "%A, %d-%b", tm) > 0);
        assert_true(strftime(time_of_day, sizeof(time_of_day), "%T", tm) > 0);
        return (size_t)snprintf(ret, capacity, "%s-%02d %s GMT", day, tm->tm_year % 100,
                                time_of_day);
}

static struct text write_date(char *ret, size_t capacity, int form, const struct tm *tm)
{
        switch (form) {
        case 0: return (struct text){ret, strftime(ret, capacity, "%a, %d %b %Y %T GMT", tm)};
        case 1: return (struct text){ret, write_rfc850(ret, capacity, tm)};
        case 2: return (struct text){ret, strftime(ret, capacity, "%a %b %e %T %Y", tm)};
        case 3: return (struct text){ret, strftime(ret, capacity, "%Y-%m-%dT%TZ", tm)};
        default: return (struct text){ret, strftime(ret, capacity, "%Y-%m-%d %T", tm)};
        }
}

/* Every day from 2000 to 2039, in every form, against the C library's own arithmetic. */
static void every_day_is_read_in_every_form(void **state)
{
        uint64_t seed = 31;

        (void)state;
        for (int64_t day = 10957; day < 25567; day++) {
                const time_t at = (time_t)(day * 86400 + (int64_t)(random_next(&seed) % 86400));
                const int64_t ahead_s = 1 + (int64_t)(random_next(&seed) % 300);
                struct tm tm;

                assert_non_null(gmtime_r(&at, &tm));
                for (int form = 0; form < N_FORMS; form++) {
                        char buffer[64];
                        const struct text date = write_date(buffer, sizeof(buffer), form, &tm);

                        assert_true(date.size > 0);
                        assert_parse(date, at - ahead_s, (uint64_t)ahead_s * 1000);
                        assert_parse(date, at, NONE);
                }
        }
}

/* No cut of a date is one but a date without its zone, and no byte in it may be another. */
static void a_date_that_is_cut_or_changed_is_harmless(void **state)
{
        static const char *const dates[] = {
                "Mon, 20 Jul 2026 12:00:07 GMT", "Monday, 20-Jul-26 12:00:07 GMT",
                "Mon Jul 20 12:00:07 2026",      "2026-07-20T12:00:07.25+00:00",
                "2026-07-20 12:00:07 UTC",
        };

        (void)state;
        for (size_t i = 0; i < N_OF(dates); i++) {
                const struct text date = TEXT(dates[i]);

                for (size_t size = 0; size < date.size; size++) {
                        const uint64_t ms = parse_at((struct text){date.bytes, size}, WALL_S);

                        /* The year alone is a number of seconds. */
                        assert_true(ms == 0 || ms == 7000 || (dates[i][0] == '2' && size <= 4));
                }
                for (size_t at = 0; at < date.size; at++) {
                        for (int byte = 0; byte < 256; byte++) {
                                char changed[64];

                                memcpy(changed, date.bytes, date.size);
                                changed[at] = (char)byte;
                                (void)parse_at((struct text){changed, date.size}, WALL_S);
                        }
                }
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(seconds_are_digits_and_are_obeyed_up_to_five_minutes),
                cmocka_unit_test(what_is_not_a_number_of_seconds_is_nothing),
                cmocka_unit_test(all_three_forms_of_an_http_date_are_read),
                cmocka_unit_test(a_date_that_is_not_ahead_is_nothing),
                cmocka_unit_test(a_year_of_two_digits_lies_within_fifty_years),
                cmocka_unit_test(the_date_of_a_rate_limit_is_read),
                cmocka_unit_test(a_date_that_is_none_is_nothing),
                cmocka_unit_test(leap_years_have_their_day_and_others_do_not),
                cmocka_unit_test(a_leap_second_is_the_first_of_the_next_day),
                cmocka_unit_test(every_day_is_read_in_every_form),
                cmocka_unit_test(a_date_that_is_cut_or_changed_is_harmless),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
