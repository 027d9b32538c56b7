/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Who is at the other end of a connection, as the kernel tells it: peer credentials, groups and
 * systemd unit of a Unix socket, the owner of the other socket of a loopback TCP connection. Asked
 * once, when a connection is accepted; nothing here blocks.
 *
 * In a user namespace that does not map every id (PrivateUsers= of systemd, a rootless container)
 * the kernel shows all others as one and the same, that of nobody. Peers of that uid are unknown
 * there, and such groups are left out.
 */

#include <stdbool.h>
#include <sys/socket.h>

#include "../lib/policy.h"

struct peer_finder {
        int netlink_fd; /* NETLINK_SOCK_DIAG; -1: not there, TCP peers stay unknown */
        uint32_t sequence;
        uid_t unmapped_uid; /* what ids that we have no name for are shown as; (uid_t)-1: there */
        gid_t unmapped_gid; /* are none */
        bool no_peerpidfd;  /* SO_PEERPIDFD is not there (before Linux 6.5), or must not be used */
        /* The unit of a process: 0 and an owned string, or -errno. sd_pid_get_unit(3); tests put
         * something else here. */
        int (*unit_of)(pid_t pid, char **ret);
};

/* 0 or -errno. `tcp` says whether TCP peers will be asked about. */
int peer_finder_init(struct peer_finder *finder, bool tcp);
void peer_finder_deinit(struct peer_finder *finder);

/* The peer of an accepted connection, to be freed by peer_deinit(); ret->known is false where the
 * kernel does not vouch for it. `unit`: ask for its systemd unit, too. */
void peer_find(struct peer_finder *finder, int fd, bool unit, struct peer *ret);

/* Asks for the unit of a peer found before, without the unit; harmless where none can be known. */
void peer_find_unit(struct peer_finder *finder, int fd, struct peer *peer);

void peer_deinit(struct peer *peer);

/* What can be told apart by its answer alone, for tests: whether an answer of sock_diag(7) about
 * the socket at the other end may be believed. */
struct inet_diag_msg;
bool peer_answer_counts(const struct inet_diag_msg *answer, const struct sockaddr *local,
                        const struct sockaddr *remote);

/* The same for /proc/PID/uid_map and gid_map: whether it maps every id there is. */
bool peer_map_is_whole(const char *map);
