/* SPDX-License-Identifier: MIT */
#pragma once

/* Where the broker is: a Unix socket, or a port of this host. */

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>

#include "broker-fault.h"

#define BROKER_SOCKET      "/run/egain-tokend/token.sock"
#define BROKER_SERVER_USER "egain-tokend"

/* The longest path of a socket, and name of a user, without their NULs. */
#define BROKER_SOCKET_PATH_MAX_BYTES 107
#define BROKER_USER_MAX_BYTES        32

/* What a user says of it. The strings are borrowed. */
struct broker_place {
        /* One of these, or neither, which means BROKER_SOCKET. */
        const char *socket_path;
        const char *url; /* http://HOST[:PORT][/]; HOST is localhost, 127.0.0.1 or [::1] */

        /* Who may listen on the socket beside root and the caller's own user: a name, or a number;
         * NULL: BROKER_SERVER_USER. Over TCP nobody can be asked who listens. */
        const char *server_user;
};

/* The same, understood. */
struct broker_address {
        char name[BROKER_SOCKET_PATH_MAX_BYTES + 1]; /* for messages */
        char host[32];                               /* of the header Host */
        bool tcp;

        /* of a Unix socket */
        char path[BROKER_SOCKET_PATH_MAX_BYTES + 1];
        char server_user[BROKER_USER_MAX_BYTES + 1];

        /* of TCP, to be tried in turn */
        size_t n;
        struct sockaddr_in6 addresses[2]; /* or a sockaddr_in, by its family */
};

/* 0, or a fault with `error` filled in. */
int broker_address_init(struct broker_address *address, const struct broker_place *place,
                        struct broker_error *error);
