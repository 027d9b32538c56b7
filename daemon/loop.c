/* SPDX-License-Identifier: MIT */

/*
 * A callback may remove any source, its own included, and free what it is embedded in. The events
 * of a turn are fetched in a batch, so a removal also strikes the source from what is left of the
 * batch.
 */

#include "loop.h"

#include <time.h>
#include <unistd.h>

#include "../lib/error.h"
#include "registers.h"

/* epoll_wait() counts by a clock that stands still in suspend, and deadlines do not: after a
 * suspend they are late by this at most. */
#define SLEEP_MAX_MS 10000

int loop_init(struct loop *loop)
{
        *loop = (struct loop){.epoll_fd = epoll_create1(EPOLL_CLOEXEC)};
        if (loop->epoll_fd < 0)
                return error_trace(-errno);
        loop_update_time(loop);
        return 0;
}

void loop_deinit(struct loop *loop)
{
        if (loop->epoll_fd >= 0)
                close(loop->epoll_fd);
        loop->epoll_fd = -1;
}

void loop_update_time(struct loop *loop)
{
        struct timespec ts;

        clock_gettime(CLOCK_BOOTTIME, &ts);
        loop->now_ms = (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
        clock_gettime(CLOCK_REALTIME, &ts);
        loop->wall_ms = (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static int control(struct loop *loop, int operation, struct loop_source *source, uint32_t events)
{
        struct epoll_event event = {.events = events, .data.ptr = source};

        if (epoll_ctl(loop->epoll_fd, operation, source->fd, &event) < 0)
                return error_trace(-errno);
        return 0;
}

int loop_add(struct loop *loop, struct loop_source *source, uint32_t events)
{
        return error_trace(control(loop, EPOLL_CTL_ADD, source, events));
}

int loop_modify(struct loop *loop, struct loop_source *source, uint32_t events)
{
        return error_trace(control(loop, EPOLL_CTL_MOD, source, events));
}

void loop_remove(struct loop *loop, struct loop_source *source)
{
        /* A descriptor that was closed before is no longer in the set. */
        (void)epoll_ctl(loop->epoll_fd, EPOLL_CTL_DEL, source->fd, NULL);
        for (int i = 0; i < loop->n_batch; i++)
                if (loop->batch[i].data.ptr == source)
                        loop->batch[i].data.ptr = NULL;
}

int loop_turn(struct loop *loop, uint64_t until_ms)
{
        int timeout_ms, n;

        /* By the time of the turn before, which is late by what that turn took. */
        if (until_ms > loop->now_ms + SLEEP_MAX_MS)
                until_ms = loop->now_ms + SLEEP_MAX_MS;
        if (until_ms <= loop->now_ms)
                timeout_ms = 0;
        else
                timeout_ms = (int)(until_ms - loop->now_ms);

        if (timeout_ms != 0)
                registers_clear();
        n = epoll_wait(loop->epoll_fd, loop->batch, LOOP_BATCH, timeout_ms);
        if (n < 0 && errno != EINTR)
                return error_trace(-errno);
        loop_update_time(loop);

        loop->n_batch = n > 0 ? n : 0;
        for (int i = 0; i < loop->n_batch; i++) {
                struct loop_source *source = loop->batch[i].data.ptr;

                if (source)
                        source->ready(source, loop->batch[i].events);
        }
        loop->n_batch = 0;
        return 0;
}
