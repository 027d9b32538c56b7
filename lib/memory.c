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
        assert(max > 0);
        *memory = (struct memory){.max = max};
        list_init(&memory->records);
        return error_trace(table_init(&memory->table, max));
}

struct grant_key memory_record_key(const struct memory_record *record)
{
        return (struct grant_key){
                .hash = record->node.hash, .size = record->key_size, .bytes = record->key_bytes};
}

static struct table_node **find(struct memory *memory, struct grant_key key)
{
        struct table_node **at = table_bucket(&memory->table, table_position(key.hash));

        while (*at && !grant_key_equal(memory_record_key(memory_record_of(*at)), key))
                at = &(*at)->next;
        return at;
}

static struct memory_record *find_record(struct memory *memory, struct grant_key key)
{
        struct table_node *node = *find(memory, key);

        return node ? memory_record_of(node) : NULL;
}

static void drop(struct memory *memory, struct table_node **at)
{
        struct memory_record *record = memory_record_of(*at);

        *at = record->node.next;
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

int memory_reserve(struct memory *memory, size_t max)
{
        return error_trace(table_grow(&memory->table, max));
}

void memory_set_limit(struct memory *memory, size_t max)
{
        memory->max = max;
}

void memory_deinit(struct memory *memory)
{
        if (!memory->table.now.first)
                return;
        while (memory->n > 0)
                drop_oldest(memory);
        table_deinit(&memory->table);
        *memory = (struct memory){};
}

struct memory_record *memory_find(struct memory *memory, struct grant_key key, uint64_t now_ms)
{
        struct memory_record *record = find_record(memory, key);

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
        struct memory_record *record = find_record(memory, key);

        if (record && is_old(record, now_ms)) {
                drop(memory, find(memory, key));
                record = NULL;
        }
        if (!record) {
                record = malloc(sizeof(*record) + key.size);
                if (!record)
                        return NULL;
                make_room(memory, now_ms);
                *record = (struct memory_record){.node = {.hash = key.hash},
                                                 .key_size = (uint16_t)key.size};
                memcpy(record->key_bytes, key.bytes, key.size);
                list_init(&record->link);
                table_insert(&memory->table, &record->node);
                memory->n++;
        }
        record->touched_at_ms = now_ms;
        list_unlink(&record->link);
        list_push_back(&memory->records, &record->link);
        return record;
}

void memory_forget(struct memory *memory, struct grant_key key)
{
        struct table_node **at = find(memory, key);

        if (*at)
                drop(memory, at);
}
