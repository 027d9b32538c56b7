/* SPDX-License-Identifier: MIT */

/*
 * What happens to records by time alone: windows end, the writer makes room or fails, and what was
 * lost is told. While the queue has no room, what is folded stays folded, since it loses nothing by
 * that. How many records were dropped is itself recorded once there is room again, and said in the
 * log, both here and not where it happens, so that a flood makes one line.
 */

#include "audit-private.h"

#include <string.h>

#include "../lib/timerheap.h"
#include "log.h"

/* How often to look at the queue while something is in it, and between two log lines. */
#define LOOK_EVERY_MS 1000
#define SAY_EVERY_MS  10000

void audit_look_soon(struct audit *audit, uint64_t now_ms)
{
        if (audit->look_at_ms == TIMERHEAP_NEVER)
                audit->look_at_ms = now_ms + LOOK_EVERY_MS;
}

static void lose(struct audit *audit, enum audit_lane lane, uint64_t count, int64_t wall_ms)
{
        struct audit_lost *lost = &audit->lost[lane];

        if (lost->count == 0)
                lost->since_wall_ms = wall_ms;
        lost->count += count;
        lost->wall_ms = wall_ms;
}

void audit_push(struct audit *audit, struct audit_record *record)
{
        const enum audit_lane lane = record->lane;
        const int64_t wall_ms = record->wall_ms;

        if (audit_queue_push(audit->queue, lane, record)) {
                audit_record_free(record);
                audit_drop(audit, lane, wall_ms);
        } else if (lane == AUDIT_LANE_GRANTS) {
                audit->counters.grants++;
        } else {
                audit->counters.refusals++;
        }
}

void audit_drop(struct audit *audit, enum audit_lane lane, int64_t wall_ms)
{
        if (lane == AUDIT_LANE_GRANTS)
                audit->counters.dropped_grants++;
        else
                audit->counters.dropped_refusals++;
        lose(audit, lane, 1, wall_ms);
}

uint64_t audit_next_window_ms(const struct audit *audit)
{
        uint64_t at_ms = TIMERHEAP_NEVER, other_ms = TIMERHEAP_NEVER;

        if (audit->folds_hits)
                at_ms = audit_fold_next_ms(&audit->fold);
        if (audit->folds_refusals)
                other_ms = audit_refusals_next_ms(&audit->refusals);
        if (other_ms < at_ms)
                at_ms = other_ms;
        return at_ms < audit->blocked_until_ms ? audit->blocked_until_ms : at_ms;
}

void audit_end_windows(struct audit *audit, uint64_t now_ms)
{
        struct audit_record *record;

        while (audit->folds_hits && audit_fold_next_ms(&audit->fold) <= now_ms) {
                if (!audit_queue_has_room(audit->queue, AUDIT_LANE_GRANTS)) {
                        audit->blocked_until_ms = now_ms + LOOK_EVERY_MS;
                        break;
                }
                audit_push(audit, audit_fold_take(&audit->fold));
        }
        while (audit->folds_refusals && audit_refusals_next_ms(&audit->refusals) <= now_ms) {
                if ((audit_refusals_folded(&audit->refusals) > 0 &&
                     !audit_queue_has_room(audit->queue, AUDIT_LANE_REFUSALS)) ||
                    audit_refusals_take(&audit->refusals, &record)) {
                        audit->blocked_until_ms = now_ms + LOOK_EVERY_MS;
                        break;
                }
                if (record)
                        audit_push(audit, record);
        }
}

/* Records that records are lost. */
static void confess(struct audit *audit, enum audit_lane lane)
{
        struct audit_lost *lost = &audit->lost[lane];
        struct audit_record *record;

        if (audit_record_new_dropped(&record, lane, lost->count, lost->since_wall_ms,
                                     lost->wall_ms))
                return;
        if (audit_queue_push(audit->queue, lane, record))
                audit_record_free(record);
        else
                lost->count = 0;
}

/* Not at the first free place: that one is better used for a record of what happens next. */
static void confess_where_there_is_room(struct audit *audit, const struct audit_queue_state *state,
                                        int64_t wall_ms)
{
        for (int lane = 0; lane < _AUDIT_LANE_N; lane++) {
                struct audit_lost *lost = &audit->lost[lane];

                if (state->unwritable[lane] > lost->unwritable)
                        lose(audit, lane, state->unwritable[lane] - lost->unwritable, wall_ms);
                lost->unwritable = state->unwritable[lane];
                if (lost->count > 0 && state->n[lane] <= audit->max_records / 2)
                        confess(audit, lane);
        }
}

static bool has_news(const struct audit *audit, const struct audit_queue_state *state,
                     const struct audit_counters *counters)
{
        return state->error != audit->error_said ||
               counters->dropped_grants > audit->said.dropped_grants ||
               counters->dropped_refusals > audit->said.dropped_refusals ||
               counters->withheld > audit->said.withheld;
}

static void say(struct audit *audit, const struct audit_queue_state *state,
                const struct audit_counters *counters)
{
        const uint64_t grants = counters->dropped_grants - audit->said.dropped_grants;
        const uint64_t refusals = counters->dropped_refusals - audit->said.dropped_refusals;
        const uint64_t withheld = counters->withheld - audit->said.withheld;

        if (state->error && state->error != audit->error_said)
                log_event(LOG_EVENT_AUDIT_STUCK,
                          LOG_FIELDS(.source = audit->where, .reason = strerror(state->error),
                                     .count = counters->queued),
                          "audit: no record can be written to %s just now: %s; %zu wait",
                          audit->where, strerror(state->error), counters->queued);
        else if (state->error != audit->error_said)
                log_event(LOG_EVENT_AUDIT_WELL, LOG_FIELDS(.source = audit->where),
                          "audit: records are written to %s again", audit->where);
        if (grants > 0 || refusals > 0)
                log_event(LOG_EVENT_AUDIT_DROPPED, LOG_FIELDS(.count = grants + refusals),
                          "audit: %llu records of grants and %llu of refusals were dropped: "
                          "there was no room",
                          (unsigned long long)grants, (unsigned long long)refusals);
        if (withheld > 0)
                log_event(LOG_EVENT_AUDIT_WITHHELD, LOG_FIELDS(.count = withheld),
                          "audit: %llu tokens were not handed out: there was no room for their "
                          "records",
                          (unsigned long long)withheld);
        audit->said = *counters;
        audit->error_said = state->error;
}

void audit_tick(struct audit *audit, uint64_t now_ms, int64_t wall_ms)
{
        struct audit_queue_state state;
        struct audit_counters counters;
        bool news;

        if (now_ms >= audit_next_window_ms(audit)) {
                audit_end_windows(audit, now_ms);
                audit_look_soon(audit, now_ms);
        }
        if (now_ms < audit->look_at_ms)
                return;
        audit_queue_look(audit->queue, &state);
        audit_get_counters(audit, &counters);
        confess_where_there_is_room(audit, &state, wall_ms);
        news = has_news(audit, &state, &counters);
        if (news && now_ms >= audit->say_at_ms) {
                say(audit, &state, &counters);
                audit->say_at_ms = now_ms + SAY_EVERY_MS;
                news = false;
        }
        audit->look_at_ms = TIMERHEAP_NEVER;
        if (news || counters.queued > 0 || audit->lost[AUDIT_LANE_GRANTS].count ||
            audit->lost[AUDIT_LANE_REFUSALS].count)
                audit_look_soon(audit, now_ms);
}

uint64_t audit_next_tick_ms(const struct audit *audit)
{
        const uint64_t window_ms = audit_next_window_ms(audit);

        return window_ms < audit->look_at_ms ? window_ms : audit->look_at_ms;
}

void audit_flush(struct audit *audit, uint64_t end_ms)
{
        struct audit_record *record;

        while (audit->folds_hits && (record = audit_fold_take(&audit->fold))) {
                (void)audit_queue_wait_room(audit->queue, AUDIT_LANE_GRANTS, end_ms);
                audit_push(audit, record);
        }
        while (audit->folds_refusals &&
               audit_refusals_next_ms(&audit->refusals) != TIMERHEAP_NEVER &&
               audit_refusals_take(&audit->refusals, &record) == 0) {
                if (!record)
                        continue;
                (void)audit_queue_wait_room(audit->queue, AUDIT_LANE_REFUSALS, end_ms);
                audit_push(audit, record);
        }
        for (int lane = 0; lane < _AUDIT_LANE_N; lane++) {
                if (audit->lost[lane].count == 0)
                        continue;
                (void)audit_queue_wait_room(audit->queue, lane, end_ms);
                confess(audit, lane);
        }
}
