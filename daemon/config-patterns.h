/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * The patterns of a rule: of units, subjects and scope values, each with what can never be in what
 * it is compared with. `target` is a struct rule; for rows of kind CONFIG_KIND_OTHER. 0 or -ENOMEM.
 */

#include "config-reader.h"

int config_patterns_read_unit(struct config_reader *reader, config_setting_t *setting,
                              void *target);
int config_patterns_read_subjects(struct config_reader *reader, config_setting_t *setting,
                                  void *target);
int config_patterns_read_scopes(struct config_reader *reader, config_setting_t *setting,
                                void *target);
