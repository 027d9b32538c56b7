/* SPDX-License-Identifier: MIT */
#pragma once

/* What rules have to do with each other: the first one that is selected decides alone, so two must
 * not be taken for one another, and a later one may be out of reach. */

#include "../lib/policy.h"
#include "config-reader.h"

/* Notes names, keys and conditions that occur twice as mistakes, and rules that are never selected
 * as warnings. `list` is what the rules were read from; a rule without user, group and unit, which
 * is not sound, is compared by its name alone. 0 or -ENOMEM. */
int config_overlap_check(struct config_reader *reader, config_setting_t *list,
                         const struct policy *policy);
