/* SPDX-License-Identifier: MIT */

/*
 * The socket is opened here rather than by libmicrohttpd so that port 0 works and the port is known
 * before anybody is told about it.
 */

#include "listener.h"

#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "error.h"

#define LISTEN_BACKLOG       4096
#define CONNECTIONS_MAX      65536
#define DESCRIPTORS_RESERVED 32

static int get_port(int fd, uint16_t *ret_port)
{
        union {
                struct sockaddr any;
                struct sockaddr_in in;
                struct sockaddr_in6 in6;
        } address = {0};
        socklen_t size = sizeof(address);

        if (getsockname(fd, &address.any, &size) < 0)
                return error_trace(-errno);
        *ret_port = ntohs(address.any.sa_family == AF_INET6 ? address.in6.sin6_port
                                                            : address.in.sin_port);
        return 0;
}

int listener_open(const struct options *options, int *ret_fd, uint16_t *ret_port)
{
        const struct sockaddr *address = (const void *)&options->address;
        int fd = socket(address->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        int yes = 1;
        int r = 0;

        if (fd < 0)
                return error_trace(-errno);
        if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes)) < 0 ||
            bind(fd, address, options->address_size) < 0 || listen(fd, LISTEN_BACKLOG) < 0)
                r = -errno;
        if (!r)
                r = get_port(fd, ret_port);
        if (r) {
                (void)close(fd);
                return error_trace(r);
        }
        *ret_fd = fd;
        return 0;
}

int listener_write_port(const char *path, uint16_t port)
{
        char *temporary;
        FILE *file;
        int r = 0;

        if (asprintf(&temporary, "%s.%d.tmp", path, (int)getpid()) < 0)
                return error_trace(-ENOMEM);
        file = fopen(temporary, "we");
        if (!file) {
                r = -errno;
                goto out;
        }
        if (fprintf(file, "%u\n", port) < 0)
                r = -errno;
        if (fclose(file) && !r)
                r = -errno;
        if (!r && rename(temporary, path) < 0)
                r = -errno;
        if (r)
                (void)unlink(temporary);
out:
        free(temporary);
        return error_trace(r);
}

unsigned listener_raise_limit(void)
{
        struct rlimit limit;

        if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
                return 1;
        limit.rlim_cur = limit.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &limit);
        (void)getrlimit(RLIMIT_NOFILE, &limit);
        if (limit.rlim_cur > CONNECTIONS_MAX)
                return CONNECTIONS_MAX;
        return limit.rlim_cur > DESCRIPTORS_RESERVED
                       ? (unsigned)(limit.rlim_cur - DESCRIPTORS_RESERVED)
                       : 1;
}
