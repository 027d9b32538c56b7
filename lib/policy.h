/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Who may ask for what: a pure function of who the kernel says is asking, over an immutable table
 * of rules. The first rule whose conditions hold is selected and decides alone; what it does not
 * name, it does not give.
 *
 * Without rules there is a built-in one that gives everything: to the daemon's own user on any
 * listener, and to root on Unix sockets (over TCP, root may be somebody's forwarder).
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "quota.h"
#include "reason.h"
#include "request.h"
#include "text.h"

/* The process at the other end of a connection, as the kernel names it. Belongs to whoever asked
 * the kernel (daemon/peer). */
struct rule;

struct peer {
        bool known;   /* false: the kernel could not tell; then only `tcp` is set beside it */
        bool tcp;     /* of such a peer nothing but the uid can be known */
        bool starved; /* something of it was not found out for want of memory or descriptors: not
                       * who it is, if it is not known, else its unit, which may be asked for again
                       */
        uid_t uid;
        pid_t pid;     /* 0: not known */
        gid_t *groups; /* owned; the primary one among them; NULL: none are known */
        size_t n_groups;
        bool unit_asked; /* the kernel was asked for the unit, whatever it said */
        char *unit;      /* owned; the systemd unit, such as "crm-sync.service"; NULL: not known */
        /* Borrowed; what this peer may have, as was settled before it asked (see
         * daemon/credential-server); then no rule of the policy matters. NULL: the policy decides.
         */
        const struct rule *entitled_by;
};

/* "username:pa*" */
struct subject_pattern {
        enum subject_kind kind;
        char *pattern; /* owned; see pattern.h; not empty */
};

/* One entry of `callers`. All conditions that are given must hold: at least one of user, group and
 * unit is, since a key proves nothing alone. */
struct rule {
        char *name; /* owned; unique */
        int line;   /* of the configuration file, for messages */

        char *user; /* owned; as the configuration names it; NULL: no condition. */
        uid_t uid;
        char *group; /* owned; the same */
        gid_t gid;
        char *unit; /* owned; a pattern whose '*' is in the instance part; NULL: no condition */
        bool has_key;
        uint8_t key_sha256[REQUEST_SHA256_BYTES];

        size_t *clients; /* owned; indices into settings.clients */
        size_t n_clients;
        struct subject_pattern *subjects; /* owned */
        size_t n_subjects;
        char **scopes; /* owned, each a pattern (see pattern.h), not empty */
        size_t n_scopes;
        bool monitor;
        bool admin;
        bool everything;     /* the built-in rule: all clients, subjects and scopes */
        struct rate fetches; /* how much this rule may cost the issuers */
};

struct policy {
        struct rule *rules; /* owned; in the order of the configuration */
        size_t n_rules;     /* 0: the built-in rule alone */
        uid_t own_uid;      /* the daemon's user */
};

/* Frees what a rule owns; takes one that is all zeros. */
void rule_deinit(struct rule *rule);

/* Frees what the policy owns; takes one that is all zeros. */
void policy_deinit(struct policy *policy);

/* Whether any rule names a unit, so that peers must be asked for theirs. */
bool policy_names_units(const struct policy *policy);

/* Whether any rule has a key, so that what callers send as client_secret means something. */
bool policy_has_keys(const struct policy *policy);

/*
 * The rule that decides about this peer: the one it is entitled by, if that is set; `keys` (NULL:
 * none) are what it sent as client_secret. 0, or REASON_PEER_GONE, REASON_NOT_PERMITTED (no rule),
 * REASON_BAD_KEY (only its key keeps a rule from being selected, and no other is), or
 * REASON_OUT_OF_MEMORY (who it is, or a unit that matters, could not be found out for want of it:
 * the rules behind may not be for it). *ret is set on 0 only, borrowed from the policy or static.
 */
int policy_select(const struct policy *policy, const struct peer *peer,
                  const struct request_keys *keys, const struct rule **ret);

/* What a rule gives. 0, or REASON_CLIENT_NOT_PERMITTED, REASON_SUBJECT_NOT_PERMITTED,
 * REASON_SCOPE_NOT_PERMITTED. `client` is an index into settings.clients; `scope` is canonical, and
 * every value of it must be given. */
int policy_check_client(const struct rule *rule, size_t client);
int policy_check_subject(const struct rule *rule, enum subject_kind kind, struct text subject);
int policy_check_scope(const struct rule *rule, struct text scope);

/* Whether the rule gives all of what an issuer granted: values in any order, with any spaces. */
bool policy_covers_scope(const struct rule *rule, struct text granted);

enum right {
        RIGHT_MONITOR, /* to see what state the daemon is in */
        RIGHT_ADMIN,   /* to list and to purge tokens; over Unix sockets only */
};

/* Root and the daemon's own user have both on Unix sockets, whatever the rules are. 0, or
 * REASON_PEER_GONE, REASON_NOT_PERMITTED, REASON_BAD_KEY, REASON_MONITOR_NOT_PERMITTED,
 * REASON_ADMIN_NOT_PERMITTED; *ret (which may be left out, NULL) is the rule that decided,
 * the built-in one for those two, NULL if there is none. */
int policy_check_right(const struct policy *policy, const struct peer *peer,
                       const struct request_keys *keys, enum right right, const struct rule **ret);

/* Whether a single condition holds; for those who explain. */
bool policy_unit_holds(const struct rule *rule, const struct peer *peer);
bool policy_user_holds(const struct rule *rule, const struct peer *peer);
bool policy_group_holds(const struct rule *rule, const struct peer *peer);
bool policy_key_holds(const struct rule *rule, const struct request_keys *keys);

/* Whether a single value of a scope is given. */
bool policy_gives_scope(const struct rule *rule, struct text value);
