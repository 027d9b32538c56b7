/* SPDX-License-Identifier: MIT */
#pragma once

/* `audit`: where the record of decisions goes, and what is in it. */

#include "config-reader.h"
#include "config.h"

/* The options of the group; their target is a struct config. */
extern const struct config_option config_audit_options[];

/* What depends on several options, once they were read: the key. `setting` is the group; NULL:
 * there is none. 0 or -ENOMEM. */
int config_audit_resolve(struct config_reader *reader, config_setting_t *setting,
                         struct config *config);
