/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Who is at the other end of a connection, as the kernel tells it: peer credentials of a Unix
 * socket, the owner of the other socket of a loopback TCP connection. Asked once, when a connection
 * is accepted; nothing here blocks.
 */

#include <sys/socket.h>

#include "../lib/policy.h"

struct peer_finder {
        int netlink_fd; /* NETLINK_SOCK_DIAG; -1: not there, TCP peers stay unknown */
        uint32_t sequence;
};

/* 0 or -errno. `tcp` says whether TCP peers will be asked about. */
int peer_finder_init(struct peer_finder *finder, bool tcp);
void peer_finder_deinit(struct peer_finder *finder);

/* The peer of an accepted connection; ret->known is false where the kernel does not vouch for it.
 */
void peer_find(struct peer_finder *finder, int fd, struct peer *ret);

/* What can be told apart by its answer alone, for tests: whether an answer of sock_diag(7) about
 * the socket at the other end may be believed. */
struct inet_diag_msg;
bool peer_answer_counts(const struct inet_diag_msg *answer, const struct sockaddr *local,
                        const struct sockaddr *remote);
