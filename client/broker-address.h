/* SPDX-License-Identifier: MIT */
#pragma once

/* Where the broker is: a Unix socket, or a port of this host. */

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "broker-fault.h"

#define BROKER_SOCKET      "/run/egain-tokend/token.sock"
#define BROKER_SERVER_USER "egain-tokend"

/* The longest path of a socket, and name of a user, without their NULs. */
#define BROKER_SOCKET_PATH_MAX_BYTES 107
#define BROKER_USER_MAX_BYTES        32
#define BROKER_ORIGIN_MAX_BYTES      31

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
        char origin[BROKER_ORIGIN_MAX_BYTES + 1];    /* "http://HOST[:PORT]" */
        bool tcp;

        /* of a Unix socket */
        char path[BROKER_SOCKET_PATH_MAX_BYTES + 1];
        char server_user[BROKER_USER_MAX_BYTES + 1];
        bool server_uid_known;
        uid_t server_uid;
};

/* Looks the server's user up. 0, or a fault with `error` filled in. */
int broker_address_init(struct broker_address *address, const struct broker_place *place,
                        struct broker_error *error);

/* The server's user; one that was not known is looked up again. False: there is none. */
bool broker_address_find_user(const struct broker_address *address, uid_t *ret);
