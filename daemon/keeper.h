/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Keeps the secrets of client applications: reads them at the start, when the issuer refuses one,
 * and when a file changes (inotify on its folder, since a secret is best replaced by renaming); and
 * warns before they expire.
 *
 * A source that cannot be read any more, or is not fit to hold a secret any more, changes nothing:
 * the old secret is kept, with a warning.
 */

#include "../lib/broker.h"
#include "config.h"
#include "loop.h"

struct keeper {
        const struct config *config; /* borrowed */
        struct broker *broker;       /* borrowed */
        struct loop *loop;           /* borrowed */
        struct loop_source
                source;        /* inotify; fd -1: cannot be had, files are read again on refusal */
        uint64_t reread_at_ms; /* something has changed; LOOP_NEVER: nothing has */
        bool complained;       /* one could not be read */
        uint64_t warn_at_ms;   /* next look at the dates of expiry */
};

enum {
        KEEPER_E_UNUSABLE = 1, /* a secret cannot be read; said on standard error */
};

/* Reads every secret, and every client's TLS key, without keeping any. All that is wrong is said on
 * `errors`. 0, -ENOMEM or KEEPER_E_UNUSABLE. */
int keeper_check(const struct config *config, FILE *errors);

/* Reads every secret into the broker, and begins to watch. 0, -ENOMEM or KEEPER_E_UNUSABLE. */
int keeper_init(struct keeper *keeper, const struct config *config, struct broker *broker,
                struct loop *loop);
void keeper_deinit(struct keeper *keeper);

/* Carries out COMMAND_READ_SECRETS. */
void keeper_read_again(struct keeper *keeper, size_t client);

/* Has every secret read again. */
void keeper_read_soon(struct keeper *keeper);

/* Reads what has changed, and warns of what expires. */
void keeper_tick(struct keeper *keeper);
uint64_t keeper_next_tick_ms(const struct keeper *keeper);
