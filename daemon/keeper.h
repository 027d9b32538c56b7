/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Keeps the secrets of client applications: takes those that were read with the configuration, has
 * them read again when the issuer refuses one and when a file changes (inotify on its folder, since
 * a secret is best replaced by renaming), and warns before they expire.
 *
 * A source that cannot be read any more, or is not fit to hold a secret any more, changes nothing:
 * the old secret is kept, with a warning.
 */

#include "../lib/broker.h"
#include "config.h"
#include "loop.h"

/* How long those whose secret was refused wait for a reading; then it counts as one that has found
 * nothing new. */
#define KEEPER_PATIENCE_MS 5000

struct errand;

struct keeper {
        const struct config *config; /* borrowed */
        struct broker *broker;       /* borrowed */
        struct loop *loop;           /* borrowed */
        struct loop_source watch;    /* inotify, owned; fd -1: there is none */
        uint64_t reread_at_ms;       /* something has changed; LOOP_NEVER: nothing has */
        bool complained;             /* one could not be read */
        uint64_t warn_at_ms;         /* next look at the dates of expiry */

        struct errand *errand;    /* the present reading, owned; NULL: there is none */
        struct sources *present;  /* its data; of the loop's only `awaited` and `at` */
        struct loop_source ready; /* its descriptor, which belongs to it */
        bool ended;               /* it has a result */
        bool late;                /* nobody waits for it any more */
        uint64_t late_at_ms;      /* when that is so */
        struct sources *next;     /* the one to follow it, owned; NULL: none is asked for */
};

/* The broker's clients are those of this configuration from now on. Takes what was read with it. */
void keeper_set_config(struct keeper *keeper, const struct config *config);

/* The same for the first. 0 or -errno. */
int keeper_init(struct keeper *keeper, const struct config *config, struct broker *broker,
                struct loop *loop);
void keeper_deinit(struct keeper *keeper);

/* Begins to carry out COMMAND_READ_SECRETS. */
void keeper_read_again(struct keeper *keeper, size_t client);

/* Has read what has changed, takes what was read, and warns of what expires. */
void keeper_tick(struct keeper *keeper);
uint64_t keeper_next_tick_ms(const struct keeper *keeper);
