/* SPDX-License-Identifier: MIT */

/*
 * Three kinds of programs must not reach what is here on behalf of somebody else: browsers (a page
 * may make them send requests to loopback), forwarders (the peer would be the proxy, not its
 * client), and fetchers of URLs that were tricked into one of ours. The first two betray themselves
 * by header fields that they always send, the last cannot send the field that GET requires. A
 * browser that was rebound to us by DNS sends the name it was given as Host.
 */

#include <string.h>
#include <strings.h>

#include "api-private.h"

static bool is_host_character(char c)
{
        return (c >= 'a' && c <= 'z') || (c >= '0' && c <= ':') || (c >= 'A' && c <= 'Z') ||
               c == '.' || c == '-' || c == '_' || c == '[' || c == ']';
}

/* A host name or address and perhaps a port, in characters that are safe to repeat. */
static bool is_host(const char *host)
{
        const char *at = host;

        while (is_host_character(*at))
                at++;
        return at > host && *at == '\0';
}

/* The rest of a Host behind its name: nothing, or a port. */
static bool is_port(const char *rest)
{
        if (*rest == '\0')
                return true;
        if (*rest++ != ':' || *rest == '\0')
                return false;
        while (*rest >= '0' && *rest <= '9')
                rest++;
        return *rest == '\0';
}

static bool is_loopback_host(const char *host)
{
        static const char *const names[] = {"127.0.0.1", "localhost", "[::1]"};

        for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
                const size_t size = strlen(names[i]);

                if (strncasecmp(host, names[i], size) == 0 && is_port(host + size))
                        return true;
        }
        return false;
}

static bool has_form_type(const char *content_type)
{
        static const char form[] = "application/x-www-form-urlencoded";
        const size_t size = sizeof(form) - 1;

        if (!content_type || strncasecmp(content_type, form, size) != 0)
                return false;
        return content_type[size] == '\0' || content_type[size] == ';' ||
               content_type[size] == ' ' || content_type[size] == '\t';
}

enum reason api_guard(const struct api_call *call)
{
        const struct api_headers *headers = &call->headers;

        if (headers->unclear_end)
                return REASON_UNCLEAR_END;
        if (headers->of_browser.name)
                return REASON_FROM_BROWSER;
        if (headers->of_forwarder.name)
                return REASON_FORWARDED;
        if (headers->host_repeated)
                return REASON_BAD_HOST;
        if (headers->host && !is_loopback_host(headers->host) &&
            (call->peer->tcp || !is_host(headers->host)))
                return REASON_BAD_HOST;

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
