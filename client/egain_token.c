/* SPDX-License-Identifier: MIT */

/*
 * The way of a call: is a token kept for it, does another thread ask for the same, and if not, ask
 * the daemon on a connection that nobody else uses. The handle's lock is held for looking up and
 * writing down, never while something is waited for.
 *
 * A call with min_ttl_s or a rejected token asks on its own, since what others get might not do;
 * what it gets is kept all the same. While a rejected token is reported, what others are getting
 * for the same request is not kept, because it may be that token.
 */

#include "egain_token.h"

#include <errno.h>
#include <string.h>

#include "clock.h"
#include "failure.h"
#include "handle.h"

#define EXPORT __attribute__((visibility("default")))

/* One call. */
struct call {
        struct egain_token_broker *broker;
        struct egain_token_request request;
        const struct egain_token *rejected;
        struct question question;
        uint64_t deadline_ms, patient_until_ms; /* of the monotonic clock */
        uint64_t retries;
        struct egain_token *token; /* a reference, if it went well */
        struct egain_token_failure failure;
};

EXPORT const char *egain_token_version(void)
{
        return PROJECT_VERSION;
}

static uint64_t left_ms(uint64_t until_ms)
{
        const uint64_t now_ms = clock_now_ms();

        return until_ms > now_ms ? until_ms - now_ms : 0;
}

static int fail(struct call *call, int error, const char *message)
{
        return failure_set(&call->failure, error, message);
}

/* What the daemon says once. The lock is not held. */
static int ask_once(struct call *call, struct broker_http *http)
{
        const struct broker_request request = {
                .method = "POST",
                .path = "/oauth2/token",
                .form = &call->question.form,
                .timeout_ms = left_ms(call->deadline_ms),
                .patience_ms = left_ms(call->patient_until_ms),
        };
        const uint64_t asked_ms = clock_boot_ms(), sent_again = broker_http_retries(http);
        struct broker_token token = {};
        struct broker_refusal refusal;
        struct broker_answer answer;
        struct broker_error error;
        int r;

        if (request.timeout_ms == 0)
                return fail(call, EGAIN_TOKEN_E_TIMEOUT, NULL);
        r = broker_http_perform(http, &request, &answer, &error);
        call->retries += broker_http_retries(http) - sent_again;
        if (r > 0)
                return failure_of_fault(&call->failure, &error);
        if (r < 0)
                return fail(call, EGAIN_TOKEN_E_NO_MEMORY, NULL);
        r = broker_answer_token(&answer, &token, &refusal, &error);
        broker_answer_deinit(&answer);
        if (r == BROKER_ANSWER_E_REFUSED)
                return failure_of_refusal(&call->failure, &refusal);
        if (r == BROKER_ANSWER_E_ODD)
                return failure_of_fault(&call->failure, &error);
        if (r == 0)
                call->token = token_object_new(&token, asked_ms);
        broker_token_deinit(&token);
        return call->token ? EGAIN_TOKEN_OK : fail(call, EGAIN_TOKEN_E_NO_MEMORY, NULL);
}

/* A daemon that is about to restart begins no fetch, and says when to come again; so does one whose
 * issuer is down. If that is soon, it is done here. */
static int ask(struct call *call, struct broker_http *http)
{
        int r;

        for (;;) {
                r = ask_once(call, http);
                if (r != EGAIN_TOKEN_E_UNAVAILABLE || call->failure.retry_after_s == 0 ||
                    call->failure.retry_after_s * UINT64_C(1000) >= left_ms(call->patient_until_ms))
                        return r;
                call->retries++;
                clock_pause(call->failure.retry_after_s * UINT64_C(1000));
        }
}

/* The lock is held, but not while all connections are in use. */
static int take_connection(struct call *call, struct broker_http **ret)
{
        struct egain_token_broker *broker = call->broker;
        bool in_time = true;
        int r;

        while ((r = pool_take(&broker->pool, &broker->address, ret)) == POOL_E_FULL && in_time)
                in_time = clock_wait(&broker->connection_free, &broker->lock, call->deadline_ms);
        if (r == POOL_E_FULL)
                return fail(call, EGAIN_TOKEN_E_TIMEOUT,
                            "All connections to the daemon were in use for the whole time-out.");
        return r ? fail(call, EGAIN_TOKEN_E_NO_MEMORY, NULL) : EGAIN_TOKEN_OK;
}

static void keep(struct call *call)
{
        const struct egain_token_broker *broker = call->broker;
        const uint64_t now_ms = clock_boot_ms();
        const uint64_t until_ms = kept_until_ms(now_ms, token_object_left_ms(call->token, now_ms),
                                                broker->options.keep_ms);

        kept_put(&call->broker->kept, call->question.key, call->token, until_ms, now_ms);
}

/* Asks for itself and for all who join. The lock is held, but not while the daemon is asked. */
static int lead(struct call *call)
{
        struct egain_token_broker *broker = call->broker;
        struct flight *flight = flight_begin(&broker->flights, call->question.key);
        struct broker_http *http;
        int r;

        if (!flight)
                return fail(call, EGAIN_TOKEN_E_NO_MEMORY, NULL);
        flight->alone = call->rejected || call->request.min_ttl_s > 0;
        flight->rejects = call->rejected;
        flight->barred = flight->barred && !call->rejected;
        r = take_connection(call, &http);
        if (r == EGAIN_TOKEN_OK) {
                (void)pthread_mutex_unlock(&broker->lock);
                r = ask(call, http);
                (void)pthread_mutex_lock(&broker->lock);
                pool_give(&broker->pool, http, clock_now_ms());
                (void)pthread_cond_signal(&broker->connection_free);
                broker->counters.asked++;
                broker->counters.retried += call->retries;
        }
        if (call->token && !flight->barred)
                keep(call);
        flight_end(flight, call->token, &call->failure);
        flight_leave(&broker->flights, flight);
        return r;
}

/* Waits for what another thread gets. The lock is held, but not meanwhile. */
static int join(struct call *call, struct flight *flight)
{
        struct egain_token_broker *broker = call->broker;

        if (flight_wait(flight, &broker->lock, call->deadline_ms)) {
                call->failure = flight->failure;
                call->token = egain_token_ref(flight->token);
                broker->counters.joined++;
        } else {
                (void)fail(call, EGAIN_TOKEN_E_TIMEOUT, NULL);
        }
        flight_leave(&broker->flights, flight);
        return call->failure.error;
}

/* A token that is kept and will do. The lock is held. */
static bool find_kept(struct call *call)
{
        struct egain_token_broker *broker = call->broker;
        const uint64_t now_ms = clock_boot_ms();
        struct egain_token *token = kept_find(&broker->kept, call->question.key, now_ms);

        if (!token ||
            token_object_left_ms(token, now_ms) < call->request.min_ttl_s * UINT64_C(1000))
                return false;
        call->token = egain_token_ref(token);
        broker->counters.kept++;
        return true;
}

/* The lock is held. */
static int find_or_ask(struct call *call)
{
        struct egain_token_broker *broker = call->broker;
        struct flight *flight;

        kept_sweep(&broker->kept, clock_boot_ms());
        pool_sweep(&broker->pool, clock_now_ms());
        if (call->rejected) {
                kept_reject(&broker->kept, call->question.key, call->rejected);
                flights_bar(&broker->flights, call->question.key);
                return lead(call);
        }
        if (find_kept(call))
                return EGAIN_TOKEN_OK;
        flight = call->request.min_ttl_s == 0 ? flight_find(&broker->flights, call->question.key)
                                              : NULL;
        return flight ? join(call, flight) : lead(call);
}

/* Sets `failure` to what is said of the arguments. */
static int run(struct call *call, const struct egain_token_request *request)
{
        struct egain_token_broker *broker = call->broker;
        const char *why;
        int r;

        if (!handle_read_struct(&call->request, sizeof(call->request), request))
                return fail(call, EGAIN_TOKEN_E_INVALID,
                            "The request was not begun with EGAIN_TOKEN_REQUEST_INIT.");
        r = question_init(&call->question, &call->request, call->rejected, &why);
        if (r == QUESTION_E_INVALID)
                return fail(call, EGAIN_TOKEN_E_INVALID, why);
        if (r)
                return fail(call, EGAIN_TOKEN_E_NO_MEMORY, NULL);
        call->deadline_ms = clock_now_ms() + broker->options.timeout_ms;
        call->patient_until_ms = clock_now_ms() + broker->options.patience_ms;

        (void)pthread_mutex_lock(&broker->lock);
        r = find_or_ask(call);
        broker->counters.calls++;
        broker->counters.failed += r != EGAIN_TOKEN_OK;
        (void)pthread_mutex_unlock(&broker->lock);
        question_deinit(&call->question);
        return r;
}

/* A thread that is cancelled here would leave others waiting for it. */
static int call_uncancelled(struct egain_token_broker *broker,
                            const struct egain_token_request *request,
                            const struct egain_token *rejected, struct egain_token **ret,
                            struct egain_token_failure *failure)
{
        struct call call = {.broker = broker, .rejected = rejected};
        struct egain_token_failure ignored;
        const int saved = errno;
        int state, r;

        if (ret)
                *ret = NULL;
        if (failure && !handle_read_struct(&ignored, sizeof(ignored), failure))
                return EGAIN_TOKEN_E_INVALID;
        (void)pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &state);
        (void)fail(&call, EGAIN_TOKEN_OK, "");
        if (broker && request && ret)
                r = run(&call, request);
        else
                r = fail(&call, EGAIN_TOKEN_E_INVALID, "An argument is NULL that must not be.");
        if (ret)
                *ret = call.token;
        if (failure)
                handle_write_struct(failure, &call.failure, sizeof(call.failure));
        (void)pthread_setcancelstate(state, NULL);
        errno = saved;
        return r;
}

EXPORT int egain_token_get(struct egain_token_broker *broker,
                           const struct egain_token_request *request, struct egain_token **ret,
                           struct egain_token_failure *failure)
{
        return call_uncancelled(broker, request, NULL, ret, failure);
}

EXPORT int egain_token_reject(struct egain_token_broker *broker,
                              const struct egain_token_request *request,
                              const struct egain_token *rejected, struct egain_token **ret,
                              struct egain_token_failure *failure)
{
        if (!rejected)
                broker = NULL;
        return call_uncancelled(broker, request, rejected, ret, failure);
}
