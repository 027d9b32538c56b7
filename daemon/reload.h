/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * The configuration is read again: at SIGHUP, or by POST /v1/reload, whose callers are told what
 * came of it. Reading takes place in a thread (see loading.h); a configuration with a mistake in it
 * changes nothing. Clients, callers, limits, time-outs, secrets, upstream and log level change at
 * once, for open connections and for those who wait, too. A difference in `listen` is a mistake
 * that says to restart; one in `audit` is named in the log and takes effect at a restart.
 */

#include <stdbool.h>
#include <stdint.h>

#include "../lib/list.h"
#include "config.h"
#include "loop.h"

/* Readings begin no sooner one after the other than this. */
#define RELOAD_INTERVAL_MS 100

struct loading;

/* Somebody who waits for the outcome of a reading that begins after it has asked. */
struct reload_wait {
        struct list link; /* reload::next, ::present or ::done */
        bool good;        /* the new configuration holds */
        char *messages;   /* owned by whoever waits; lines, mistakes or warnings; NULL: none */
};

/* What carries a configuration out: 0, or a negative errno and nothing has changed. */
typedef int reload_apply_fn(void *data, const struct config *config);

/* One configuration, for as long as it holds and after that while a call borrows from it. */
struct reload_era {
        struct config *config; /* owned; NULL: the one that the daemon was started with */
        size_t n_users;        /* calls, and the reload itself while it holds */
};

struct reload {
        struct loop *loop; /* borrowed */
        reload_apply_fn *apply;
        void *apply_data;
        const struct config *initial; /* what the daemon was started with; borrowed */
        struct reload_era first;      /* that of `initial` */
        struct reload_era *era;       /* the present one */
        struct loop_source source;
        struct loading *loading; /* NULL: none is under way */
        struct list next;        /* who waits for the next reading, */
        struct list present;     /* or the present one, */
        struct list done;        /* or is to be told */
        uint64_t deadline_ms;    /* of the present reading */
        uint64_t earliest_ms;    /* of the next one */
        bool wanted;
        bool loaded;
        uint64_t n_done; /* counters; the former is the number of the present configuration, less 1
                          */
        uint64_t n_failed;
};

void reload_init(struct reload *reload, struct loop *loop, const struct config *config,
                 reload_apply_fn *apply, void *apply_data);

/* Nobody waits (reload_abort()), and no call borrows from any configuration. */
void reload_deinit(struct reload *reload);

/* The configuration that holds. */
const struct config *reload_config(const struct reload *reload);

/* The broker has a call wait, whose reply may name what is in the present configuration: that stays
 * until the call lets it go. */
struct reload_era *reload_hold(struct reload *reload);
void reload_release(struct reload_era *era); /* takes NULL */

/* Has the file read soon. */
void reload_begin(struct reload *reload);

/* The same, and `wait` is borrowed until reload_next_done() returns it. */
void reload_wait(struct reload *reload, struct reload_wait *wait);

/* Everybody who waits is to be told that nothing came of it. */
void reload_abort(struct reload *reload);

/* The next who is to be told; NULL: nobody. */
struct reload_wait *reload_next_done(struct reload *reload);

/* Begins to read, and takes over what was read. No answer that the broker has handed out may be
 * left unwritten, since its caller may lose the right to it. */
void reload_tick(struct reload *reload);
uint64_t reload_next_tick_ms(const struct reload *reload);
