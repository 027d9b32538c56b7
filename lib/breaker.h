/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * The health of one token URL: a circuit breaker that failures open, and a hold that the issuer
 * asks for. Both end half-open, with a single probe whose outcome decides. A refusal of a subject
 * is a sign of health.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "backoff.h"
#include "reason.h"

#define BREAKER_FAILURES      5 /* in a row open it … */
#define BREAKER_KEYS          3 /* … over so many distinct keys, or none at all was reached */
#define BREAKER_FIRST_MS      1000
#define BREAKER_MAX_MS        60000
#define BREAKER_HOLD_FIRST_MS 1000
#define BREAKER_HOLD_MAX_MS   60000

enum breaker_state {
        BREAKER_CLOSED,
        BREAKER_OPEN, /* nothing may start until `until_ms` */
        BREAKER_HALF_OPEN,
};

struct breaker {
        enum breaker_state state;
        bool held;          /* open because the issuer asked for it */
        bool probing;       /* half-open: the one probe is under way … */
        uint64_t probe_key; /* … for the key with this hash */
        struct backoff open;
        struct backoff hold;
        unsigned int failures; /* in a row */
        uint64_t keys[BREAKER_KEYS];
        unsigned int n_keys;
        /* for whoever wants to know */
        enum reason last_failure;
        uint64_t last_failure_at_ms; /* 0: never, here and below */
        uint64_t last_success_at_ms;
        uint64_t failing_since_ms; /* the first of the failures in a row */
        uint64_t opened;           /* counters */
        uint64_t holds;
};

/* Whether anything may start, in the light of the time: closed, or half-open without a probe. */
bool breaker_may_start(struct breaker *breaker, uint64_t now_ms);

/* The state in the light of the time. */
enum breaker_state breaker_state(struct breaker *breaker, uint64_t now_ms);

/* A request begins, for the key with this hash; half-open, it is the probe. */
void breaker_started(struct breaker *breaker, uint64_t key_hash);

/* How one ended: the issuer is well (a token, or a refusal that shows as much); … */
void breaker_succeeded(struct breaker *breaker, uint64_t now_ms);

/* … it failed, for the key with this hash (`reached`: at least a connection was made); … */
void breaker_failed(struct breaker *breaker, uint64_t key_hash, enum reason reason, bool reached,
                    uint64_t now_ms);

/* … it asks for fewer requests, for `hold_ms` (0: it did not say for how long); … */
void breaker_held(struct breaker *breaker, uint64_t hold_ms, uint64_t now_ms);

/* Puts back a hold of before a restart that is not over, with the last step that was our own. */
void breaker_hold_again(struct breaker *breaker, uint64_t until_ms, uint32_t step_ms,
                        uint64_t now_ms);

/* … or it says nothing about the issuer, and if it was the probe its place is free again. */
void breaker_dropped(struct breaker *breaker);

/* When an open one becomes half-open; UINT64_MAX if it is not open. */
uint64_t breaker_next_ms(const struct breaker *breaker);

/* How long until it may be worth to ask again; 0: now. */
uint64_t breaker_left_ms(struct breaker *breaker, uint64_t now_ms);
