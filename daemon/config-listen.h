/* SPDX-License-Identifier: MIT */
#pragma once

/* `listen`: where the daemon is asked, as a list of sockets. */

#include "config-reader.h"
#include "config.h"

/* Reads the list into the `struct config` that `target` is; for a row of kind CONFIG_KIND_OTHER. */
int config_listen_read(struct config_reader *reader, config_setting_t *setting, void *target);

/* What there is without such a list: one Unix socket. 0 or -ENOMEM. */
int config_listen_default(struct config *config);
