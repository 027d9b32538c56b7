/* SPDX-License-Identifier: MIT */

/*
 * The slots hold the times, so that sifting touches the heap alone and a timer only when it moves.
 * calloc() of a large array costs address space, not memory, until timers are there.
 */

#include "timerheap.h"

#include <assert.h>
#include <stdlib.h>

#include "error.h"

int timerheap_init(struct timerheap *heap, uint32_t capacity)
{
        *heap = (struct timerheap){.capacity = capacity};
        heap->slots = calloc((size_t)capacity + 1, sizeof(*heap->slots));
        if (!heap->slots)
                return error_trace(-ENOMEM);
        return 0;
}

int timerheap_grow(struct timerheap *heap, uint32_t capacity)
{
        struct timerheap_slot *slots;

        if (capacity <= heap->capacity)
                return 0;
        slots = reallocarray(heap->slots, (size_t)capacity + 1, sizeof(*slots));
        if (!slots)
                return error_trace(-ENOMEM);
        heap->slots = slots;
        heap->capacity = capacity;
        return 0;
}

void timerheap_deinit(struct timerheap *heap)
{
        free(heap->slots);
        *heap = (struct timerheap){};
}

static void place(struct timerheap *heap, uint32_t position, struct timerheap_slot slot)
{
        heap->slots[position] = slot;
        slot.timer->position = position;
}

static void sift_up(struct timerheap *heap, uint32_t position, struct timerheap_slot slot)
{
        while (position > 1 && heap->slots[position / 2].at_ms > slot.at_ms) {
                place(heap, position, heap->slots[position / 2]);
                position /= 2;
        }
        place(heap, position, slot);
}

static void sift_down(struct timerheap *heap, uint32_t position, struct timerheap_slot slot)
{
        uint32_t child;

        while ((child = position * 2) <= heap->n) {
                if (child < heap->n && heap->slots[child + 1].at_ms < heap->slots[child].at_ms)
                        child++;
                if (heap->slots[child].at_ms >= slot.at_ms)
                        break;
                place(heap, position, heap->slots[child]);
                position = child;
        }
        place(heap, position, slot);
}

/* Puts `slot` where it belongs, given that `position` is free and all else is in order. */
static void settle(struct timerheap *heap, uint32_t position, struct timerheap_slot slot)
{
        if (position > 1 && heap->slots[position / 2].at_ms > slot.at_ms)
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
        assert(heap->slots[position].timer == timer);

        timer->position = 0;
        last = heap->slots[heap->n--];
        if (last.timer != timer)
                settle(heap, position, last);
}

uint64_t timerheap_at_ms(const struct timerheap *heap, const struct timer *timer)
{
        assert(heap->slots[timer->position].timer == timer);
        return heap->slots[timer->position].at_ms;
}

uint64_t timerheap_next_ms(const struct timerheap *heap)
{
        return heap->n ? heap->slots[1].at_ms : TIMERHEAP_NEVER;
}

struct timer *timerheap_pop(struct timerheap *heap, uint64_t now_ms)
{
        struct timer *timer;

        if (timerheap_next_ms(heap) > now_ms || !heap->n)
                return NULL;
        timer = heap->slots[1].timer;
        timerheap_cancel(heap, timer);
        return timer;
}
