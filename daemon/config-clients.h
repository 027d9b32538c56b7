/* SPDX-License-Identifier: MIT */
#pragma once

/* `clients`: the client applications that are registered at the issuer, and where their secrets
 * are. */

#include "config-reader.h"
#include "config.h"

/* Reads the list into the `struct config` that `target` is; for a row of kind CONFIG_KIND_OTHER. */
int config_clients_read(struct config_reader *reader, config_setting_t *setting, void *target);
