/* SPDX-License-Identifier: MIT */

/*
 * Open, half-open and held are one state machine: what differs is only how long it stays open. A
 * request that began before the breaker opened may still end while it is open or half-open. A
 * failure then changes nothing, since the issuer is known to be down: half-open, only the probe's
 * own counts. A success is good news whoever brings it, but it does not shorten a hold: an issuer
 * that throttles accepts some requests and turns others away, and its answers come in any order.
 */

#include "breaker.h"

#include <limits.h>

enum breaker_state breaker_state(struct breaker *breaker, uint64_t now_ms)
{
        if (breaker->state == BREAKER_OPEN && now_ms >= breaker->open.until_ms) {
                breaker->state = BREAKER_HALF_OPEN;
                breaker->probing = false;
        }
        return breaker->state;
}

bool breaker_may_start(struct breaker *breaker, uint64_t now_ms)
{
        switch (breaker_state(breaker, now_ms)) {
        case BREAKER_CLOSED: return true;
        case BREAKER_HALF_OPEN: return !breaker->probing;
        default: return false;
        }
}

void breaker_started(struct breaker *breaker, uint64_t key_hash)
{
        if (breaker->state != BREAKER_HALF_OPEN)
                return;
        breaker->probing = true;
        breaker->probe_key = key_hash;
}

void breaker_succeeded(struct breaker *breaker, uint64_t now_ms)
{
        breaker->last_success_at_ms = now_ms;
        breaker->failures = 0;
        breaker->n_keys = 0;
        if (breaker_state(breaker, now_ms) == BREAKER_OPEN && breaker->held)
                return;
        breaker->state = BREAKER_CLOSED;
        breaker->held = false;
        breaker->probing = false;
        backoff_reset(&breaker->open);
        backoff_reset(&breaker->hold);
}

static void count_key(struct breaker *breaker, uint64_t key_hash)
{
        for (unsigned int i = 0; i < breaker->n_keys; i++)
                if (breaker->keys[i] == key_hash)
                        return;
        if (breaker->n_keys < BREAKER_KEYS)
                breaker->keys[breaker->n_keys++] = key_hash;
}

static void open_for_failure(struct breaker *breaker, uint64_t now_ms)
{
        breaker->state = BREAKER_OPEN;
        breaker->held = false;
        breaker->probing = false;
        breaker->opened++;
        backoff_extend(&breaker->open, BREAKER_FIRST_MS, BREAKER_MAX_MS, now_ms);
}

static bool is_probe(const struct breaker *breaker, uint64_t key_hash)
{
        return breaker->state == BREAKER_HALF_OPEN && breaker->probing &&
               breaker->probe_key == key_hash;
}

static bool is_too_much(const struct breaker *breaker, bool reached)
{
        return breaker->state == BREAKER_CLOSED && breaker->failures >= BREAKER_FAILURES &&
               (breaker->n_keys >= BREAKER_KEYS || !reached);
}

void breaker_failed(struct breaker *breaker, uint64_t key_hash, enum reason reason, bool reached,
                    uint64_t now_ms)
{
        breaker->last_failure = reason;
        breaker->last_failure_at_ms = now_ms;
        if (breaker->failures == 0)
                breaker->failing_since_ms = now_ms;
        if (breaker->failures < UINT_MAX)
                breaker->failures++;
        count_key(breaker, key_hash);

        if (is_probe(breaker, key_hash) || is_too_much(breaker, reached))
                open_for_failure(breaker, now_ms);
}

void breaker_held(struct breaker *breaker, uint64_t hold_ms, uint64_t now_ms)
{
        uint64_t until_ms;

        breaker->last_failure = REASON_ISSUER_THROTTLES;
        breaker->last_failure_at_ms = now_ms;
        if (hold_ms > 0) {
                until_ms = now_ms + hold_ms;
        } else if (backoff_holds(&breaker->hold, now_ms)) {
                until_ms = breaker->hold.until_ms; /* one of several that were sent together */
        } else {
                backoff_extend(&breaker->hold, BREAKER_HOLD_FIRST_MS, BREAKER_HOLD_MAX_MS, now_ms);
                until_ms = breaker->hold.until_ms;
        }
        if (breaker->state == BREAKER_OPEN && breaker->open.until_ms >= until_ms)
                return;
        if (breaker->state != BREAKER_OPEN || !breaker->held)
                breaker->holds++;
        breaker->state = BREAKER_OPEN;
        breaker->held = true;
        breaker->probing = false;
        breaker->open.until_ms = until_ms;
}

void breaker_hold_again(struct breaker *breaker, uint64_t until_ms, uint32_t step_ms,
                        uint64_t now_ms)
{
        breaker_held(breaker, until_ms - now_ms, now_ms);
        breaker->hold = (struct backoff){.until_ms = until_ms, .step_ms = step_ms};
}

void breaker_dropped(struct breaker *breaker)
{
        breaker->probing = false;
}

uint64_t breaker_next_ms(const struct breaker *breaker)
{
        return breaker->state == BREAKER_OPEN ? breaker->open.until_ms : UINT64_MAX;
}

uint64_t breaker_left_ms(struct breaker *breaker, uint64_t now_ms)
{
        return breaker_state(breaker, now_ms) == BREAKER_OPEN
                       ? backoff_left_ms(&breaker->open, now_ms)
                       : 0;
}
