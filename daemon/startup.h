/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * The start under a service manager. A service that exits is started again by every connection that
 * comes to its sockets, until systemd gives the socket up and forgets what we have stored with it.
 * So a configuration that cannot be used does not end the process: it is read again every second,
 * callers wait in the sockets' queues, and what is wrong is said once in the log and all the time
 * in the status.
 */

#include <stdbool.h>
#include <stdint.h>

#include "config.h"
#include "inherit.h"
#include "notify.h"

#define STARTUP_RETRY_MS 1000

/* A start that failed for another reason than the configuration is tried again after this, which
 * doubles. */
#define STARTUP_PAUSE_FIRST_MS 1000
#define STARTUP_PAUSE_MAX_MS   30000

struct startup {
        const char *path; /* borrowed, like these */
        const struct inherit *inherit;
        struct notify *notify;
        int signals_fd;
        char *said; /* owned; what was wrong the last time; NULL: nothing */
        uint64_t pause_ms;
};

enum {
        STARTUP_E_STOPPED = 1, /* by SIGTERM or SIGINT */
};

/* 0 or -errno. The signals that end or reload a daemon are blocked from now on. */
int startup_init(struct startup *startup, const char *path, const struct inherit *inherit,
                 struct notify *notify);
void startup_deinit(struct startup *startup);

/* Reads the configuration until it is good, its secrets can be read, and it agrees with what was
 * inherited. SIGHUP: at once. 0, -ENOMEM, another -errno, or STARTUP_E_STOPPED; *ret is set on 0
 * only and is the caller's to free. */
int startup_load(struct startup *startup, struct config **ret);

/* A start with a good configuration has failed all the same: waits, each time longer. 0 or
 * STARTUP_E_STOPPED. */
int startup_pause(struct startup *startup);
