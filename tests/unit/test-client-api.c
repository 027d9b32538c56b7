/* SPDX-License-Identifier: MIT */

/* What libegaintoken says to arguments, without a daemon. */

#include <errno.h>

#include "client-helpers.h"
#include "clock.h"

struct newer_request {
        struct egain_token_request known;
        const char *unknown;
};

static struct egain_token_broker *new_broker(const char *path)
{
        struct egain_token_options options = EGAIN_TOKEN_OPTIONS_INIT;
        struct egain_token_broker *broker = NULL;

        options.socket_path = path;
        options.patience_ms = 0;
        assert_int_equal(egain_token_broker_new(&broker, &options), EGAIN_TOKEN_OK);
        assert_non_null(broker);
        return broker;
}

static void null_is_an_answer_or_nothing_at_all(void **state)
{
        struct egain_token_request request = EGAIN_TOKEN_REQUEST_INIT;
        struct egain_token_failure failure = EGAIN_TOKEN_FAILURE_INIT;
        struct egain_token_broker *broker = new_broker("/nowhere/s");
        struct egain_token *token = (struct egain_token *)&failure;

        (void)state;
        request.kind = EGAIN_TOKEN_USERNAME;
        request.subject = "pa";
        assert_int_equal(egain_token_broker_new(NULL, NULL), EGAIN_TOKEN_E_INVALID);
        assert_int_equal(egain_token_get(NULL, &request, &token, NULL), EGAIN_TOKEN_E_INVALID);
        assert_null(token);
        assert_int_equal(egain_token_get(broker, NULL, &token, NULL), EGAIN_TOKEN_E_INVALID);
        assert_int_equal(egain_token_get(broker, &request, NULL, NULL), EGAIN_TOKEN_E_INVALID);
        assert_int_equal(egain_token_reject(broker, &request, NULL, &token, &failure),
                         EGAIN_TOKEN_E_INVALID);
        assert_int_equal(failure.error, EGAIN_TOKEN_E_INVALID);
        assert_string_not_equal(failure.message, "");
        assert_int_equal(egain_token_get(broker, &request, &token, NULL), EGAIN_TOKEN_E_NO_SOCKET);
        assert_int_equal(egain_token_broker_counters(broker, NULL), EGAIN_TOKEN_E_INVALID);
        assert_null(egain_token_ref(NULL));
        egain_token_unref(NULL);
        assert_null(egain_token_value(NULL));
        assert_null(egain_token_scope(NULL));
        assert_int_equal(egain_token_expires_in(NULL), 0);
        egain_token_broker_forget(NULL);
        egain_token_broker_free(NULL);
        egain_token_broker_free(broker);
}

static void the_defaults_need_no_options(void **state)
{
        struct egain_token_broker *broker = NULL;

        (void)state;
        assert_int_equal(egain_token_broker_new(&broker, NULL), EGAIN_TOKEN_OK);
        egain_token_broker_free(broker);
}

static void structures_of_other_versions(void **state)
{
        struct egain_token_failure failure = EGAIN_TOKEN_FAILURE_INIT;
        struct egain_token_counters counters = EGAIN_TOKEN_COUNTERS_INIT;
        struct egain_token_options options = EGAIN_TOKEN_OPTIONS_INIT;
        struct egain_token_broker *broker = new_broker("/nowhere/s"), *other;
        struct newer_request request = {.known = EGAIN_TOKEN_REQUEST_INIT};
        struct egain_token *token;

        (void)state;
        request.known.kind = EGAIN_TOKEN_USERNAME;
        request.known.subject = "pa";
        request.known.size = sizeof(request);
        assert_int_equal(egain_token_get(broker, &request.known, &token, NULL),
                         EGAIN_TOKEN_E_NO_SOCKET);
        request.unknown = "this version would not heed it";
        assert_int_equal(egain_token_get(broker, &request.known, &token, NULL),
                         EGAIN_TOKEN_E_INVALID);
        request.known.size = 0;
        assert_int_equal(egain_token_get(broker, &request.known, &token, NULL),
                         EGAIN_TOKEN_E_INVALID);
        request.known.size = sizeof(request.known);
        failure.size = 0;
        assert_int_equal(egain_token_get(broker, &request.known, &token, &failure),
                         EGAIN_TOKEN_E_INVALID);
        assert_int_equal(failure.error, 0);
        counters.size--;
        assert_int_equal(egain_token_broker_counters(broker, &counters), EGAIN_TOKEN_E_INVALID);
        counters.size++;
        assert_int_equal(egain_token_broker_counters(broker, &counters), EGAIN_TOKEN_OK);
        assert_int_equal(counters.calls, 1);
        assert_int_equal(counters.failed, 1);
        options.size--;
        assert_int_equal(egain_token_broker_new(&other, &options), EGAIN_TOKEN_E_INVALID);
        egain_token_broker_free(broker);
}

static void errno_is_left_alone(void **state)
{
        struct egain_token_request request = EGAIN_TOKEN_REQUEST_INIT;
        struct egain_token_broker *broker;
        struct egain_token *token;

        (void)state;
        request.kind = EGAIN_TOKEN_USERNAME;
        request.subject = "pa";
        errno = EDOM;
        broker = new_broker("/nowhere/s");
        assert_int_equal(errno, EDOM);
        assert_int_equal(egain_token_get(broker, &request, &token, NULL), EGAIN_TOKEN_E_NO_SOCKET);
        assert_int_equal(errno, EDOM);
        egain_token_broker_forget(broker);
        egain_token_broker_free(broker);
        assert_int_equal(errno, EDOM);
}

static void every_error_has_a_sentence_of_its_own(void **state)
{
        static const int errors[] = {
                EGAIN_TOKEN_OK,
                EGAIN_TOKEN_E_INVALID,
                EGAIN_TOKEN_E_NO_MEMORY,
                EGAIN_TOKEN_E_PATH_TOO_LONG,
                EGAIN_TOKEN_E_NO_SOCKET,
                EGAIN_TOKEN_E_NOT_A_SOCKET,
                EGAIN_TOKEN_E_PERMISSION,
                EGAIN_TOKEN_E_NOT_RUNNING,
                EGAIN_TOKEN_E_FOREIGN,
                EGAIN_TOKEN_E_UNREACHABLE,
                EGAIN_TOKEN_E_TIMEOUT,
                EGAIN_TOKEN_E_CLOSED,
                EGAIN_TOKEN_E_CUT,
                EGAIN_TOKEN_E_NOT_BROKER,
                EGAIN_TOKEN_E_REQUEST,
                EGAIN_TOKEN_E_SCOPE,
                EGAIN_TOKEN_E_CLIENT,
                EGAIN_TOKEN_E_SUBJECT,
                EGAIN_TOKEN_E_DENIED,
                EGAIN_TOKEN_E_TOO_MANY,
                EGAIN_TOKEN_E_ISSUER,
                EGAIN_TOKEN_E_UNAVAILABLE,
                EGAIN_TOKEN_E_ISSUER_TIMEOUT,
        };
        const char *none = egain_token_strerror(-1);

        (void)state;
        assert_string_equal(egain_token_strerror(9999), none);
        for (size_t i = 0; i < N_OF(errors); i++) {
                assert_string_not_equal(egain_token_strerror(errors[i]), none);
                for (size_t j = 0; j < i; j++)
                        assert_string_not_equal(egain_token_strerror(errors[i]),
                                                egain_token_strerror(errors[j]));
        }
        assert_string_equal(egain_token_version(), PROJECT_VERSION);
}

static void a_token_counts_down_and_is_wiped(void **state)
{
        const uint64_t now_ms = clock_boot_ms();
        struct egain_token *token = make_token("needle-in-a-token", now_ms, 3600);
        struct egain_token *over = make_token("x", now_ms - 10000, 10);

        (void)state;
        client_frees_watch("needle-in-a-token");
        assert_in_range(egain_token_expires_in(token), 3500, 3600);
        assert_int_equal(egain_token_expires_in(over), 0);
        assert_ptr_equal(egain_token_ref(token), token);
        egain_token_unref(token);
        assert_string_equal(egain_token_value(token), "needle-in-a-token");
        assert_string_equal(egain_token_scope(token), "s");
        egain_token_unref(token);
        egain_token_unref(over);
        assert_int_equal(client_frees_dirty(), 0);
        client_frees_watch(NULL);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(null_is_an_answer_or_nothing_at_all),
                cmocka_unit_test(the_defaults_need_no_options),
                cmocka_unit_test(structures_of_other_versions),
                cmocka_unit_test(errno_is_left_alone),
                cmocka_unit_test(every_error_has_a_sentence_of_its_own),
                cmocka_unit_test(a_token_counts_down_and_is_wiped),
        };

        return cmocka_run_group_tests_name("client-api", tests, NULL, NULL);
}
