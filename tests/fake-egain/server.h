/* SPDX-License-Identifier: MIT */
#pragma once

/* The issuer as a whole: its state, and libmicrohttpd turned in our own loop. */

#include <microhttpd.h>
#include <stdbool.h>

#include "clients.h"
#include "list.h"
#include "mint.h"
#include "options.h"
#include "pause.h"
#include "rule.h"
#include "stats.h"

struct server {
        const struct options *options; /* borrowed */
        struct clients clients;        /* by the command line at first, then by the control path */
        struct rules rules;
        struct mint mint;
        struct stats stats;
        struct pauses pauses;
        struct list waiting;       /* requests at token endpoints, oldest first */
        struct list watchers;      /* requests that wait for a counter */
        struct MHD_Daemon *daemon; /* NULL: not started */
        int64_t clock_offset_s;    /* by which our wall clock is ahead of the host's */
};

/* Parses nothing, opens no socket. 0 or a negative errno. */
int server_init(struct server *server, const struct options *options);

/* Stops first, if started. */
void server_deinit(struct server *server);

/* Serves on `listen_fd`, which it takes. 0, or a negative errno (-EINVAL: certificate or key). */
int server_start(struct server *server, int listen_fd, unsigned max_connections);

/* Returns when `signal_fd` is readable. 0 or a negative errno. */
int server_run(struct server *server, int signal_fd);

/* Our wall clock. */
int64_t server_wall_s(const struct server *server);

/* Counts the connection among those that carried a request to a token endpoint. */
void server_mark_connection(struct MHD_Connection *connection, struct stats *stats);
