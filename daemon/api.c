/* SPDX-License-Identifier: MIT */

/*
 * Three kinds of programs must not reach what is here on behalf of somebody else: browsers (a page
 * may make them send requests to loopback), forwarders (the peer would be the proxy, not its
 * client), and fetchers of URLs that were tricked into one of ours. The first two betray themselves
 * by header fields that they always send, the last cannot send the field that GET requires. A
 * browser that was rebound to us by DNS sends the name it was given as Host.
 */

#include "api.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "../lib/error.h"
#include "log.h"

struct api_route {
        const char *path;
        const char *method;
        bool metadata; /* needs the header "Metadata: true" */
        bool form;     /* takes a form as its body */
        int (*handle)(struct api *api, struct api_call *call, uint64_t now_ms);
};

int api_call_init(struct api_call *call, const char *target)
{
        char *question;

        *call = (struct api_call){};
        secret_init(&call->body, API_BODY_MAX_BYTES);
        call->path = strdup(target);
        if (!call->path)
                return error_trace(-ENOMEM);
        question = strchr(call->path, '?');
        if (question)
                *question = '\0';
        call->query = question ? question + 1 : call->path + strlen(call->path);
        call->query_size = strlen(call->query);
        return 0;
}

void api_call_deinit(struct api_call *call)
{
        if (call->path) {
                secret_wipe(call->query, call->query_size);
                free(call->path);
        }
        token_unref(call->waiter.reply.token); /* replied, and the caller was gone */
        request_deinit(&call->request);
        secret_deinit(&call->body);
        response_deinit(&call->response);
        *call = (struct api_call){};
}

static int answer_error(struct api_call *call, enum reason reason)
{
        const unsigned int retry_after_s = reason_info(reason)->retry_after_s;
        const char *allow = reason == REASON_BAD_METHOD && call->route ? call->route->method : NULL;
        const int r = render_error(&call->response, reason, retry_after_s, allow);

        return r ? error_trace(r) : API_ANSWER;
}

static int answer_reply(struct api_call *call, struct reply *reply)
{
        int r;

        if (reply->reason == REASON_NONE)
                r = render_token(&call->response, reply, call->bare);
        else
                r = render_error(&call->response, reply->reason, reply->retry_after_s, NULL);
        token_unref(reply->token);
        reply->token = NULL;
        return r ? error_trace(r) : API_ANSWER;
}

/* Reads the form of a POST or the query of a GET, and HTTP Basic. 0, -ENOMEM or a reason. */
static int read_request(struct api_call *call)
{
        int r;

        if (call->route->form)
                r = request_parse(&call->request, call->body.bytes, call->body.size, REQUEST_BODY);
        else
                r = request_parse(&call->request, call->query, call->query_size, REQUEST_QUERY);
        if (r == 0 && call->headers.authorization)
                r = request_authorization(&call->request, call->headers.authorization);
        return error_trace(r);
}

static int handle_token(struct api *api, struct api_call *call, uint64_t now_ms)
{
        struct reply reply;
        int r;

        r = read_request(call);
        if (call->request.keys.n > 0) {
                api->secrets_sent++;
                if (!api->secret_named)
                        log_info("a caller sent a client_secret; callers no longer need one here, "
                                 "and it was ignored (this is said once)");
                api->secret_named = true;
        }
        if (r)
                return answer_error(call, reason_of_error(r));

        r = broker_ask(api->broker, &call->request, call->peer, now_ms, &call->waiter, &reply);
        if (r == BROKER_E_WAIT)
                return API_WAIT;
        return error_trace(answer_reply(call, &reply));
}

/* Whether text/plain is asked for: it is among the types accepted, and before JSON. */
static bool prefers_text(const char *accept)
{
        while (accept && *accept) {
                const size_t size = strcspn(accept, ",");
                const char *begin = accept + strspn(accept, " \t");
                const size_t type = strcspn(begin, ",; \t");

                if (type == strlen("text/plain") && strncasecmp(begin, "text/plain", type) == 0)
                        return true;
                if (type == strlen("application/json") &&
                    strncasecmp(begin, "application/json", type) == 0)
                        return false;
                accept += size;
                accept += *accept == ',';
        }
        return false;
}

static int handle_v1_token(struct api *api, struct api_call *call, uint64_t now_ms)
{
        call->bare = prefers_text(call->headers.accept);
        return error_trace(handle_token(api, call, now_ms));
}

static int handle_v1_explain(struct api *api, struct api_call *call, uint64_t now_ms)
{
        struct explanation explanation;
        int r;

        r = read_request(call);
        if (r)
                return error_trace(answer_error(call, reason_of_error(r)));
        broker_explain(api->broker, &call->request, call->peer, now_ms, &explanation);
        if (explanation.refused)
                return error_trace(answer_error(call, explanation.refused));
        r = render_explanation(&call->response, &explanation);
        return r ? error_trace(r) : API_ANSWER;
}

static int handle_healthz(struct api *api, struct api_call *call, uint64_t now_ms)
{
        const int r = render_health(&call->response, 200, "ok");

        return r ? error_trace(r) : API_ANSWER;
}

static int handle_readyz(struct api *api, struct api_call *call, uint64_t now_ms)
{
        int r;

        if (api->draining)
                return error_trace(answer_error(call, REASON_SHUTTING_DOWN));
        r = render_health(&call->response, 200, "ready");
        return r ? error_trace(r) : API_ANSWER;
}

static int handle_metadata(struct api *api, struct api_call *call, uint64_t now_ms)
{
        int r;

        if (!call->headers.host)
                return error_trace(answer_error(call, REASON_BAD_HOST));
        r = render_metadata(&call->response, call->headers.host);
        return r ? error_trace(r) : API_ANSWER;
}

static const struct api_route routes[] = {
        {"/oauth2/token", "POST", false, true, handle_token},
        {"/v1/token", "GET", true, false, handle_v1_token},
        {"/v1/explain", "GET", false, false, handle_v1_explain},
        {"/healthz", "GET", false, false, handle_healthz},
        {"/readyz", "GET", false, false, handle_readyz},
        {"/.well-known/oauth-authorization-server", "GET", false, false, handle_metadata},
};

static const struct api_route *find_route(const char *path)
{
        for (size_t i = 0; i < sizeof(routes) / sizeof(routes[0]); i++)
                if (strcmp(path, routes[i].path) == 0)
                        return &routes[i];
        return NULL;
}

/* A host name or address and perhaps a port, in characters that are safe to repeat. */
static bool is_host(const char *host)
{
        static const char safe[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
                                   "0123456789.-_:[]";

        return *host && host[strspn(host, safe)] == '\0';
}

static bool is_loopback_host(const char *host)
{
        static const char *const names[] = {"localhost", "127.0.0.1", "[::1]"};

        for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
                const size_t size = strlen(names[i]);
                const char *port = host + size;

                if (strncasecmp(host, names[i], size) != 0)
                        continue;
                if (*port == '\0')
                        return true;
                if (*port == ':' && port[1] && port[1 + strspn(port + 1, "0123456789")] == '\0')
                        return true;
        }
        return false;
}

static bool has_form_type(const char *content_type)
{
        static const char form[] = "application/x-www-form-urlencoded";
        const size_t size = content_type ? strcspn(content_type, "; \t") : 0;

        return size == sizeof(form) - 1 && strncasecmp(content_type, form, size) == 0;
}

/* REASON_NONE, or what the header fields are reason enough for. */
static enum reason judge_headers(struct api_call *call)
{
        const struct api_headers *headers = &call->headers;

        if (headers->from_browser)
                return REASON_FROM_BROWSER;
        if (headers->forwarded)
                return REASON_FORWARDED;
        if (headers->host_repeated || (headers->host && !is_host(headers->host)))
                return REASON_BAD_HOST;
        if (call->tcp && headers->host && !is_loopback_host(headers->host))
                return REASON_BAD_HOST;

        call->route = find_route(call->path);
        if (!call->route)
                return REASON_NOT_FOUND;
        if (strcmp(call->method, call->route->method) != 0)
                return REASON_BAD_METHOD;
        if (call->route->metadata &&
            (!headers->metadata || strcasecmp(headers->metadata, "true") != 0))
                return REASON_NO_METADATA_HEADER;
        if (call->route->form && !has_form_type(headers->content_type))
                return REASON_BAD_CONTENT_TYPE;
        return REASON_NONE;
}

int api_begin(struct api *api, struct api_call *call)
{
        const enum reason reason = judge_headers(call);

        return reason ? error_trace(answer_error(call, reason)) : 0;
}

int api_finish(struct api *api, struct api_call *call, uint64_t now_ms)
{
        if (call->body_too_large)
                return error_trace(answer_error(call, REASON_BODY_TOO_LARGE));
        return error_trace(call->route->handle(api, call, now_ms));
}

int api_resume(struct api *api, struct api_call *call)
{
        return error_trace(answer_reply(call, &call->waiter.reply));
}
