/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * What operators see: metrics for Prometheus, and the state in plain words. Looks at parts of the
 * daemon without changing them. Nothing here tells a token, a secret, a subject or a scope, and
 * every label is bounded by the configuration.
 */

#include "../lib/metrics.h"
#include "api.h"

struct connections;
struct reload;

struct monitor {
        struct metrics metrics;
        const struct api *api;                 /* borrowed, like these */
        const struct connections *connections; /* not looked at before the first request */
        const struct reload *reload;
        uint64_t ready_at_ms;
        int64_t started_at_us; /* the process, since 1970 */
};

/* `settings` are needed for the call only. 0 or -ENOMEM. */
int monitor_init(struct monitor *monitor, const struct api *api,
                 const struct connections *connections, const struct reload *reload,
                 const struct settings *settings);

/* Takes one that is all zeros. */
void monitor_deinit(struct monitor *monitor);

/* The configuration that holds: 1 at the start, and one more with every reload. */
uint64_t monitor_generation(const struct monitor *monitor);

/* Metrics as text (see exposition.h), or the state as JSON. 0 or -ENOMEM. */
int monitor_render_metrics(const struct monitor *monitor, struct response *ret);
int monitor_render_status(const struct monitor *monitor, struct response *ret);
