/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Descriptors that the service manager hands over at the start (sd_listen_fds(3)): listening
 * sockets, and what was put into its store by the process before. They belong to this module until
 * inherit_deinit(), so that a start which fails half way can be begun anew; whoever serves from one
 * has a duplicate.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "config.h"

/* Descriptors that are accepted: 64 entries of `listen`, of two sockets each, and a few snapshots.
 */
#define INHERIT_MAX 160

/* Under this name (FDNAME) the cache is in the store. */
#define INHERIT_SNAPSHOT "egain-tokend-snapshot"

enum inherited_kind {
        INHERITED_SOCKET,
        INHERITED_SNAPSHOT,
        INHERITED_STRANGE, /* nobody here knows what it is */
};

struct inherited {
        int fd;
        enum inherited_kind kind;
        char *name; /* owned; in LISTEN_FDNAMES, mostly the socket unit's; "unknown" */
        bool taken;
};

struct inherit {
        struct inherited all[INHERIT_MAX];
        size_t n;
};

enum {
        INHERIT_E_UNUSABLE = 1, /* what is wrong was said, one line each */
        INHERIT_E_NONE,         /* there is no such descriptor */
};

/* Takes over what LISTEN_PID, LISTEN_FDS and LISTEN_FDNAMES say, before any descriptor is opened
 * that could have one of those numbers. What is meant for another process is left alone. 0, -ENOMEM
 * or INHERIT_E_UNUSABLE: the variables are wrong, or there are too many. */
int inherit_init(struct inherit *inherit, FILE *errors);

/* Closes all. */
void inherit_deinit(struct inherit *inherit);

/* Whether there is a socket among them: then each listener has to be. */
bool inherit_has_sockets(const struct inherit *inherit);

/* Compares the sockets with the configuration's listeners: each must be inherited once, by address,
 * and be as the configuration says. 0, or INHERIT_E_UNUSABLE and lines that name the configuration
 * and, as far as known, the socket unit. */
int inherit_check(const struct inherit *inherit, const struct config *config, FILE *errors);

/* A duplicate of the socket that is bound to the listener's address, which inherit_check() has
 * found good: non-blocking, close-on-exec, the caller's. *ret_name is borrowed. 0, -errno or
 * INHERIT_E_NONE. */
int inherit_socket(struct inherit *inherit, const struct listener_config *listener, int *ret_fd,
                   const char **ret_name);

/* The next snapshot that was not taken yet, borrowed until inherit_deinit(); -1: there is none. */
int inherit_next_snapshot(struct inherit *inherit);

/* Closes all, and says in the log what nobody has taken. When everybody had the chance to. */
void inherit_settle(struct inherit *inherit);
