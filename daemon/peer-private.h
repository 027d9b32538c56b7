/* SPDX-License-Identifier: MIT */
#pragma once

/* What the parts of daemon/peer have in common; for nobody else. */

#include "peer.h"

/* Learns what ids are shown as that our user namespace does not map. */
void peer_find_unmapped(struct peer_finder *finder);

/* Sets known and uid of a TCP peer, or leaves it unknown. `local` is our address of the
 * connection. */
void peer_find_tcp(struct peer_finder *finder, int fd, const struct sockaddr *local,
                   struct peer *ret);
