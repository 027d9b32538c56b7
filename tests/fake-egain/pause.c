/* SPDX-License-Identifier: MIT */

/*
 * libmicrohttpd wants exactly one resume for each suspend, and none early; so both are called only
 * here, and `pause->pauses` tells which is due. It also looks away from a suspended connection's
 * socket, so a client that gives up would go unnoticed until its answer is ready, and a test could
 * not see that it did: an epoll instance of our own watches the socket for as long as the pause
 * lasts. A client that closes only its sending side counts as gone.
 *
 * Timers are a sorted list, searched from the back: delays of one length, the usual case by far,
 * are put in place in constant time.
 *
 * Pauses are owned by whoever embeds them, and have ended before their request is freed.
 */

#include "pause.h"

#include <limits.h>
#include <microhttpd.h>
#include <poll.h>
#include <stddef.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#include "error.h"

#define EVENTS_MAX 64

uint64_t pause_now_ms(void)
{
        struct timespec now;

        (void)clock_gettime(CLOCK_MONOTONIC, &now);
        return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

int pauses_init(struct pauses *pauses)
{
        list_init(&pauses->active);
        list_init(&pauses->timers);
        pauses->closed = false;
        pauses->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
        return pauses->epoll_fd < 0 ? error_trace(-errno) : 0;
}

void pauses_deinit(struct pauses *pauses)
{
        if (pauses->epoll_fd >= 0)
                (void)close(pauses->epoll_fd);
        pauses->epoll_fd = -1;
}

void pauses_close(struct pauses *pauses)
{
        pauses->closed = true;
        list_for_each_safe (it, &pauses->active) {
                pause_end(list_entry(it, struct pause, active));
        }
}

static void notice_departures(struct pauses *pauses)
{
        struct epoll_event events[EVENTS_MAX];
        int n = epoll_wait(pauses->epoll_fd, events, EVENTS_MAX, 0);

        for (int i = 0; i < n; i++) {
                struct pause *pause = events[i].data.ptr;

                pause->client_gone = true;
                pause_end(pause);
        }
}

void pauses_run(struct pauses *pauses, uint64_t now_ms, bool readable)
{
        if (readable)
                notice_departures(pauses);
        list_for_each_safe (it, &pauses->timers) {
                struct pause *pause = list_entry(it, struct pause, timer);

                if (pause->due_ms > now_ms)
                        break;
                pause_end(pause);
        }
}

int pauses_timeout_ms(const struct pauses *pauses, uint64_t now_ms)
{
        struct list *first = list_first(&pauses->timers);
        uint64_t due_ms;

        if (!first)
                return -1;
        due_ms = list_entry(first, struct pause, timer)->due_ms;
        if (due_ms <= now_ms)
                return 0;
        return due_ms - now_ms < INT_MAX ? (int)(due_ms - now_ms) : INT_MAX;
}

static int pause_fd(const struct pause *pause)
{
        return MHD_get_connection_info(pause->connection, MHD_CONNECTION_INFO_CONNECTION_FD)
                ->connect_fd;
}

bool pause_begin(struct pause *pause, struct pauses *pauses, struct MHD_Connection *connection,
                 uint64_t due_ms)
{
        struct epoll_event event = {.events = EPOLLRDHUP, .data.ptr = pause};
        struct list *before;

        if (pauses->closed)
                return false;
        pause->pauses = pauses;
        pause->connection = connection;
        pause->due_ms = due_ms;
        pause->client_gone = false;
        list_push_back(&pauses->active, &pause->active);
        list_init(&pause->timer);
        if (due_ms != PAUSE_FOREVER) {
                for (before = pauses->timers.prev; before != &pauses->timers; before = before->prev)
                        if (list_entry(before, struct pause, timer)->due_ms <= due_ms)
                                break;
                list_push_front(before, &pause->timer);
        }

        /* Should the kernel refuse, the client's departure shows only when it is answered. */
        (void)epoll_ctl(pauses->epoll_fd, EPOLL_CTL_ADD, pause_fd(pause), &event);
        MHD_suspend_connection(connection);
        return true;
}

bool pause_is_awaited(const struct pause *pause)
{
        struct pollfd fd = {.events = POLLRDHUP};

        if (!pause->pauses)
                return false;
        fd.fd = pause_fd(pause);
        return poll(&fd, 1, 0) == 0;
}

void pause_end(struct pause *pause)
{
        if (!pause->pauses)
                return;
        (void)epoll_ctl(pause->pauses->epoll_fd, EPOLL_CTL_DEL, pause_fd(pause), NULL);
        list_unlink(&pause->timer);
        list_unlink(&pause->active);
        pause->pauses = NULL;
        MHD_resume_connection(pause->connection);
}
