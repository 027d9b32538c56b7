/* SPDX-License-Identifier: MIT */

#include "rules.h"

static size_t every_client[] = {CLIENT_PORTAL, CLIENT_MOBILE, CLIENT_DESK, CLIENT_LOBBY};
static char *every_scope[] = {(char *)"*"};
static struct subject_pattern every_subject[] = {
        {SUBJECT_USERNAME, (char *)"*"},  {SUBJECT_USERID, (char *)"*"},
        {SUBJECT_EMAIL, (char *)"*"},     {SUBJECT_APPLICATION, (char *)"*"},
        {SUBJECT_ANONYMOUS, (char *)"*"}, {SUBJECT_EXCHANGE, (char *)"*"}};

struct peer peer_of(uid_t uid)
{
        return (struct peer){.known = true, .uid = uid, .pid = 77};
}

struct rule rule_for(const char *name, uid_t uid)
{
        return (struct rule){
                .name = (char *)name,
                .user = (char *)name,
                .uid = uid,
                .clients = every_client,
                .n_clients = sizeof(every_client) / sizeof(every_client[0]),
                .subjects = every_subject,
                .n_subjects = sizeof(every_subject) / sizeof(every_subject[0]),
                .scopes = every_scope,
                .n_scopes = 1,
        };
}

void rule_give_scopes(struct rule *rule, char **scopes, size_t n)
{
        rule->scopes = scopes;
        rule->n_scopes = n;
}

void world_begin_with(struct world *world, struct rule *rules, size_t n)
{
        world->policy.rules = rules;
        world->policy.n_rules = n;
        world_start(world);
}

void world_ask_as(struct world *world, struct caller *caller, uid_t uid, const char *username)
{
        world->peer = peer_of(uid);
        world_ask_user(world, caller, username);
}
