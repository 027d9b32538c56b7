/* SPDX-License-Identifier: MIT */

#include "exposition.h"

#include <errno.h>

#include "helpers.h"

static struct secret out;
static struct exposition exposition;

static void begin(void)
{
        secret_init(&out, 0);
        exposition_init(&exposition, &out);
}

static void expect(const char *text)
{
        assert_int_equal(exposition.r, 0);
        assert_string_equal(out.bytes, text);
        secret_deinit(&out);
}

static void a_family_has_help_type_and_samples(void **state)
{
        (void)state;
        begin();
        exposition_family(&exposition, "a_total", EXPOSITION_COUNTER, "What a is.");
        exposition_sample(&exposition, NULL, 0);
        exposition_sample(&exposition, LABELS({"x", "1"}), UINT64_MAX);
        exposition_sample(&exposition, LABELS({"x", ""}, {"y", "z"}), 7);
        exposition_counter(&exposition, "b_total", "B.", 1);
        exposition_gauge(&exposition, "c", "C.", 2);
        expect("# HELP a_total What a is.\n# TYPE a_total counter\na_total 0\n"
               "a_total{x=\"1\"} 18446744073709551615\na_total{x=\"\",y=\"z\"} 7\n"
               "# HELP b_total B.\n# TYPE b_total counter\nb_total 1\n"
               "# HELP c C.\n# TYPE c gauge\nc 2\n");
}

static void label_values_are_escaped(void **state)
{
        static const struct {
                const char *value;
                const char *line;
        } cases[] = {
                {"\\", "a{l=\"\\\\\"} 0\n"},
                {"\"", "a{l=\"\\\"\"} 0\n"},
                {"\n", "a{l=\"\\n\"} 0\n"},
                {"one\\two\"three\nfour", "a{l=\"one\\\\two\\\"three\\nfour\"} 0\n"},
                {"\\\\\"\"", "a{l=\"\\\\\\\\\\\"\\\"\"} 0\n"},
                {"https://a/b?c={d},e", "a{l=\"https://a/b?c={d},e\"} 0\n"},
                {"\xc3\xa4\t", "a{l=\"\xc3\xa4\t\"} 0\n"},
        };

        (void)state;
        for (size_t i = 0; i < N_OF(cases); i++) {
                begin();
                exposition.name = "a";
                exposition_sample(&exposition, LABELS({"l", cases[i].value}), 0);
                expect(cases[i].line);
        }
}

static void times_are_seconds_in_as_few_decimals_as_say_all(void **state)
{
        static const struct {
                int64_t us;
                const char *line;
        } cases[] = {
                {0, "a 0\n"},
                {1, "a 0.000001\n"},
                {5000, "a 0.005\n"},
                {999999, "a 0.999999\n"},
                {1000000, "a 1\n"},
                {10000000, "a 10\n"},
                {100100000, "a 100.1\n"},
                {-1, "a -0.000001\n"},
                {-86400000000, "a -86400\n"},
                {INT64_MAX, "a 9223372036854.775807\n"},
                {INT64_MIN, "a -9223372036854.775808\n"},
        };

        (void)state;
        for (size_t i = 0; i < N_OF(cases); i++) {
                begin();
                exposition.name = "a";
                exposition_sample_us(&exposition, NULL, cases[i].us);
                expect(cases[i].line);
        }
        begin();
        exposition_gauge_us(&exposition, "a", "A.", 1500000);
        expect("# HELP a A.\n# TYPE a gauge\na 1.5\n");
}

static void buckets_of_a_histogram_add_up(void **state)
{
        static const uint64_t bounds[] = {5000, 1000000}, counts[] = {1, 0, 2};

        (void)state;
        begin();
        exposition_histogram_us(&exposition, "h_seconds", "H.", bounds, counts, 2, 3500000);
        expect("# HELP h_seconds H.\n# TYPE h_seconds histogram\n"
               "h_seconds_bucket{le=\"0.005\"} 1\nh_seconds_bucket{le=\"1\"} 1\n"
               "h_seconds_bucket{le=\"+Inf\"} 3\nh_seconds_sum 3.5\nh_seconds_count 3\n");
}

static void a_failure_sticks(void **state)
{
        (void)state;
        begin();
        alloc_fail_at(1);
        exposition_counter(&exposition, "a_total", "A.", 1);
        assert_true(alloc_has_failed());
        exposition_counter(&exposition, "b_total", "B.", 1);
        assert_int_equal(exposition.r, -ENOMEM);
        assert_int_equal(out.size, 0);
        secret_deinit(&out);

        secret_init(&out, 10);
        exposition_init(&exposition, &out);
        exposition_counter(&exposition, "a_total", "A.", 1);
        assert_int_equal(exposition.r, SECRET_E_FULL);
        secret_deinit(&out);
}

int main(void)
{
        static const struct CMUnitTest tests[] = {
                cmocka_unit_test(a_family_has_help_type_and_samples),
                cmocka_unit_test(label_values_are_escaped),
                cmocka_unit_test(times_are_seconds_in_as_few_decimals_as_say_all),
                cmocka_unit_test(buckets_of_a_histogram_add_up),
                cmocka_unit_test(a_failure_sticks),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
