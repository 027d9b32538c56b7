/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Connections and how long each may take. libmicrohttpd's own time-out counts idleness only, so
 * that a byte a second would keep a request open for ever; here a whole request has its time, and a
 * connection whose time is up is cut with shutdown(2), which libmicrohttpd sees as an end of file.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../lib/list.h"
#include "../lib/policy.h"

struct connection {
        struct list link; /* connections::busy or ::idle; in none while it waits or was cut */
        uint64_t deadline_ms;
        int fd; /* libmicrohttpd's */
        bool tcp;
        bool used; /* a request was begun on it */
        struct peer peer;
        void *request; /* the server's, until it has ended */
};

struct connections {
        struct list busy; /* a request is being read, or its answer written; next deadline first */
        struct list idle; /* kept alive, no request yet; next deadline first */
        size_t n;
        size_t max;
        uint64_t header_timeout_ms;
        uint64_t idle_timeout_ms;
        uint64_t accepted; /* counters */
        uint64_t cut;
        uint64_t refused; /* at the limit */
};

void connections_init(struct connections *connections, size_t max, uint64_t header_timeout_ms,
                      uint64_t idle_timeout_ms);

/* A connection was accepted: its first request must be complete within header_timeout_ms. NULL if
 * memory is out. */
struct connection *connection_new(struct connections *connections, int fd, bool tcp,
                                  const struct peer *peer, uint64_t now_ms);
void connection_free(struct connections *connections, struct connection *connection);

/* The first line of a request is in. */
void connection_begin(struct connections *connections, struct connection *connection,
                      uint64_t now_ms);

/* The request waits for the broker, which has a deadline of its own. */
void connection_wait(struct connection *connection);

/* The answer is on its way, and must be taken within header_timeout_ms. */
void connection_answer(struct connections *connections, struct connection *connection,
                       uint64_t now_ms);

/* The answer is out: the next request must be complete idle_timeout_ms + header_timeout_ms from
 * now. (When its first byte comes cannot be seen; a trickle gains nothing over being idle.) */
void connection_rest(struct connections *connections, struct connection *connection,
                     uint64_t now_ms);

/* Cuts those whose time is up. */
void connections_tick(struct connections *connections, uint64_t now_ms);
uint64_t connections_next_tick_ms(const struct connections *connections);
