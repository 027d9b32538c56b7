/* SPDX-License-Identifier: MIT */
#pragma once

/* What the parts of daemon/peer have in common; for nobody else. */

#include <errno.h>
#include <stdbool.h>

#include "peer.h"

/* Whether an errno says that memory or descriptors are out, and nothing about the peer. */
static inline bool peer_is_starved(int error)
{
        return error == ENOMEM || error == ENOBUFS || error == EMFILE || error == ENFILE;
}

/* Learns what ids are shown as that our user namespace does not map. */
void peer_find_unmapped(struct peer_finder *finder);

/* Sets known and uid of a TCP peer, or leaves it unknown. `local` is our address of the
 * connection. */
void peer_find_tcp(struct peer_finder *finder, int fd, const struct sockaddr *local,
                   struct peer *ret);
