/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Users and groups, by name or by number. Names are looked up when the configuration is read, and
 * never again: a name service may take its time, or hang (see loading.h).
 */

#include <stdbool.h>
#include <sys/types.h>

#include "config-reader.h"

/* Fit for CONFIG_KIND_STRING's check. Whether there is such a user is not asked. */
#define CONFIG_NAMES_USER_EXPECTED  "the name of a user, or their number, in quotes"
#define CONFIG_NAMES_GROUP_EXPECTED "the name of a group, or its number, in quotes"

bool config_names_is_name(const char *value);

/*
 * What the option 'user' or 'group' in this line names. Digits are a number, known or not. Where it
 * is not known (*ret_known), a mistake was noted; it counts in reader->n_name_service if trying
 * again may help. 0 or -ENOMEM.
 */
int config_names_user(struct config_reader *reader, int line, const char *name, uid_t *ret,
                      bool *ret_known);
int config_names_group(struct config_reader *reader, int line, const char *name, gid_t *ret,
                       bool *ret_known);

/* What keeps an id, a user's or a group's, from telling who somebody is, as words that follow what
 * it is; NULL: nothing. */
const char *config_names_fault(unsigned int id);
