/* SPDX-License-Identifier: MIT */
#pragma once

/* Addresses to listen on, as people write them. */

#include <stdbool.h>
#include <sys/socket.h>

#define ADDRESS_STRLEN 128

/* "/run/egain-tokend/token.sock", "127.0.0.1:8471", "[::1]:8471". */
void address_name(char name[static ADDRESS_STRLEN], const struct sockaddr_storage *address);

bool address_equal(const struct sockaddr_storage *a, const struct sockaddr_storage *b);

/* Whether it is a loopback address; one of a Unix socket is not. */
bool address_is_loopback(const struct sockaddr_storage *address);

/* Whether this kernel lacks the address (it is ::1, and there is no IPv6): then nobody else can
 * take it either. */
bool address_is_lacking(const struct sockaddr_storage *address);
