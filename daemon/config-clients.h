/* SPDX-License-Identifier: MIT */
#pragma once

/* `clients`: the client applications that are registered at the issuer, and where their secrets
 * are. */

#include "config-reader.h"
#include "config.h"

/* Fit for CONFIG_KIND_STRING's check. */
#define CONFIG_SCOPE_EXPECTED "scope values (RFC 6749, section 3.3) with single spaces between them"

bool config_clients_is_scope(const char *value);

/* Reads the list into the `struct config` that `target` is; for a row of kind CONFIG_KIND_OTHER. */
int config_clients_read(struct config_reader *reader, config_setting_t *setting, void *target);
