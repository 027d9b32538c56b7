/* SPDX-License-Identifier: MIT */
#pragma once

/* How many descriptors the process may have (RLIMIT_NOFILE), and what they are for. */

#include <stddef.h>

#include "config.h"

/* As many connections of callers as there can be descriptors for, limits.max_connections at most;
 * says in the log if it is fewer. Raises the limit as far as it needs to, and may. */
size_t descriptors_for_connections(const struct config *config);
