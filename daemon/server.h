/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * libmicrohttpd, driven by our loop: one daemon for all listeners, without one of its own. Requests
 * are collected and handed to the HTTP interface (api.h); one that waits for the broker is
 * suspended until its reply is there.
 */

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#include "api.h"
#include "connection.h"
#include "hot-answers.h"
#include "loop.h"
#include "peer.h"

struct MHD_Daemon;
struct request;

struct server {
        struct loop *loop;          /* borrowed */
        struct api *api;            /* borrowed */
        struct peer_finder *finder; /* borrowed */
        struct MHD_Daemon *mhd;
        struct loop_host host; /* waits in libmicrohttpd's epoll descriptor, */
        int epoll_fd;          /* which is this, and watches the loop's, too */
        uint64_t n_calls;      /* of libmicrohttpd to us */
        bool crowded;          /* it had several in the last turn */
        bool has_work;         /* it was given something to do since it ran */
        struct connections connections;
        struct hot_answers answers; /* those that are asked for again and again */
        struct request *spares;     /* whose memory is used again */
        size_t n_spares;
        struct connection *arriving; /* while libmicrohttpd takes it over */
        size_t n_requests;           /* begun, and not yet answered to the last byte */
        bool closing;                /* answers close their connections */
};

/* 0, -errno or -ENOMEM. */
int server_init(struct server *server, struct loop *loop, struct api *api,
                struct peer_finder *finder, size_t max_connections, uint64_t header_timeout_ms,
                uint64_t idle_timeout_ms);

/* Every request that waits must have been replied to. Closes all connections. */
void server_deinit(struct server *server);

/* Whether another connection would be one too many. */
bool server_is_full(const struct server *server);

enum {
        SERVER_E_SHARE = 1, /* the peer's uid has all the connections that it may have */
        SERVER_E_STARVED,   /* memory or descriptors are out, before anything came of it */
};

/* Finds out who is at the other end of an accepted, non-blocking socket, and takes it over;
 * `address` is what accept(2) says of him, for libmicrohttpd. 0, -ENOMEM or one of these; the
 * socket is closed on the former, and the caller's on the latter. */
int server_accept(struct server *server, int fd, const struct sockaddr *address, socklen_t size);

/* The broker has replied to this waiter, which is the one in a call of ours. */
void server_resume(struct server *server, struct waiter *waiter);

/* The broker is done with this purge, which is the one in a call of ours. */
void server_resume_purge(struct server *server, struct purge *purge);

/* A reading of the configuration is done that a call of ours waits for. */
void server_resume_reload(struct server *server, struct reload_wait *wait);

/* Whether the caller has hung up, which libmicrohttpd does not notice while a request waits. One
 * that has only shut down its sending side counts as gone, as it does for most servers. */
bool server_caller_is_gone(struct waiter *waiter);

/* The rules are about to name units: asks for those of all peers with a request open, who will be
 * judged by them. The others are asked about when their next request begins. */
void server_ask_units(struct server *server);

/* From now on every answer closes its connection. */
void server_close_connections(struct server *server);

/* Lets libmicrohttpd do what it was given since the wait, and cuts connections whose time is up. */
void server_tick(struct server *server);
uint64_t server_next_tick_ms(struct server *server);
