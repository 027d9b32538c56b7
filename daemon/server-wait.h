/* SPDX-License-Identifier: MIT */
#pragma once

/* How the server and the loop wait for both of their descriptors at once. */

#include "server.h"

/* From now on the loop waits where libmicrohttpd does. 0 or -errno. */
int server_wait_init(struct server *server);

/* From now on it waits by itself. */
void server_wait_deinit(struct server *server);
