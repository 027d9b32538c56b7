/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * What ought to happen, written down a second time and as plainly as it goes: two keys, a cache of
 * one entry, one place at the issuer, hardly any room to wait. The tests compare the broker with it
 * after every event.
 */

#include <stdbool.h>
#include <stdint.h>

#include "world.h"

#define MODEL_KEYS                   2
#define MODEL_CALLERS_MAX            64
#define MODEL_LIFETIME_S             UINT64_C(60)
#define MODEL_MAX_WAITERS            3
#define MODEL_MAX_WAITERS_PER_FLIGHT 2

struct model_caller {
        bool waits;
        int key;
        uint64_t deadline_ms;
        enum reason reason; /* once it waits no longer */
        uint64_t serial;
};

struct model_key {
        bool in_flight, running;
        uint64_t asked; /* which flight is older */
        uint64_t sent_at_ms;
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
        uint64_t cached_sent_at_ms, cached_ends_at_ms;
        uint64_t serial; /* of the last token minted */
};

/* The limits that the model has. */
void model_settings(struct settings *settings);

void model_ask(struct model *model, int key, uint64_t min_ttl_s, uint64_t now_ms);

/* The key whose fetch is under way, or -1. */
int model_running(const struct model *model);

void model_finish(struct model *model, enum ending ending, uint64_t now_ms);

/* Deadlines up to `now_ms` pass, each when it comes, or (asleep) all of them now. */
void model_pass(struct model *model, bool asleep, uint64_t now_ms);

void model_abort(struct model *model);
