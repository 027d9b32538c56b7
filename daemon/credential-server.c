/* SPDX-License-Identifier: MIT */

/*
 * The way of a connection: who it is → the address that it comes from → the entry → the broker,
 * which may make it wait → the record → the token, or the refusal, written as the peer reads it.
 *
 * An address is a claim, and any process may make it. So the peer must be root, and the unit that
 * its cgroup is in must be the one that the address names: systemd connects from a process that is
 * in the unit's cgroup already. What such a peer may have was settled when the entry was read; it
 * goes to the broker as a rule that comes with the peer (peer.entitled_by), so that scopes granted
 * in excess, reloads and the record work as they do for callers.
 *
 * A waiter is in its connection, and so is a copy of all that its request borrows: the entry may go
 * with a reload. Only the rule is the entry's, and replaced at each reload. While it waits nothing
 * is asked of the loop: a peer that hangs up is noticed when it is written to.
 */

#include "credential-server.h"

#include <assert.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../lib/error.h"
#include "../lib/metrics.h"
#include "../lib/pattern.h"
#include "audit.h"
#include "credential-address.h"
#include "reload.h"

#define ROOT_UID 0

#define OTHERS_MAX (CREDENTIAL_CONNECTIONS_MAX / 4)

#define HEAD_MAX_BYTES 512

/* Holds no credential up that is there, since its own length is what does. */
#define FILLER_BYTES 16384

struct credential_connection {
        struct credential_server *server;
        struct list link; /* credential_server::free, ::waiting or ::writing */
        struct loop_source source;
        struct peer peer;       /* owned */
        bool other;             /* counts in credential_server::n_others */
        char *unit, *id;        /* owned; as the address has them; NULL: it has none */
        char *client, *subject; /* owned; what the request borrows, as is */
        char *scope;            /* this */
        struct token_request request;
        struct waiter waiter;
        struct reload_era *era;    /* held while it waits; NULL: it has not waited */
        struct token *token;       /* a reference; being written; NULL: it is refused */
        char head[HEAD_MAX_BYTES]; /* that a refusal begins with */
        size_t head_size;
        size_t size; /* of all that is to be written */
        size_t written;
        uint64_t since_ms; /* when writing began */
};

/* A rule that gives nothing: to those whose entry has gone while they waited. */
static const struct rule no_entry = {.name = (char *)"credential"};

static char filler[FILLER_BYTES];

int credential_server_init(struct credential_server *server, struct loop *loop,
                           struct broker *broker, struct audit *audit, struct metrics *metrics,
                           struct peer_finder *finder, struct reload *reload,
                           const struct config *config)
{
        *server = (struct credential_server){
                .loop = loop,
                .broker = broker,
                .audit = audit,
                .metrics = metrics,
                .finder = finder,
                .reload = reload,
                .config = config,
        };
        list_init(&server->free);
        list_init(&server->waiting);
        list_init(&server->writing);
        memset(filler, '\n', sizeof(filler));
        server->all = calloc(CREDENTIAL_CONNECTIONS_MAX, sizeof(*server->all));
        if (!server->all)
                return error_trace(-ENOMEM);
        for (size_t i = 0; i < CREDENTIAL_CONNECTIONS_MAX; i++)
                list_push_back(&server->free, &server->all[i].link);
        return 0;
}

static struct credential_connection *first(const struct list *list)
{
        struct list *link = list_first(list);

        return link ? list_entry(link, struct credential_connection, link) : NULL;
}

static void move(struct credential_connection *connection, struct list *list)
{
        list_unlink(&connection->link);
        list_push_back(list, &connection->link);
}

/* No system's service: its own process is root. One that could not be found out for want of memory
 * may be that, and has to be told. */
static bool is_other(const struct peer *peer)
{
        return peer->known ? peer->uid != ROOT_UID : !peer->starved;
}

static void end(struct credential_connection *connection)
{
        struct credential_server *server = connection->server;

        loop_remove(server->loop, &connection->source);
        close(connection->source.fd);
        token_unref(connection->token);
        reload_release(connection->era);
        server->n_others -= connection->other;
        peer_deinit(&connection->peer);
        request_deinit(&connection->request);
        free(connection->unit);
        free(connection->id);
        free(connection->client);
        free(connection->subject);
        free(connection->scope);
        move(connection, &server->free);
        server->n--;
}

void credential_server_deinit(struct credential_server *server)
{
        struct credential_connection *connection;

        if (!server->all)
                return;
        while ((connection = first(&server->writing)))
                end(connection);
        free(server->all);
        server->all = NULL;
}

bool credential_server_is_full(const struct credential_server *server)
{
        return list_empty(&server->free);
}

void credential_server_note_full(struct credential_server *server)
{
        server->counters.full++;
        log_warning("%d units have their credentials fetched; others wait",
                    CREDENTIAL_CONNECTIONS_MAX);
}

/* What is to be written next, and *ret_size of it. */
static const char *next_piece(const struct credential_connection *connection, size_t *ret_size)
{
        const size_t written = connection->written, left = connection->size - written;

        if (connection->token) {
                *ret_size = left;
                return token_value(connection->token).bytes + written;
        }
        if (written < connection->head_size) {
                *ret_size = connection->head_size - written;
                return connection->head + written;
        }
        *ret_size = left < sizeof(filler) ? left : sizeof(filler);
        return filler;
}

/* Writes what the peer has room for. The connection is gone when all is written. */
static void write_some(struct credential_connection *connection)
{
        struct credential_counters *counters = &connection->server->counters;

        while (connection->written < connection->size) {
                size_t size;
                const char *piece = next_piece(connection, &size);
                ssize_t n = send(connection->source.fd, piece, size, MSG_DONTWAIT | MSG_NOSIGNAL);

                if (n < 0 && errno == EAGAIN)
                        return;
                if (n < 0 && errno != EINTR) {
                        counters->cut++;
                        end(connection);
                        return;
                }
                if (n > 0)
                        connection->written += (size_t)n;
        }
        if (connection->token)
                counters->granted++;
        end(connection);
}

static void writable(struct loop_source *source, uint32_t events)
{
        write_some(list_entry(source, struct credential_connection, source));
}

static void begin_to_write(struct credential_connection *connection, size_t size)
{
        struct credential_server *server = connection->server;
        int r;

        connection->size = size;
        connection->since_ms = server->loop->now_ms;
        move(connection, &server->writing);
        r = loop_add(server->loop, &connection->source, EPOLLOUT);
        if (r == 0)
                return;
        /* To close it now would start the unit; time will tell. */
        log_error("cannot watch a connection for credentials: %s", strerror(-r));
}

/* Says it to the peer, whom it keeps from starting, and to the operator, who would find nothing but
 * the size in what systemd logs. */
static void refuse(struct credential_connection *connection, enum reason reason)
{
        struct credential_server *server = connection->server;
        const struct reason_info *info = reason_info(reason);
        const char *unit = connection->unit ? connection->unit : "an unknown unit";
        const char *id = connection->id ? connection->id : "?";
        int size;

        server->counters.refused++;
        size = snprintf(connection->head, sizeof(connection->head),
                        "egain-tokend: no token for the credential %s of %s: %s: %s\n", id, unit,
                        info->code, info->description);
        connection->head_size = (size_t)size < sizeof(connection->head)
                                        ? (size_t)size
                                        : sizeof(connection->head) - 1;
        log_warning("no token for the credential \"%s\" of %s, asked for by uid %d, pid %d "
                    "in %s, which keeps the unit from starting: %s: %s",
                    id, unit, connection->peer.known ? (int)connection->peer.uid : -1,
                    (int)connection->peer.pid,
                    connection->peer.unit ? connection->peer.unit : "no unit", info->code,
                    info->description);
        begin_to_write(connection, CREDENTIAL_REFUSAL_BYTES);
}

static int record(struct credential_connection *connection, const struct reply *reply)
{
        struct credential_server *server = connection->server;
        const struct token_request *request = &connection->request;
        const struct audit_decision decision = {
                .action = AUDIT_ACTION_TOKEN,
                .reason = reply->reason,
                .detail = reply->detail,
                .token = reply->token,
                .cache_status = reply->cache_status,
                .collapsed = reply->collapsed,
                .peer = &connection->peer,
                .rule = reply->rule ? reply->rule->name : NULL,
                .client = reply->client ? reply->client->name : NULL,
                .has_subject = request->has_subject,
                .subject_kind = reply->subject_kind,
                .subject = request->subject,
                .scope = request->scope,
        };

        return audit_decide(server->audit, &decision, server->loop->now_ms, server->loop->wall_ms);
}

/* The record comes before the token. */
static void answer(struct credential_connection *connection, struct reply *reply)
{
        struct metrics *metrics = connection->server->metrics;
        enum reason reason = reply->reason;

        if (record(connection, reply) == AUDIT_E_FULL)
                reason = REASON_AUDIT_FULL;
        metrics_count_request(metrics, METRICS_CREDENTIAL, reason);
        if (reason != REASON_NONE) {
                token_unref(reply->token);
                reply->token = NULL;
                refuse(connection, reason);
                return;
        }
        assert(reply->token);
        metrics_count_token(metrics, reply);
        connection->token = reply->token;
        reply->token = NULL;
        begin_to_write(connection, token_value(connection->token).size);
}

static const struct credential_config *find_entry(const struct config *config, const char *unit,
                                                  const char *id)
{
        for (size_t i = 0; i < config->n_credentials; i++) {
                const struct credential_config *entry = &config->credentials[i];

                if (strcmp(entry->id, id) == 0 && pattern_matches(entry->rule.unit, TEXT(unit)))
                        return entry;
        }
        return NULL;
}

/* Takes a copy of all that the request is made of. 0 or -ENOMEM. */
static int prepare_request(struct credential_connection *connection,
                           const struct credential_config *entry)
{
        const struct config *config = connection->server->config;
        struct token_request *request = &connection->request;

        connection->client = strdup(config->settings.clients[entry->rule.clients[0]].name);
        connection->subject = strdup(entry->subject);
        connection->scope = strdup(entry->scope);
        if (!connection->client || !connection->subject || !connection->scope)
                return error_trace(-ENOMEM);
        request->has_subject = true;
        request->subject_kind = entry->subject_kind;
        if (subject_kind_names(entry->subject_kind))
                request->subject = TEXT(connection->subject);
        request->scope = TEXT(connection->scope);
        request->client = TEXT(connection->client);
        return 0;
}

/* Who connects, and for which entry. 0, -ENOMEM, or REASON_OUT_OF_MEMORY, _NOT_SYSTEMD, _PEER_GONE,
 * _OTHER_UNIT, _NO_CREDENTIAL. */
static int identify(struct credential_connection *connection)
{
        struct sockaddr_storage address = {};
        socklen_t size = sizeof(address);
        struct peer *peer = &connection->peer;
        const struct credential_config *entry;
        struct credential_address claim;

        if (peer->starved)
                return REASON_OUT_OF_MEMORY;
        if (!peer->known)
                return REASON_PEER_GONE;
        if (peer->uid != ROOT_UID ||
            getpeername(connection->source.fd, (struct sockaddr *)&address, &size) < 0 ||
            credential_address_parse(&address, size, &claim))
                return REASON_NOT_SYSTEMD;
        connection->unit = strndup(claim.unit.bytes, claim.unit.size);
        connection->id = strndup(claim.id.bytes, claim.id.size);
        if (!connection->unit || !connection->id)
                return error_trace(-ENOMEM);
        if (!peer->unit || strcmp(peer->unit, connection->unit) != 0)
                return REASON_OTHER_UNIT;
        entry = find_entry(connection->server->config, connection->unit, connection->id);
        if (!entry)
                return REASON_NO_CREDENTIAL;
        peer->entitled_by = &entry->rule;
        return error_trace(prepare_request(connection, entry));
}

void credential_server_accept(struct credential_server *server, int fd)
{
        struct credential_connection *connection;
        struct reply reply = {.reason = REASON_NONE};
        struct peer peer;
        int r;

        peer_find(server->finder, fd, true, &peer);
        if (is_other(&peer) && server->n_others == OTHERS_MAX) {
                peer_deinit(&peer);
                close(fd);
                return;
        }
        connection = list_entry(list_front(&server->free), struct credential_connection, link);
        list_unlink(&connection->link);
        *connection = (struct credential_connection){
                .server = server,
                .source = {.fd = fd, .ready = writable},
                .peer = peer,
                .other = is_other(&peer),
        };
        list_init(&connection->link);
        request_init(&connection->request);
        server->n++;
        server->n_others += connection->other;
        server->counters.accepted++;

        r = identify(connection);
        if (r) {
                reply.reason = reason_of_error(r);
                answer(connection, &reply);
                return;
        }
        /* This comes before the broker's tick of the turn, and the loop may have slept for long:
         * only now is it noticed that the clock was put forward meanwhile. */
        broker_tick(server->broker, server->loop->now_ms, server->loop->wall_ms);
        r = broker_ask(server->broker, &connection->request, &connection->peer,
                       server->loop->now_ms, &connection->waiter, &reply);
        if (r == BROKER_E_WAIT) {
                connection->era = reload_hold(server->reload);
                move(connection, &server->waiting);
        } else {
                answer(connection, &reply);
        }
}

void credential_server_use(struct credential_server *server, const struct config *config)
{
        server->config = config;
        list_for_each (link, &server->waiting) {
                struct credential_connection *connection = list_entry(
                        link, struct credential_connection, link);
                const struct credential_config *entry = find_entry(config, connection->unit,
                                                                   connection->id);

                connection->peer.entitled_by = entry ? &entry->rule : &no_entry;
        }
}

bool credential_server_owns(const struct waiter *waiter)
{
        return waiter->peer->entitled_by;
}

static struct credential_connection *connection_of(struct waiter *waiter)
{
        return list_entry(waiter, struct credential_connection, waiter);
}

void credential_server_resume(struct credential_server *server, struct waiter *waiter)
{
        answer(connection_of(waiter), &waiter->reply);
}

bool credential_server_caller_is_gone(struct waiter *waiter)
{
        struct pollfd pollfd = {.fd = connection_of(waiter)->source.fd};

        return poll(&pollfd, 1, 0) == 1;
}

static uint64_t deadline_ms(const struct credential_connection *connection)
{
        return connection->since_ms + connection->server->config->header_timeout_ms;
}

void credential_server_tick(struct credential_server *server)
{
        struct credential_connection *connection;

        while ((connection = first(&server->writing)) &&
               deadline_ms(connection) <= server->loop->now_ms) {
                server->counters.cut++;
                end(connection);
        }
}

uint64_t credential_server_next_tick_ms(const struct credential_server *server)
{
        const struct credential_connection *connection = first(&server->writing);

        return connection ? deadline_ms(connection) : LOOP_NEVER;
}
