/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * SIGHUP: the configuration is read again, and its rules for callers take the place of those that
 * were there, at once, for open connections and for those who wait, too. Whatever else has changed
 * is named in the log, and takes effect at a restart. A configuration with a mistake in it changes
 * nothing.
 */

#include <stdbool.h>
#include <stdint.h>

#include "../lib/broker.h"
#include "api.h"
#include "config.h"
#include "loop.h"

struct credential_server;
struct loading;

struct reload {
        struct loop *loop; /* borrowed, like these */
        struct broker *broker;
        struct api *api;
        struct credential_server *credentials;
        const struct config *config; /* what the daemon was started with */
        struct config *current;      /* owned; whose rules hold; NULL: those of `config` */
        struct config *before;       /* owned; replies may still name its rules */
        struct loop_source source;
        struct loading *loading; /* NULL: none is under way */
        uint64_t deadline_ms;
        bool done;       /* `loading` is; it is taken over at the next tick */
        bool again;      /* asked for meanwhile */
        uint64_t n_done; /* counters */
        uint64_t n_failed;
};

void reload_init(struct reload *reload, struct loop *loop, struct broker *broker, struct api *api,
                 struct credential_server *credentials, const struct config *config);
void reload_deinit(struct reload *reload);

/* Begins to read the file; while that is under way, it will be read once more. */
void reload_begin(struct reload *reload);

/* Takes over what was read. No answer that the broker has handed out may be left unwritten, since
 * its caller may have lost the right to it. */
void reload_tick(struct reload *reload);
uint64_t reload_next_tick_ms(const struct reload *reload);
