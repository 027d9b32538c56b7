/* SPDX-License-Identifier: MIT */

/* The limit is raised as far as it goes without a privilege; where that is not enough, there are
 * fewer connections, since whoever runs out of descriptors cannot reach issuers either. */

#include "descriptors.h"

#include <inttypes.h>
#include <sys/resource.h>

#include "credential-server.h"
#include "listen.h"
#include "log.h"

/* For anything but connections. */
#define RESERVED 64

size_t descriptors_for_connections(const struct config *config)
{
        const size_t others = RESERVED + LISTEN_LINGER_MAX + config->n_listeners +
                              CREDENTIAL_CONNECTIONS_MAX + 2 * config->settings.max_in_flight_total;
        const size_t wanted = config->max_connections + others;
        struct rlimit limit;

        if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
                return config->max_connections;
        if (limit.rlim_cur < wanted) {
                limit.rlim_cur = limit.rlim_max < wanted ? limit.rlim_max : wanted;
                (void)setrlimit(RLIMIT_NOFILE, &limit);
        }
        if (limit.rlim_cur >= wanted)
                return config->max_connections;
        log_warning("only %" PRIu64 " descriptors are allowed (RLIMIT_NOFILE), %zu are needed for "
                    "limits.max_connections; fewer connections will be served",
                    (uint64_t)limit.rlim_cur, wanted);
        return limit.rlim_cur > others ? limit.rlim_cur - others : 1;
}
