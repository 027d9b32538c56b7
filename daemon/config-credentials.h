/* SPDX-License-Identifier: MIT */
#pragma once

/* `credentials`: the tokens that systemd hands to units, as a list of entries. */

#include "config-reader.h"
#include "config.h"

/* Reads the list into the `struct config` that `target` is; for a row of kind CONFIG_KIND_OTHER. */
int config_credentials_read(struct config_reader *reader, config_setting_t *setting, void *target);

/* What can be done only when the rest of the file was read: clients become indices, scopes get
 * their default, and entries are held against each other and against the listeners. `setting` is
 * the list again; NULL: there is none. 0 or -ENOMEM. */
int config_credentials_resolve(struct config_reader *reader, config_setting_t *setting,
                               struct config *config);

/* Frees what an entry owns; takes one that is all zeros. */
void config_credentials_deinit(struct credential_config *entry);
