/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * What ought to happen, written down a second time and as plainly as it goes: two keys, a cache of
 * one entry, one place at the issuer, hardly any room to wait. The tests compare the broker with it
 * after every event. What it leaves out is a failure that is tried again, since the pause before
 * that is random; the breaker and holds, for which two keys are too few; and secrets.
 */

#include <stdbool.h>
#include <stdint.h>

#include "world.h"

#define MODEL_KEYS                   2
#define MODEL_CALLERS_MAX            64
#define MODEL_LIFETIME_MS            (60 * SECONDS)
#define MODEL_MAX_WAITERS            3
#define MODEL_MAX_WAITERS_PER_FLIGHT 2

/* With this time for a fetch there is no room to spread refreshes: they begin at half of the life.
 */
#define MODEL_UPSTREAM_TIMEOUT_MS (25 * SECONDS)

struct model_caller {
        bool waits;
        int key;
        bool has_fallback;
        uint64_t deadline_ms, gives_up_at_ms;
        enum reason reason; /* once it waits no longer */
        uint64_t serial;
};

struct model_step {
        uint64_t until_ms, step_ms;
};

struct model_key {
        /* its flight */
        bool in_flight, running, refresh, had_waiter, for_rejected;
        uint64_t asked; /* which flight is older */
        uint64_t sent_at_ms;
        /* its memory */
        bool remembered;
        uint64_t touched_at_ms;
        enum reason reason;
        struct model_step refusal, miss, refreshing, rejection;
};

struct model {
        struct model_caller callers[MODEL_CALLERS_MAX];
        size_t n_callers;
        struct model_key keys[MODEL_KEYS];
        uint64_t n_asked;
        bool draining;
        /* the cache: one token */
        int cached_key;
        uint64_t cached_serial; /* 0: empty */
        uint64_t cached_sent_at_ms, cached_ends_at_ms, cached_timer_ms;
        bool cached_used, cached_rejected;
        uint64_t serial; /* of the last token minted */
};

/* The limits that the model has. */
void model_settings(struct settings *settings);

/* `rejects`: the caller reports the token that is cached for the key. */
void model_ask(struct model *model, int key, uint64_t min_ttl_ms, bool rejects, uint64_t now_ms);

/* The key whose fetch is under way, or -1. */
int model_running(const struct model *model);

/* Whether the token of the fetch under way would be dead on arrival, which is a failure that is
 * tried again. */
bool model_is_too_late(const struct model *model, uint64_t now_ms);

void model_finish(struct model *model, enum ending ending, uint64_t now_ms);

/* What comes due up to `until_ms` is done when it comes, but not before `from_ms`. */
void model_pass(struct model *model, uint64_t from_ms, uint64_t until_ms);

/* No flight begins any more, and refreshes that queue are dropped. */
void model_drain(struct model *model);

void model_abort(struct model *model, uint64_t now_ms);
