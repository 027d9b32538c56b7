/* SPDX-License-Identifier: MIT */

/*
 * All windows are of one length and begin with their first hit, so the list by age is the list by
 * end, too. Keys are compared whole: no collision puts two callers or subjects into one record.
 * (Two tokens are told apart by 64 bits of their fingerprint, as in the record; the same token from
 * another fetch may begin another record.)
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

/* The texts of a key, in their order. */
enum {
        TEXT_SUBJECT,
        TEXT_UNIT,
        TEXT_RULE,
        TEXT_CLIENT,
        TEXT_SCOPE,
        _TEXT_N,
};

/* The part of a key that is no text; sizes of the texts are in it, so that they cannot run into one
 * another. */
struct fixed {
        uint64_t label;
        uint32_t uid;
        uint16_t sizes[_TEXT_N];
        uint16_t detail;
        uint8_t known;
        uint8_t subject_kind;
        uint8_t cache_status;
        uint8_t has_texts; /* a bit each: "" is not NULL */
        uint8_t unused[4];
};

_Static_assert(offsetof(struct fixed, unused) + 4 == sizeof(struct fixed),
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

static struct text text_of(const char *string)
{
        return string ? TEXT(string) : (struct text){};
}

/*
 * One token belongs to one entry of the cache, so that it stands for client, subject and scope; who
 * asks for it is told apart by uid and unit. Serial numbers are not for callers to choose, and the
 * names of units go into the hash under its key.
 */
static uint64_t hash_of(const struct audit_fold *fold, const struct token *token, uint32_t uid,
                        struct text unit)
{
        uint64_t hash = token ? token->serial : 0;

        hash = (hash ^ (uint64_t)uid << 32) * UINT64_C(0x9e3779b97f4a7c15);
        if (unit.size > 0)
                hash ^= siphash(fold->hash_key, unit.bytes, unit.size);
        return hash ^ hash >> 32;
}

bool audit_fold_key_make(const struct audit_fold *fold, struct audit_fold_key *ret,
                         const struct audit_decision *decision)
{
        static const size_t limits[_TEXT_N] = {
                [TEXT_SUBJECT] = AUDIT_SUBJECT_MAX_BYTES, [TEXT_UNIT] = AUDIT_NAME_MAX_BYTES,
                [TEXT_RULE] = AUDIT_NAME_MAX_BYTES,       [TEXT_CLIENT] = AUDIT_NAME_MAX_BYTES,
                [TEXT_SCOPE] = AUDIT_SCOPE_MAX_BYTES,
        };
        const struct peer *peer = decision->peer;
        const struct text texts[_TEXT_N] = {
                [TEXT_SUBJECT] = decision->subject,
                [TEXT_UNIT] = text_of(peer && peer->known ? peer->unit : NULL),
                [TEXT_RULE] = text_of(decision->rule),
                [TEXT_CLIENT] = text_of(decision->client),
                [TEXT_SCOPE] = decision->scope,
        };
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

        for (size_t i = 0; i < _TEXT_N; i++) {
                if (texts[i].size > limits[i])
                        return false;
                fixed.sizes[i] = (uint16_t)texts[i].size;
                if (!texts[i].bytes)
                        continue;
                fixed.has_texts |= (uint8_t)(1U << i);
                memcpy(ret->bytes + size, texts[i].bytes, texts[i].size);
                size += texts[i].size;
        }
        memcpy(ret->bytes, &fixed, sizeof(fixed));
        ret->size = (uint32_t)size;
        ret->hash = hash_of(fold, decision->token, fixed.uid, texts[TEXT_UNIT]);
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
