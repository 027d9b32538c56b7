/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * The hash table: grant → token. Bounded by entries and by bytes; evicts by SIEVE (Zhang et al.,
 * NSDI 2024); drops what has run out. Nothing here walks the table: it grows in steps, an eviction
 * looks at CACHE_HAND_MAX entries at most, and expiry and renewal go by a heap of times.
 *
 * Times are milliseconds of one clock that stands still in no suspend (CLOCK_BOOTTIME).
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "grant.h"
#include "list.h"
#include "table.h"
#include "timerheap.h"
#include "token.h"

/* How many entries one eviction looks at before it evicts where it stands. */
#define CACHE_HAND_MAX 64

/* How many entries make room for one at most: more than the largest one needs, where caps were not
 * lowered. */
#define CACHE_MAKE_ROOM_MAX 256

struct cache_entry {
        struct table_node node; /* cache::table */
        struct list link;       /* cache::queue */
        struct token *token;    /* one reference */
        struct timer timer;     /* cache::timers: the token's refresh point, then its end */
        uint16_t key_size;
        bool visited;  /* hit since the hand came by */
        bool used;     /* asked for since the token came */
        bool rejected; /* an API refused the token, a caller said */
        uint8_t key_bytes[];
};

/* What is known of an entry beside its token, for whoever writes it down. */
enum cache_mark {
        CACHE_MARK_VISITED = 1 << 0,
        CACHE_MARK_USED = 1 << 1,
        CACHE_MARK_REJECTED = 1 << 2,
        CACHE_MARK_HAND = 1 << 3, /* the next eviction begins to look here */

        CACHE_MARKS = (1 << 4) - 1,
};

struct cache_counters {
        uint64_t stored;            /* new entries */
        uint64_t replaced;          /* entries that got a new token */
        uint64_t expired;           /* ran out */
        uint64_t removed;           /* taken out by cache_remove() */
        uint64_t evicted_entries;   /* made room at the cap on entries */
        uint64_t evicted_memory;    /* made room at the cap on bytes */
        uint64_t refused_too_large; /* larger than the whole cache */
};

struct cache {
        struct table table;
        struct list queue; /* newest first */
        struct list *hand; /* where the next eviction begins to look; NULL: at the oldest */
        struct timerheap timers;
        size_t n_entries;
        size_t max_entries;
        uint64_t memory_bytes;
        uint64_t max_memory_bytes;
        struct cache_counters counters;
};

enum {
        CACHE_E_TOO_LARGE = 1, /* the token alone is over max_memory_bytes; nothing was changed */
};

/* What time has brought about. */
enum cache_event {
        CACHE_EVENT_NONE,    /* nothing (more) for now */
        CACHE_EVENT_EXPIRED, /* an entry ran out, and was dropped */
        CACHE_EVENT_DUE,     /* an entry has reached its refresh point */
};

/* 0 or -ENOMEM. */
int cache_init(struct cache *cache, size_t max_entries, uint64_t max_memory_bytes);

/* Other caps from now on. Where more entries may be there, the table grows by table_step(); where
 * fewer, what is too much goes by cache_trim(). 0 or -ENOMEM, and the caps have not changed. */
int cache_set_limits(struct cache *cache, size_t max_entries, uint64_t max_memory_bytes);

/* Evicts what is over the caps, `n` entries at most. Whether there is more. */
bool cache_trim(struct cache *cache, size_t n);

/* Wipes every token that nobody else holds. */
void cache_deinit(struct cache *cache);

/* The entry under `key` if its token is not past its end, or NULL. Borrowed until the next call
 * that takes a cache that is not const. Counts as a visit of the entry, not as a use. */
struct cache_entry *cache_lookup(struct cache *cache, struct grant_key key, uint64_t now_ms);

/* The same without leaving a trace. */
const struct cache_entry *cache_peek(const struct cache *cache, struct grant_key key,
                                     uint64_t now_ms);

/* Whether there is an entry under `key`, also one that is past its end and about to go. */
bool cache_holds(const struct cache *cache, struct grant_key key);

/* The key of an entry; borrows from it. */
struct grant_key cache_entry_key(const struct cache_entry *entry);

/* Puts `token` (a reference is taken) under the key, in place of the one that is there; others make
 * room. 0, -ENOMEM or CACHE_E_TOO_LARGE. */
int cache_store(struct cache *cache, struct grant_key key, struct token *token);

/* The entry that came into the cache after this one (NULL: the first), or NULL. */
const struct cache_entry *cache_newer(const struct cache *cache, const struct cache_entry *entry);

/* What is known of an entry; and what is known of another cache's, put back. */
unsigned int cache_marks(const struct cache *cache, const struct cache_entry *entry);
void cache_mark(struct cache *cache, struct grant_key key, unsigned int marks);

/* Takes an entry out, if there is one. */
void cache_remove(struct cache *cache, struct grant_key key);

/* The entry of a node, of which there is one. For a walk through cache::table. */
static inline struct cache_entry *cache_entry_of(struct table_node *node)
{
        return list_entry(node, struct cache_entry, node);
}

/* The next thing that time has brought about; *ret_entry is set with CACHE_EVENT_DUE, and borrowed
 * as by cache_lookup(). */
enum cache_event cache_next_event(struct cache *cache, uint64_t now_ms,
                                  struct cache_entry **ret_entry);

/* When cache_next_event() has something to tell next; TIMERHEAP_NEVER: nothing is there. */
uint64_t cache_next_event_ms(const struct cache *cache);
