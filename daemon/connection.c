/* SPDX-License-Identifier: MIT */

/*
 * Both lists are in order of their deadlines without being sorted, because each gives every
 * connection the same time and new ones go to the end.
 */

#include "connection.h"

#include <stdlib.h>
#include <sys/socket.h>

#include "../lib/error.h"
#include "../lib/timerheap.h"
#include "peer.h"

/* Whoever cannot be identified. */
#define UID_UNKNOWN ((uid_t)-1)

int connections_init(struct connections *connections, size_t max, uint64_t header_timeout_ms,
                     uint64_t idle_timeout_ms)
{
        *connections = (struct connections){
                .max = max,
                .header_timeout_ms = header_timeout_ms,
                .idle_timeout_ms = idle_timeout_ms,
        };
        list_init(&connections->all);
        list_init(&connections->busy);
        list_init(&connections->idle);
        return error_trace(shares_init(&connections->shares, max));
}

void connections_set_limits(struct connections *connections, size_t max, uint64_t header_timeout_ms,
                            uint64_t idle_timeout_ms)
{
        connections->max = max;
        connections->header_timeout_ms = header_timeout_ms;
        connections->idle_timeout_ms = idle_timeout_ms;
        shares_set_limit(&connections->shares, max);
}

void connections_deinit(struct connections *connections)
{
        shares_deinit(&connections->shares);
}

static void put(struct list *list, struct connection *connection, uint64_t deadline_ms)
{
        list_unlink(&connection->link);
        connection->deadline_ms = deadline_ms;
        list_push_back(list, &connection->link);
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
        *connection = (struct connection){.fd = fd, .peer = *peer};
        *peer = (struct peer){};
        list_init(&connection->link);
        list_push_back(&connections->all, &connection->all_link);
        put(&connections->busy, connection, now_ms + connections->header_timeout_ms);
        connections->n++;
        connections->accepted++;
        *ret = connection;
        return 0;
}

void connection_free(struct connections *connections, struct connection *connection)
{
        shares_give(&connections->shares, uid_of(&connection->peer));
        peer_deinit(&connection->peer);
        list_unlink(&connection->link);
        list_unlink(&connection->all_link);
        connections->n--;
        free(connection);
}

void connection_begin(struct connections *connections, struct connection *connection,
                      uint64_t now_ms)
{
        /* The first request's time runs since the connection was accepted. */
        if (connection->used)
                put(&connections->busy, connection, now_ms + connections->header_timeout_ms);
        connection->used = true;
}

void connection_wait(struct connection *connection)
{
        list_unlink(&connection->link);
}

void connection_answer(struct connections *connections, struct connection *connection,
                       uint64_t now_ms)
{
        put(&connections->busy, connection, now_ms + connections->header_timeout_ms);
}

void connection_rest(struct connections *connections, struct connection *connection,
                     uint64_t now_ms)
{
        put(&connections->idle, connection,
            now_ms + connections->idle_timeout_ms + connections->header_timeout_ms);
}

static struct connection *first(const struct list *list)
{
        struct list *link = list_first(list);

        return link ? list_entry(link, struct connection, link) : NULL;
}

static uint64_t first_deadline_ms(const struct list *list)
{
        const struct connection *connection = first(list);

        return connection ? connection->deadline_ms : TIMERHEAP_NEVER;
}

static void cut_expired(struct connections *connections, struct list *list, uint64_t now_ms)
{
        struct connection *connection;

        while ((connection = first(list)) && connection->deadline_ms <= now_ms) {
                list_unlink(&connection->link);
                (void)shutdown(connection->fd, SHUT_RDWR);
                connections->cut++;
        }
}

void connections_tick(struct connections *connections, uint64_t now_ms)
{
        cut_expired(connections, &connections->busy, now_ms);
        cut_expired(connections, &connections->idle, now_ms);
}

uint64_t connections_next_tick_ms(const struct connections *connections)
{
        const uint64_t busy_ms = first_deadline_ms(&connections->busy);
        const uint64_t idle_ms = first_deadline_ms(&connections->idle);

        return busy_ms < idle_ms ? busy_ms : idle_ms;
}
