/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Intrusive hash table that can grow while it is in use: chained buckets in the order of hashes,
 * each for as many of the 2^32 positions that a hash can have. A larger table has the same order,
 * so that whoever walks by positions sees what is there all the time exactly once, also where the
 * table grows meanwhile.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Behind the last position. */
#define TABLE_END (UINT64_C(1) << 32)

struct table_node {
        struct table_node *next; /* in its bucket */
        uint64_t hash;
};

struct table_buckets {
        struct table_node **first; /* owned; of each bucket, or NULL */
        unsigned int shift;        /* a bucket is for 2^shift positions */
};

struct table {
        struct table_buckets now;
        struct table_buckets before; /* of those that were not moved to `now` yet, while it grows */
        struct table_buckets next;   /* empty; asked for while it grew, and larger still */
        uint64_t n_moved;            /* positions; TABLE_END: it does not grow */
};

/* As many buckets as `n`, at most TABLE_END, are entries, or up to twice as many. 0 or -ENOMEM. */
int table_init(struct table *table, size_t n);

/* Nodes are their owners'. */
void table_deinit(struct table *table);

/* The same for more of them from now on, once table_step() has moved all; never fewer. 0 or
 * -ENOMEM, and nothing has changed. */
int table_grow(struct table *table, size_t n);

/* Goes on growing: moves what is in `n` buckets. */
void table_step(struct table *table, size_t n);

static inline bool table_is_growing(const struct table *table)
{
        return table->n_moved < TABLE_END;
}

static inline uint64_t table_position(uint64_t hash)
{
        return hash >> 32;
}

/* The bucket that is for this position, */
static inline struct table_node **table_bucket(const struct table *table, uint64_t position)
{
        const struct table_buckets *buckets = position < table->n_moved ? &table->now
                                                                        : &table->before;

        return &buckets->first[position >> buckets->shift];
}

/* and the position behind it. */
uint64_t table_bucket_end(const struct table *table, uint64_t position);

static inline void table_insert(struct table *table, struct table_node *node)
{
        struct table_node **bucket = table_bucket(table, table_position(node->hash));

        node->next = *bucket;
        *bucket = node;
}
