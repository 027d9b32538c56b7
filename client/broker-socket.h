/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * A connection to the broker, and to nobody else. Who may create files where the Unix socket should
 * be could listen in its place, so the kernel is asked who listens, on the very connection that
 * will carry the request: root (systemd holds the socket, or the daemon began as root), the
 * daemon's user, or the caller's own.
 */

#include <stdint.h>

#include "broker-address.h"

/* In `timeout_ms` at most. 0 and a connected descriptor (close-on-exec, non-blocking), or a fault
 * with `error` filled in. */
int broker_socket_connect(const struct broker_address *address, uint64_t timeout_ms, int *ret_fd,
                          struct broker_error *error);
