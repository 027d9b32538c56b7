/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * The record of who got what: one line per decision that lets a token out, or refuses one, or
 * purges some, or has the configuration read again. Nothing here waits: records go through two
 * bounded queues, one of grants and one of refusals, to a thread that writes them.
 *
 * Repeated hits fold into one counted record per caller, subject and minute (audit.fold), and so do
 * refusals beyond the first AUDIT_REFUSALS_EACH per uid, reason and minute. With audit.required
 * nothing is folded.
 */

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "../lib/policy.h"
#include "../lib/reply.h"
#include "config.h"

/* Refusals of one uid for one reason that are recorded one by one within a window. */
#define AUDIT_REFUSALS_EACH 10

enum audit_action {
        AUDIT_ACTION_TOKEN,  /* a token was asked for */
        AUDIT_ACTION_LIST,   /* entries were listed */
        AUDIT_ACTION_PURGE,  /* entries were purged, `count` of them */
        AUDIT_ACTION_RELOAD, /* the configuration was read again, and taken over */
};

/* What was decided, and about whom. All pointers are borrowed for the call. Texts without bytes
 * (NULL) are recorded as not known, empty ones as empty. */
struct audit_decision {
        enum audit_action action;
        enum reason reason;  /* REASON_NONE: the token goes out, or the action was carried out */
        enum reason detail;  /* as in struct reply */
        struct token *token; /* NULL: none goes out. Its `label` may be set. */
        enum cache_status cache_status;
        bool collapsed;
        const struct peer *peer;
        const char *rule;   /* that decided; NULL: none was selected */
        const char *client; /* client application; NULL: none was found */
        bool has_subject;
        enum subject_kind subject_kind;
        struct text subject; /* whatever was sent: it may be no UTF-8 */
        struct text scope;   /* the same */
        uint64_t count;      /* of entries, where some were listed or purged */
};

struct audit_counters {
        uint64_t grants;           /* records queued */
        uint64_t refusals;         /* the same */
        uint64_t folded;           /* decisions that went into the count of another's record */
        uint64_t dropped_grants;   /* records for which there was no room, */
        uint64_t dropped_refusals; /* or that could not be written at the end */
        uint64_t withheld;         /* tokens that were not handed out for want of room */
        size_t queued;             /* now */
};

struct audit;

enum {
        AUDIT_E_FULL = 1, /* audit.required, and the record cannot be queued: hand nothing out */
        AUDIT_E_FAILED,   /* audit_new() only: the file cannot be opened; said in the log */
};

/* Warns where a file could not be written now by who runs this. It need not stay so: a service
 * manager may make the folder at the start. */
void audit_check(const struct audit_config *config, const char *path, FILE *errors);

/* Opens the target and starts the writer. `config` is borrowed; its key is not needed afterwards.
 * 0, AUDIT_E_FAILED, -ENOMEM or -errno. */
int audit_new(struct audit **ret, const struct audit_config *config);

/* The same with the journal's socket at `journal`; for tests. */
int audit_new_with_journal(struct audit **ret, const struct audit_config *config,
                           const char *journal);

/* Records what is folded, and waits for the writer, a second at most; says in the log how many
 * records were not written. Takes NULL. */
void audit_free(struct audit *audit);

/* Records a decision; `wall_ms` is the time of day since 1970. 0, or AUDIT_E_FULL, which is
 * possible only where a token would go out; then REASON_AUDIT_FULL is to be answered, and has been
 * recorded as far as there is room. */
int audit_decide(struct audit *audit, const struct audit_decision *decision, uint64_t now_ms,
                 int64_t wall_ms);

/* Records what was folded long enough, and says in the log what was dropped. */
void audit_tick(struct audit *audit, uint64_t now_ms, int64_t wall_ms);

/* When to do that next; TIMERHEAP_NEVER: not before a decision. May come nearer with any call. */
uint64_t audit_next_tick_ms(const struct audit *audit);

void audit_get_counters(const struct audit *audit, struct audit_counters *ret);
