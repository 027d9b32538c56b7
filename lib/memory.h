/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * What is remembered of a grant that brought no token: that the issuer refused it, that fetching it
 * failed, that callers rejected what came. A table of its own, bounded, so that a walk through
 * unknown subjects pushes out other such memories, and never a token.
 */

#include <stddef.h>
#include <stdint.h>

#include "backoff.h"
#include "grant.h"
#include "list.h"
#include "reason.h"
#include "table.h"

/* A refusal: 10 s, doubling to 60 s. */
#define MEMORY_REFUSAL_FIRST_MS 10000
#define MEMORY_REFUSAL_MAX_MS   60000
/* A failure against callers who have no token: 1 s, doubling to 30 s. */
#define MEMORY_MISS_FIRST_MS 1000
#define MEMORY_MISS_MAX_MS   30000
/* A failure against refreshes: 5 s, doubling to 60 s. */
#define MEMORY_REFRESH_FIRST_MS 5000
#define MEMORY_REFRESH_MAX_MS   60000
/* Rejections: at most one fetch in 5 s, doubling to 60 s. */
#define MEMORY_REJECTION_FIRST_MS 5000
#define MEMORY_REJECTION_MAX_MS   60000

/* Nothing is remembered for longer after the last time something happened. */
#define MEMORY_KEEP_MS 120000

struct memory_record {
        struct table_node node; /* memory::table */
        struct list link;       /* memory::records */
        uint64_t touched_at_ms;
        enum reason reason;       /* of the last refusal or failure */
        struct backoff refusal;   /* callers get the refusal until then */
        struct backoff miss;      /* callers get the failure until then */
        struct backoff refresh;   /* no refresh begins until then */
        struct backoff rejection; /* no fetch for a rejected token until then; from the sending */
        uint16_t key_size;
        uint8_t key_bytes[];
};

struct memory {
        struct table table;
        struct list records; /* the one touched longest ago first */
        size_t n;
        size_t max;
        uint64_t evicted; /* pushed out at the limit */
};

/* 0 or -ENOMEM. */
int memory_init(struct memory *memory, size_t max);

/* Gets ready for so many: the table grows by table_step(). 0 or -ENOMEM. */
int memory_reserve(struct memory *memory, size_t max);

/* Another cap from now on; what is too much goes one by one as records come. */
void memory_set_limit(struct memory *memory, size_t max);
void memory_deinit(struct memory *memory);

/* What is remembered of the grant, or NULL. Borrowed until the next call. */
struct memory_record *memory_find(struct memory *memory, struct grant_key key, uint64_t now_ms);

/* The same, making a record where there is none; it counts as touched. NULL: memory is out. */
struct memory_record *memory_touch(struct memory *memory, struct grant_key key, uint64_t now_ms);

void memory_forget(struct memory *memory, struct grant_key key);

/* The record of a node, of which there is one. For a walk through memory::table. */
static inline struct memory_record *memory_record_of(struct table_node *node)
{
        return list_entry(node, struct memory_record, node);
}

/* The key of a record; borrows from it. */
struct grant_key memory_record_key(const struct memory_record *record);
