/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Connections to the daemon, as many as threads ask at once, up to a cap; who comes when all are in
 * use waits. Whoever calls holds the lock that guards all of it. Times are of the monotonic clock.
 */

#include <stdbool.h>

#include "broker-http.h"

#define POOL_IDLE_MS 30000 /* a connection that was idle for so long is closed */

struct pool_slot {
        struct broker_http *http; /* NULL: not made yet */
        bool busy;
        uint64_t used_ms; /* when it was given back */
};

struct pool_slots;

struct pool {
        struct pool_slots *slots; /* owned */
        size_t capacity;
        uint64_t swept_ms;
};

enum {
        POOL_E_FULL = 1, /* all are in use */
};

/* 0 or -ENOMEM. */
int pool_init(struct pool *pool, size_t capacity);

/* None may be in use. Takes one that is all zeros. */
void pool_deinit(struct pool *pool);

/* One that nobody else has, to be given to pool_give(). `address` is where new ones go. 0, -ENOMEM
 * or POOL_E_FULL. */
int pool_take(struct pool *pool, const struct broker_address *address, struct broker_http **ret);
void pool_give(struct pool *pool, struct broker_http *http, uint64_t now_ms);

/* Closes those that have been idle for long; at most once a second does it look. */
void pool_sweep(struct pool *pool, uint64_t now_ms);

/*
 * In a child after fork(2): what the parent has is closed here and never used, the parent's stays.
 * What other threads were using may be in any state, and is left where it is. If there is no
 * memory, nothing can be taken any more.
 */
void pool_abandon(struct pool *pool);
