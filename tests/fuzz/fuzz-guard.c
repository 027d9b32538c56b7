/* SPDX-License-Identifier: MIT */

/*
 * What is let through by its header fields alone. The first byte says what the rest is: 'h' Host,
 * 'c' Content-Type, 'm' Metadata; each is all that is odd about the request. Over TCP a Host is a
 * name of this host, or nobody's; over a Unix socket it is still one that is safe to repeat.
 */

#include "fuzz.h"

#include <stdbool.h>
#include <strings.h>

#include "../../daemon/api-private.h"

static enum reason guard(const struct api_headers *headers, bool tcp)
{
        static const struct api_route route = {.method = "POST", .metadata = true, .form = true};
        const struct peer peer = {.known = true, .tcp = tcp};
        struct api_call *const call = calloc(1, sizeof(*call));
        enum reason reason;

        must(call);
        call->method = "POST";
        call->peer = &peer;
        call->route = &route;
        call->headers = *headers;
        reason = api_guard(call);
        call->headers.of_browser = (struct api_header){"Origin", ""};
        must(api_guard(call) == REASON_FROM_BROWSER);
        free(call);
        return reason;
}

/* A name of ours, and behind it nothing, or a colon and digits. */
static bool is_ours(const char *host)
{
        static const char *const names[] = {"127.0.0.1", "localhost", "[::1]"};
        const char *const colon = strrchr(host, ':');
        const bool port = colon && colon[1] && colon[1 + strspn(colon + 1, "0123456789")] == '\0';
        char *const name = strndup(host, port ? (size_t)(colon - host) : strlen(host));
        bool ours = false;

        must(name);
        for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
                ours |= strcasecmp(name, names[i]) == 0 || strcasecmp(host, names[i]) == 0;
        free(name);
        return ours;
}

static void check_host(struct api_headers headers, const char *value)
{
        static const char safe[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                                   ".-_:[]";
        const bool is_safe = *value && value[strspn(value, safe)] == '\0';

        headers.host = value;
        must(guard(&headers, true) == (is_ours(value) ? REASON_NONE : REASON_BAD_HOST));
        must(guard(&headers, false) == (is_safe ? REASON_NONE : REASON_BAD_HOST));
        headers.host_repeated = "localhost";
        must(guard(&headers, false) == REASON_BAD_HOST);
}

static void check_type(struct api_headers headers, const char *value)
{
        char *const type = strndup(value, strcspn(value, "; \t"));

        must(type);
        headers.content_type = value;
        must(guard(&headers, false) == (strcasecmp(type, "application/x-www-form-urlencoded") == 0
                                                ? REASON_NONE
                                                : REASON_BAD_CONTENT_TYPE));
        free(type);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        struct api_headers headers = {
                .host = "localhost",
                .metadata = "true",
                .content_type = "application/x-www-form-urlencoded",
        };
        char *value;

        if (size == 0)
                return 0;
        value = strndup((const char *)data + 1, size - 1);
        must(value);
        must(guard(&headers, true) == REASON_NONE);
        if (data[0] == 'h') {
                check_host(headers, value);
        } else if (data[0] == 'c') {
                check_type(headers, value);
        } else {
                headers.metadata = value;
                must((guard(&headers, true) == REASON_NONE) == (strcasecmp(value, "true") == 0));
        }
        free(value);
        return 0;
}
