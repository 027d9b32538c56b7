/* SPDX-License-Identifier: MIT */

/*
 * identity [ROUNDS]: what it costs to learn who has connected, in µs a connection, for each kind of
 * listener. The budget is 10 µs without a unit and 45 µs with one. The best of several series is
 * told beside the median, since a machine that does other things, too, only ever adds.
 *
 * The peer is this very process. Started by `systemd-run --wait --pipe`, it has a unit to be found.
 */

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "peer.h"

#define SERIES         21
#define DEFAULT_ROUNDS 2000

static void die(const char *what)
{
        perror(what);
        exit(1);
}

static double now_us(void)
{
        struct timespec now;

        clock_gettime(CLOCK_MONOTONIC, &now);
        return (double)now.tv_sec * 1e6 + (double)now.tv_nsec / 1e3;
}

/* The accepted end of a connection to ourselves; its other end stays open until the exit. */
static int connect_tcp(const struct sockaddr *loopback, socklen_t size)
{
        struct sockaddr_storage storage;
        struct sockaddr *bound = (struct sockaddr *)&storage;
        socklen_t bound_size = sizeof(storage);
        const int listener = socket(loopback->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
        const int client = socket(loopback->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
        int fd;

        if (listener < 0 || client < 0 || bind(listener, loopback, size) < 0 ||
            listen(listener, 1) < 0 || getsockname(listener, bound, &bound_size) < 0 ||
            connect(client, bound, bound_size) < 0)
                die("loopback connection");
        fd = accept(listener, NULL, NULL);
        if (fd < 0)
                die("accept");
        return fd;
}

static int compare(const void *a, const void *b)
{
        const double x = *(const double *)a, y = *(const double *)b;

        return (x > y) - (x < y);
}

static void measure(struct peer_finder *finder, const char *what, int fd, bool unit, long rounds)
{
        double us[SERIES];
        struct peer peer;

        for (size_t i = 0; i < SERIES; i++) {
                const double began_us = now_us();

                for (long round = 0; round < rounds; round++) {
                        peer_find(finder, fd, unit, &peer);
                        if (!peer.known)
                                die("a peer that is not known");
                        if (round + 1 < rounds || i + 1 < SERIES)
                                peer_deinit(&peer);
                }
                us[i] = (now_us() - began_us) / (double)rounds;
        }
        qsort(us, SERIES, sizeof(*us), compare);
        printf("%-36s %6.2f %6.2f   %s\n", what, us[0], us[SERIES / 2], peer.unit ? peer.unit : "");
        peer_deinit(&peer);
}

int main(int argc, char **argv)
{
        const struct sockaddr_in in = {.sin_family = AF_INET,
                                       .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        const struct sockaddr_in6 in6 = {.sin6_family = AF_INET6,
                                         .sin6_addr = IN6ADDR_LOOPBACK_INIT};
        const long rounds = argc > 1 ? strtol(argv[1], NULL, 10) : DEFAULT_ROUNDS;
        struct peer_finder finder;
        int pair[2], tcp4, tcp6;

        if (rounds <= 0 || peer_finder_init(&finder, true) < 0 ||
            socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
                die("identity");
        tcp4 = connect_tcp((const struct sockaddr *)&in, sizeof(in));
        tcp6 = connect_tcp((const struct sockaddr *)&in6, sizeof(in6));

        printf("%-36s %6s %6s\n", "µs a connection", "best", "median");
        measure(&finder, "unix", pair[0], false, rounds);
        measure(&finder, "unix with unit", pair[0], true, rounds);
        finder.no_peerpidfd = true;
        measure(&finder, "unix with unit, by pidfd_open", pair[0], true, rounds);
        measure(&finder, "tcp 127.0.0.1", tcp4, false, rounds);
        measure(&finder, "tcp ::1", tcp6, false, rounds);
        peer_finder_deinit(&finder);
        return 0;
}
