/* SPDX-License-Identifier: MIT */

/*
 * peer-probe listen PATH PORT [older]: tells everybody who connects, on a Unix socket or on that
 * port of both loopback addresses, who the kernel says it is, in one line, and hangs up. `older`
 * does without SO_PEERPIDFD.
 *
 * peer-probe ask ADDRESS: connects to a Unix socket (a path), to 127.0.0.1 or to [::1]
 * (ADDRESS:PORT), sends its standard input, and writes what comes back to its standard output.
 */

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "peer.h"

static _Noreturn void die(const char *what)
{
        perror(what);
        exit(1);
}

static in_port_t port_of(const char *text)
{
        return htons((uint16_t)strtoul(text, NULL, 10));
}

/* PATH, 127.0.0.1:PORT or [::1]:PORT. */
static socklen_t parse_address(const char *text, struct sockaddr_storage *ret)
{
        struct sockaddr_un un = {.sun_family = AF_UNIX};
        struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};

        *ret = (struct sockaddr_storage){};
        if (strncmp(text, "127.0.0.1:", 10) == 0) {
                in.sin_port = port_of(text + 10);
                memcpy(ret, &in, sizeof(in));
                return sizeof(in);
        }
        if (strncmp(text, "[::1]:", 6) == 0) {
                in6.sin6_port = port_of(text + 6);
                memcpy(ret, &in6, sizeof(in6));
                return sizeof(in6);
        }
        (void)snprintf(un.sun_path, sizeof(un.sun_path), "%s", text);
        memcpy(ret, &un, sizeof(un));
        return sizeof(un);
}

static int listen_on(const char *text)
{
        struct sockaddr_storage address;
        const socklen_t size = parse_address(text, &address);
        const int fd = socket(address.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;

        if (address.ss_family == AF_UNIX)
                (void)unlink(text);
        if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0 ||
            bind(fd, (struct sockaddr *)&address, size) < 0 || listen(fd, 64) < 0)
                die(text);
        if (address.ss_family == AF_UNIX && chmod(text, 0666) < 0)
                die(text);
        return fd;
}

static void tell(struct peer_finder *finder, int fd)
{
        FILE *stream = fdopen(fd, "w");
        struct peer peer;

        if (!stream)
                die("fdopen");
        peer_find(finder, fd, true, &peer);
        (void)fprintf(stream, "known=%d tcp=%d uid=%d pid=%d unit=%s groups=", peer.known, peer.tcp,
                      (int)peer.uid, (int)peer.pid, peer.unit ? peer.unit : "none");
        for (size_t i = 0; i < peer.n_groups; i++)
                (void)fprintf(stream, "%s%d", i ? "," : "", (int)peer.groups[i]);
        (void)fprintf(stream, "\n");
        (void)fclose(stream);
        peer_deinit(&peer);
}

static _Noreturn void serve(const char *path, const char *port, bool older)
{
        char tcp4[64], tcp6[64];
        struct peer_finder finder;
        struct pollfd listeners[3] = {};

        if (peer_finder_init(&finder, true) < 0)
                die("peer_finder_init");
        finder.no_peerpidfd = older;
        (void)snprintf(tcp4, sizeof(tcp4), "127.0.0.1:%s", port);
        (void)snprintf(tcp6, sizeof(tcp6), "[::1]:%s", port);
        listeners[0].fd = listen_on(tcp4);
        listeners[1].fd = listen_on(tcp6);
        listeners[2].fd = listen_on(path); /* the last, since its file is waited for */
        for (size_t i = 0; i < 3; i++)
                listeners[i].events = POLLIN;
        for (;;) {
                if (poll(listeners, 3, -1) < 0)
                        die("poll");
                for (size_t i = 0; i < 3; i++) {
                        const int fd = listeners[i].revents ? accept(listeners[i].fd, NULL, NULL)
                                                            : -1;

                        if (fd >= 0)
                                tell(&finder, fd);
                }
        }
}

static void copy(int from, int to)
{
        char buffer[4096];
        ssize_t n;

        while ((n = read(from, buffer, sizeof(buffer))) > 0)
                if (write(to, buffer, (size_t)n) != n)
                        die("write");
        if (n < 0)
                die("read");
}

/* The name of an abstract socket to ask from; NULL: none. */
static void ask(const char *text, const char *from)
{
        struct sockaddr_storage address;
        const socklen_t size = parse_address(text, &address);
        const int fd = socket(address.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
        struct sockaddr_un un = {.sun_family = AF_UNIX};

        if (from) {
                const size_t length = strlen(from);

                if (length >= sizeof(un.sun_path))
                        die("the name to ask from is too long");
                memcpy(un.sun_path + 1, from, length);
                if (bind(fd, (struct sockaddr *)&un,
                         (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + length)) < 0)
                        die(from);
        }
        if (fd < 0 || connect(fd, (struct sockaddr *)&address, size) < 0)
                die(text);
        copy(STDIN_FILENO, fd);
        copy(fd, STDOUT_FILENO);
        close(fd);
}

int main(int argc, char **argv)
{
        if (argc >= 4 && strcmp(argv[1], "listen") == 0)
                serve(argv[2], argv[3], argc > 4);
        if (argc < 3 || argc > 4 || strcmp(argv[1], "ask") != 0) {
                (void)fprintf(stderr, "usage: peer-probe listen PATH PORT [older] | "
                                      "ask ADDRESS [ABSTRACT-NAME-TO-ASK-FROM]\n");
                return 2;
        }
        ask(argv[2], argv[3]);
        return 0;
}
