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

static void answer_all(struct model *model, int key, uint64_t serial, enum reason reason)
{
        for (size_t i = 0; i < model->n_callers; i++)
                if (model->callers[i].waits && model->callers[i].key == key)
                        answer(&model->callers[i], serial, reason);
}

static void start_oldest(struct model *model, uint64_t now_ms)
{
        int oldest = -1;

        if (model_running(model) >= 0)
                return;
        for (int i = 0; i < MODEL_KEYS; i++)
                if (model->keys[i].in_flight &&
                    (oldest < 0 || model->keys[i].asked < model->keys[oldest].asked))
                        oldest = i;
        if (oldest < 0)
                return;
        model->keys[oldest].running = true;
        model->keys[oldest].sent_at_ms = now_ms;
}

/* Why a caller may not wait. */
static enum reason refuse(const struct model *model, int key)
{
        if (!model->keys[key].in_flight && model->draining)
                return REASON_SHUTTING_DOWN;
        if (count_waiters(model, -1) == MODEL_MAX_WAITERS)
                return REASON_WAITERS_FULL;
        if (count_waiters(model, key) == MODEL_MAX_WAITERS_PER_FLIGHT)
                return REASON_FLIGHT_FULL;
        return REASON_NONE; /* there is room for a flight for each key */
}

void model_ask(struct model *model, int key, uint64_t min_ttl_s, uint64_t now_ms)
{
        const uint64_t serial = cached(model, key, now_ms), life_ms = MODEL_LIFETIME_S * 1000;
        const uint64_t left_ms = serial ? model->cached_ends_at_ms - now_ms : 0;
        const uint64_t age_ms = serial ? now_ms - model->cached_sent_at_ms : 0;
        struct model_caller *caller = &model->callers[model->n_callers++];
        enum reason reason;

        assert(model->n_callers <= MODEL_CALLERS_MAX);
        *caller = (struct model_caller){.key = key};
        if (serial && left_ms >= life_ms / 10 && (left_ms >= min_ttl_s * 1000 || age_ms < 10000)) {
                answer(caller, serial, REASON_NONE);
                return;
        }
        reason = refuse(model, key);
        if (reason) {
                answer(caller, serial, reason);
                return;
        }
        caller->waits = true;
        caller->deadline_ms = now_ms + 20000;
        if (!model->keys[key].in_flight)
                model->keys[key] = (struct model_key){.in_flight = true, .asked = model->n_asked++};
        start_oldest(model, now_ms);
}

int model_running(const struct model *model)
{
        for (int i = 0; i < MODEL_KEYS; i++)
                if (model->keys[i].running)
                        return i;
        return -1;
}

void model_finish(struct model *model, enum ending ending, uint64_t now_ms)
{
        const int key = model_running(model);
        const uint64_t sent_at_ms = model->keys[key].sent_at_ms;
        enum reason reason = ending_reason(ending);
        bool usable = false;

        if (ending_is_token(ending)) {
                model->serial++;
                usable = now_ms + 1000 <= sent_at_ms + MODEL_LIFETIME_S * 1000;
                reason = REASON_ANSWER_UNUSABLE;
        }
        if (usable) {
                model->cached_key = key;
                model->cached_serial = model->serial;
                model->cached_sent_at_ms = sent_at_ms;
                model->cached_ends_at_ms = sent_at_ms + MODEL_LIFETIME_S * 1000;
        } else if (ending_is_refusal(ending) && model->cached_key == key) {
                model->cached_serial = 0;
        }
        answer_all(model, key, cached(model, key, now_ms), reason);
        model->keys[key] = (struct model_key){};
        start_oldest(model, now_ms);
}

void model_pass(struct model *model, bool asleep, uint64_t now_ms)
{
        for (size_t i = 0; i < model->n_callers; i++) {
                struct model_caller *caller = &model->callers[i];
                const uint64_t at_ms = asleep ? now_ms : caller->deadline_ms;

                if (caller->waits && caller->deadline_ms <= now_ms)
                        answer(caller, cached(model, caller->key, at_ms), REASON_REQUEST_TIMEOUT);
        }
        for (int i = 0; i < MODEL_KEYS; i++)
                if (!model->keys[i].running && count_waiters(model, i) == 0)
                        model->keys[i] = (struct model_key){};
}

void model_abort(struct model *model)
{
        model->draining = true;
        for (int i = 0; i < MODEL_KEYS; i++) {
                answer_all(model, i, 0, REASON_SHUTTING_DOWN);
                model->keys[i] = (struct model_key){};
        }
}
