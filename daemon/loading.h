/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Reads a configuration in a thread of its own. Names are looked up in it, by name services that
 * may take their time or hang, and so may the file systems that its secrets are on; nothing but the
 * thread should wait for those longer than it wants to.
 */

#include <stdint.h>
#include <stdio.h>

#include "config.h"
#include "errand.h"

/* How long the daemon waits for its configuration before it gives up. */
#define LOADING_TIMEOUT_MS 20000

struct loading;

enum {
        LOADING_E_BUSY = 3, /* ERRAND_ABANDONED_MAX are waited for by nobody; beside CONFIG_E_… */
};

/* config_load(), or what reads more with it. */
typedef int loading_fn(struct config **ret, const char *path, FILE *errors);

/* Starts it. 0, LOADING_E_BUSY, -ENOMEM or -errno. */
int loading_start(struct loading **ret, const char *path);
int loading_start_with(struct loading **ret, const char *path, loading_fn *load);

/* Becomes readable when there is a result; belongs to `loading`. */
int loading_fd(const struct loading *loading);

/*
 * Takes the result, once the descriptor is readable (before, it waits), and frees `loading`. The
 * outcomes of config_load(); *ret_config is set on 0 only. *ret_messages is what was said, mistakes
 * or warnings, a line each; empty: nothing; the caller's to free, whatever the outcome; NULL: there
 * was no memory for it.
 */
int loading_finish(struct loading *loading, struct config **ret_config, char **ret_messages);

/* Gives it up, without waiting: the thread frees everything itself, should it ever come back. Takes
 * NULL. */
void loading_abandon(struct loading *loading);

/* Waits `timeout_ms` for the result, copies what was said to `errors`, and frees `loading` or
 * abandons it. The outcomes of config_load(), and of loading_start(); CONFIG_E_NAME_SERVICE also if
 * there is none in time. */
int loading_await(struct loading *loading, struct config **ret, FILE *errors, uint64_t timeout_ms);

/* All of it, for the start. */
int loading_wait(struct config **ret, const char *path, loading_fn *load, FILE *errors,
                 uint64_t timeout_ms);
