/* SPDX-License-Identifier: MIT */

/*
 * Rules are walked in the order of the configuration; the first whose conditions hold decides, also
 * where it gives less than a later one would. Only a key that does not fit is remembered on the
 * way: it turns "no rule" into "wrong key", since there the caller can do something about it.
 * Nothing here allocates or changes anything, so a verdict can be asked for again whenever the
 * rules are others.
 */

#include "policy.h"

#include <openssl/crypto.h>
#include <stdlib.h>

#include "pattern.h"

#define ROOT_UID 0

/* A caller without a limit has none to share. */
static const struct rule built_in = {
        .name = (char *)"built-in",
        .everything = true,
        .monitor = true,
};

void rule_deinit(struct rule *rule)
{
        for (size_t i = 0; i < rule->n_subjects; i++)
                free(rule->subjects[i].pattern);
        for (size_t i = 0; i < rule->n_scopes; i++)
                free(rule->scopes[i]);
        free(rule->subjects);
        free(rule->scopes);
        free(rule->clients);
        free(rule->unit);
        free(rule->group);
        free(rule->user);
        free(rule->name);
}

void policy_deinit(struct policy *policy)
{
        for (size_t i = 0; i < policy->n_rules; i++)
                rule_deinit(&policy->rules[i]);
        free(policy->rules);
        *policy = (struct policy){.own_uid = policy->own_uid};
}

bool policy_names_units(const struct policy *policy)
{
        for (size_t i = 0; i < policy->n_rules; i++)
                if (policy->rules[i].unit)
                        return true;
        return false;
}

bool policy_has_keys(const struct policy *policy)
{
        for (size_t i = 0; i < policy->n_rules; i++)
                if (policy->rules[i].has_key)
                        return true;
        return false;
}

bool policy_user_holds(const struct rule *rule, const struct peer *peer)
{
        return !rule->user || rule->uid == peer->uid;
}

bool policy_group_holds(const struct rule *rule, const struct peer *peer)
{
        if (!rule->group)
                return true;
        for (size_t i = 0; i < peer->n_groups; i++)
                if (peer->groups[i] == rule->gid)
                        return true;
        return false;
}

bool policy_unit_holds(const struct rule *rule, const struct peer *peer)
{
        return !rule->unit || (peer->unit && pattern_matches(rule->unit, TEXT(peer->unit)));
}

bool policy_key_holds(const struct rule *rule, const struct request_keys *keys)
{
        bool holds = !rule->has_key;

        for (size_t i = 0; keys && i < keys->n; i++)
                holds |= CRYPTO_memcmp(keys->sha256[i], rule->key_sha256,
                                       sizeof(rule->key_sha256)) == 0;
        return holds;
}

/* Whether the built-in rule is for this peer. */
static bool is_trusted(const struct policy *policy, const struct peer *peer)
{
        return peer->uid == policy->own_uid || (peer->uid == ROOT_UID && !peer->tcp);
}

/* Of whom the kernel did not tell, or could not. */
static int unknown(const struct peer *peer)
{
        return peer->starved ? REASON_OUT_OF_MEMORY : REASON_PEER_GONE;
}

int policy_select(const struct policy *policy, const struct peer *peer,
                  const struct request_keys *keys, const struct rule **ret)
{
        int r = REASON_NOT_PERMITTED;

        if (!peer->known)
                return unknown(peer);
        if (peer->entitled_by) {
                *ret = peer->entitled_by;
                return 0;
        }
        if (policy->n_rules == 0 && is_trusted(policy, peer)) {
                *ret = &built_in;
                return 0;
        }
        for (size_t i = 0; i < policy->n_rules; i++) {
                const struct rule *rule = &policy->rules[i];

                if (!policy_user_holds(rule, peer) || !policy_group_holds(rule, peer))
                        continue;
                if (rule->unit && peer->starved)
                        return REASON_OUT_OF_MEMORY;
                if (!policy_unit_holds(rule, peer))
                        continue;
                if (policy_key_holds(rule, keys)) {
                        *ret = rule;
                        return 0;
                }
                r = REASON_BAD_KEY;
        }
        return r;
}

int policy_check_client(const struct rule *rule, size_t client)
{
        for (size_t i = 0; i < rule->n_clients; i++)
                if (rule->clients[i] == client)
                        return 0;
        return rule->everything ? 0 : REASON_CLIENT_NOT_PERMITTED;
}

int policy_check_subject(const struct rule *rule, enum subject_kind kind, struct text subject)
{
        for (size_t i = 0; i < rule->n_subjects; i++)
                if (rule->subjects[i].kind == kind &&
                    pattern_matches(rule->subjects[i].pattern, subject))
                        return 0;
        return rule->everything ? 0 : REASON_SUBJECT_NOT_PERMITTED;
}

bool policy_gives_scope(const struct rule *rule, struct text value)
{
        for (size_t i = 0; i < rule->n_scopes; i++)
                if (pattern_matches(rule->scopes[i], value))
                        return true;
        return rule->everything;
}

bool policy_covers_scope(const struct rule *rule, struct text granted)
{
        struct text value;
        size_t at = 0;

        while ((value = scope_next(granted, &at)).size > 0)
                if (!policy_gives_scope(rule, value))
                        return false;
        return true;
}

int policy_check_scope(const struct rule *rule, struct text scope)
{
        return policy_covers_scope(rule, scope) ? 0 : REASON_SCOPE_NOT_PERMITTED;
}

int policy_check_right(const struct policy *policy, const struct peer *peer,
                       const struct request_keys *keys, enum right right, const struct rule **ret)
{
        const int missing = right == RIGHT_ADMIN ? REASON_ADMIN_NOT_PERMITTED
                                                 : REASON_MONITOR_NOT_PERMITTED;
        const struct rule *rule, *unwanted;
        int r;

        if (!ret)
                ret = &unwanted;
        *ret = NULL;
        if (!peer->known)
                return unknown(peer);
        if (!peer->tcp && is_trusted(policy, peer)) {
                *ret = &built_in;
                return 0;
        }
        r = policy_select(policy, peer, keys, &rule);
        if (r)
                return r;
        *ret = rule;
        if (right == RIGHT_ADMIN)
                return rule->admin && !peer->tcp ? 0 : missing;
        return rule->monitor ? 0 : missing;
}
