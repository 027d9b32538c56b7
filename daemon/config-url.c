/* SPDX-License-Identifier: MIT */

/*
 * What curl will take a URL apart into when it is used is what is judged. Curl is generous (one
 * slash or three, a backslash in the user's name, port 0); the text is held to the plain form
 * first.
 */

#include "config-url.h"

#include <arpa/inet.h>
#include <curl/curl.h>
#include <string.h>
#include <strings.h>

#include "config-reader.h"

#define URL_MAX_BYTES 2048

/* 127.0.0.0/8 or ::1, written as an address. `host` is as curl tells it: IPv6 in brackets. */
static bool is_loopback(const char *host)
{
        struct in_addr address;

        if (strcmp(host, "[::1]") == 0)
                return true;
        return inet_pton(AF_INET, host, &address) == 1 && ntohl(address.s_addr) >> 24 == 127;
}

/* What curl says of a part; for want of memory it says neither that it is there nor that it is not.
 */
static CURLUcode look_for(CURLU *url, CURLUPart part)
{
        char *value = NULL;
        CURLUcode r;

        r = curl_url_get(url, part, &value, 0);
        curl_free(value);
        return r;
}

/* None is fine, too. */
static bool is_port_good(CURLU *url)
{
        char *port = NULL;
        const CURLUcode r = curl_url_get(url, CURLUPART_PORT, &port, 0);
        const bool good = r == CURLUE_OK ? strspn(port, "0") != strlen(port) : r == CURLUE_NO_PORT;

        curl_free(port);
        return good;
}

/* The parts of a URL that begins with http:// or https://, and holds none of the characters in
 * `refused`. NULL: it is none. */
static CURLU *take_apart(const char *value, const char *refused, bool *ret_is_https)
{
        bool is_https = strncasecmp(value, "https://", 8) == 0;
        bool is_http = strncasecmp(value, "http://", 7) == 0;
        CURLU *url;

        if ((!is_https && !is_http) || strlen(value) > URL_MAX_BYTES ||
            !config_reader_is_printable(value) || strpbrk(value, refused) ||
            value[is_https ? 8 : 7] == '/')
                return NULL;

        url = curl_url();
        if (!url || curl_url_set(url, CURLUPART_URL, value, 0) != CURLUE_OK ||
            look_for(url, CURLUPART_USER) != CURLUE_NO_USER ||
            look_for(url, CURLUPART_PASSWORD) != CURLUE_NO_PASSWORD ||
            look_for(url, CURLUPART_HOST) != CURLUE_OK || !is_port_good(url)) {
                curl_url_cleanup(url);
                return NULL;
        }
        *ret_is_https = is_https;
        return url;
}

bool config_url_is_token_url(const char *value)
{
        char *host = NULL;
        bool good, is_https;
        CURLU *url;

        url = take_apart(value, " \\#\"<>", &is_https);
        if (!url)
                return false;
        good = is_https ||
               (curl_url_get(url, CURLUPART_HOST, &host, 0) == CURLUE_OK && is_loopback(host));
        curl_free(host);
        curl_url_cleanup(url);
        return good;
}

/* "http://host:" is a URL, but rather one whose port was forgotten. */
static bool is_port_missing(const char *value)
{
        size_t size = strlen(value);

        if (value[size - 1] == '/')
                size--;
        return value[size - 1] == ':';
}

bool config_url_is_proxy(const char *value)
{
        char *path = NULL;
        bool good, is_https;
        CURLU *url;

        if (value[0] == '\0')
                return true;
        url = take_apart(value, " \\#?@\"<>", &is_https);
        if (!url)
                return false;
        good = !is_port_missing(value) &&
               curl_url_get(url, CURLUPART_PATH, &path, 0) == CURLUE_OK && strcmp(path, "/") == 0;
        curl_free(path);
        curl_url_cleanup(url);
        return good;
}
