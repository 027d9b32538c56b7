/* SPDX-License-Identifier: MIT */
#pragma once

/* The listening socket, and the file that tells its port. */

#include <stdint.h>

#include "options.h"

/* 0 or a negative errno. The caller owns the socket. */
int listener_open(const struct options *options, int *ret_fd, uint16_t *ret_port);

/* Writes the port as a line; whoever sees the file sees it whole. 0 or a negative errno. */
int listener_write_port(const char *path, uint16_t port);

/*
 * Raises the soft limit on open files to the hard one. Returns how many connections fit below it,
 * with room left for everything else.
 */
unsigned listener_raise_limit(void);
