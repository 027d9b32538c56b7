/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * The socket that a request goes over, and who is at its other end. Who may create files where the
 * broker's Unix socket should be could listen in its place, so the kernel is asked who listens, on
 * the very connection that will carry the request: root (systemd holds the socket, or the daemon
 * began as root), the daemon's user, or the caller's own.
 */

#include "broker-address.h"

/* 0, or a fault with `error` filled in. */
int broker_socket_judge(int fd, const struct broker_address *address, struct broker_error *error);

/* Why connect(2) failed with that errno, as a fault; `error` is filled in. */
int broker_socket_explain(const struct broker_address *address, int number,
                          struct broker_error *error);

/* A new socket, closed on exec, written to *slot; -1: there is none. */
int broker_socket_open(int family, int type, int protocol, int *slot);

/* Closes what is in the slot, and empties it. */
void broker_socket_close(int *slot);

/*
 * Who forks holds this meanwhile, and lets go of it in parent and child: whatever descriptor the
 * child gets is in its slot, so that the child can close it.
 */
void broker_socket_hold(void);
void broker_socket_let_go(void);
