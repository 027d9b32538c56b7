/* SPDX-License-Identifier: MIT */

/*
 * Records are in the order they were last touched, so the one to push out at the limit, and those
 * that are too old to matter, are at the front. Old ones go when a new one is made: time alone does
 * nothing.
 */

#include "memory.h"

#include <assert.h>
#include <stdlib.h>

#include "error.h"

/* Records that one new record may clear away. */
#define SWEEP_MAX 8

int memory_init(struct memory *memory, size_t max)
{
        uint64_t n_buckets = 1;

        assert(max > 0);
        *memory = (struct memory){.max = max};
        list_init(&memory->records);
        while (n_buckets < max)
                n_buckets *= 2;
        memory->mask = n_buckets - 1;
        memory->buckets = calloc(n_buckets, sizeof(struct memory_record *));
        return memory->buckets ? 0 : error_trace(-ENOMEM);
}

struct grant_key memory_record_key(const struct memory_record *record)
{
        return (struct grant_key){
                .hash = record->hash, .size = record->key_size, .bytes = record->key_bytes};
}

static struct memory_record **find(struct memory *memory, struct grant_key key)
{
        struct memory_record **at = &memory->buckets[key.hash & memory->mask];

        while (*at && !grant_key_equal(memory_record_key(*at), key))
                at = &(*at)->next;
        return at;
}

static void drop(struct memory *memory, struct memory_record **at)
{
        struct memory_record *record = *at;

        *at = record->next;
        list_unlink(&record->link);
        memory->n--;
        free(record);
}

static void drop_oldest(struct memory *memory)
{
        struct memory_record *oldest = list_entry(list_front(&memory->records),
                                                  struct memory_record, link);

        drop(memory, find(memory, memory_record_key(oldest)));
}

static bool is_old(const struct memory_record *record, uint64_t now_ms)
{
        return now_ms - record->touched_at_ms >= MEMORY_KEEP_MS;
}

void memory_set_limit(struct memory *memory, size_t max)
{
        memory->max = max;
}

void memory_deinit(struct memory *memory)
{
        if (!memory->buckets)
                return;
        while (memory->n > 0)
                drop_oldest(memory);
        free(memory->buckets);
        *memory = (struct memory){};
}

struct memory_record *memory_find(struct memory *memory, struct grant_key key, uint64_t now_ms)
{
        struct memory_record *record = *find(memory, key);

        return record && !is_old(record, now_ms) ? record : NULL;
}

static void make_room(struct memory *memory, uint64_t now_ms)
{
        for (int i = 0; i < SWEEP_MAX && memory->n > 0; i++) {
                if (!is_old(list_entry(list_front(&memory->records), struct memory_record, link),
                            now_ms))
                        break;
                drop_oldest(memory);
        }
        /* Two at a time, so that a cap that was lowered is reached. */
        for (int i = 0; i < 2 && memory->n >= memory->max; i++) {
                memory->evicted++;
                drop_oldest(memory);
        }
}

struct memory_record *memory_touch(struct memory *memory, struct grant_key key, uint64_t now_ms)
{
        struct memory_record **at = find(memory, key), *record = *at;

        if (record && is_old(record, now_ms)) {
                drop(memory, at);
                record = NULL;
        }
        if (!record) {
                record = malloc(sizeof(*record) + key.size);
                if (!record)
                        return NULL;
                make_room(memory, now_ms);
                at = &memory->buckets[key.hash & memory->mask];
                *record = (struct memory_record){
                        .next = *at, .hash = key.hash, .key_size = (uint16_t)key.size};
                memcpy(record->key_bytes, key.bytes, key.size);
                list_init(&record->link);
                *at = record;
                memory->n++;
        }
        record->touched_at_ms = now_ms;
        list_unlink(&record->link);
        list_push_back(&memory->records, &record->link);
        return record;
}

void memory_forget(struct memory *memory, struct grant_key key)
{
        struct memory_record **at = find(memory, key);

        if (*at)
                drop(memory, at);
}
