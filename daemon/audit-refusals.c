/* SPDX-License-Identifier: MIT */

/*
 * Entries are allocated once. A window runs from its first refusal, and all are of one length, so
 * the list by age is the list by end. What the folded ones do not have in common (subject, scope
 * and so on) is not in their record; the first AUDIT_REFUSALS_EACH show what it was about.
 */

#include "audit-refusals.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/random.h>

#include "../lib/error.h"
#include "../lib/timerheap.h"

struct who {
        uint32_t uid;
        uint16_t reason;
        uint16_t known;
};

struct audit_refusals_entry {
        struct audit_refusals_entry *next; /* in the bucket */
        struct list link;                  /* audit_refusals::by_age or unused */
        struct who who;
        pid_t pid; /* of the last one */
        enum audit_action action;
        uint64_t n;      /* within the window */
        uint64_t folded; /* of those */
        uint64_t ends_at_ms;
        int64_t since_wall_ms; /* the first and the last that were folded */
        int64_t wall_ms;
};

_Static_assert((AUDIT_REFUSALS_MAX & (AUDIT_REFUSALS_MAX - 1)) == 0, "it is used as a mask");

int audit_refusals_init(struct audit_refusals *refusals, uint64_t window_ms)
{
        *refusals = (struct audit_refusals){.window_ms = window_ms};
        list_init(&refusals->unused);
        list_init(&refusals->by_age);
        if (getrandom(refusals->hash_key, sizeof(refusals->hash_key), 0) !=
            sizeof(refusals->hash_key))
                return error_trace(-errno);
        refusals->entries = calloc(AUDIT_REFUSALS_MAX, sizeof(struct audit_refusals_entry));
        refusals->buckets = calloc(AUDIT_REFUSALS_MAX, sizeof(struct audit_refusals_entry *));
        if (!refusals->entries || !refusals->buckets) {
                audit_refusals_deinit(refusals);
                return error_trace(-ENOMEM);
        }
        for (size_t i = 0; i < AUDIT_REFUSALS_MAX; i++)
                list_push_back(&refusals->unused, &refusals->entries[i].link);
        return 0;
}

void audit_refusals_deinit(struct audit_refusals *refusals)
{
        free(refusals->entries);
        free(refusals->buckets);
        *refusals = (struct audit_refusals){};
}

static struct audit_refusals_entry **bucket_of(const struct audit_refusals *refusals,
                                               const struct who *who)
{
        const uint64_t hash = siphash(refusals->hash_key, who, sizeof(*who));

        return &refusals->buckets[hash & (AUDIT_REFUSALS_MAX - 1)];
}

static bool who_equal(const struct who *a, const struct who *b)
{
        return a->uid == b->uid && a->reason == b->reason && a->known == b->known;
}

/* The entry, made if there is none; NULL: there is no room for it. */
static struct audit_refusals_entry *touch(struct audit_refusals *refusals, const struct who *who,
                                          uint64_t now_ms)
{
        struct audit_refusals_entry **bucket = bucket_of(refusals, who), *entry = *bucket;
        struct list *unused;

        while (entry && !who_equal(&entry->who, who))
                entry = entry->next;
        if (entry)
                return entry;
        unused = list_first(&refusals->unused);
        if (!unused)
                return NULL;
        list_unlink(unused);
        entry = list_entry(unused, struct audit_refusals_entry, link);
        *entry = (struct audit_refusals_entry){
                .next = *bucket,
                .who = *who,
                .ends_at_ms = now_ms + refusals->window_ms,
        };
        list_push_back(&refusals->by_age, &entry->link);
        *bucket = entry;
        return entry;
}

int audit_refusals_count(struct audit_refusals *refusals, const struct audit_decision *decision,
                         uint64_t now_ms, int64_t wall_ms)
{
        const struct peer *peer = decision->peer;
        const bool known = peer && peer->known;
        const struct who who = {
                .uid = known ? peer->uid : 0,
                .reason = (uint16_t)decision->reason,
                .known = known,
        };
        struct audit_refusals_entry *entry = touch(refusals, &who, now_ms);

        if (!entry)
                return AUDIT_REFUSALS_E_FULL;
        if (entry->n++ < AUDIT_REFUSALS_EACH)
                return 0;
        if (entry->folded++ == 0)
                entry->since_wall_ms = wall_ms;
        entry->wall_ms = wall_ms;
        entry->action = decision->action;
        entry->pid = known && !peer->tcp ? peer->pid : 0;
        return AUDIT_REFUSALS_E_FOLDED;
}

static struct audit_refusals_entry *oldest(const struct audit_refusals *refusals)
{
        struct list *first = list_first(&refusals->by_age);

        return first ? list_entry(first, struct audit_refusals_entry, link) : NULL;
}

uint64_t audit_refusals_next_ms(const struct audit_refusals *refusals)
{
        const struct audit_refusals_entry *entry = oldest(refusals);

        return entry ? entry->ends_at_ms : TIMERHEAP_NEVER;
}

uint64_t audit_refusals_folded(const struct audit_refusals *refusals)
{
        const struct audit_refusals_entry *entry = oldest(refusals);

        return entry ? entry->folded : 0;
}

/* A record of all that was folded into the entry. */
static int summarise(const struct audit_refusals_entry *entry, struct audit_record **ret)
{
        const struct peer peer = {
                .known = entry->who.known, .uid = entry->who.uid, .pid = entry->pid};
        const struct audit_decision decision = {
                .action = entry->action,
                .reason = (enum reason)entry->who.reason,
                .peer = &peer,
        };
        const struct audit_naming naming = {.subjects = AUDIT_SUBJECTS_CLEAR}; /* none is in it */
        int r;

        r = audit_record_new(ret, &decision, &naming, entry->wall_ms);
        if (r)
                return error_trace(r);
        (*ret)->count = entry->folded;
        (*ret)->since_wall_ms = entry->since_wall_ms;
        return 0;
}

int audit_refusals_take(struct audit_refusals *refusals, struct audit_record **ret)
{
        struct audit_refusals_entry *entry = oldest(refusals), **at;
        int r;

        assert(entry);
        *ret = NULL;
        if (entry->folded > 0) {
                r = summarise(entry, ret);
                if (r)
                        return error_trace(r);
        }
        for (at = bucket_of(refusals, &entry->who); *at != entry; at = &(*at)->next)
                ;
        *at = entry->next;
        list_unlink(&entry->link);
        list_push_back(&refusals->unused, &entry->link);
        return 0;
}
