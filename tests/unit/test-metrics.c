/* SPDX-License-Identifier: MIT */

#include "metrics.h"

#include <errno.h>
#include <stdio.h>

#include "helpers.h"

static struct metrics metrics;

static void begin(void)
{
        metrics = (struct metrics){};
}

static void set_clients(const char *const names[], size_t n)
{
        struct client_settings clients[3] = {};
        const struct settings settings = {.clients = clients, .n_clients = n};

        for (size_t i = 0; i < n; i++)
                clients[i].name = (char *)names[i];
        assert_int_equal(metrics_set_clients(&metrics, &settings), 0);
}

/* Whether the text has this line, as a whole. */
static bool has(const char *line)
{
        struct exposition exposition;
        struct secret out = SECRET_INIT(0);
        char needle[256] = "\n";
        bool found;

        exposition_init(&exposition, &out);
        metrics_render(&metrics, &exposition);
        assert_int_equal(exposition.r, 0);
        append(needle, sizeof(needle), line);
        append(needle, sizeof(needle), "\n");
        found = strstr(out.bytes, needle);
        secret_deinit(&out);
        return found;
}

static void requests_are_counted_by_outcome_and_reason(void **state)
{
        (void)state;
        begin();
        assert_true(has("egain_tokend_requests_total{outcome=\"granted\",reason=\"none\"} 0"));
        for (enum reason reason = 0; reason < _REASON_N; reason++)
                for (unsigned int n = 0; n <= (unsigned int)reason; n++)
                        metrics_count_request(&metrics, METRICS_TOKEN, reason);
        for (enum reason reason = 1; reason < _REASON_N; reason++) {
                char line[160];

                (void)snprintf(line, sizeof(line),
                               "egain_tokend_requests_total{outcome=\"%s\",reason=\"%s\"} %u",
                               reason_info(reason)->status < 500 ? "refused" : "failed",
                               reason_info(reason)->code, (unsigned int)reason + 1);
                assert_true(has(line));
        }
        assert_true(has("egain_tokend_requests_total{outcome=\"granted\",reason=\"none\"} 1"));
        assert_true(
                has("egain_tokend_other_requests_total{outcome=\"answered\",reason=\"none\"} 0"));
        assert_true(has("egain_tokend_credential_requests_total{outcome=\"granted\",reason="
                        "\"none\"} 0"));
        metrics_count_request(&metrics, METRICS_CREDENTIAL, REASON_NOT_SYSTEMD);
        assert_true(has("egain_tokend_credential_requests_total{outcome=\"refused\",reason=\"not_"
                        "systemd\"} 1"));
        metrics_count_request(&metrics, METRICS_OTHER, REASON_NOT_FOUND);
        assert_true(has("egain_tokend_other_requests_total{outcome=\"refused\",reason=\"not_"
                        "found\"} 1"));
        metrics_deinit(&metrics);
}

static void count_token(enum cache_status status, bool collapsed, enum reason detail)
{
        const struct reply reply = {
                .cache_status = status,
                .collapsed = collapsed,
                .detail = detail,
        };

        metrics_count_token(&metrics, &reply);
}

static void tokens_are_counted_by_where_they_came_from(void **state)
{
        (void)state;
        begin();
        count_token(CACHE_STATUS_HIT, false, REASON_NONE);
        count_token(CACHE_STATUS_FWD_MISS, true, REASON_NONE);
        count_token(CACHE_STATUS_FWD_STALE, false, REASON_BREAKER_OPEN);
        count_token(CACHE_STATUS_FWD_STALE, false, REASON_REPEATED_TOKEN);
        assert_true(has("egain_tokend_tokens_served_total{cache=\"hit\",collapsed=\"false\"} 1"));
        assert_true(has("egain_tokend_tokens_served_total{cache=\"miss\",collapsed=\"false\"} 0"));
        assert_true(has("egain_tokend_tokens_served_total{cache=\"miss\",collapsed=\"true\"} 1"));
        assert_true(has("egain_tokend_tokens_served_total{cache=\"stale\",collapsed=\"false\"} 2"));
        assert_true(has("egain_tokend_tokens_served_old_total 1"));
        metrics_deinit(&metrics);
}

static void fetches_are_counted_by_client_and_result(void **state)
{
        static const char *const names[] = {"portal", "crm"};

        (void)state;
        begin();
        set_clients(names, 2);
        assert_true(has("egain_tokend_fetches_total{client=\"crm\",result=\"token\"} 0"));
        metrics_count_fetch(&metrics, "portal", REASON_NONE);
        metrics_count_fetch(&metrics, "portal", REASON_ISSUER_ERROR);
        metrics_count_fetch(&metrics, "portal", REASON_ISSUER_ERROR);
        metrics_count_fetch(&metrics, "nobody", REASON_NONE);
        assert_true(has("egain_tokend_fetches_total{client=\"portal\",result=\"token\"} 1"));
        assert_true(has("egain_tokend_fetches_total{client=\"portal\",result=\"issuer_error\"} 2"));
        assert_false(has("egain_tokend_fetches_total{client=\"crm\",result=\"issuer_error\"} 0"));
        assert_true(has("egain_tokend_fetches_unconfigured_total 1"));
        metrics_deinit(&metrics);
}

static void a_client_that_stays_goes_on_counting(void **state)
{
        static const char *const before[] = {"b", "c"}, *const after[] = {"c", "a", "b"};

        (void)state;
        begin();
        set_clients(before, 2);
        metrics_count_fetch(&metrics, "b", REASON_NONE);
        metrics_count_fetch(&metrics, "c", REASON_SUBJECT_REFUSED);
        set_clients(after, 3);
        metrics_count_fetch(&metrics, "b", REASON_NONE);
        assert_true(has("egain_tokend_fetches_total{client=\"a\",result=\"token\"} 0"));
        assert_true(has("egain_tokend_fetches_total{client=\"b\",result=\"token\"} 2"));
        assert_true(has("egain_tokend_fetches_total{client=\"c\",result=\"subject_refused\"} 1"));
        set_clients(after, 1);
        metrics_count_fetch(&metrics, "b", REASON_NONE);
        assert_false(has("egain_tokend_fetches_total{client=\"b\",result=\"token\"} 2"));
        assert_true(has("egain_tokend_fetches_unconfigured_total 1"));
        set_clients(after, 3); /* it is a new one */
        assert_true(has("egain_tokend_fetches_total{client=\"b\",result=\"token\"} 0"));
        metrics_deinit(&metrics);
}

static void without_memory_nothing_changes(void **state)
{
        static const char *const names[] = {"b", "c"};
        struct client_settings clients[] = {{.name = (char *)"a"}, {.name = (char *)"b"}};
        const struct settings settings = {.clients = clients, .n_clients = 2};

        (void)state;
        begin();
        set_clients(names, 2);
        metrics_count_fetch(&metrics, "c", REASON_NONE);
        for (unsigned int n = 1; n <= 3; n++) { /* the table and two names */
                alloc_fail_at(n);
                assert_int_equal(metrics_set_clients(&metrics, &settings), -ENOMEM);
                assert_true(alloc_has_failed());
                assert_true(has("egain_tokend_fetches_total{client=\"c\",result=\"token\"} 1"));
        }
        metrics_deinit(&metrics);
}

static void times_fall_into_buckets_by_their_upper_bounds(void **state)
{
        static const uint64_t times_us[] = {0, 5000, 5001, 15000000, 15000001, 600000000};

        (void)state;
        begin();
        for (size_t i = 0; i < N_OF(times_us); i++)
                metrics_observe_fetch(&metrics, times_us[i]);
        assert_true(has("egain_tokend_fetch_duration_seconds_bucket{le=\"0.005\"} 2"));
        assert_true(has("egain_tokend_fetch_duration_seconds_bucket{le=\"0.01\"} 3"));
        assert_true(has("egain_tokend_fetch_duration_seconds_bucket{le=\"10\"} 3"));
        assert_true(has("egain_tokend_fetch_duration_seconds_bucket{le=\"15\"} 4"));
        assert_true(has("egain_tokend_fetch_duration_seconds_bucket{le=\"+Inf\"} 6"));
        assert_true(has("egain_tokend_fetch_duration_seconds_count 6"));
        assert_true(has("egain_tokend_fetch_duration_seconds_sum 630.010002"));
        metrics_deinit(&metrics);
}

int main(void)
{
        static const struct CMUnitTest tests[] = {
                cmocka_unit_test(requests_are_counted_by_outcome_and_reason),
                cmocka_unit_test(tokens_are_counted_by_where_they_came_from),
                cmocka_unit_test(fetches_are_counted_by_client_and_result),
                cmocka_unit_test(a_client_that_stays_goes_on_counting),
                cmocka_unit_test(without_memory_nothing_changes),
                cmocka_unit_test(times_fall_into_buckets_by_their_upper_bounds),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
