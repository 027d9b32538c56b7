/* SPDX-License-Identifier: MIT */
#pragma once

/* The daemon as a whole: built from a configuration, run until a signal ends it, torn down. */

#include "config.h"
#include "inherit.h"
#include "notify.h"

enum {
        DAEMON_E_FAILED = 1, /* said in the log */
};

/* Runs until SIGTERM or SIGINT, and a drain. What was inherited is closed when all is up and
 * running, and the service manager told; after DAEMON_E_FAILED it may be begun anew. Secrets come
 * with the configuration (sources.h). 0, -ENOMEM, another -errno, or DAEMON_E_FAILED. */
int daemon_run(const struct config *config, struct inherit *inherit, struct notify *notify);
