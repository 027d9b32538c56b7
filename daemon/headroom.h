/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Memory for a heap that grows, got ready before it is touched: what a small one grows by at once,
 * and what a large one grows by in a thread of its own, in huge pages where there are some.
 */

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What a small heap may grow by at once for it to be got ready. */
#define HEADROOM_SMALL_STEP_BYTES ((size_t)512 * 1024)

/* A heap smaller than this grows as malloc() has it. */
#define HEADROOM_FROM_BYTES ((size_t)64 * 1024 * 1024)

/* By how much a larger one grows, which is also what is ready and not yet used, at most. */
#define HEADROOM_STEP_BYTES ((size_t)16 * 1024 * 1024)

#define HEADROOM_PAGE_BYTES ((size_t)2 * 1024 * 1024)

struct headroom {
        uintptr_t begin; /* the first whole page behind the heap of the start */
        uintptr_t end;   /* as it was at the last tick */
        bool started;    /* or tried to: the thread is there if there is work for it */
        bool running;
        pthread_t thread;
        pthread_mutex_t lock; /* guards all below */
        pthread_cond_t work;  /* the thread waits on it */
        uintptr_t from;       /* what is to be got ready, whole pages; empty: nothing is */
        uintptr_t to;
        uint64_t ready_bytes; /* so many were, in all */
        bool stopping;
};

/* Begins to watch the heap. */
void headroom_init(struct headroom *headroom);

/* Ends the thread. Takes one that is all zeros. */
void headroom_deinit(struct headroom *headroom);

/* Has the heap looked at; to be called once in a turn. */
void headroom_tick(struct headroom *headroom);

/* How much the thread has got ready so far. */
uint64_t headroom_ready_bytes(struct headroom *headroom);
