/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * The hash table: grant → token. Bounded by entries and by bytes; evicts by SIEVE (Zhang et al.,
 * NSDI 2024); drops what has run out. Nothing here walks the table: the buckets are sized once, an
 * eviction looks at CACHE_HAND_MAX entries at most, and expiry goes by a heap of times.
 *
 * Times are milliseconds of one clock that stands still in no suspend (CLOCK_BOOTTIME).
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "grant.h"
#include "list.h"
#include "timerheap.h"
#include "token.h"

/* How many entries one eviction looks at before it evicts where it stands. */
#define CACHE_HAND_MAX 64

/* A token with less than this left is not handed out: it would be dead on arrival. */
#define CACHE_LIVE_MIN_MS 1000

struct cache_entry {
        struct cache_entry *next; /* in its bucket */
        struct list link;         /* cache::queue */
        struct token *token;      /* one reference */
        uint64_t hash;
        struct timer expiry; /* cache::expiries */
        uint16_t key_size;
        bool visited; /* hit since the hand came by */
        uint8_t key_bytes[];
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
        struct cache_entry **buckets;
        uint64_t mask;
        struct list queue; /* newest first */
        struct list *hand; /* where the next eviction begins to look; NULL: at the oldest */
        struct timerheap expiries;
        size_t n_entries;
        size_t max_entries;
        uint64_t memory_bytes;
        uint64_t max_memory_bytes;
        struct cache_counters counters;
};

enum {
        CACHE_E_TOO_LARGE = 1, /* the token alone is over max_memory_bytes; nothing was changed */
};

/* How much life a token has left, and what that is good for. */
enum freshness {
        FRESHNESS_ENDED, /* not to be handed out */
        FRESHNESS_SPENT, /* to be handed out only if no new one can be had */
        FRESHNESS_FRESH,
};

/* 0 or -ENOMEM. */
int cache_init(struct cache *cache, size_t max_entries, uint64_t max_memory_bytes);

/* Wipes every token that nobody else holds. */
void cache_deinit(struct cache *cache);

/* The token under `key` that is not past its end, or NULL; borrowed. Counts as a use of the entry.
 */
struct token *cache_lookup(struct cache *cache, struct grant_key key, uint64_t now_ms);

/* Puts `token` (a reference is taken) under the key, in place of the one that is there; others make
 * room. 0, -ENOMEM or CACHE_E_TOO_LARGE. */
int cache_store(struct cache *cache, struct grant_key key, struct token *token);

/* Takes an entry out, if there is one. */
void cache_remove(struct cache *cache, struct grant_key key);

/* Drops at most `max` entries that are past their end. Returns how many. */
size_t cache_expire(struct cache *cache, uint64_t now_ms, size_t max);

/* When cache_expire() has something to do next; TIMERHEAP_NEVER: nothing is there. */
uint64_t cache_next_expiry_ms(const struct cache *cache);

/* Spent: less than `margin_ms`, or than a tenth of its whole life if that is less, is left. */
enum freshness token_freshness(const struct token *token, uint64_t margin_ms, uint64_t now_ms);
