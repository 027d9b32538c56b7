/* SPDX-License-Identifier: MIT */

/*
 * The slots hold the times, so that sifting touches the heap alone and a timer only when it moves.
 * They are in segments, so that a heap of millions gets more room without being copied: the first
 * alone is, as long as there is no other. Room costs address space, not memory, until timers are
 * there.
 */

#include "timerheap.h"

#include <assert.h>
#include <stdlib.h>

#include "error.h"

int timerheap_init(struct timerheap *heap, uint32_t capacity)
{
        int r;

        *heap = (struct timerheap){};
        r = timerheap_grow(heap, capacity);
        if (r)
                timerheap_deinit(heap);
        return error_trace(r);
}

/* The first segment, which alone may be a short one. */
static int grow_first(struct timerheap *heap, uint32_t n_slots)
{
        struct timerheap_slot *slots = heap->n_segments ? heap->segments[0] : NULL;

        slots = reallocarray(slots, n_slots, sizeof(*slots));
        if (!slots)
                return error_trace(-ENOMEM);
        heap->segments[0] = slots;
        heap->n_segments = 1;
        return 0;
}

/* What was got before memory ran out stays, for the next time. */
int timerheap_grow(struct timerheap *heap, uint32_t capacity)
{
        const uint32_t n_segments = capacity / TIMERHEAP_SEGMENT_SLOTS + 1;
        struct timerheap_slot **segments;
        int r = 0;

        if (capacity <= heap->capacity)
                return 0;
        segments = reallocarray(heap->segments, n_segments, sizeof(struct timerheap_slot *));
        if (!segments)
                return error_trace(-ENOMEM);
        heap->segments = segments;
        if (heap->n_segments <= 1)
                r = grow_first(heap, n_segments > 1 ? TIMERHEAP_SEGMENT_SLOTS : capacity + 1);
        if (r)
                return error_trace(r);
        for (; heap->n_segments < n_segments; heap->n_segments++) {
                segments[heap->n_segments] = calloc(TIMERHEAP_SEGMENT_SLOTS, sizeof(**segments));
                if (!segments[heap->n_segments])
                        return error_trace(-ENOMEM);
        }
        heap->capacity = capacity;
        return 0;
}

void timerheap_deinit(struct timerheap *heap)
{
        for (uint32_t i = 0; i < heap->n_segments; i++)
                free(heap->segments[i]);
        free(heap->segments);
        *heap = (struct timerheap){};
}

static void place(struct timerheap *heap, uint32_t position, struct timerheap_slot slot)
{
        *timerheap_slot(heap, position) = slot;
        slot.timer->position = position;
}

static void sift_up(struct timerheap *heap, uint32_t position, struct timerheap_slot slot)
{
        while (position > 1 && timerheap_slot(heap, position / 2)->at_ms > slot.at_ms) {
                place(heap, position, *timerheap_slot(heap, position / 2));
                position /= 2;
        }
        place(heap, position, slot);
}

static void sift_down(struct timerheap *heap, uint32_t position, struct timerheap_slot slot)
{
        uint32_t child;

        while ((child = position * 2) <= heap->n) {
                if (child < heap->n &&
                    timerheap_slot(heap, child + 1)->at_ms < timerheap_slot(heap, child)->at_ms)
                        child++;
                if (timerheap_slot(heap, child)->at_ms >= slot.at_ms)
                        break;
                place(heap, position, *timerheap_slot(heap, child));
                position = child;
        }
        place(heap, position, slot);
}

/* Puts `slot` where it belongs, given that `position` is free and all else is in order. */
static void settle(struct timerheap *heap, uint32_t position, struct timerheap_slot slot)
{
        if (position > 1 && timerheap_slot(heap, position / 2)->at_ms > slot.at_ms)
                sift_up(heap, position, slot);
        else
                sift_down(heap, position, slot);
}

int timerheap_set(struct timerheap *heap, struct timer *timer, uint64_t at_ms)
{
        struct timerheap_slot slot = {.at_ms = at_ms, .timer = timer};

        if (timer_is_set(timer)) {
                settle(heap, timer->position, slot);
                return 0;
        }
        if (heap->n == heap->capacity)
                return TIMERHEAP_E_FULL;
        sift_up(heap, ++heap->n, slot);
        return 0;
}

void timerheap_cancel(struct timerheap *heap, struct timer *timer)
{
        uint32_t position = timer->position;
        struct timerheap_slot last;

        if (!timer_is_set(timer))
                return;
        assert(timerheap_slot(heap, position)->timer == timer);

        timer->position = 0;
        last = *timerheap_slot(heap, heap->n--);
        if (last.timer != timer)
                settle(heap, position, last);
}

uint64_t timerheap_at_ms(const struct timerheap *heap, const struct timer *timer)
{
        assert(timerheap_slot(heap, timer->position)->timer == timer);
        return timerheap_slot(heap, timer->position)->at_ms;
}

uint64_t timerheap_next_ms(const struct timerheap *heap)
{
        return heap->n ? timerheap_slot(heap, 1)->at_ms : TIMERHEAP_NEVER;
}

struct timer *timerheap_pop(struct timerheap *heap, uint64_t now_ms)
{
        struct timer *timer;

        if (timerheap_next_ms(heap) > now_ms || !heap->n)
                return NULL;
        timer = timerheap_slot(heap, 1)->timer;
        timerheap_cancel(heap, timer);
        return timer;
}
