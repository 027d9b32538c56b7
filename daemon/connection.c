/* SPDX-License-Identifier: MIT */

/*
 * A connection that is used gets another deadline thrice a request, nearly always a later one. So
 * its timer is left alone until it is due, and only then set to what the deadline has become: a
 * request touches nothing but its own connection.
 */

#include "connection.h"

#include <stdlib.h>
#include <sys/socket.h>

#include "../lib/error.h"
#include "peer.h"

/* Whoever cannot be identified. */
#define UID_UNKNOWN ((uid_t)-1)

int connections_init(struct connections *connections, size_t max, uint64_t header_timeout_ms,
                     uint64_t idle_timeout_ms)
{
        int r;

        *connections = (struct connections){
                .max = max,
                .header_timeout_ms = header_timeout_ms,
                .idle_timeout_ms = idle_timeout_ms,
        };
        list_init(&connections->all);
        r = timerheap_init(&connections->timers, (uint32_t)max);
        if (r)
                return error_trace(r);
        r = shares_init(&connections->shares, max);
        if (r)
                timerheap_deinit(&connections->timers);
        return error_trace(r);
}

void connections_set_limits(struct connections *connections, size_t max, uint64_t header_timeout_ms,
                            uint64_t idle_timeout_ms)
{
        connections->header_timeout_ms = header_timeout_ms;
        connections->idle_timeout_ms = idle_timeout_ms;
        if (timerheap_grow(&connections->timers, (uint32_t)max) != 0)
                return;
        connections->max = max;
        shares_set_limit(&connections->shares, max);
}

void connections_deinit(struct connections *connections)
{
        shares_deinit(&connections->shares);
        timerheap_deinit(&connections->timers);
}

/* There are never more connections than timers have room. */
static void set_timer(struct connections *connections, struct connection *connection)
{
        connection->timer_ms = connection->deadline_ms;
        if (connection->timer_ms != TIMERHEAP_NEVER)
                (void)timerheap_set(&connections->timers, &connection->timer, connection->timer_ms);
}

static void set_deadline(struct connections *connections, struct connection *connection,
                         uint64_t deadline_ms)
{
        connection->deadline_ms = deadline_ms;
        if (deadline_ms < connection->timer_ms)
                set_timer(connections, connection);
}

static uid_t uid_of(const struct peer *peer)
{
        return peer->known ? peer->uid : UID_UNKNOWN;
}

int connection_new(struct connection **ret, struct connections *connections, int fd,
                   struct peer *peer, uint64_t now_ms)
{
        struct connection *connection;
        int r;

        r = shares_take(&connections->shares, uid_of(peer));
        if (r)
                return r < 0 ? error_trace(r) : CONNECTION_E_SHARE;
        connection = malloc(sizeof(*connection));
        if (!connection) {
                shares_give(&connections->shares, uid_of(peer));
                return error_trace(-ENOMEM);
        }
        *connection = (struct connection){.fd = fd, .peer = *peer, .timer_ms = TIMERHEAP_NEVER};
        *peer = (struct peer){};
        list_push_back(&connections->all, &connection->all_link);
        set_deadline(connections, connection, now_ms + connections->header_timeout_ms);
        connections->n++;
        connections->accepted++;
        *ret = connection;
        return 0;
}

void connection_free(struct connections *connections, struct connection *connection)
{
        shares_give(&connections->shares, uid_of(&connection->peer));
        peer_deinit(&connection->peer);
        habit_deinit(&connection->habit);
        timerheap_cancel(&connections->timers, &connection->timer);
        list_unlink(&connection->all_link);
        connections->n--;
        free(connection);
}

void connection_begin(struct connections *connections, struct connection *connection,
                      uint64_t now_ms)
{
        /* The first request's time runs since the connection was accepted. */
        if (connection->used)
                set_deadline(connections, connection, now_ms + connections->header_timeout_ms);
        connection->used = true;
}

void connection_wait(struct connection *connection)
{
        connection->deadline_ms = TIMERHEAP_NEVER;
}

void connection_answer(struct connections *connections, struct connection *connection,
                       uint64_t now_ms)
{
        set_deadline(connections, connection, now_ms + connections->header_timeout_ms);
}

void connection_rest(struct connections *connections, struct connection *connection,
                     uint64_t now_ms)
{
        set_deadline(connections, connection,
                     now_ms + connections->idle_timeout_ms + connections->header_timeout_ms);
}

void connections_tick(struct connections *connections, uint64_t now_ms)
{
        struct timer *timer;

        while ((timer = timerheap_pop(&connections->timers, now_ms))) {
                struct connection *connection = list_entry(timer, struct connection, timer);

                if (connection->deadline_ms > now_ms) {
                        set_timer(connections, connection);
                        continue;
                }
                connection->timer_ms = 0;
                (void)shutdown(connection->fd, SHUT_RDWR);
                connections->cut++;
        }
}

uint64_t connections_next_tick_ms(const struct connections *connections)
{
        return timerheap_next_ms(&connections->timers);
}
