/* SPDX-License-Identifier: MIT */
#pragma once

/* Rules and peers for the scenarios' world. */

#include "world.h"

enum {
        UID_CRM = 1001,
        UID_BATCH = 1002,
        UID_OTHER = 1003,
};

/* A process of this user. */
struct peer peer_of(uid_t uid);

/* A rule for a user that gives every client, subject and scope, and any number of fetches. */
struct rule rule_for(const char *name, uid_t uid);

/* The rule gives these scopes alone, which it borrows. */
void rule_give_scopes(struct rule *rule, char **scopes, size_t n);

/* The world begins with these rules, which it borrows. */
void world_begin_with(struct world *world, struct rule *rules, size_t n);

/* Asks as this user, for a user of the portal with the default scope. */
void world_ask_as(struct world *world, struct caller *caller, uid_t uid, const char *username);
