/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Tokens that the process keeps for a moment, so that a loop need not ask the daemon each time. The
 * daemon decides about freshness and rights, so a moment it is: a purge, or a right that was taken
 * away, has come through when it is over. Times are of the boot clock.
 */

#include <stdint.h>

#include "question.h"
#include "token-object.h"

#define KEPT_MAX_MS    60000 /* nobody keeps one longer */
#define KEPT_MARGIN_MS 30000 /* nobody keeps one that has less than this left */

struct kept_entry {
        unsigned char key[QUESTION_KEY_BYTES];
        struct egain_token *token; /* a reference; NULL: the entry is free */
        uint64_t until_ms;
};

struct kept {
        struct kept_entry *entries; /* sets of KEPT_WAYS */
        size_t capacity;
        size_t n;
        uint64_t evicted; /* gave way before their time */
        uint64_t swept_ms;
};

/* A key may be in KEPT_WAYS places; `capacity` is rounded down to a multiple of that. */
#define KEPT_WAYS 8

/* 0 or -ENOMEM. */
int kept_init(struct kept *kept, size_t capacity);
void kept_deinit(struct kept *kept);

/* Until when a token may be kept that is given out at `now_ms` and lives for another `left_ms`: at
 * most `keep_ms`, at most half of what is left, and never into the last KEPT_MARGIN_MS. Where that
 * is `now_ms`, not at all. */
uint64_t kept_until_ms(uint64_t now_ms, uint64_t left_ms, uint64_t keep_ms);

/* The token of this key, borrowed; NULL: there is none that may still be handed out. */
struct egain_token *kept_find(struct kept *kept, const unsigned char key[QUESTION_KEY_BYTES],
                              uint64_t now_ms);

/* Keeps the token, in the place of an earlier one of this key. Takes a reference of its own. */
void kept_put(struct kept *kept, const unsigned char key[QUESTION_KEY_BYTES],
              struct egain_token *token, uint64_t until_ms, uint64_t now_ms);

/* Drops what is kept for this key, if it is `token`. */
void kept_reject(struct kept *kept, const unsigned char key[QUESTION_KEY_BYTES],
                 const struct egain_token *token);

/* Drops what has had its time; at most once a second does it look. */
void kept_sweep(struct kept *kept, uint64_t now_ms);

void kept_clear(struct kept *kept);
