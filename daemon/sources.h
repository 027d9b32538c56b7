/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * All secrets of a configuration, read at once, and their folders, watched. Reading may hang with
 * the file system that a secret is on, so it is a thread's affair, never the loop's; it borrows
 * nothing, so that it may be left behind.
 */

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/types.h>

#include "../lib/credentials.h"
#include "config.h"

/* Those of one client. */
struct client_sources {
        struct secret_source from[CREDENTIALS_MAX]; /* owned */
        struct secret secrets[CREDENTIALS_MAX];     /* what was read; empty: nothing */
        bool unusable[CREDENTIALS_MAX];             /* not read; `said` tells why */
        int unwatched[CREDENTIALS_MAX];             /* errno; 0: its folder is watched */
        int result;                                 /* 0, SOURCES_E_UNUSABLE or -ENOMEM */
        char *said;                                 /* owned; lines; NULL: nothing */
        bool awaited;                               /* the keeper's: flights wait for this */
};

struct sources {
        char *path; /* owned; that of the configuration, for messages */
        uid_t own_uid;
        int watch_fd;   /* owned; an inotify that watches what was read; -1: none */
        int retired_fd; /* owned; one that this takes the place of, which may take time to close */
        bool unusable;  /* of loading: something was found wrong */
        _Atomic size_t at; /* which is being read: CREDENTIALS_MAX * client + i */
        size_t n;
        struct client_sources clients[];
};

enum {
        SOURCES_E_UNUSABLE = 1,
};

/* Of this configuration; nothing is read yet. 0 or -ENOMEM. */
int sources_new(struct sources **ret, const struct config *config);

/* Takes NULL. Wipes all secrets. */
void sources_free(struct sources *sources);

/* Watches the folder of each file, then reads it, once. */
void sources_read(struct sources *sources);

/* config_load(), with its secrets read into config->sources and the other files tried that it
 * names. What is wrong with these is said on `errors`, too, and noted in `unusable` alone. */
int sources_load_noting(struct config **ret, const char *path, FILE *errors);

/* The same, and CONFIG_E_INVALID where something is. */
int sources_load(struct config **ret, const char *path, FILE *errors);
