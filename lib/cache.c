/* SPDX-License-Identifier: MIT */

/*
 * As many buckets as entries may be there, so that a chain holds about one entry at the cap.
 *
 * SIEVE keeps entries in order of arrival and never moves one: a hit sets a flag and is done. The
 * hand walks from the oldest to the newest, spares whoever was hit since it last came by, and
 * evicts the first who was not. Subjects asked for once leave soon after the hand reaches them, and
 * those in use stay where they are. Where a long run of entries was hit, the hand stops after
 * CACHE_HAND_MAX of them: the victim is then one that was in use, but the loop does not stall.
 *
 * An entry owns a reference to its token, and is lent to a caller only until the next call: it can
 * go at any time, also while an answer still holds the token.
 */

#include "cache.h"

#include <assert.h>
#include <stdlib.h>

#include "error.h"
#include "freshness.h"

/* What malloc() keeps beside the two blocks of an entry, and its slots in buckets and heap. */
#define ENTRY_OVERHEAD_BYTES (2 * (size_t)16 + sizeof(void *) + sizeof(struct timerheap_slot))

static struct cache_entry *entry_of(struct list *link)
{
        return list_entry(link, struct cache_entry, link);
}

static uint64_t memory_for(size_t key_size, const struct token *token)
{
        return offsetof(struct cache_entry, key_bytes) + key_size + token_memory(token) +
               ENTRY_OVERHEAD_BYTES;
}

int cache_init(struct cache *cache, size_t max_entries, uint64_t max_memory_bytes)
{
        int r;

        assert(max_entries > 0 && max_entries < UINT32_MAX);

        *cache = (struct cache){
                .max_entries = max_entries,
                .max_memory_bytes = max_memory_bytes,
        };
        list_init(&cache->queue);
        r = table_init(&cache->table, max_entries);
        if (r)
                return error_trace(r);
        r = timerheap_init(&cache->timers, (uint32_t)max_entries);
        if (r)
                table_deinit(&cache->table);
        return error_trace(r);
}

struct grant_key cache_entry_key(const struct cache_entry *entry)
{
        return (struct grant_key){
                .hash = entry->node.hash, .size = entry->key_size, .bytes = entry->key_bytes};
}

static struct table_node **find(const struct cache *cache, struct grant_key key)
{
        struct table_node **at = table_bucket(&cache->table, table_position(key.hash));

        while (*at && !grant_key_equal(cache_entry_key(cache_entry_of(*at)), key))
                at = &(*at)->next;
        return at;
}

static struct cache_entry *find_entry(const struct cache *cache, struct grant_key key)
{
        struct table_node *node = *find(cache, key);

        return node ? cache_entry_of(node) : NULL;
}

static void drop(struct cache *cache, struct table_node **at)
{
        struct cache_entry *entry = cache_entry_of(*at);

        *at = entry->node.next;
        if (cache->hand == &entry->link)
                cache->hand = entry->link.prev == &cache->queue ? NULL : entry->link.prev;
        list_unlink(&entry->link);
        timerheap_cancel(&cache->timers, &entry->timer);
        cache->memory_bytes -= memory_for(entry->key_size, entry->token);
        cache->n_entries--;
        token_unref(entry->token);
        free(entry);
}

static void drop_entry(struct cache *cache, struct cache_entry *entry)
{
        struct table_node **at = find(cache, cache_entry_key(entry));

        assert(*at == &entry->node);
        drop(cache, at);
}

void cache_deinit(struct cache *cache)
{
        if (!cache->table.now.first)
                return;
        list_for_each_safe (link, &cache->queue)
                drop_entry(cache, entry_of(link));
        timerheap_deinit(&cache->timers);
        table_deinit(&cache->table);
        *cache = (struct cache){};
}

static bool is_live(const struct cache_entry *entry, uint64_t now_ms)
{
        return now_ms + FRESHNESS_LIVE_MIN_MS <= entry->token->expires_at_ms;
}

struct cache_entry *cache_lookup(struct cache *cache, struct grant_key key, uint64_t now_ms)
{
        struct cache_entry *entry = find_entry(cache, key);

        if (!entry || !is_live(entry, now_ms))
                return NULL;
        entry->visited = true;
        return entry;
}

const struct cache_entry *cache_peek(const struct cache *cache, struct grant_key key,
                                     uint64_t now_ms)
{
        const struct cache_entry *entry = find_entry(cache, key);

        return entry && is_live(entry, now_ms) ? entry : NULL;
}

bool cache_holds(const struct cache *cache, struct grant_key key)
{
        return *find(cache, key);
}

static struct list *newer(struct cache *cache, struct list *link)
{
        return link->prev == &cache->queue ? cache->queue.prev : link->prev;
}

/* Makes room for, but not of, the entry `spared` (NULL: any may go), which is not the only one. */
static void evict(struct cache *cache, const struct cache_entry *spared)
{
        struct list *at = cache->hand ? cache->hand : cache->queue.prev;

        for (int i = 0; i < CACHE_HAND_MAX && (entry_of(at)->visited || entry_of(at) == spared);
             i++) {
                entry_of(at)->visited = false;
                at = newer(cache, at);
        }
        if (entry_of(at) == spared)
                at = newer(cache, at);
        cache->hand = at; /* drop() moves it on to the next newer one */
        drop_entry(cache, entry_of(at));
}

static void make_room(struct cache *cache, size_t n_entries, uint64_t memory_bytes,
                      const struct cache_entry *spared)
{
        int n = 0; /* what is over caps that were lowered goes by cache_trim(), not in one go */

        while (cache->n_entries + n_entries > cache->max_entries && n++ < CACHE_MAKE_ROOM_MAX) {
                cache->counters.evicted_entries++;
                evict(cache, spared);
        }
        while (cache->memory_bytes + memory_bytes > cache->max_memory_bytes &&
               n++ < CACHE_MAKE_ROOM_MAX) {
                cache->counters.evicted_memory++;
                evict(cache, spared);
        }
}

int cache_set_limits(struct cache *cache, size_t max_entries, uint64_t max_memory_bytes)
{
        int r;

        r = timerheap_grow(&cache->timers, (uint32_t)max_entries);
        if (r == 0)
                r = table_grow(&cache->table, max_entries);
        if (r)
                return error_trace(r);
        cache->max_entries = max_entries;
        cache->max_memory_bytes = max_memory_bytes;
        return 0;
}

static bool is_over(const struct cache *cache)
{
        return cache->n_entries > cache->max_entries ||
               cache->memory_bytes > cache->max_memory_bytes;
}

bool cache_trim(struct cache *cache, size_t n)
{
        for (; n > 0 && is_over(cache); n--) {
                if (cache->n_entries > cache->max_entries)
                        cache->counters.evicted_entries++;
                else
                        cache->counters.evicted_memory++;
                evict(cache, NULL);
        }
        return is_over(cache);
}

static void replace(struct cache *cache, struct cache_entry *entry, struct token *token)
{
        struct token *const old = entry->token;

        entry->token = token_ref(token);
        entry->used = false;
        entry->rejected = false;
        cache->memory_bytes -= token_memory(old);
        cache->memory_bytes += token_memory(token);
        token_unref(old); /* after the new one was taken, which it may be */
        (void)timerheap_set(&cache->timers, &entry->timer, token->refresh_at_ms);
        cache->counters.replaced++;
        make_room(cache, 0, 0, entry);
}

static int insert(struct cache *cache, struct grant_key key, struct token *token)
{
        struct cache_entry *entry;

        entry = malloc(offsetof(struct cache_entry, key_bytes) + key.size);
        if (!entry)
                return error_trace(-ENOMEM);
        make_room(cache, 1, memory_for(key.size, token), NULL);

        /* Field by field, since the whole structure would be longer than this one may be. */
        entry->node = (struct table_node){.hash = key.hash};
        entry->link = (struct list){};
        entry->token = token_ref(token);
        entry->timer = (struct timer){};
        entry->key_size = (uint16_t)key.size;
        entry->visited = entry->used = entry->rejected = false;
        memcpy(entry->key_bytes, key.bytes, key.size);
        table_insert(&cache->table, &entry->node);
        list_push_front(&cache->queue, &entry->link);
        /* There is room: the heap holds as many as the cache, and one was just made. */
        (void)timerheap_set(&cache->timers, &entry->timer, token->refresh_at_ms);
        cache->n_entries++;
        cache->memory_bytes += memory_for(key.size, token);
        cache->counters.stored++;
        return 0;
}

int cache_store(struct cache *cache, struct grant_key key, struct token *token)
{
        struct cache_entry *entry;

        assert(key.size <= GRANT_KEY_MAX_BYTES);

        if (memory_for(key.size, token) > cache->max_memory_bytes) {
                cache->counters.refused_too_large++;
                return CACHE_E_TOO_LARGE;
        }
        entry = find_entry(cache, key);
        if (!entry)
                return error_trace(insert(cache, key, token));
        replace(cache, entry, token);
        return 0;
}

const struct cache_entry *cache_newer(const struct cache *cache, const struct cache_entry *entry)
{
        struct list *link = entry ? entry->link.prev : cache->queue.prev;

        return link == &cache->queue ? NULL : entry_of(link);
}

unsigned int cache_marks(const struct cache *cache, const struct cache_entry *entry)
{
        return (entry->visited ? CACHE_MARK_VISITED : 0U) | (entry->used ? CACHE_MARK_USED : 0U) |
               (entry->rejected ? CACHE_MARK_REJECTED : 0U) |
               (cache->hand == &entry->link ? CACHE_MARK_HAND : 0U);
}

void cache_mark(struct cache *cache, struct grant_key key, unsigned int marks)
{
        struct cache_entry *entry = find_entry(cache, key);

        if (!entry)
                return;
        entry->visited = marks & CACHE_MARK_VISITED;
        entry->used = marks & CACHE_MARK_USED;
        entry->rejected = marks & CACHE_MARK_REJECTED;
        if (marks & CACHE_MARK_HAND)
                cache->hand = &entry->link;
}

void cache_remove(struct cache *cache, struct grant_key key)
{
        struct table_node **at = find(cache, key);

        if (!*at)
                return;
        cache->counters.removed++;
        drop(cache, at);
}

enum cache_event cache_next_event(struct cache *cache, uint64_t now_ms,
                                  struct cache_entry **ret_entry)
{
        struct timer *timer = timerheap_pop(&cache->timers, now_ms);
        struct cache_entry *entry;

        if (!timer)
                return CACHE_EVENT_NONE;
        entry = list_entry(timer, struct cache_entry, timer);
        if (now_ms >= entry->token->expires_at_ms) {
                drop_entry(cache, entry);
                cache->counters.expired++;
                return CACHE_EVENT_EXPIRED;
        }
        (void)timerheap_set(&cache->timers, &entry->timer, entry->token->expires_at_ms);
        *ret_entry = entry;
        return CACHE_EVENT_DUE;
}

uint64_t cache_next_event_ms(const struct cache *cache)
{
        return timerheap_next_ms(&cache->timers);
}
