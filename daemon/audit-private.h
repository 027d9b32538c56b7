/* SPDX-License-Identifier: MIT */
#pragma once

/* What audit.c (decisions become records) and audit-tick.c (time passes) share. */

#include "audit-fold.h"
#include "audit-queue.h"
#include "audit-record.h"
#include "audit-refusals.h"
#include "audit-writer.h"
#include "audit.h"

/* Records that never will be written, and are not yet recorded as such. */
struct audit_lost {
        uint64_t count;
        int64_t since_wall_ms;
        int64_t wall_ms;
        uint64_t unwritable; /* of those that the writer counted, how many are in `count` already */
};

struct audit {
        bool required;
        bool folds_hits;
        bool folds_refusals;
        size_t max_records;
        char *where; /* owned; what records are written to, for the log */
        struct audit_naming naming;
        struct audit_fold fold;
        struct audit_refusals refusals;
        struct audit_queue *queue;   /* a reference */
        struct audit_writer *writer; /* owned */
        struct audit_lost lost[_AUDIT_LANE_N];
        struct audit_counters counters; /* but for `queued`, and for what the writer counts */
        uint64_t blocked_until_ms;      /* windows that are over wait for room */
        uint64_t look_at_ms;            /* at the queue; TIMERHEAP_NEVER: nothing is in it */
        uint64_t say_at_ms;             /* not before, in the log */
        struct audit_counters said;     /* what of the counters the log knows */
        int error_said;                 /* the writer's */
};

/* Takes `record`; where there is no room it is dropped. */
void audit_push(struct audit *audit, struct audit_record *record);

/* A record is lost: count it. */
void audit_drop(struct audit *audit, enum audit_lane lane, int64_t wall_ms);

/* Something may be in the queue now. */
void audit_look_soon(struct audit *audit, uint64_t now_ms);

/* When the oldest window is over, or there may be room for it again. */
uint64_t audit_next_window_ms(const struct audit *audit);

/* Records what was folded long enough, as far as there is room. */
void audit_end_windows(struct audit *audit, uint64_t now_ms);

/* Everything that is folded goes to the queue, as fast as the writer makes room for it. */
void audit_flush(struct audit *audit, uint64_t end_ms);
