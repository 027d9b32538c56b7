/* SPDX-License-Identifier: MIT */

/*
 * What the kernel keeps for a Unix socket is a copy of who connected, taken when it connected:
 * whatever becomes of the process, and whoever holds the socket by now, uid and groups stay those.
 * SO_PEERGROUPS has the supplementary groups alone, SO_PEERCRED the primary one.
 *
 * A peer is wholly known or not at all. One that was known with some of its groups only would get
 * past a rule for a group it is in, and be judged by a later one.
 */

#include "peer-private.h"

#include <linux/netlink.h>
#include <stdlib.h>
#include <string.h>
#include <systemd/sd-login.h>
#include <unistd.h>

#include "../lib/error.h"

#define GROUPS_USUAL 64 /* more are asked for a second time */

int peer_finder_init(struct peer_finder *finder, bool tcp)
{
        const struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};

        *finder = (struct peer_finder){.netlink_fd = -1, .unit_of = sd_pid_get_unit};
        peer_find_unmapped(finder);
        if (!tcp)
                return 0;
        finder->netlink_fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK,
                                    NETLINK_SOCK_DIAG);
        if (finder->netlink_fd < 0)
                return error_trace(-errno);
        /* Once it is connected, nobody but the kernel can send to it. */
        if (connect(finder->netlink_fd, (const struct sockaddr *)&kernel, sizeof(kernel)) < 0) {
                const int r = -errno;

                peer_finder_deinit(finder);
                return error_trace(r);
        }
        return 0;
}

void peer_finder_deinit(struct peer_finder *finder)
{
        if (finder->netlink_fd >= 0)
                close(finder->netlink_fd);
        finder->netlink_fd = -1;
}

/* Puts the primary group and the supplementary ones in place. */
static bool keep_groups(const struct peer_finder *finder, struct peer *peer, gid_t primary,
                        const gid_t *others, size_t n_others)
{
        peer->groups = malloc((n_others + 1) * sizeof(*peer->groups));
        if (!peer->groups) {
                peer->starved = true;
                return false;
        }
        for (size_t i = 0; i <= n_others; i++) {
                const gid_t gid = i == 0 ? primary : others[i - 1];

                if (gid != finder->unmapped_gid)
                        peer->groups[peer->n_groups++] = gid;
        }
        return true;
}

static bool find_groups(const struct peer_finder *finder, int fd, gid_t primary, struct peer *peer)
{
        gid_t usual[GROUPS_USUAL];
        socklen_t size = sizeof(usual);
        gid_t *all;
        bool found;

        if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, usual, &size) == 0)
                return keep_groups(finder, peer, primary, usual, size / sizeof(*usual));
        if (errno != ERANGE) {
                peer->starved = peer_is_starved(errno);
                return false;
        }

        /* The kernel has said how many there are, and its copy does not change. */
        all = malloc(size);
        if (!all) {
                peer->starved = true;
                return false;
        }
        found = getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, all, &size) == 0 &&
                keep_groups(finder, peer, primary, all, size / sizeof(*all));
        free(all);
        return found;
}

static void find_unix(const struct peer_finder *finder, int fd, struct peer *ret)
{
        struct ucred credentials;
        socklen_t size = sizeof(credentials);

        if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &size) < 0 ||
            !find_groups(finder, fd, credentials.gid, ret))
                return;
        ret->known = true;
        ret->uid = credentials.uid;
        ret->pid = credentials.pid > 0 ? credentials.pid : 0;
}

void peer_find(struct peer_finder *finder, int fd, bool unit, struct peer *ret)
{
        struct sockaddr_storage storage = {};
        struct sockaddr *local = (struct sockaddr *)&storage;
        socklen_t size = sizeof(storage);
        bool tcp, starved;

        *ret = (struct peer){};
        if (getsockname(fd, local, &size) < 0)
                return;
        tcp = local->sa_family != AF_UNIX;
        ret->tcp = tcp;
        if (tcp)
                peer_find_tcp(finder, fd, local, ret);
        else
                find_unix(finder, fd, ret);

        /* A socket that nobody has connected reads as uid -1. */
        if (!ret->known || ret->uid == (uid_t)-1 || ret->uid == finder->unmapped_uid) {
                starved = ret->starved;
                peer_deinit(ret);
                ret->tcp = tcp;
                ret->starved = starved;
        }
        if (unit)
                peer_find_unit(finder, fd, ret);
}

void peer_deinit(struct peer *peer)
{
        free(peer->groups);
        free(peer->unit);
        *peer = (struct peer){};
}
