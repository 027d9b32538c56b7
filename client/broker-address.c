/* SPDX-License-Identifier: MIT */

#include "broker-address.h"

#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/un.h>

#define SCHEME "http://"

#define PASSWD_MAX_BYTES 16384

_Static_assert(BROKER_SOCKET_PATH_MAX_BYTES == sizeof(((struct sockaddr_un *)0)->sun_path) - 1,
               "the path and its NUL fill the address");

/* What may follow the host: a port, and a slash. False: something else does. */
static bool parse_port(const char *rest, size_t *ret_size)
{
        unsigned long port = 80;
        size_t size = 0;

        if (*rest == ':') {
                const size_t digits = strspn(rest + 1, "0123456789");

                size = 1 + digits;
                port = digits >= 1 && digits <= 5 ? strtoul(rest + 1, NULL, 10) : 0;
        }
        *ret_size = size;
        return port >= 1 && port <= 65535 &&
               (strcmp(rest + size, "") == 0 || strcmp(rest + size, "/") == 0);
}

static bool parse_url(struct broker_address *address, const char *url)
{
        static const char *const hosts[] = {"localhost", "127.0.0.1", "[::1]"};
        const char *host = url + strlen(SCHEME);
        size_t size, port_size;

        if (strncasecmp(url, SCHEME, strlen(SCHEME)) != 0)
                return false;
        for (size_t i = 0; i < sizeof(hosts) / sizeof(hosts[0]); i++) {
                size = strlen(hosts[i]);
                if (strncasecmp(host, hosts[i], size) != 0)
                        continue;
                if (!parse_port(host + size, &port_size))
                        return false;
                (void)snprintf(address->origin, sizeof(address->origin), SCHEME "%.*s",
                               (int)(size + port_size), host);
                (void)snprintf(address->name, sizeof(address->name), "%s", address->origin);
                return true;
        }
        return false;
}

/* A number in digits alone. */
static bool parse_uid(const char *text, uid_t *ret)
{
        if (text[strspn(text, "0123456789")] != '\0' || strlen(text) > 9)
                return false;
        *ret = (uid_t)strtoul(text, NULL, 10);
        return true;
}

bool broker_address_find_user(const struct broker_address *address, uid_t *ret)
{
        struct passwd passwd, *found = NULL;
        char bytes[PASSWD_MAX_BYTES];

        if (address->server_uid_known) {
                *ret = address->server_uid;
                return true;
        }
        if (parse_uid(address->server_user, ret))
                return true;
        if (getpwnam_r(address->server_user, &passwd, bytes, sizeof(bytes), &found) != 0 || !found)
                return false;
        *ret = found->pw_uid;
        return true;
}

int broker_address_init(struct broker_address *address, const struct broker_place *place,
                        struct broker_error *error)
{
        const char *path = place->socket_path ? place->socket_path : BROKER_SOCKET;
        const char *user = place->server_user ? place->server_user : BROKER_SERVER_USER;

        *address = (struct broker_address){.tcp = place->url};
        if (place->url) {
                if (!place->socket_path && parse_url(address, place->url))
                        return 0;
                return broker_error_set(error, BROKER_FAULT_BAD_ADDRESS,
                                        "The broker's URL is http:// and one of localhost, "
                                        "127.0.0.1 and [::1], perhaps with a port and without a "
                                        "path; and there is a URL or a socket, not both.");
        }
        if (!*path || strlen(path) > BROKER_SOCKET_PATH_MAX_BYTES)
                return broker_error_set(error, BROKER_FAULT_PATH_TOO_LONG,
                                        "The path of a socket has 1 to %d bytes; this one has %zu.",
                                        BROKER_SOCKET_PATH_MAX_BYTES, strlen(path));
        if (!*user || strlen(user) > BROKER_USER_MAX_BYTES)
                return broker_error_set(error, BROKER_FAULT_BAD_ADDRESS,
                                        "The name of the daemon's user has 1 to %d bytes.",
                                        BROKER_USER_MAX_BYTES);
        (void)snprintf(address->path, sizeof(address->path), "%s", path);
        (void)snprintf(address->name, sizeof(address->name), "%s", path);
        (void)snprintf(address->origin, sizeof(address->origin), SCHEME "localhost");
        (void)snprintf(address->server_user, sizeof(address->server_user), "%s", user);
        /* Now, before there are threads and forks: name services have locks of their own. */
        address->server_uid_known = broker_address_find_user(address, &address->server_uid);
        return 0;
}
