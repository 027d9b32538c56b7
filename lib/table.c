/* SPDX-License-Identifier: MIT */

/*
 * A position is the upper half of a hash, and a bucket's number the upper part of that. Hashes are
 * keyed, so that nobody outside can choose who shares a bucket.
 *
 * A table that grows has two arrays, and what was moved is below a position: one comparison tells
 * in which of them a node is. Address space for an array is taken at once, memory only as buckets
 * are used.
 */

#include "table.h"

#include <assert.h>
#include <stdlib.h>

#include "error.h"

static int new_buckets(struct table_buckets *ret, unsigned int shift)
{
        struct table_node **first = calloc(TABLE_END >> shift, sizeof(struct table_node *));

        if (!first)
                return error_trace(-ENOMEM);
        *ret = (struct table_buckets){.first = first, .shift = shift};
        return 0;
}

static unsigned int shift_for(size_t n)
{
        unsigned int shift = 32;

        assert(n <= TABLE_END);
        while (TABLE_END >> shift < n)
                shift--;
        return shift;
}

int table_init(struct table *table, size_t n)
{
        *table = (struct table){.n_moved = TABLE_END};
        return error_trace(new_buckets(&table->now, shift_for(n)));
}

void table_deinit(struct table *table)
{
        free(table->now.first);
        free(table->before.first);
        free(table->next.first);
        *table = (struct table){};
}

static void begin(struct table *table)
{
        table->before = table->now;
        table->now = table->next;
        table->next = (struct table_buckets){};
        table->n_moved = 0;
}

int table_grow(struct table *table, size_t n)
{
        const struct table_buckets *last = table->next.first ? &table->next : &table->now;
        const unsigned int shift = shift_for(n);
        struct table_buckets larger;
        int r;

        if (shift >= last->shift)
                return 0;
        r = new_buckets(&larger, shift);
        if (r)
                return error_trace(r);
        free(table->next.first);
        table->next = larger;
        if (!table_is_growing(table))
                begin(table);
        return 0;
}

static void move_bucket(struct table *table)
{
        struct table_node *node = *table_bucket(table, table->n_moved), *next;

        table->n_moved = table_bucket_end(table, table->n_moved);
        for (; node; node = next) {
                next = node->next;
                table_insert(table, node);
        }
}

void table_step(struct table *table, size_t n)
{
        for (; n > 0 && table_is_growing(table); n--) {
                move_bucket(table);
                if (table_is_growing(table))
                        continue;
                free(table->before.first);
                table->before = (struct table_buckets){};
                if (table->next.first)
                        begin(table);
        }
}

uint64_t table_bucket_end(const struct table *table, uint64_t position)
{
        const struct table_buckets *buckets = position < table->n_moved ? &table->now
                                                                        : &table->before;

        return ((position >> buckets->shift) + 1) << buckets->shift;
}
