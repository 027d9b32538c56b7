/* SPDX-License-Identifier: MIT */

/*
 * Where clients look for the broker. The first byte says what the rest is: 'u' a URL, anything else
 * the path of a socket. No URL leads away from this host, whoever reads it: curl, too, finds the
 * host in it that was judged.
 */

#include "fuzz.h"

#include <curl/curl.h>
#include <stdbool.h>
#include <strings.h>

#include "broker-address.h"

static bool is_loopback(const char *host)
{
        return strcasecmp(host, "localhost") == 0 || strcmp(host, "127.0.0.1") == 0 ||
               strcmp(host, "[::1]") == 0;
}

/* What curl makes of a URL that we took, and of what we made of it. */
static void check_url(const char *given, const char *origin)
{
        static const CURLUPart absent[] = {CURLUPART_USER, CURLUPART_PASSWORD, CURLUPART_OPTIONS,
                                           CURLUPART_QUERY, CURLUPART_FRAGMENT};
        CURLU *const urls[] = {curl_url(), curl_url()};
        char *hosts[2], *ports[2], *part;

        for (int i = 0; i < 2; i++) {
                must(urls[i]);
                must(curl_url_set(urls[i], CURLUPART_URL, i ? origin : given, 0) == CURLUE_OK);
                must(curl_url_get(urls[i], CURLUPART_HOST, &hosts[i], 0) == CURLUE_OK);
                must(curl_url_get(urls[i], CURLUPART_PORT, &ports[i], CURLU_DEFAULT_PORT) ==
                     CURLUE_OK);
                must(is_loopback(hosts[i]));
                must(curl_url_get(urls[i], CURLUPART_PATH, &part, 0) == CURLUE_OK);
                must(strcmp(part, "/") == 0);
                curl_free(part);
                for (size_t j = 0; j < sizeof(absent) / sizeof(absent[0]); j++)
                        must(curl_url_get(urls[i], absent[j], &part, 0) != CURLUE_OK);
        }
        must(strcasecmp(hosts[0], hosts[1]) == 0 && strcmp(ports[0], ports[1]) == 0);
        for (int i = 0; i < 2; i++) {
                curl_free(hosts[i]);
                curl_free(ports[i]);
                curl_url_cleanup(urls[i]);
        }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        struct broker_place place = {.server_user = "0"};
        struct broker_address address, same;
        struct broker_error error = {};
        char *string;
        int r;

        if (size == 0)
                return 0;
        string = strndup((const char *)data + 1, size - 1);
        must(string);
        if (data[0] == 'u')
                place.url = string;
        else
                place.socket_path = string;
        r = broker_address_init(&address, &place, &error);
        must(r == (int)error.fault);
        if (r)
                must(*error.text);
        if (place.url) {
                must(r == 0 || r == BROKER_FAULT_BAD_ADDRESS);
                if (r == 0) {
                        must(address.tcp && strcmp(address.name, address.origin) == 0);
                        check_url(string, address.origin);
                        place.url = address.origin;
                        must(broker_address_init(&same, &place, &error) == 0);
                        must(strcmp(same.origin, address.origin) == 0);
                }
        } else {
                must((r == 0) == (*string && strlen(string) <= BROKER_SOCKET_PATH_MAX_BYTES));
                must(r == 0 || r == BROKER_FAULT_PATH_TOO_LONG);
                must(r || (!address.tcp && strcmp(address.path, string) == 0));
                must(r || (address.server_uid_known && address.server_uid == 0));
        }
        free(string);
        return 0;
}
