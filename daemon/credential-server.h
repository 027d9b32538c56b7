/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Tokens as systemd credentials (systemd.exec(5), LoadCredential=): systemd connects on behalf of a
 * unit that it starts, from an address that names the unit and the credential, and reads to the
 * end. An entry of `credentials` is what gives the token; it is asked of the broker like any other.
 *
 * Whoever is refused is sent more than systemd takes for a credential: then the unit fails to
 * start, whereas with an end of file at once it would start, with an empty credential.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../lib/broker.h"
#include "../lib/list.h"
#include "config.h"
#include "log.h"
#include "loop.h"
#include "peer.h"

/* Connections at a time. Others wait in the socket's queue until there is room again. */
#define CREDENTIAL_CONNECTIONS_MAX 64

/* systemd's limit on a credential, and a byte more. */
#define CREDENTIAL_REFUSAL_BYTES ((size_t)1024 * 1024 + 1)

struct audit;
struct credential_connection;
struct metrics;
struct reload;

struct credential_counters {
        uint64_t accepted;
        uint64_t granted; /* tokens, to the last byte */
        uint64_t refused; /* with a reason, whatever it was */
        uint64_t cut;     /* the peer went, or did not read in time */
        uint64_t full;    /* times at the cap on connections */
};

struct credential_server {
        struct loop *loop; /* borrowed, like what follows */
        struct broker *broker;
        struct audit *audit;
        struct metrics *metrics;
        struct peer_finder *finder;
        struct reload *reload;             /* whose configurations replies borrow from */
        const struct config *config;       /* whose entries hold */
        struct credential_connection *all; /* owned; CREDENTIAL_CONNECTIONS_MAX of them */
        struct list free;                  /* of these, each is in one of three lists */
        struct list waiting;               /* for the broker */
        struct list writing;               /* whoever began first, first */
        size_t n;                          /* waiting and writing */
        size_t n_others; /* of whoever is not root: together they have a quarter */
        struct credential_counters counters;
};

/* 0 or -ENOMEM. */
int credential_server_init(struct credential_server *server, struct loop *loop,
                           struct broker *broker, struct audit *audit, struct metrics *metrics,
                           struct peer_finder *finder, struct reload *reload,
                           const struct config *config);

/* Nobody waits for the broker any more. Closes all connections. Takes one that is all zeros. */
void credential_server_deinit(struct credential_server *server);

/* Whether another connection would be one too many; then do not accept it. */
bool credential_server_is_full(const struct credential_server *server);

/* Counts, and says, that connections have to wait. */
void credential_server_note_full(struct credential_server *server);

/* Takes over an accepted, non-blocking socket; there is room. */
void credential_server_accept(struct credential_server *server, int fd);

/* The entries of `config`, which is borrowed, hold from now on. To be called before the broker
 * judges those who wait again, so that it does so by these entries. */
void credential_server_use(struct credential_server *server, const struct config *config);

/* Whether this waiter is in a connection of ours; others are in requests of the server's. */
bool credential_server_owns(const struct waiter *waiter);

/* The broker has replied to this waiter. */
void credential_server_resume(struct credential_server *server, struct waiter *waiter);

/* Whether the peer has hung up. One that has shut down its sending side, as systemd does, has not.
 */
bool credential_server_caller_is_gone(struct waiter *waiter);

/* Cuts connections whose time is up. */
void credential_server_tick(struct credential_server *server);
uint64_t credential_server_next_tick_ms(const struct credential_server *server);
