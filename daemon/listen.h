/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Sockets to listen on, and what is accepted from them: the peer is identified, the connection
 * handed to the server. Above the limit a connection is answered 503 and closed here.
 */

#include <stdbool.h>

#include "config.h"
#include "credential-server.h"
#include "inherit.h"
#include "log.h"
#include "loop.h"
#include "server.h"

/* How many refused connections are kept until their client has read why. */
#define LISTEN_LINGER_MAX 64

struct listener;

/* A connection that was refused: the answer is sent, the client's end of file awaited. */
struct lingerer {
        int fd;
        uint64_t deadline_ms;
};

struct listeners {
        struct loop *loop;                     /* borrowed */
        struct server *server;                 /* borrowed */
        struct credential_server *credentials; /* borrowed */
        struct listener *all;                  /* owned */
        size_t n;
        uint64_t paused_until_ms; /* accepting stopped for want of descriptors; 0: it did not */
        uint64_t well_at_ms;      /* it will be said that accepting goes on; 0: it did all along */
        bool credentials_full;    /* connections for credentials wait until there is room */
        struct lingerer lingerers[LISTEN_LINGER_MAX]; /* a ring, oldest at `oldest` */
        size_t oldest;
        size_t n_lingerers;
};

enum {
        LISTEN_E_FAILED = 1, /* said in the log */
};

/* Binds all of them, or takes those that were inherited, if any were, and accepts nothing yet. 0,
 * -ENOMEM, -errno or LISTEN_E_FAILED. */
int listeners_init(struct listeners *listeners, struct loop *loop, struct server *server,
                   struct credential_server *credentials, struct inherit *inherit,
                   const struct config *config);

/* Closes them, and removes the Unix sockets that are still ours. */
void listeners_deinit(struct listeners *listeners);

/* Accepts from now on. 0 or -errno. */
int listeners_start(struct listeners *listeners);

/* Ends refused connections whose time is up, and accepts again after a pause. */
void listeners_tick(struct listeners *listeners);
uint64_t listeners_next_tick_ms(const struct listeners *listeners);
