/* SPDX-License-Identifier: MIT */

/*
 * Routes, and a request's way: what must not reach us is refused once the header is in (api-guard),
 * the rest is handled once the body is. Of what concerns tokens, every outcome is recorded.
 */

#include "api.h"

#include <stdlib.h>
#include <string.h>

#include "../lib/error.h"
#include "api-private.h"
#include "describe.h"
#include "habit.h"
#include "monitor.h"

int api_call_init(struct api_call *call, const char *target)
{
        const size_t size = strlen(target);
        char *question;

        call->body.size_limit = API_BODY_MAX_BYTES;
        call->path = size < sizeof(call->target) ? call->target : malloc(size + 1);
        if (!call->path)
                return error_trace(-ENOMEM);
        memcpy(call->path, target, size + 1);
        question = memchr(call->path, '?', size);
        if (question)
                *question = '\0';
        call->query = question ? question + 1 : call->path + size;
        call->query_size = (size_t)(call->path + size - call->query);
        return 0;
}

void api_call_end(struct api_call *call)
{
        struct secret body;

        if (call->path) {
                secret_wipe(call->query, call->query_size);
                if (call->path != call->target)
                        free(call->path);
        }
        free(call->reload_wait.messages);
        token_unref(call->waiter.reply.token); /* replied, and the caller was gone */
        reload_release(call->era);
        request_deinit(&call->request);
        response_deinit(&call->response);
        secret_clear(&call->body);
        if (call->body.capacity > API_BODY_KEPT_BYTES)
                secret_deinit(&call->body);
        body = call->body;
        *call = (struct api_call){.body = body};
}

void api_call_deinit(struct api_call *call)
{
        secret_deinit(&call->body);
}

int api_answer_error(struct api_call *call, enum reason reason)
{
        const unsigned int retry_after_s = reason_info(reason)->retry_after_s;
        const char *allow = reason == REASON_BAD_METHOD && call->route ? call->route->allow : NULL;
        char description[DESCRIBE_MAX_BYTES];
        const int r = render_error(&call->response, reason,
                                   describe_refusal(description, call, reason), retry_after_s,
                                   allow);

        call->reason = reason;
        return r ? error_trace(r) : API_ANSWER;
}

int api_read_request(struct api_call *call, enum request_source source)
{
        int r;

        if (source == REQUEST_BODY) {
                r = call->query_size ? request_check_query(call->query, call->query_size) : 0;
                if (r == 0 && !call->headers.authorization)
                        r = habit_read(call->habit, &call->request, call->body.bytes,
                                       call->body.size);
                else if (r == 0)
                        r = request_parse(&call->request, call->body.bytes, call->body.size,
                                          source);
        } else {
                r = request_parse(&call->request, call->query, call->query_size, source);
        }
        if (r == 0 && call->headers.authorization)
                r = request_authorization(&call->request, call->headers.authorization);
        return error_trace(r);
}

static int handle_healthz(struct api *api, struct api_call *call)
{
        const int r = render_health(&call->response, 200, "ok");

        return r ? error_trace(r) : API_ANSWER;
}

static int handle_readyz(struct api *api, struct api_call *call)
{
        int r;

        if (api->draining)
                return error_trace(api_answer_error(call, REASON_SHUTTING_DOWN));
        r = render_health(&call->response, 200, "ready");
        return r ? error_trace(r) : API_ANSWER;
}

static int handle_metadata(struct api *api, struct api_call *call)
{
        int r;

        if (!call->headers.host)
                return error_trace(api_answer_error(call, REASON_BAD_HOST));
        r = render_metadata(&call->response, call->headers.host);
        return r ? error_trace(r) : API_ANSWER;
}

static const struct api_route routes[] = {
        {"/oauth2/token", "POST", "POST", .form = true, .token = true, .recorded = true,
         .handle = api_handle_token},
        {"/v1/token", "GET", "GET", .metadata = true, .token = true, .recorded = true,
         .handle = api_handle_v1_token},
        {"/v1/authorize", "GET", "GET", .metadata = true, .fields = true, .token = true,
         .recorded = true, .handle = api_handle_token},
        {"/v1/explain", "GET", "GET", .handle = api_handle_explain},
        {"/v1/tokens", "GET", "GET, DELETE", .recorded = true, .action = AUDIT_ACTION_LIST,
         .handle = api_handle_list},
        {"/v1/tokens", "DELETE", "GET, DELETE", .recorded = true, .action = AUDIT_ACTION_PURGE,
         .handle = api_handle_purge},
        {"/v1/reload", "POST", "POST", .recorded = true, .action = AUDIT_ACTION_RELOAD,
         .handle = api_handle_reload},
        {"/metrics", "GET", "GET", .handle = api_handle_metrics},
        {"/v1/status", "GET", "GET", .handle = api_handle_status},
        {"/healthz", "GET", "GET", .handle = handle_healthz},
        {"/readyz", "GET", "GET", .handle = handle_readyz},
        {"/.well-known/oauth-authorization-server", "GET", "GET", .handle = handle_metadata},
};

/* The route of a path and a method; where there is none, one of the same path; else NULL. */
static const struct api_route *find_route(const char *path, const char *method)
{
        const struct api_route *found = NULL;

        for (size_t i = 0; i < sizeof(routes) / sizeof(routes[0]); i++) {
                if (strcmp(path, routes[i].path) != 0)
                        continue;
                found = &routes[i];
                if (strcmp(method, found->method) == 0)
                        return found;
        }
        return found;
}

void api_policy_changed(struct api *api)
{
        api->names_units = policy_names_units(broker_policy(api->broker));
}

/* Passes on what became of a request; if that is an answer, counts it. */
static int count(struct api *api, const struct api_call *call, int r)
{
        if (r == API_ANSWER)
                metrics_count_request(&api->monitor->metrics,
                                      call->route && call->route->token ? METRICS_TOKEN
                                                                        : METRICS_OTHER,
                                      call->reason);
        return r;
}

int api_begin(struct api *api, struct api_call *call)
{
        enum reason reason;

        call->route = find_route(call->path, call->method);
        reason = api_guard(call);
        if (!reason)
                return 0;
        if (call->route && call->route->recorded)
                api_record_refusal(api, call, reason);
        return error_trace(count(api, call, api_answer_error(call, reason)));
}

int api_finish(struct api *api, struct api_call *call)
{
        if (call->body_too_large) {
                if (call->route->recorded)
                        api_record_refusal(api, call, REASON_BODY_TOO_LARGE);
                return error_trace(count(api, call, api_answer_error(call, REASON_BODY_TOO_LARGE)));
        }
        return error_trace(count(api, call, call->route->handle(api, call)));
}

int api_resume(struct api *api, struct api_call *call)
{
        switch (call->waits_for) {
        case API_WAIT_TOKEN: return error_trace(count(api, call, api_resume_token(api, call)));
        case API_WAIT_PURGE: return error_trace(count(api, call, api_resume_purge(api, call)));
        case API_WAIT_RELOAD: return error_trace(count(api, call, api_resume_reload(api, call)));
        }
        return -EINVAL;
}
