/* SPDX-License-Identifier: MIT */
#pragma once

/* `callers`: who may ask for what, as a list of rules. */

#include "config-reader.h"
#include "config.h"

/* Reads the list into the `struct config` that `target` is; for a row of kind CONFIG_KIND_OTHER. */
int config_callers_read(struct config_reader *reader, config_setting_t *setting, void *target);

/* The index of the client application that this setting names; *ret_found is false, and a mistake
 * was noted, where there is none. 0 or -ENOMEM. */
int config_callers_find_client(struct config_reader *reader, config_setting_t *setting,
                               const struct settings *settings, size_t *ret, bool *ret_found);

/* What can be done only when the rest of the file was read: names of client applications become
 * indices, and rules are held against each other and against the listeners. `setting` is the list
 * again; NULL: there is none. 0 or -ENOMEM. */
int config_callers_resolve(struct config_reader *reader, config_setting_t *setting,
                           struct config *config);
