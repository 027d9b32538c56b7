/* SPDX-License-Identifier: MIT */

/*
 * The loop waits in libmicrohttpd's epoll descriptor (MHD_run_wait()), in which its own is, under a
 * NULL pointer: such an event libmicrohttpd passes over, as it does in all of its versions with
 * epoll. The other way round, with its descriptor in that of the loop, each turn costs a second
 * wait.
 */

#include "server-wait.h"

#include <microhttpd.h>
#include <poll.h>
#include <sys/epoll.h>

#include "../lib/error.h"
#include "../lib/list.h"

/* Two requests of a turn or more are a crowd: those who come while we wake up are then served with
 * the one who woke us, rather than each with a turn and a wake-up of its own. */
#define CROWD_MIN_CALLS 8

/* Has libmicrohttpd wait and serve; how often it has called us. */
static uint64_t run(struct server *server, bool waits)
{
        const uint64_t n_calls = server->n_calls;

        server->has_work = false;
        MHD_run_wait(server->mhd, waits ? -1 : 0);
        return server->n_calls - n_calls;
}

/* A crowd is waited for first, which tells whether the loop has something, too, and served when we
 * are awake. */
static bool wait_and_serve(struct loop_host *host, bool waits)
{
        struct server *server = list_entry(host, struct server, host);
        struct pollfd pollfds[] = {
                {.fd = server->epoll_fd, .events = POLLIN},
                {.fd = server->loop->epoll_fd, .events = POLLIN},
        };
        const bool is_crowded = server->crowded;
        uint64_t n;

        if (waits && is_crowded)
                (void)poll(pollfds, 2, -1);
        n = run(server, waits && !is_crowded);
        server->crowded = n >= CROWD_MIN_CALLS;
        if (waits && is_crowded)
                return pollfds[1].revents != 0;
        return n == 0 || server->crowded;
}

int server_wait_init(struct server *server)
{
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
        const union MHD_DaemonInfo *info = MHD_get_daemon_info(server->mhd,
                                                               MHD_DAEMON_INFO_EPOLL_FD);

        server->epoll_fd = info->epoll_fd;
        if (epoll_ctl(server->epoll_fd, EPOLL_CTL_ADD, server->loop->epoll_fd, &event) < 0)
                return error_trace(-errno);
        server->host.wait = wait_and_serve;
        server->loop->host = &server->host;
        return 0;
}

void server_wait_deinit(struct server *server)
{
        server->loop->host = NULL;
}

void server_tick(struct server *server)
{
        connections_tick(&server->connections, server->loop->now_ms);
        hot_answers_tick(&server->answers, server->loop->now_ms);
        if (server->has_work)
                (void)run(server, false);
}

uint64_t server_next_tick_ms(struct server *server)
{
        const uint64_t connections_ms = connections_next_tick_ms(&server->connections);
        const uint64_t answers_ms = hot_answers_next_tick_ms(&server->answers);
        MHD_UNSIGNED_LONG_LONG timeout_ms;
        uint64_t mhd_ms = LOOP_NEVER;

        if (server->has_work)
                return server->loop->now_ms;
        if (MHD_get_timeout(server->mhd, &timeout_ms) == MHD_YES)
                mhd_ms = server->loop->now_ms + timeout_ms;
        if (connections_ms < mhd_ms)
                mhd_ms = connections_ms;
        return mhd_ms < answers_ms ? mhd_ms : answers_ms;
}
