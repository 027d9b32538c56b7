/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * What comes due next: a binary heap of timers embedded in the things they belong to. Its room is
 * allocated before it is needed, so that no insertion ever copies the heap.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TIMERHEAP_NEVER UINT64_MAX

/* One megabyte. */
#define TIMERHEAP_SEGMENT_SLOTS 65536

struct timer {
        uint32_t position; /* in the heap, from 1; 0: not in a heap */
};

struct timerheap_slot {
        uint64_t at_ms;
        struct timer *timer;
};

struct timerheap {
        struct timerheap_slot **segments; /* of TIMERHEAP_SEGMENT_SLOTS each */
        uint32_t n_segments;
        uint32_t n;
        uint32_t capacity;
};

enum {
        TIMERHEAP_E_FULL = 1, /* `capacity` timers are in */
};

/* Room for `capacity` timers. 0 or -ENOMEM. */
int timerheap_init(struct timerheap *heap, uint32_t capacity);
void timerheap_deinit(struct timerheap *heap);

/* Makes room for at least so many. 0 or -ENOMEM, and nothing has changed. */
int timerheap_grow(struct timerheap *heap, uint32_t capacity);

/* Sets `timer`, or moves it where it is set already. 0 or TIMERHEAP_E_FULL. */
int timerheap_set(struct timerheap *heap, struct timer *timer, uint64_t at_ms);

/* Harmless for a timer that is not set. */
void timerheap_cancel(struct timerheap *heap, struct timer *timer);

/* When a timer that is set is due. */
uint64_t timerheap_at_ms(const struct timerheap *heap, const struct timer *timer);

/* When the earliest timer is due; TIMERHEAP_NEVER if there is none. */
uint64_t timerheap_next_ms(const struct timerheap *heap);

/* Takes out and returns the earliest timer if it is due at `now_ms`, else NULL. */
struct timer *timerheap_pop(struct timerheap *heap, uint64_t now_ms);

/* By position, from 1, which is the earliest. */
static inline struct timerheap_slot *timerheap_slot(const struct timerheap *heap, uint32_t position)
{
        return &heap->segments[position / TIMERHEAP_SEGMENT_SLOTS]
                              [position % TIMERHEAP_SEGMENT_SLOTS];
}

static inline bool timer_is_set(const struct timer *timer)
{
        return timer->position != 0;
}
