/* SPDX-License-Identifier: MIT */

/*
 * A page that is touched for the first time is an interruption: the kernel finds one and clears it,
 * which on a virtual machine may take as long as the rest of a turn, and where a large page has to
 * be put together, a thousand times as long. As long as the heap is small, malloc() has it grow by
 * some thirty pages at a time, for all of which the kernel is entered once here.
 *
 * A cache of a million tokens has half a million pages, and each visit to one of them is slowed
 * down by the look-up of where it is. So malloc() takes large steps once the heap is large, and
 * what it took is got ready as huge pages, by a thread that nobody waits for. If the loop comes to
 * a page first, it is the loop that gets it, as ever.
 *
 * The thread touches nothing but the kernel's tables: what it asks for changes no byte of memory
 * and fails harmlessly where the heap has shrunk meanwhile. Where the kernel knows no huge pages,
 * small ones are got ready.
 *
 * A huge page that lies across the end of a step has been begun by the loop before all of it is
 * there. Its small pages are got ready, and the kernel's own thread may join them later.
 */

#include "headroom.h"

#include <malloc.h>
#include <sys/mman.h>
#include <unistd.h>

#include "thread.h"

static uintptr_t heap_end(void)
{
        return (uintptr_t)sbrk(0);
}

void headroom_init(struct headroom *headroom)
{
        const uintptr_t end = heap_end();

        *headroom = (struct headroom){
                .begin = (end + HEADROOM_PAGE_BYTES - 1) & ~(HEADROOM_PAGE_BYTES - 1),
                .end = end,
        };
}

/* A page at a time, since whoever wants to map something meanwhile waits for the end of one. How
 * many bytes are ready. */
static size_t get_ready(uintptr_t from, uintptr_t to)
{
        uintptr_t at = from;

        /* NOLINTBEGIN(performance-no-int-to-ptr): of memory that nobody points to yet */
        (void)madvise((void *)from, to - from, MADV_HUGEPAGE);
        while (at < to && madvise((void *)at, HEADROOM_PAGE_BYTES, MADV_POPULATE_WRITE) == 0)
                at += HEADROOM_PAGE_BYTES;
        /* NOLINTEND(performance-no-int-to-ptr) */
        return at - from;
}

static void *run(void *data)
{
        struct headroom *headroom = data;

        (void)pthread_mutex_lock(&headroom->lock);
        while (!headroom->stopping) {
                const uintptr_t from = headroom->from, to = headroom->to;
                size_t size;

                if (from >= to) {
                        (void)pthread_cond_wait(&headroom->work, &headroom->lock);
                        continue;
                }
                headroom->from = to;
                (void)pthread_mutex_unlock(&headroom->lock);
                size = get_ready(from, to);
                (void)pthread_mutex_lock(&headroom->lock);
                headroom->ready_bytes += size;
        }
        (void)pthread_mutex_unlock(&headroom->lock);
        return NULL;
}

/* Where it cannot be, all goes on as without. */
static void start(struct headroom *headroom)
{
        headroom->started = true;
        if (pthread_mutex_init(&headroom->lock, NULL))
                return;
        if (pthread_cond_init(&headroom->work, NULL)) {
                (void)pthread_mutex_destroy(&headroom->lock);
                return;
        }
        if (thread_start(&headroom->thread, run, headroom) < 0) {
                (void)pthread_cond_destroy(&headroom->work);
                (void)pthread_mutex_destroy(&headroom->lock);
                return;
        }
        headroom->running = true;
        (void)mallopt(M_TOP_PAD, (int)HEADROOM_STEP_BYTES);
}

/* The page that the heap ends in is not whole yet. */
static void hand_over(struct headroom *headroom, uintptr_t from, uintptr_t to)
{
        from &= ~(HEADROOM_PAGE_BYTES - 1);
        to &= ~(HEADROOM_PAGE_BYTES - 1);
        (void)pthread_mutex_lock(&headroom->lock);
        if (headroom->from >= headroom->to || headroom->to != from)
                headroom->from = from;
        headroom->to = to;
        (void)pthread_cond_signal(&headroom->work);
        (void)pthread_mutex_unlock(&headroom->lock);
}

/* A step of malloc()'s is used to its end; a larger one is a block that may never be. */
static void get_step_ready(uintptr_t from, uintptr_t to)
{
        const uintptr_t page = from & ~((uintptr_t)sysconf(_SC_PAGESIZE) - 1);

        if (to - from > HEADROOM_SMALL_STEP_BYTES)
                return;
        /* NOLINTNEXTLINE(performance-no-int-to-ptr): of memory that nobody points to yet */
        (void)madvise((void *)page, to - page, MADV_POPULATE_WRITE);
}

void headroom_tick(struct headroom *headroom)
{
        const uintptr_t to = heap_end();
        uintptr_t from = headroom->end;

        if (to == from)
                return;
        headroom->end = to;
        if (to < from)
                return;
        if (to < headroom->begin + HEADROOM_FROM_BYTES) {
                get_step_ready(from, to);
                return;
        }
        if (!headroom->started) {
                start(headroom);
                from = headroom->begin;
        }
        if (headroom->running)
                hand_over(headroom, from, to);
}

uint64_t headroom_ready_bytes(struct headroom *headroom)
{
        uint64_t bytes;

        if (!headroom->running)
                return 0;
        (void)pthread_mutex_lock(&headroom->lock);
        bytes = headroom->ready_bytes;
        (void)pthread_mutex_unlock(&headroom->lock);
        return bytes;
}

void headroom_deinit(struct headroom *headroom)
{
        if (!headroom->running)
                return;
        (void)pthread_mutex_lock(&headroom->lock);
        headroom->stopping = true;
        (void)pthread_cond_signal(&headroom->work);
        (void)pthread_mutex_unlock(&headroom->lock);
        (void)pthread_join(headroom->thread, NULL);
        (void)pthread_cond_destroy(&headroom->work);
        (void)pthread_mutex_destroy(&headroom->lock);
        headroom->running = false;
}
