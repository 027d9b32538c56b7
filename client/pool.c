/* SPDX-License-Identifier: MIT */

/* The slots that a process has from its parent stay linked, so that what is in them is not lost. */

#include "pool.h"

#include <errno.h>
#include <stdlib.h>

#define SWEEP_MS 1000

struct pool_slots {
        struct pool_slots *inherited; /* owned */
        struct pool_slot slot[];
};

static struct pool_slots *new_slots(size_t capacity)
{
        return calloc(1, sizeof(struct pool_slots) + capacity * sizeof(struct pool_slot));
}

int pool_init(struct pool *pool, size_t capacity)
{
        *pool = (struct pool){.slots = new_slots(capacity), .capacity = capacity};
        return pool->slots ? 0 : -ENOMEM;
}

void pool_deinit(struct pool *pool)
{
        struct pool_slots *slots = pool->slots;

        if (!slots)
                return;
        for (size_t i = 0; i < pool->capacity; i++)
                broker_http_free(slots->slot[i].http);
        while (slots) {
                struct pool_slots *inherited = slots->inherited;

                free(slots);
                slots = inherited;
        }
        *pool = (struct pool){};
}

int pool_take(struct pool *pool, const struct broker_address *address, struct broker_http **ret)
{
        struct pool_slot *slot, *empty = NULL;

        for (size_t i = 0; i < pool->capacity; i++) {
                slot = &pool->slots->slot[i];
                if (slot->http && !slot->busy) {
                        slot->busy = true;
                        *ret = slot->http;
                        return 0;
                }
                if (!slot->http && !empty)
                        empty = slot;
        }
        if (!empty)
                return pool->capacity == 0 ? -ENOMEM : POOL_E_FULL;
        if (broker_http_new_at(&empty->http, address) != 0)
                return -ENOMEM;
        empty->busy = true;
        *ret = empty->http;
        return 0;
}

void pool_give(struct pool *pool, struct broker_http *http, uint64_t now_ms)
{
        for (size_t i = 0; i < pool->capacity; i++) {
                struct pool_slot *slot = &pool->slots->slot[i];

                if (slot->http == http) {
                        slot->busy = false;
                        slot->used_ms = now_ms;
                        return;
                }
        }
}

void pool_sweep(struct pool *pool, uint64_t now_ms)
{
        if (now_ms - pool->swept_ms < SWEEP_MS)
                return;
        pool->swept_ms = now_ms;
        for (size_t i = 0; i < pool->capacity; i++) {
                struct pool_slot *slot = &pool->slots->slot[i];

                if (slot->http && !slot->busy && now_ms - slot->used_ms >= POOL_IDLE_MS) {
                        broker_http_free(slot->http);
                        *slot = (struct pool_slot){};
                }
        }
}

void pool_abandon(struct pool *pool)
{
        struct pool_slots *slots = new_slots(pool->capacity);

        for (size_t i = 0; i < pool->capacity; i++) {
                struct pool_slot *slot = &pool->slots->slot[i];

                if (slot->http && slot->busy) {
                        broker_http_abandon(slot->http);
                } else if (slot->http) {
                        broker_http_free(slot->http);
                        *slot = (struct pool_slot){};
                }
        }
        if (!slots) {
                pool->capacity = 0;
                return;
        }
        slots->inherited = pool->slots;
        pool->slots = slots;
}
