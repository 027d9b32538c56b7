/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * What the loop's thread and the writer's share: two bounded rings of records, a lock and a few
 * numbers. The lock is held to copy a pointer or a number and never while anything is written,
 * allocated or waited for, so the loop never waits for the writer's target.
 *
 * Each side holds a reference, and either may be the last to go: a writer that hangs on its target
 * when the daemon stops is left behind, and what it touches stays.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "audit-record.h"

struct audit_queue;

enum {
        AUDIT_QUEUE_E_FULL = 1,
};

struct audit_queue_state {
        size_t n[_AUDIT_LANE_N];            /* records that wait, the one in the writer's hands
                                             * among them */
        uint64_t unwritable[_AUDIT_LANE_N]; /* records that the target will never take */
        uint64_t written;
        int error; /* why the target takes nothing just now, an errno; 0: it does */
};

/* Room for `max_records` in each ring. *ret is one reference. 0, -ENOMEM or -errno. */
int audit_queue_new(struct audit_queue **ret, size_t max_records);
struct audit_queue *audit_queue_ref(struct audit_queue *queue);
void audit_queue_unref(struct audit_queue *queue); /* takes NULL; frees what is still in it */

/* The loop's side. */

/* Takes `record`. 0, or AUDIT_QUEUE_E_FULL, and the record stays the caller's. */
int audit_queue_push(struct audit_queue *queue, enum audit_lane lane, struct audit_record *record);

/* Whether a push would succeed: only the loop pushes, so nothing comes between. */
bool audit_queue_has_room(struct audit_queue *queue, enum audit_lane lane);

void audit_queue_look(struct audit_queue *queue, struct audit_queue_state *ret);

/* For those who are about to end and may wait. Ends are times of audit_queue_clock_ms(). */
uint64_t audit_queue_clock_ms(void);

/* Waits until a push would succeed. Whether it would. */
bool audit_queue_wait_room(struct audit_queue *queue, enum audit_lane lane, uint64_t end_ms);

/* Tells the writer to end when both rings are empty, and waits for that. Whether it came. */
bool audit_queue_stop(struct audit_queue *queue, uint64_t end_ms);

/* Tells the writer to end at once. */
void audit_queue_abandon(struct audit_queue *queue);

/* The writer's side. */

/* Waits for a record, of a grant if there is one. Lent until audit_queue_done(); NULL: end. */
const struct audit_record *audit_queue_wait(struct audit_queue *queue);

/* The record that is `n` behind the one that audit_queue_wait() gave, of the same lane, lent as
 * that is; NULL: there are not so many. */
const struct audit_record *audit_queue_peek(struct audit_queue *queue, size_t n);

/* What audit_queue_wait() gave is dealt with, and what was peeked at behind it, `n` records in all:
 * `written` or not, they are gone. The next one takes the place of the first, if it was peeked at.
 */
void audit_queue_done(struct audit_queue *queue, size_t n, bool written);

void audit_queue_set_error(struct audit_queue *queue, int error);

/* Waits; false: at once, since it is time to end. */
bool audit_queue_pause(struct audit_queue *queue, unsigned int ms);

/* The writer will touch nothing any more but the reference it holds. */
void audit_queue_finish(struct audit_queue *queue);
