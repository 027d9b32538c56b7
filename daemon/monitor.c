/* SPDX-License-Identifier: MIT */

#include "monitor.h"

#include "../lib/error.h"
#include "process.h"
#include "reload.h"

int monitor_init(struct monitor *monitor, const struct api *api,
                 const struct connections *connections, const struct reload *reload,
                 const struct settings *settings)
{
        *monitor = (struct monitor){
                .api = api,
                .connections = connections,
                .reload = reload,
                .ready_at_ms = api->loop->now_ms,
                .started_at_us = process_started_at_us(),
        };
        return error_trace(metrics_set_clients(&monitor->metrics, settings));
}

void monitor_deinit(struct monitor *monitor)
{
        metrics_deinit(&monitor->metrics);
}

uint64_t monitor_generation(const struct monitor *monitor)
{
        return 1 + monitor->reload->n_done;
}
