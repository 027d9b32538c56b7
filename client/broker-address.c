/* SPDX-License-Identifier: MIT */

/* No name is ever looked up: localhost is what the broker binds, both loopback addresses. */

#include "broker-address.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/un.h>

#define SCHEME       "http://"
#define PORT_DEFAULT 80

_Static_assert(BROKER_SOCKET_PATH_MAX_BYTES == sizeof(((struct sockaddr_un *)0)->sun_path) - 1,
               "the path and its NUL fill the address");

static void add_ipv4(struct broker_address *address, in_port_t port)
{
        const struct sockaddr_in in = {
                .sin_family = AF_INET,
                .sin_port = htons(port),
                .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
        };

        memcpy(&address->addresses[address->n++], &in, sizeof(in));
}

static void add_ipv6(struct broker_address *address, in_port_t port)
{
        address->addresses[address->n++] = (struct sockaddr_in6){
                .sin6_family = AF_INET6,
                .sin6_port = htons(port),
                .sin6_addr = IN6ADDR_LOOPBACK_INIT,
        };
}

/* What may follow the host: a port, and a slash. 0: something else does. */
static in_port_t parse_port(const char *rest, size_t *ret_size)
{
        unsigned long port = PORT_DEFAULT;
        size_t size = 0;

        if (*rest == ':') {
                const size_t digits = strspn(rest + 1, "0123456789");

                size = 1 + digits;
                port = digits >= 1 && digits <= 5 ? strtoul(rest + 1, NULL, 10) : 0;
        }
        if (strcmp(rest + size, "") != 0 && strcmp(rest + size, "/") != 0)
                return 0;
        *ret_size = size;
        return port <= 65535 ? (in_port_t)port : 0;
}

static bool parse_url(struct broker_address *address, const char *url)
{
        static const char *const hosts[] = {"localhost", "127.0.0.1", "[::1]"};
        const char *host = url + strlen(SCHEME);

        if (strncasecmp(url, SCHEME, strlen(SCHEME)) != 0)
                return false;
        for (size_t i = 0; i < sizeof(hosts) / sizeof(hosts[0]); i++) {
                size_t size = strlen(hosts[i]), port_size;
                in_port_t port;

                if (strncasecmp(host, hosts[i], size) != 0)
                        continue;
                port = parse_port(host + size, &port_size);
                if (port == 0)
                        return false;
                size += port_size;
                (void)snprintf(address->host, sizeof(address->host), "%.*s", (int)size, host);
                (void)snprintf(address->name, sizeof(address->name), SCHEME "%s", address->host);
                if (i != 2)
                        add_ipv4(address, port);
                if (i != 1)
                        add_ipv6(address, port);
                return true;
        }
        return false;
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
        (void)snprintf(address->host, sizeof(address->host), "localhost");
        (void)snprintf(address->server_user, sizeof(address->server_user), "%s", user);
        return 0;
}
