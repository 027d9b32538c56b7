/* SPDX-License-Identifier: MIT */

/*
 * A record stays in its ring while the writer works at it, so the cap holds for all that waits. The
 * loop only adds at the end and the writer only takes at the front.
 *
 * To wake a thread costs the loop more than to make a record. So the writer, woken by the first
 * record, lets more of them gather for a moment, unless the ring fills up, and then writes them
 * all.
 */

#include "audit-queue.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#include "../lib/error.h"

#define GATHER_MS 10

/* Records that are taken out under the lock at once. */
#define TAKE_MAX 64

struct ring {
        struct audit_record **records; /* owned, and what is in them */
        size_t first;
        size_t n;
};

struct audit_queue {
        pthread_mutex_t lock; /* guards all below */
        pthread_cond_t work;  /* the writer waits on it, */
        pthread_cond_t done;  /* and the loop's thread on this, but only at its end */
        unsigned int refs;
        size_t max_records; /* of each ring */
        struct ring rings[_AUDIT_LANE_N];
        enum audit_lane in_hand; /* where the record in the writer's hands is first */
        bool writer_waits;       /* for a record, */
        bool gathering;          /* or for more of them */
        bool loop_waits;
        bool stopping;  /* end when there is nothing left to write */
        bool abandoned; /* end at once */
        bool finished;
        uint64_t unwritable[_AUDIT_LANE_N];
        uint64_t written;
        int error;
};

static int init_condition(pthread_cond_t *condition)
{
        pthread_condattr_t attributes;
        int r;

        r = pthread_condattr_init(&attributes);
        if (r)
                return error_trace(-r);
        r = pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
        if (r == 0)
                r = pthread_cond_init(condition, &attributes);
        (void)pthread_condattr_destroy(&attributes);
        return error_trace(-r);
}

static int init_locks(struct audit_queue *queue)
{
        int r;

        r = -pthread_mutex_init(&queue->lock, NULL);
        if (r)
                return error_trace(r);
        r = init_condition(&queue->work);
        if (r)
                goto destroy_lock;
        r = init_condition(&queue->done);
        if (r)
                goto destroy_work;
        return 0;

destroy_work:
        (void)pthread_cond_destroy(&queue->work);
destroy_lock:
        (void)pthread_mutex_destroy(&queue->lock);
        return error_trace(r);
}

int audit_queue_new(struct audit_queue **ret, size_t max_records)
{
        struct audit_queue *queue;
        int r;

        assert(max_records > 0);
        queue = calloc(1, sizeof(*queue));
        if (!queue)
                return error_trace(-ENOMEM);
        queue->refs = 1;
        queue->max_records = max_records;
        r = init_locks(queue);
        if (r) {
                free(queue);
                return error_trace(r);
        }
        for (int i = 0; i < _AUDIT_LANE_N; i++) {
                queue->rings[i].records = calloc(max_records, sizeof(struct audit_record *));
                if (!queue->rings[i].records) {
                        audit_queue_unref(queue);
                        return error_trace(-ENOMEM);
                }
        }
        *ret = queue;
        return 0;
}

struct audit_queue *audit_queue_ref(struct audit_queue *queue)
{
        (void)pthread_mutex_lock(&queue->lock);
        queue->refs++;
        (void)pthread_mutex_unlock(&queue->lock);
        return queue;
}

static struct audit_record *take_first(const struct audit_queue *queue, struct ring *ring)
{
        struct audit_record *record = ring->records[ring->first];

        ring->first = (ring->first + 1) % queue->max_records;
        ring->n--;
        return record;
}

void audit_queue_unref(struct audit_queue *queue)
{
        unsigned int refs;

        if (!queue)
                return;
        (void)pthread_mutex_lock(&queue->lock);
        assert(queue->refs > 0);
        refs = --queue->refs;
        (void)pthread_mutex_unlock(&queue->lock);
        if (refs > 0)
                return;
        for (int i = 0; i < _AUDIT_LANE_N; i++) {
                while (queue->rings[i].n > 0)
                        audit_record_free(take_first(queue, &queue->rings[i]));
                free(queue->rings[i].records);
        }
        (void)pthread_cond_destroy(&queue->done);
        (void)pthread_cond_destroy(&queue->work);
        (void)pthread_mutex_destroy(&queue->lock);
        free(queue);
}

/* More records than these, in one ring, are not waited for. */
static size_t gathered_max(const struct audit_queue *queue)
{
        return queue->max_records / 2 + 1;
}

int audit_queue_push(struct audit_queue *queue, enum audit_lane lane, struct audit_record *record)
{
        struct ring *ring = &queue->rings[lane];
        int r = AUDIT_QUEUE_E_FULL;

        (void)pthread_mutex_lock(&queue->lock);
        if (ring->n < queue->max_records) {
                ring->records[(ring->first + ring->n) % queue->max_records] = record;
                ring->n++;
                if (queue->writer_waits || (queue->gathering && ring->n == gathered_max(queue)))
                        (void)pthread_cond_signal(&queue->work);
                r = 0;
        }
        (void)pthread_mutex_unlock(&queue->lock);
        return r;
}

bool audit_queue_has_room(struct audit_queue *queue, enum audit_lane lane)
{
        bool has_room;

        (void)pthread_mutex_lock(&queue->lock);
        has_room = queue->rings[lane].n < queue->max_records;
        (void)pthread_mutex_unlock(&queue->lock);
        return has_room;
}

void audit_queue_look(struct audit_queue *queue, struct audit_queue_state *ret)
{
        (void)pthread_mutex_lock(&queue->lock);
        *ret = (struct audit_queue_state){.written = queue->written, .error = queue->error};
        for (int i = 0; i < _AUDIT_LANE_N; i++) {
                ret->n[i] = queue->rings[i].n;
                ret->unwritable[i] = queue->unwritable[i];
        }
        (void)pthread_mutex_unlock(&queue->lock);
}

uint64_t audit_queue_clock_ms(void)
{
        struct timespec now;

        (void)clock_gettime(CLOCK_MONOTONIC, &now);
        return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static struct timespec timespec_of(uint64_t at_ms)
{
        return (struct timespec){
                .tv_sec = (time_t)(at_ms / 1000),
                .tv_nsec = (long)(at_ms % 1000) * 1000000,
        };
}

bool audit_queue_wait_room(struct audit_queue *queue, enum audit_lane lane, uint64_t end_ms)
{
        const struct timespec end = timespec_of(end_ms);
        bool has_room;
        int r = 0;

        (void)pthread_mutex_lock(&queue->lock);
        queue->loop_waits = true;
        (void)pthread_cond_signal(&queue->work);
        while (queue->rings[lane].n >= queue->max_records && r == 0)
                r = pthread_cond_timedwait(&queue->done, &queue->lock, &end);
        queue->loop_waits = false;
        has_room = queue->rings[lane].n < queue->max_records;
        (void)pthread_mutex_unlock(&queue->lock);
        return has_room;
}

bool audit_queue_stop(struct audit_queue *queue, uint64_t end_ms)
{
        const struct timespec end = timespec_of(end_ms);
        bool finished;
        int r = 0;

        (void)pthread_mutex_lock(&queue->lock);
        queue->stopping = true;
        (void)pthread_cond_signal(&queue->work);
        while (!queue->finished && r == 0)
                r = pthread_cond_timedwait(&queue->done, &queue->lock, &end);
        finished = queue->finished;
        (void)pthread_mutex_unlock(&queue->lock);
        return finished;
}

void audit_queue_abandon(struct audit_queue *queue)
{
        (void)pthread_mutex_lock(&queue->lock);
        queue->abandoned = true;
        (void)pthread_cond_signal(&queue->work);
        (void)pthread_mutex_unlock(&queue->lock);
}

static bool is_gathered(const struct audit_queue *queue)
{
        return queue->rings[AUDIT_LANE_GRANTS].n >= gathered_max(queue) ||
               queue->rings[AUDIT_LANE_REFUSALS].n >= gathered_max(queue);
}

/* With the lock; lets it go meanwhile. */
static void gather(struct audit_queue *queue)
{
        const struct timespec end = timespec_of(audit_queue_clock_ms() + GATHER_MS);
        int r = 0;

        queue->gathering = true;
        while (r == 0 && !queue->stopping && !queue->abandoned && !queue->loop_waits &&
               !is_gathered(queue))
                r = pthread_cond_timedwait(&queue->work, &queue->lock, &end);
        queue->gathering = false;
}

static bool is_empty(const struct audit_queue *queue)
{
        return queue->rings[AUDIT_LANE_GRANTS].n == 0 && queue->rings[AUDIT_LANE_REFUSALS].n == 0;
}

const struct audit_record *audit_queue_wait(struct audit_queue *queue)
{
        const struct audit_record *record = NULL;
        const struct ring *ring;

        (void)pthread_mutex_lock(&queue->lock);
        while (is_empty(queue) && !queue->stopping && !queue->abandoned) {
                queue->writer_waits = true;
                (void)pthread_cond_wait(&queue->work, &queue->lock);
                queue->writer_waits = false;
                gather(queue);
        }
        if (!is_empty(queue) && !queue->abandoned) {
                queue->in_hand = queue->rings[AUDIT_LANE_GRANTS].n > 0 ? AUDIT_LANE_GRANTS
                                                                       : AUDIT_LANE_REFUSALS;
                ring = &queue->rings[queue->in_hand];
                record = ring->records[ring->first];
        }
        (void)pthread_mutex_unlock(&queue->lock);
        return record;
}

const struct audit_record *audit_queue_peek(struct audit_queue *queue, size_t n)
{
        const struct audit_record *record = NULL;
        const struct ring *ring;

        (void)pthread_mutex_lock(&queue->lock);
        ring = &queue->rings[queue->in_hand];
        if (n < ring->n && !queue->abandoned)
                record = ring->records[(ring->first + n) % queue->max_records];
        (void)pthread_mutex_unlock(&queue->lock);
        return record;
}

static void take_done(struct audit_queue *queue, size_t n, bool written)
{
        struct audit_record *records[TAKE_MAX];

        (void)pthread_mutex_lock(&queue->lock);
        for (size_t i = 0; i < n; i++)
                records[i] = take_first(queue, &queue->rings[queue->in_hand]);
        if (written)
                queue->written += n;
        else
                queue->unwritable[queue->in_hand] += n;
        if (queue->loop_waits)
                (void)pthread_cond_signal(&queue->done);
        (void)pthread_mutex_unlock(&queue->lock);
        for (size_t i = 0; i < n; i++)
                audit_record_free(records[i]);
}

void audit_queue_done(struct audit_queue *queue, size_t n, bool written)
{
        size_t now;

        for (; n > 0; n -= now) {
                now = n < TAKE_MAX ? n : TAKE_MAX;
                take_done(queue, now, written);
        }
}

void audit_queue_set_error(struct audit_queue *queue, int error)
{
        (void)pthread_mutex_lock(&queue->lock);
        queue->error = error;
        (void)pthread_mutex_unlock(&queue->lock);
}

bool audit_queue_pause(struct audit_queue *queue, unsigned int ms)
{
        const struct timespec end = timespec_of(audit_queue_clock_ms() + ms);
        bool goes_on;
        int r = 0;

        (void)pthread_mutex_lock(&queue->lock);
        while (!queue->abandoned && r == 0)
                r = pthread_cond_timedwait(&queue->work, &queue->lock, &end);
        goes_on = !queue->abandoned;
        (void)pthread_mutex_unlock(&queue->lock);
        return goes_on;
}

void audit_queue_finish(struct audit_queue *queue)
{
        (void)pthread_mutex_lock(&queue->lock);
        queue->finished = true;
        (void)pthread_cond_signal(&queue->done);
        (void)pthread_mutex_unlock(&queue->lock);
}
