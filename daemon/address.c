/* SPDX-License-Identifier: MIT */

#include "address.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

/* The bytes of an address are copied out before they are looked at: a storage's alignment suits
 * all families, but its type does not. */

void address_name(char name[static ADDRESS_STRLEN], const struct sockaddr_storage *address)
{
        char text[INET6_ADDRSTRLEN] = "";
        struct sockaddr_un un;
        struct sockaddr_in in;
        struct sockaddr_in6 in6;

        switch (address->ss_family) {
        case AF_UNIX:
                memcpy(&un, address, sizeof(un));
                if (un.sun_path[0])
                        (void)snprintf(name, ADDRESS_STRLEN, "%.*s", (int)sizeof(un.sun_path),
                                       un.sun_path);
                else
                        (void)snprintf(name, ADDRESS_STRLEN, "a Unix socket without a file");
                break;
        case AF_INET:
                memcpy(&in, address, sizeof(in));
                inet_ntop(AF_INET, &in.sin_addr, text, sizeof(text));
                (void)snprintf(name, ADDRESS_STRLEN, "%s:%u", text, ntohs(in.sin_port));
                break;
        case AF_INET6:
                memcpy(&in6, address, sizeof(in6));
                inet_ntop(AF_INET6, &in6.sin6_addr, text, sizeof(text));
                (void)snprintf(name, ADDRESS_STRLEN, "[%s]:%u", text, ntohs(in6.sin6_port));
                break;
        default:
                (void)snprintf(name, ADDRESS_STRLEN, "a socket of family %d", address->ss_family);
                break;
        }
}

bool address_equal(const struct sockaddr_storage *a, const struct sockaddr_storage *b)
{
        struct sockaddr_un x, y;
        struct sockaddr_in in, other_in;
        struct sockaddr_in6 in6, other_in6;

        if (a->ss_family != b->ss_family)
                return false;
        switch (a->ss_family) {
        case AF_UNIX:
                memcpy(&x, a, sizeof(x));
                memcpy(&y, b, sizeof(y));
                return x.sun_path[0] && strncmp(x.sun_path, y.sun_path, sizeof(x.sun_path)) == 0;
        case AF_INET:
                memcpy(&in, a, sizeof(in));
                memcpy(&other_in, b, sizeof(other_in));
                return in.sin_port == other_in.sin_port &&
                       in.sin_addr.s_addr == other_in.sin_addr.s_addr;
        case AF_INET6:
                memcpy(&in6, a, sizeof(in6));
                memcpy(&other_in6, b, sizeof(other_in6));
                return in6.sin6_port == other_in6.sin6_port &&
                       IN6_ARE_ADDR_EQUAL(&in6.sin6_addr, &other_in6.sin6_addr);
        default: return false;
        }
}

bool address_is_loopback(const struct sockaddr_storage *address)
{
        struct sockaddr_in in;
        struct sockaddr_in6 in6;

        switch (address->ss_family) {
        case AF_INET:
                memcpy(&in, address, sizeof(in));
                return in.sin_addr.s_addr == htonl(INADDR_LOOPBACK);
        case AF_INET6:
                memcpy(&in6, address, sizeof(in6));
                return IN6_IS_ADDR_LOOPBACK(&in6.sin6_addr);
        default: return false;
        }
}

bool address_is_lacking(const struct sockaddr_storage *address)
{
        struct sockaddr_in6 any_port = {.sin6_family = AF_INET6,
                                        .sin6_addr = IN6ADDR_LOOPBACK_INIT};
        bool lacks;
        int fd;

        if (address->ss_family != AF_INET6)
                return false;
        fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd < 0)
                return errno == EAFNOSUPPORT;
        lacks = bind(fd, (struct sockaddr *)&any_port, sizeof(any_port)) < 0 &&
                errno == EADDRNOTAVAIL;
        close(fd);
        return lacks;
}
