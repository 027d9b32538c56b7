/* SPDX-License-Identifier: MIT */

/*
 * A record is tried until it is written: what cannot be written for now is not lost but waits, and
 * what comes behind it fills the queue, whose owner counts what finds no room. Only what the target
 * will never take is dropped here.
 *
 * The thread owns all it works with, and frees it when it ends, whoever is still there to see that.
 */

#include "audit-writer.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "../lib/error.h"
#include "audit-render.h"
#include "thread.h"

/* Between two tries, and how long to wait at most before looking whether to end. */
#define RETRY_MS 100

/* A target that is full is mostly so for a moment; it is said when it stays so. */
#define FULL_IS_AN_ERROR_AFTER 10

/* Records that are written at once, where they can be, take about as much. */
#define BATCH_BYTES ((size_t)65536)

/* The thread's own. */
struct work {
        struct audit_queue *queue; /* a reference */
        struct audit_sink sink;
        size_t n;    /* records in `bytes`, */
        size_t size; /* which are so many, */
        size_t at;   /* of which these are written */
        char bytes[AUDIT_RENDER_MAX_BYTES + BATCH_BYTES];
};

struct audit_writer {
        struct audit_queue *queue; /* borrowed */
        pthread_t thread;
};

static void work_free(struct work *work)
{
        if (!work)
                return;
        audit_sink_close(&work->sink);
        audit_queue_unref(work->queue);
        free(work);
}

/* Where there is something to poll, that was the pause, unless it tells of room that is not there.
 */
static unsigned int pause_ms(int r, unsigned int tries)
{
        if (r != AUDIT_SINK_E_FULL)
                return RETRY_MS;
        return tries < FULL_IS_AN_ERROR_AFTER ? 0 : RETRY_MS / 10;
}

/* Renders the record, and where it is a file that is written to, as many behind it as fit: one
 * write for many costs little more than for one. (Lines on a pipe must not be torn apart by those
 * of the log; datagrams are records.) */
static void render(struct work *work, const struct audit_record *record)
{
        const bool several = work->sink.target == AUDIT_TO_FILE;

        work->size = work->at = work->n = 0;
        do {
                char *const end = work->bytes + work->size;

                work->size += work->sink.target == AUDIT_TO_JOURNAL
                                      ? audit_render_journal(end, record)
                                      : audit_render_json(end, record);
                work->n++;
        } while (several && work->size + AUDIT_RENDER_MAX_BYTES <= sizeof(work->bytes) &&
                 (record = audit_queue_peek(work->queue, work->n)));
}

/* The first `n` are dealt with. */
static void done(struct work *work, size_t n, bool written)
{
        work->n -= n;
        audit_queue_done(work->queue, n, written);
}

/* Of several the first ones may be written whole: they are done with, lest they are written again
 * when the rest goes to another file. */
static void settle(struct work *work)
{
        const char *newline = work->n > 1 ? memrchr(work->bytes, '\n', work->at) : NULL;
        const size_t whole = newline ? (size_t)(newline + 1 - work->bytes) : 0;
        size_t n = 0;

        for (size_t i = 0; i < whole; i++)
                n += work->bytes[i] == '\n';
        memmove(work->bytes, work->bytes + whole, work->size - whole);
        work->size -= whole;
        work->at -= whole;
        done(work, n, true);
}

/* Whether there may be more; false: end at once. */
static bool write_some(struct work *work, const struct audit_record *record)
{
        render(work, record);
        for (unsigned int tries = 1;; tries++) {
                const int r = audit_sink_write(&work->sink, work->bytes, work->size, &work->at);

                if (r != AUDIT_SINK_E_FULL || tries >= FULL_IS_AN_ERROR_AFTER)
                        audit_queue_set_error(work->queue, work->sink.error);
                if (r == 0 || r == AUDIT_SINK_E_UNWRITABLE) {
                        done(work, work->n, r == 0);
                        return true;
                }
                settle(work);
                if (r == AUDIT_SINK_E_FULL)
                        audit_sink_poll(&work->sink, RETRY_MS);
                if (!audit_queue_pause(work->queue, pause_ms(r, tries)))
                        return false;
        }
}

static void *run(void *userdata)
{
        struct work *work = userdata;
        const struct audit_record *record;

        do
                record = audit_queue_wait(work->queue);
        while (record && write_some(work, record));
        audit_queue_finish(work->queue);
        work_free(work);
        return NULL;
}

int audit_writer_new(struct audit_writer **ret, struct audit_queue *queue,
                     const struct audit_config *config, const char *journal, int *ret_error)
{
        struct audit_writer *writer;
        struct work *work;
        int r;

        writer = calloc(1, sizeof(*writer));
        work = calloc(1, sizeof(*work));
        if (work)
                work->sink.fd = -1;
        if (!writer || !work) {
                r = -ENOMEM;
                goto fail;
        }
        writer->queue = queue;
        work->queue = audit_queue_ref(queue);
        r = audit_sink_open(&work->sink, config, journal);
        if (r)
                goto fail;
        *ret_error = work->sink.error;
        audit_queue_set_error(queue, work->sink.error);
        r = thread_start(&writer->thread, run, work);
        if (r)
                goto fail;
        *ret = writer;
        return 0;

fail:
        work_free(work);
        free(writer);
        return error_trace(r);
}

void audit_writer_free(struct audit_writer *writer, uint64_t end_ms)
{
        if (!writer)
                return;
        if (audit_queue_stop(writer->queue, end_ms)) {
                (void)pthread_join(writer->thread, NULL);
        } else {
                audit_queue_abandon(writer->queue);
                (void)pthread_detach(writer->thread);
        }
        free(writer);
}
