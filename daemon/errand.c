/* SPDX-License-Identifier: MIT */

/*
 * The structure belongs to two: to the thread, and to whoever has started it. Which of them is the
 * last to need it is settled by one atomic exchange each: the thread's from RUNNING to DONE, the
 * other's from RUNNING to ABANDONED. Who finds that the other one was first frees it.
 *
 * The thread handles no signals, so that those meant for the daemon reach it.
 */

#include "errand.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "../lib/error.h"
#include "thread.h"

enum state {
        STATE_RUNNING,
        STATE_DONE,
        STATE_ABANDONED,
};

struct errand {
        struct errand_kind *kind; /* borrowed */
        void *data;               /* owned */
        pthread_t thread;
        _Atomic int state;
        int fd; /* owned; an eventfd */
};

static void errand_free(struct errand *errand)
{
        if (errand->fd >= 0)
                close(errand->fd);
        free(errand);
}

static void free_abandoned(struct errand *errand)
{
        struct errand_kind *const kind = errand->kind;

        kind->free(errand->data);
        errand_free(errand);
        atomic_fetch_sub(&kind->n_abandoned, 1);
}

static void *run(void *argument)
{
        struct errand *errand = argument;

        errand->kind->run(errand->data);
        if (atomic_exchange(&errand->state, STATE_DONE) == STATE_ABANDONED)
                free_abandoned(errand);
        else
                (void)eventfd_write(errand->fd, 1); /* it has room for that */
        return NULL;
}

int errand_start(struct errand **ret, struct errand_kind *kind, void *data)
{
        struct errand *errand;
        int r;

        if (atomic_load(&kind->n_abandoned) >= ERRAND_ABANDONED_MAX)
                return ERRAND_E_BUSY;
        errand = calloc(1, sizeof(*errand));
        if (!errand)
                return error_trace(-ENOMEM);
        errand->kind = kind;
        errand->data = data;
        errand->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        r = errand->fd < 0 ? -errno : thread_start(&errand->thread, run, errand);
        if (r) {
                errand_free(errand);
                return error_trace(r);
        }
        *ret = errand;
        return 0;
}

int errand_fd(const struct errand *errand)
{
        return errand->fd;
}

void *errand_finish(struct errand *errand)
{
        void *data = errand->data;

        (void)pthread_join(errand->thread, NULL);
        assert(errand->state == STATE_DONE);
        errand_free(errand);
        return data;
}

void errand_abandon(struct errand *errand)
{
        pthread_t thread;

        if (!errand)
                return;
        atomic_fetch_add(&errand->kind->n_abandoned, 1);
        thread = errand->thread; /* from the exchange on, the rest may go at any time */
        if (atomic_exchange(&errand->state, STATE_ABANDONED) == STATE_DONE) {
                (void)pthread_join(thread, NULL);
                free_abandoned(errand);
        } else {
                (void)pthread_detach(thread);
        }
}
