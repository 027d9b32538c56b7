/* SPDX-License-Identifier: MIT */

/*
 * A callback may remove any source, its own included, and free what it is embedded in. The events
 * of a turn are fetched in a batch, so a removal also strikes the source from what is left of the
 * batch.
 *
 * To have epoll_wait() end at a time sets a timer of the kernel's for each turn, which costs a
 * tenth of the turn. So a timer of our own wakes us, which is set only when something is due before
 * it, and may then find that nothing is due any more. It counts by CLOCK_BOOTTIME, as deadlines do,
 * so that it is not late after a suspend.
 *
 * Where a host waits for us, what it has served is what woke us, nearly always, and to look after
 * ours would be a system call in vain. So that is done when the host says so, and every now and
 * then. What is ready stays ready, and ends the next wait at once.
 */

#include "loop.h"

#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "../lib/error.h"
#include "../lib/list.h"
#include "registers.h"

static void timer_ready(struct loop_source *source, uint32_t events)
{
        list_entry(source, struct loop, timer)->timer_ms = LOOP_NEVER;
}

int loop_init(struct loop *loop)
{
        int r = 0;

        *loop = (struct loop){
                .epoll_fd = epoll_create1(EPOLL_CLOEXEC),
                .timer = {.fd = timerfd_create(CLOCK_BOOTTIME, TFD_CLOEXEC), .ready = timer_ready},
                .timer_ms = LOOP_NEVER,
        };
        if (loop->epoll_fd < 0 || loop->timer.fd < 0)
                r = -errno;
        /* Told once each time it ends, so that nobody has to read it. */
        if (r == 0)
                r = loop_add(loop, &loop->timer, EPOLLIN | EPOLLET);
        if (r == 0)
                loop_update_time(loop);
        return error_trace(r);
}

void loop_deinit(struct loop *loop)
{
        if (loop->timer.fd >= 0)
                close(loop->timer.fd);
        loop->timer.fd = -1;
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
        loop->is_late = false;
}

void loop_catch_up(struct loop *loop)
{
        if (loop->is_late)
                loop_update_time(loop);
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

static int set_timer(struct loop *loop, uint64_t until_ms)
{
        const struct itimerspec time = {.it_value = {
                                                .tv_sec = (time_t)(until_ms / 1000),
                                                .tv_nsec = (long)(until_ms % 1000 * 1000000),
                                        }};

        if (timerfd_settime(loop->timer.fd, TFD_TIMER_ABSTIME, &time, NULL) < 0)
                return error_trace(-errno);
        loop->timer_ms = until_ms;
        return 0;
}

/* Has the host wait, and serve its own. Whether ours are to be looked after. */
static bool let_host_wait(struct loop *loop, bool waits)
{
        if (!loop->host->wait(loop->host, waits) && loop->n_unseen < LOOP_UNSEEN_MAX) {
                loop->n_unseen++;
                return false;
        }
        loop->n_unseen = 0;
        return true;
}

/* Waits for what is ours, if at all, and calls back what is ready. */
static int look_after_sources(struct loop *loop, bool waits)
{
        const int n = epoll_wait(loop->epoll_fd, loop->batch, LOOP_BATCH, waits ? -1 : 0);

        if (n < 0 && errno != EINTR)
                return error_trace(-errno);
        loop_catch_up(loop);

        loop->n_batch = n > 0 ? n : 0;
        for (int i = 0; i < loop->n_batch; i++) {
                struct loop_source *source = loop->batch[i].data.ptr;

                if (source)
                        source->ready(source, loop->batch[i].events);
        }
        loop->n_batch = 0;
        return 0;
}

int loop_turn(struct loop *loop, uint64_t until_ms)
{
        /* By the time of the turn before, which is late by what that turn took. */
        const bool waits = until_ms > loop->now_ms;
        int r;

        if (waits && until_ms < loop->timer_ms) {
                r = set_timer(loop, until_ms);
                if (r < 0)
                        return error_trace(r);
        }
        if (waits)
                registers_clear();
        loop->is_late = true;
        if (!loop->host)
                return error_trace(look_after_sources(loop, waits));
        if (let_host_wait(loop, waits))
                return error_trace(look_after_sources(loop, false));
        loop_catch_up(loop);
        return 0;
}
