/* SPDX-License-Identifier: MIT */
#pragma once

/* Chance from a seed: the same seed, the same throws. */

#include <stdbool.h>
#include <stdint.h>

struct dice {
        uint64_t state; /* not 0 */
};

/* Seeds that differ in a bit give throws that have nothing in common. */
static inline struct dice dice_of(uint64_t seed)
{
        seed = (seed ^ seed >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
        seed = (seed ^ seed >> 27) * UINT64_C(0x94d049bb133111eb);
        seed ^= seed >> 31;
        return (struct dice){.state = seed ? seed : 1};
}

static inline uint64_t dice_bits(struct dice *dice)
{
        dice->state ^= dice->state << 13;
        dice->state ^= dice->state >> 7;
        dice->state ^= dice->state << 17;
        return dice->state * UINT64_C(0x2545f4914f6cdd1d);
}

/* 0 to n − 1; n is not 0. */
static inline uint32_t dice_below(struct dice *dice, uint32_t n)
{
        return (uint32_t)((dice_bits(dice) >> 32) * n >> 32);
}

static inline bool dice_one_in(struct dice *dice, uint32_t n)
{
        return dice_below(dice, n) == 0;
}
