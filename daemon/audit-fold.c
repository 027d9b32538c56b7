/* SPDX-License-Identifier: MIT */

/*
 * All windows are of one length and begin with their first hit, so that they end in the order in
 * which they began: they are a ring. Keys are compared whole: no collision puts two callers or
 * subjects into one record. (Two tokens are told apart by 64 bits of their fingerprint, as in the
 * record; the same token from another fetch may begin another record.)
 *
 * Where there are more subjects than windows, nearly every hit begins one and ends another, so what
 * that takes lies close together: chains are followed through the ring, without a look at keys or
 * records, and most keys have their place there.
 */

#include "audit-fold.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "../lib/error.h"
#include "../lib/timerheap.h"

/* A longer key has memory of its own. */
#define NEAR_KEY_BYTES 192

/* Two in a cache line. */
struct audit_fold_window {
        uint64_t hash;
        uint64_t ends_at_ms;
        struct audit_record *record; /* owned */
        uint32_t key_size;
        uint32_t next; /* in the bucket, as in audit_fold::buckets */
};

union audit_fold_kept_key {
        uint8_t near[NEAR_KEY_BYTES];
        uint8_t *far; /* owned */
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

/* More than windows, so that a chain mostly is one window long. */
#define BUCKETS ((size_t)4 * AUDIT_FOLD_MAX)

_Static_assert((BUCKETS & (BUCKETS - 1)) == 0, "it is used as a mask");

static void free_arrays(struct audit_fold *fold)
{
        free(fold->buckets);
        free(fold->keys);
        free(fold->windows);
        *fold = (struct audit_fold){};
}

int audit_fold_init(struct audit_fold *fold, uint64_t window_ms)
{
        *fold = (struct audit_fold){.window_ms = window_ms};
        if (getrandom(fold->hash_key, sizeof(fold->hash_key), 0) != sizeof(fold->hash_key))
                return error_trace(-errno);
        fold->windows = calloc(AUDIT_FOLD_MAX, sizeof(*fold->windows));
        fold->keys = calloc(AUDIT_FOLD_MAX, sizeof(*fold->keys));
        fold->buckets = calloc(BUCKETS, sizeof(*fold->buckets));
        if (!fold->windows || !fold->keys || !fold->buckets) {
                free_arrays(fold);
                return error_trace(-ENOMEM);
        }
        return 0;
}

void audit_fold_deinit(struct audit_fold *fold)
{
        while (fold->n > 0)
                audit_record_free(audit_fold_take(fold));
        free_arrays(fold);
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

static uint32_t *bucket_of(const struct audit_fold *fold, uint64_t hash)
{
        return &fold->buckets[hash & (BUCKETS - 1)];
}

static const uint8_t *key_of(const struct audit_fold *fold, size_t at)
{
        return fold->windows[at].key_size <= NEAR_KEY_BYTES ? fold->keys[at].near
                                                            : fold->keys[at].far;
}

struct audit_record *audit_fold_find(const struct audit_fold *fold,
                                     const struct audit_fold_key *key)
{
        const struct audit_fold_window *window;

        for (uint32_t at = *bucket_of(fold, key->hash); at > 0; at = window->next) {
                window = &fold->windows[at - 1];
                if (window->hash == key->hash && window->key_size == key->size &&
                    memcmp(key_of(fold, at - 1), key->bytes, key->size) == 0)
                        return window->record;
        }
        return NULL;
}

int audit_fold_add(struct audit_fold *fold, const struct audit_fold_key *key,
                   struct audit_record *record, uint64_t now_ms)
{
        const size_t at = (fold->first + fold->n) % AUDIT_FOLD_MAX;
        union audit_fold_kept_key *kept = &fold->keys[at];
        uint32_t *bucket = bucket_of(fold, key->hash);
        uint8_t *bytes = kept->near;

        if (fold->n >= AUDIT_FOLD_MAX)
                return AUDIT_FOLD_E_FULL;
        if (key->size > NEAR_KEY_BYTES) {
                bytes = malloc(key->size);
                if (!bytes)
                        return error_trace(-ENOMEM);
                kept->far = bytes;
        }
        memcpy(bytes, key->bytes, key->size);
        fold->windows[at] = (struct audit_fold_window){
                .hash = key->hash,
                .ends_at_ms = now_ms + fold->window_ms,
                .record = record,
                .key_size = key->size,
                .next = *bucket,
        };
        *bucket = (uint32_t)at + 1;
        fold->n++;
        return 0;
}

uint64_t audit_fold_next_ms(const struct audit_fold *fold)
{
        return fold->n > 0 ? fold->windows[fold->first].ends_at_ms : TIMERHEAP_NEVER;
}

/* No subject is left behind. */
static void forget_key(struct audit_fold *fold, size_t at)
{
        union audit_fold_kept_key *kept = &fold->keys[at];
        const uint32_t size = fold->windows[at].key_size;

        if (size <= NEAR_KEY_BYTES) {
                secret_wipe(kept->near, size);
                return;
        }
        secret_wipe(kept->far, size);
        free(kept->far);
        kept->far = NULL;
}

struct audit_record *audit_fold_take(struct audit_fold *fold)
{
        struct audit_fold_window *window;
        struct audit_record *record;
        uint32_t *at;

        if (fold->n == 0)
                return NULL;
        window = &fold->windows[fold->first];
        for (at = bucket_of(fold, window->hash); *at != fold->first + 1;
             at = &fold->windows[*at - 1].next)
                ;
        *at = window->next;
        record = window->record;
        forget_key(fold, fold->first);
        *window = (struct audit_fold_window){};
        fold->first = (fold->first + 1) % AUDIT_FOLD_MAX;
        fold->n--;
        /* The next one to go was written a long time ago. */
        __builtin_prefetch(&fold->keys[fold->first]);
        if (fold->windows[fold->first].record)
                __builtin_prefetch(fold->windows[fold->first].record);
        return record;
}
