/* SPDX-License-Identifier: MIT */

/*
 * All windows are of one length and begin with their first hit, so the list by age is the list by
 * end, too. Keys are compared whole: no collision puts two callers or subjects into one record.
 * (Two tokens are told apart by 64 bits of their fingerprint, as in the record.)
 */

#include "audit-fold.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "../lib/error.h"
#include "../lib/timerheap.h"

struct audit_fold_entry {
        struct audit_fold_entry *next; /* in the bucket */
        struct list link;              /* audit_fold::by_age */
        struct audit_record *record;   /* owned */
        uint64_t ends_at_ms;
        uint64_t hash;
        uint32_t key_size;
        uint8_t key_bytes[];
};

/* The part of a key that is no text; sizes of the texts are in it, so that they cannot run into one
 * another. */
struct fixed {
        uint64_t label;
        uint32_t uid;
        uint32_t sizes[5];
        uint16_t detail;
        uint8_t known;
        uint8_t subject_kind;
        uint8_t cache_status;
        uint8_t has_texts; /* a bit each: "" is not NULL */
        uint8_t unused[10];
};

_Static_assert(offsetof(struct fixed, unused) + 10 == sizeof(struct fixed),
               "bytes that nobody sets would be compared");
_Static_assert(sizeof(struct fixed) <= 64, "audit_fold_key has no room for it");
_Static_assert((AUDIT_FOLD_MAX & (AUDIT_FOLD_MAX - 1)) == 0, "it is used as a mask");

int audit_fold_init(struct audit_fold *fold, uint64_t window_ms)
{
        *fold = (struct audit_fold){.window_ms = window_ms};
        list_init(&fold->by_age);
        if (getrandom(fold->hash_key, sizeof(fold->hash_key), 0) != sizeof(fold->hash_key))
                return error_trace(-errno);
        fold->buckets = calloc(AUDIT_FOLD_MAX, sizeof(struct audit_fold_entry *));
        return fold->buckets ? 0 : error_trace(-ENOMEM);
}

void audit_fold_deinit(struct audit_fold *fold)
{
        if (!fold->buckets)
                return;
        for (size_t i = 0; i < AUDIT_FOLD_MAX; i++) {
                for (struct audit_fold_entry *it = fold->buckets[i], *next; it; it = next) {
                        next = it->next;
                        audit_record_free(it->record);
                        free(it);
                }
        }
        free(fold->buckets);
        *fold = (struct audit_fold){};
}

bool audit_fold_key_make(const struct audit_fold *fold, struct audit_fold_key *ret,
                         const struct audit_decision *decision)
{
        static const size_t limits[] = {AUDIT_NAME_MAX_BYTES, AUDIT_NAME_MAX_BYTES,
                                        AUDIT_NAME_MAX_BYTES, AUDIT_SUBJECT_MAX_BYTES,
                                        AUDIT_SCOPE_MAX_BYTES};
        const struct peer *peer = decision->peer;
        const char *const names[] = {decision->rule, decision->client,
                                     peer && peer->known ? peer->unit : NULL};
        struct text texts[] = {{}, {}, {}, decision->subject, decision->scope};
        struct fixed fixed = {
                .label = decision->token ? decision->token->label : 0,
                .known = peer && peer->known,
                .uid = peer && peer->known ? peer->uid : 0,
                .detail = (uint16_t)decision->detail,
                .subject_kind = decision->has_subject ? (uint8_t)decision->subject_kind
                                                      : _SUBJECT_KIND_N,
                .cache_status = (uint8_t)decision->cache_status,
        };
        size_t size = sizeof(fixed);

        for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
                if (names[i])
                        texts[i] = TEXT(names[i]);
        for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
                if (texts[i].size > limits[i])
                        return false;
                fixed.sizes[i] = (uint32_t)texts[i].size;
                if (!texts[i].bytes)
                        continue;
                fixed.has_texts |= (uint8_t)(1U << i);
                memcpy(ret->bytes + size, texts[i].bytes, texts[i].size);
                size += texts[i].size;
        }
        memcpy(ret->bytes, &fixed, sizeof(fixed));
        ret->size = (uint32_t)size;
        ret->hash = siphash(fold->hash_key, ret->bytes, size);
        return true;
}

static struct audit_fold_entry **bucket_of(const struct audit_fold *fold, uint64_t hash)
{
        return &fold->buckets[hash & (AUDIT_FOLD_MAX - 1)];
}

struct audit_record *audit_fold_find(const struct audit_fold *fold,
                                     const struct audit_fold_key *key)
{
        for (struct audit_fold_entry *it = *bucket_of(fold, key->hash); it; it = it->next)
                if (it->hash == key->hash && it->key_size == key->size &&
                    memcmp(it->key_bytes, key->bytes, key->size) == 0)
                        return it->record;
        return NULL;
}

int audit_fold_add(struct audit_fold *fold, const struct audit_fold_key *key,
                   struct audit_record *record, uint64_t now_ms)
{
        struct audit_fold_entry **bucket = bucket_of(fold, key->hash), *entry;

        if (fold->n >= AUDIT_FOLD_MAX)
                return AUDIT_FOLD_E_FULL;
        entry = malloc(sizeof(*entry) + key->size);
        if (!entry)
                return error_trace(-ENOMEM);
        *entry = (struct audit_fold_entry){
                .next = *bucket,
                .record = record,
                .ends_at_ms = now_ms + fold->window_ms,
                .hash = key->hash,
                .key_size = key->size,
        };
        memcpy(entry->key_bytes, key->bytes, key->size);
        *bucket = entry;
        list_push_back(&fold->by_age, &entry->link);
        fold->n++;
        return 0;
}

static struct audit_fold_entry *oldest(const struct audit_fold *fold)
{
        struct list *first = list_first(&fold->by_age);

        return first ? list_entry(first, struct audit_fold_entry, link) : NULL;
}

uint64_t audit_fold_next_ms(const struct audit_fold *fold)
{
        const struct audit_fold_entry *entry = oldest(fold);

        return entry ? entry->ends_at_ms : TIMERHEAP_NEVER;
}

struct audit_record *audit_fold_take(struct audit_fold *fold)
{
        struct audit_fold_entry *entry = oldest(fold), **at;
        struct audit_record *record;

        if (!entry)
                return NULL;
        for (at = bucket_of(fold, entry->hash); *at != entry; at = &(*at)->next)
                ;
        *at = entry->next;
        list_unlink(&entry->link);
        fold->n--;
        record = entry->record;
        free(entry);
        return record;
}
