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
#include "../lib/share.h"
#include "../lib/timerheap.h"
#include "habit.h"

struct connection {
        uint64_t deadline_ms; /* TIMERHEAP_NEVER while it waits */
        uint64_t timer_ms;    /* when `timer` is due, never after the deadline; 0: it was cut */
        struct timer timer;   /* connections::timers */
        int fd;               /* libmicrohttpd's */
        bool used;            /* a request was begun on it */
        void *request;        /* the server's, until it has ended */
        struct habit habit;   /* owned */
        struct peer peer;     /* owned */
        struct list all_link; /* connections::all */
};

struct connections {
        struct list all;
        struct timerheap timers;
        size_t n;
        size_t max;
        struct shares shares; /* of the connections, by uid; those of unknown peers are one's */
        uint64_t header_timeout_ms;
        uint64_t idle_timeout_ms;
        uint64_t accepted; /* counters */
        uint64_t cut;
        uint64_t refused; /* at the limit */
};

/* 0 or -ENOMEM. */
int connections_init(struct connections *connections, size_t max, uint64_t header_timeout_ms,
                     uint64_t idle_timeout_ms);
/* Other limits from now on. Deadlines that were set stay. If memory is out, so does `max`. */
void connections_set_limits(struct connections *connections, size_t max, uint64_t header_timeout_ms,
                            uint64_t idle_timeout_ms);
void connections_deinit(struct connections *connections);

enum {
        CONNECTION_E_SHARE = 1, /* the peer's uid has all the connections that it may have */
};

/* A connection was accepted: its first request must be complete within header_timeout_ms. What the
 * peer owns is taken over, on success only. 0, -ENOMEM or CONNECTION_E_SHARE, which is counted. */
int connection_new(struct connection **ret, struct connections *connections, int fd,
                   struct peer *peer, uint64_t now_ms);
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
