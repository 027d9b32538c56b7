/* SPDX-License-Identifier: MIT */

/*
 * URLs of the configuration: 't' a token URL, 'p' a proxy. What is accepted begins as it should, is
 * the same to curl, and without TLS leads nowhere but to this host.
 */

#include "fuzz.h"

#include <arpa/inet.h>
#include <curl/curl.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <strings.h>

#include "../../daemon/config-url.h"

/* The host as it stands in the text: up to what ends it, and without a port. Escapes in it mean
 * what they mean elsewhere. To be freed by curl_free(). */
static char *written_host(const char *url)
{
        const char *const begin = strstr(url, "://") + 3;
        size_t size = *begin == '[' ? strcspn(begin, "]") + 1 : strcspn(begin, ":/?#");

        must(begin[0] && size <= strlen(begin));
        return curl_easy_unescape(NULL, begin, (int)size, NULL);
}

static bool is_loopback(const char *host)
{
        char ipv6[INET6_ADDRSTRLEN];
        struct in_addr address;
        struct in6_addr in6;

        /* With a zone it is the same; numbers in any of the forms of old are numbers to curl. */
        if (*host != '[')
                return inet_aton(host, &address) && ntohl(address.s_addr) >> 24 == 127;
        (void)snprintf(ipv6, sizeof(ipv6), "%.*s", (int)strcspn(host + 1, "%]"), host + 1);
        return inet_pton(AF_INET6, ipv6, &in6) == 1 && IN6_IS_ADDR_LOOPBACK(&in6);
}

static void check_url(const char *string, bool proxy)
{
        const bool https = strncasecmp(string, "https://", 8) == 0;
        CURLU *const url = curl_url();
        char *part, *host;

        must(https || strncasecmp(string, "http://", 7) == 0);
        for (const char *at = string; *at; at++)
                must(*at > ' ' && *at <= '~');
        must(url && curl_url_set(url, CURLUPART_URL, string, 0) == CURLUE_OK);
        must(curl_url_get(url, CURLUPART_USER, &part, 0) != CURLUE_OK);
        must(curl_url_get(url, CURLUPART_PASSWORD, &part, 0) != CURLUE_OK);
        must(curl_url_get(url, CURLUPART_FRAGMENT, &part, 0) != CURLUE_OK);
        must(curl_url_get(url, CURLUPART_SCHEME, &part, 0) == CURLUE_OK);
        must(strcasecmp(part, https ? "https" : "http") == 0);
        curl_free(part);

        host = written_host(string);
        must(host && *host);
        must(https || proxy || is_loopback(host));
        must(!strchr(host, '@') && !strchr(host, '\\'));
        curl_free(host);
        if (proxy)
                must(curl_url_get(url, CURLUPART_QUERY, &part, 0) != CURLUE_OK);
        curl_url_cleanup(url);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        bool proxy;
        char *string;

        if (size == 0)
                return 0;
        proxy = data[0] == 'p';
        string = strndup((const char *)data + 1, size - 1);
        must(string);
        if (proxy ? config_url_is_proxy(string) && *string : config_url_is_token_url(string))
                check_url(string, proxy);
        free(string);
        return 0;
}
