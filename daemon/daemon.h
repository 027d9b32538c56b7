/* SPDX-License-Identifier: MIT */
#pragma once

/* The daemon as a whole: built from a configuration, run until a signal ends it, torn down. */

#include "config.h"
#include "inherit.h"
#include "notify.h"

enum {
        DAEMON_E_FAILED = 1, /* said in the log */
        DAEMON_E_CONFIG,     /* a secret cannot be read; said on standard error */
};

/* Tries what --check-config can try without serving: whether the secrets can be read. 0, -ENOMEM or
 * DAEMON_E_CONFIG. */
int daemon_check(const struct config *config);

/* Runs until SIGTERM or SIGINT, and a drain. What was inherited is closed when all is up and
 * running, and the service manager told; after an outcome above it may be begun anew. 0, -ENOMEM,
 * another -errno, or one of the above. */
int daemon_run(const struct config *config, struct inherit *inherit, struct notify *notify);
