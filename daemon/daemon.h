/* SPDX-License-Identifier: MIT */
#pragma once

/* The daemon as a whole: built from a configuration, run until a signal ends it, torn down. */

#include "config.h"

enum {
        DAEMON_E_FAILED = 1, /* said in the log */
        DAEMON_E_CONFIG,     /* a secret cannot be read; said on standard error */
};

/* Tries what --check-config can try without serving: whether the secrets can be read. 0, -ENOMEM or
 * DAEMON_E_CONFIG. */
int daemon_check(const struct config *config);

/* Runs until SIGTERM or SIGINT, and a drain. 0, -ENOMEM, another -errno, or one of the above. */
int daemon_run(const struct config *config);
