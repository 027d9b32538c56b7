/* SPDX-License-Identifier: MIT */

#include "model.h"

#include <assert.h>

void model_settings(struct settings *settings)
{
        settings->max_entries = 1;
        settings->max_flights = 2;
        settings->max_in_flight = 1;
        settings->max_waiters = MODEL_MAX_WAITERS;
        settings->max_waiters_per_flight = MODEL_MAX_WAITERS_PER_FLIGHT;
        settings->upstream_timeout_ms = MODEL_UPSTREAM_TIMEOUT_MS;
}

static uint64_t cached(const struct model *model, int key, uint64_t now_ms)
{
        if (model->cached_key != key || now_ms + 1000 > model->cached_ends_at_ms)
                return 0;
        return model->cached_serial;
}

static size_t count_waiters(const struct model *model, int key)
{
        size_t n = 0;

        for (size_t i = 0; i < model->n_callers; i++)
                n += model->callers[i].waits && (key < 0 || model->callers[i].key == key);
        return n;
}

static void answer(struct model_caller *caller, uint64_t serial, enum reason reason)
{
        caller->waits = false;
        caller->serial = serial;
        caller->reason = serial ? REASON_NONE : reason;
}

/* A new token for all, or (0) the old one for those who may have it and the reason for the rest. */
static void answer_all(struct model *model, int key, uint64_t serial, enum reason reason,
                       uint64_t now_ms)
{
        for (size_t i = 0; i < model->n_callers; i++) {
                struct model_caller *caller = &model->callers[i];
                uint64_t old;

                if (!caller->waits || caller->key != key)
                        continue;
                old = caller->has_fallback ? cached(model, key, now_ms) : 0;
                if (!serial && old)
                        model->cached_used = true;
                answer(caller, serial ? serial : old, reason);
        }
}

static bool holds(const struct model_key *key, const struct model_step *step, uint64_t now_ms)
{
        return key->remembered && now_ms - key->touched_at_ms < 2 * MINUTES &&
               now_ms < step->until_ms;
}

static void forget(struct model_key *key)
{
        key->remembered = false;
        key->refusal = key->miss = key->refreshing = key->rejection = (struct model_step){};
}

static void touch(struct model_key *key, uint64_t now_ms)
{
        if (key->remembered && now_ms - key->touched_at_ms >= 2 * MINUTES)
                forget(key);
        key->remembered = true;
        key->touched_at_ms = now_ms;
}

static void extend(struct model_step *step, uint64_t first_ms, uint64_t max_ms, uint64_t now_ms)
{
        step->step_ms = step->step_ms ? step->step_ms * 2 : first_ms;
        if (step->step_ms > max_ms)
                step->step_ms = max_ms;
        step->until_ms = now_ms + step->step_ms;
}

static void end_flight(struct model_key *key)
{
        key->in_flight = key->running = key->refresh = key->had_waiter = false;
        key->for_rejected = false;
}

static void begin_flight(struct model *model, int key, bool refresh)
{
        model->keys[key].in_flight = true;
        model->keys[key].refresh = refresh;
        model->keys[key].asked = model->n_asked++;
}

/* Callers' flights go first, the oldest before the others. */
static int next_to_start(const struct model *model)
{
        int next = -1;

        for (int i = 0; i < MODEL_KEYS; i++) {
                const struct model_key *key = &model->keys[i];
                const struct model_key *best = next < 0 ? NULL : &model->keys[next];

                if (!key->in_flight)
                        continue;
                if (!best || (best->refresh && !key->refresh) ||
                    (best->refresh == key->refresh && key->asked < best->asked))
                        next = i;
        }
        return next;
}

static void start(struct model *model, uint64_t now_ms)
{
        while (model_running(model) < 0) {
                const int next = next_to_start(model);

                if (next < 0)
                        return;
                if (model->keys[next].refresh && !cached(model, next, now_ms)) {
                        end_flight(&model->keys[next]); /* there is nothing left to renew */
                        continue;
                }
                model->keys[next].running = true;
                model->keys[next].sent_at_ms = now_ms;
        }
}

static void refresh(struct model *model, int key, uint64_t now_ms)
{
        struct model_key *k = &model->keys[key];

        if (model->draining || k->in_flight || holds(k, &k->refusal, now_ms) ||
            holds(k, &k->refreshing, now_ms))
                return;
        begin_flight(model, key, true);
        start(model, now_ms);
}

/* Why a caller may not wait. */
static enum reason refuse(const struct model *model, int key, bool stopgap, uint64_t now_ms)
{
        const struct model_key *k = &model->keys[key];

        if (holds(k, &k->refusal, now_ms))
                return k->reason;
        if (!k->in_flight) {
                if (cached(model, key, now_ms) && model->cached_rejected &&
                    holds(k, &k->rejection, now_ms))
                        return REASON_REJECTED_AGAIN;
                if (holds(k, stopgap ? &k->refreshing : &k->miss, now_ms))
                        return k->reason;
                if (model->draining)
                        return REASON_SHUTTING_DOWN;
        }
        if (count_waiters(model, -1) == MODEL_MAX_WAITERS)
                return REASON_WAITERS_FULL;
        if (count_waiters(model, key) == MODEL_MAX_WAITERS_PER_FLIGHT)
                return REASON_FLIGHT_FULL;
        return REASON_NONE; /* there is room for a flight for each key */
}

static void wait(struct model *model, struct model_caller *caller, bool stopgap, uint64_t now_ms)
{
        struct model_key *key = &model->keys[caller->key];
        const uint64_t last_ms = model->cached_ends_at_ms - 1100;

        caller->waits = true;
        caller->gives_up_at_ms = caller->deadline_ms = now_ms + 20000;
        caller->has_fallback = stopgap;
        if (stopgap)
                caller->deadline_ms = last_ms < now_ms + 2000 ? last_ms : now_ms + 2000;
        if (!key->in_flight) {
                key->for_rejected = cached(model, caller->key, now_ms) && model->cached_rejected;
                begin_flight(model, caller->key, false);
        } else if (key->refresh) {
                key->refresh = false;
                key->asked = model->n_asked++;
        }
        key->had_waiter = true;
        start(model, now_ms);
}

void model_ask(struct model *model, int key, uint64_t min_ttl_ms, bool rejects, uint64_t now_ms)
{
        const uint64_t serial = cached(model, key, now_ms);
        const uint64_t left_ms = serial ? model->cached_ends_at_ms - now_ms : 0;
        const uint64_t age_ms = serial ? now_ms - model->cached_sent_at_ms : 0;
        struct model_caller *caller = &model->callers[model->n_callers++];
        const bool stopgap = serial && !rejects;
        enum reason reason;

        assert(model->n_callers <= MODEL_CALLERS_MAX);
        *caller = (struct model_caller){.key = key};
        if (serial && rejects)
                model->cached_rejected = true;
        if (stopgap && !model->cached_rejected && left_ms >= MODEL_LIFETIME_MS / 10 &&
            (left_ms >= min_ttl_ms || age_ms < 10000)) {
                answer(caller, serial, REASON_NONE);
                model->cached_used = true;
                if (age_ms >= MODEL_LIFETIME_MS / 2)
                        refresh(model, key, now_ms);
                return;
        }
        reason = refuse(model, key, stopgap, now_ms);
        if (!reason) {
                wait(model, caller, stopgap, now_ms);
                return;
        }
        if (stopgap)
                model->cached_used = true;
        answer(caller, stopgap ? serial : 0, reason);
}

int model_running(const struct model *model)
{
        for (int i = 0; i < MODEL_KEYS; i++)
                if (model->keys[i].running)
                        return i;
        return -1;
}

bool model_is_too_late(const struct model *model, uint64_t now_ms)
{
        return now_ms + 1000 > model->keys[model_running(model)].sent_at_ms + MODEL_LIFETIME_MS;
}

static void take_token(struct model *model, int key, uint64_t now_ms)
{
        struct model_key *k = &model->keys[key];

        model->serial++;
        if (k->rejection.step_ms == 0)
                forget(k);
        k->refusal = k->miss = k->refreshing = (struct model_step){};
        /* Its entry is still there, if only to go. */
        if (k->had_waiter || (model->cached_serial && model->cached_key == key)) {
                model->cached_key = key;
                model->cached_serial = model->serial;
                model->cached_sent_at_ms = k->sent_at_ms;
                model->cached_ends_at_ms = k->sent_at_ms + MODEL_LIFETIME_MS;
                model->cached_timer_ms = k->sent_at_ms + MODEL_LIFETIME_MS / 2;
                model->cached_used = model->cached_rejected = false;
        }
        answer_all(model, key, model->serial, REASON_NONE, now_ms);
}

void model_finish(struct model *model, enum ending ending, uint64_t now_ms)
{
        const int key = model_running(model);
        struct model_key *k = &model->keys[key];

        if (k->for_rejected) {
                touch(k, now_ms);
                extend(&k->rejection, 5000, 60000, k->sent_at_ms);
        }
        if (ending_is_token(ending)) {
                take_token(model, key, now_ms);
        } else {
                touch(k, now_ms);
                k->reason = ending_reason(ending);
                if (ending_is_refusal(ending)) {
                        extend(&k->refusal, 10000, 60000, now_ms);
                        if (model->cached_key == key)
                                model->cached_serial = 0;
                } else {
                        extend(&k->miss, 1000, 30000, now_ms);
                        extend(&k->refreshing, 5000, 60000, now_ms);
                }
                answer_all(model, key, 0, k->reason, now_ms);
        }
        end_flight(k);
        start(model, now_ms);
}

static void time_out(struct model *model, struct model_caller *caller, uint64_t now_ms)
{
        struct model_key *key = &model->keys[caller->key];
        const uint64_t old = caller->has_fallback ? cached(model, caller->key, now_ms) : 0;

        if (!old && caller->has_fallback && caller->gives_up_at_ms > now_ms) {
                caller->has_fallback = false;
                caller->deadline_ms = caller->gives_up_at_ms;
                return;
        }
        if (old)
                model->cached_used = true;
        answer(caller, old, REASON_REQUEST_TIMEOUT);
        if (key->in_flight && !key->running && !key->refresh &&
            count_waiters(model, caller->key) == 0)
                end_flight(key);
        start(model, now_ms);
}

static void tick(struct model *model, uint64_t now_ms)
{
        for (size_t i = 0; i < model->n_callers; i++)
                if (model->callers[i].waits && model->callers[i].deadline_ms <= now_ms)
                        time_out(model, &model->callers[i], now_ms);
        while (model->cached_serial && model->cached_timer_ms <= now_ms) {
                if (now_ms >= model->cached_ends_at_ms) {
                        model->cached_serial = 0;
                        break;
                }
                model->cached_timer_ms = model->cached_ends_at_ms;
                if (model->cached_used)
                        refresh(model, model->cached_key, now_ms);
        }
}

static uint64_t next_tick_ms(const struct model *model)
{
        uint64_t next_ms = UINT64_MAX;

        if (model->cached_serial) /* on the whole second after it */
                next_ms = (model->cached_timer_ms / 1000 + 1) * 1000;
        for (size_t i = 0; i < model->n_callers; i++)
                if (model->callers[i].waits && model->callers[i].deadline_ms < next_ms)
                        next_ms = model->callers[i].deadline_ms;
        return next_ms;
}

void model_pass(struct model *model, uint64_t from_ms, uint64_t until_ms)
{
        uint64_t now_ms = from_ms;

        while (next_tick_ms(model) <= until_ms) {
                if (next_tick_ms(model) > now_ms)
                        now_ms = next_tick_ms(model);
                tick(model, now_ms);
        }
}

void model_drain(struct model *model)
{
        model->draining = true;
        for (int i = 0; i < MODEL_KEYS; i++)
                if (model->keys[i].refresh && !model->keys[i].running)
                        end_flight(&model->keys[i]);
}

void model_abort(struct model *model, uint64_t now_ms)
{
        model->draining = true;
        for (int i = 0; i < MODEL_KEYS; i++) {
                answer_all(model, i, 0, REASON_SHUTTING_DOWN, now_ms);
                end_flight(&model->keys[i]);
        }
}
