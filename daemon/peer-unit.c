/* SPDX-License-Identifier: MIT */

/*
 * A unit is read by pid, and a pid is a number: once its process has ended it may be another's.
 * So the process is held by a pidfd, the unit is read, and then the pidfd must say that the process
 * still lives. As long as it does its number is its own, and so was what was read by it.
 *
 * SO_PEERPIDFD (Linux 6.5) gives the very process that connected. Before that, pidfd_open(2) gives
 * whoever has the number now. That /proc/PID belongs to the uid that connected then keeps other
 * users out; another process of the same uid that was given the same number in between would not be
 * noticed. (Processes of one uid can do to one another what they like anyway.)
 */

#include "peer-private.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77
#endif

/* A pidfd of the process that connected, or -1. */
static int open_pidfd(struct peer_finder *finder, int fd, pid_t pid)
{
        socklen_t size;
        int pidfd = -1;

        if (!finder->no_peerpidfd) {
                size = sizeof(pidfd);
                if (getsockopt(fd, SOL_SOCKET, SO_PEERPIDFD, &pidfd, &size) == 0)
                        return pidfd;
                /* Any other error is about this process: then it is gone. */
                if (errno != ENOPROTOOPT)
                        return -1;
                finder->no_peerpidfd = true;
        }
        return (int)syscall(SYS_pidfd_open, pid, 0);
}

static bool belongs_to(pid_t pid, uid_t uid)
{
        char path[32];
        struct stat st;

        (void)snprintf(path, sizeof(path), "/proc/%d", (int)pid);
        return stat(path, &st) == 0 && st.st_uid == uid;
}

static bool is_alive(int pidfd)
{
        struct pollfd pollfd = {.fd = pidfd, .events = POLLIN};

        return poll(&pollfd, 1, 0) == 0;
}

/* What could not be found out says nothing of the peer, which is asked about again. */
static void starve(struct peer *peer, int error)
{
        if (!peer_is_starved(error))
                return;
        peer->starved = true;
        peer->unit_asked = false;
}

void peer_find_unit(struct peer_finder *finder, int fd, struct peer *peer)
{
        char *unit = NULL;
        int pidfd, r;

        if (peer->unit_asked)
                return;
        peer->unit_asked = true;
        /* Of pid 0, which is a process that we do not see, it would be our own unit. */
        if (!peer->known || peer->tcp || peer->pid <= 0)
                return;
        peer->starved = false;
        pidfd = open_pidfd(finder, fd, peer->pid);
        if (pidfd < 0) {
                starve(peer, errno);
                return;
        }
        /* Whether it lives comes last: it vouches for what was read before. */
        r = finder->unit_of(peer->pid, &unit);
        if (r < 0) {
                starve(peer, -r);
        } else if (belongs_to(peer->pid, peer->uid) && is_alive(pidfd)) {
                peer->unit = unit;
                unit = NULL;
        }
        free(unit);
        close(pidfd);
}
