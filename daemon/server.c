/* SPDX-License-Identifier: MIT */

/*
 * libmicrohttpd calls back as a request comes in: when its first line is complete (begin_request),
 * when its header is (first call of handle), for pieces of its body, and once more when it is
 * complete, which is where an answer is queued: queued in the first call it would cost the
 * connection, as it does where a request must not be read to its end. A request that waits is
 * suspended in that last call, and called once more after it was resumed, which happens exactly
 * once, when the broker has replied.
 *
 * A request belongs to libmicrohttpd's connection from begin_request to end_request, a connection
 * of ours from notify's start to its end. Wiping is ours: bodies of requests are freed with the
 * call.
 *
 * It calls back while the loop waits (server-wait.c), before the turn has begun, so each callback
 * sees to it that the loop knows the time.
 */

#include "server.h"

#include <microhttpd.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "../lib/error.h"
#include "framing.h"
#include "head.h"
#include "log.h"
#include "server-wait.h"

/* The best by measurement: a hit costs least, and a header block of that size is more than enough.
 */
#define POOL_BYTES ((size_t)16384)

/* What libmicrohttpd keeps there beside a field that came, and what the head of an answer takes, a
 * token aside; both are more than was measured. */
#define POOL_FIELD_BYTES  ((size_t)80)
#define POOL_ANSWER_BYTES ((size_t)1024)

/* A body that says it is larger is not even read to its end. */
#define BODY_READ_MAX_BYTES  (UINT64_C(1024) * 1024)
#define BODY_READ_MAX_DIGITS 7 /* it has so many */

/* libmicrohttpd's own limit, which stops it accepting, is never met: ours can be changed. */
#define MHD_CONNECTIONS_MAX 1000000U

/* Requests whose memory is kept for others to come. */
#define SPARES_MAX 16

enum request_state {
        REQUEST_NEW,
        REQUEST_READING,
        REQUEST_WAITING,  /* suspended */
        REQUEST_RESUMED,  /* the broker's reply is in the call */
        REQUEST_ANSWERED, /* call.response is complete, or was queued */
};

struct request {
        struct request *next_spare; /* while it is one */
        struct server *server;
        struct connection *connection;
        struct MHD_Connection *mhd;
        enum request_state state;
        struct head head;
        struct framing framing;
        bool huge; /* it says that its body is over BODY_READ_MAX_BYTES */
        struct api_call call;
};

static void resume(struct request *request)
{
        struct server *server = request->server;

        request->state = REQUEST_RESUMED;
        server->has_work = true;
        connection_answer(&server->connections, request->connection, server->loop->now_ms);
        MHD_resume_connection(request->mhd);
}

static struct request *request_of_waiter(struct waiter *waiter)
{
        return list_entry(waiter, struct request, call.waiter);
}

/* Requests end as often as they begin, most of them one after the other: the memory of a few is
 * used again, the last one first. It was wiped at the end. */
static struct request *take_spare(struct server *server)
{
        struct request *request = server->spares;

        if (!request)
                return calloc(1, sizeof(*request));
        server->spares = request->next_spare;
        server->n_spares--;
        return request;
}

static void free_request_memory(struct request *request)
{
        api_call_deinit(&request->call);
        free(request);
}

static void put_spare(struct server *server, struct request *request)
{
        if (server->n_spares == SPARES_MAX) {
                free_request_memory(request);
                return;
        }
        request->next_spare = server->spares;
        server->spares = request;
        server->n_spares++;
}

/* libmicrohttpd calls us. */
static void note_call(struct server *server)
{
        server->n_calls++;
        loop_catch_up(server->loop);
}

static void *begin_request(void *data, const char *target, struct MHD_Connection *mhd)
{
        const union MHD_ConnectionInfo *info = MHD_get_connection_info(
                mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
        struct server *server = data;
        struct request *request;

        note_call(server);
        request = take_spare(server);
        if (!request)
                return NULL;
        request->server = server;
        request->connection = info->socket_context;
        habit_fetch_ahead(&request->connection->habit);
        request->mhd = mhd;
        request->state = REQUEST_NEW;
        request->huge = false;
        request->head = (struct head){};
        if (api_call_init(&request->call, target) < 0) {
                put_spare(server, request);
                return NULL;
        }
        server->n_requests++;
        request->connection->request = request;
        connection_begin(&server->connections, request->connection, server->loop->now_ms);
        return request;
}

static void free_request(struct request *request)
{
        struct server *server = request->server;

        server->n_requests--;
        request->connection->request = NULL;
        api_call_end(&request->call);
        put_spare(server, request);
}

static void end_request(void *data, struct MHD_Connection *mhd, void **request_data,
                        enum MHD_RequestTerminationCode code)
{
        struct request *request = *request_data;
        struct server *server = data;

        note_call(server);
        if (!request)
                return;
        connection_rest(&server->connections, request->connection, server->loop->now_ms);
        free_request(request);
        *request_data = NULL;
}

static void notify(void *data, struct MHD_Connection *mhd, void **socket_context,
                   enum MHD_ConnectionNotificationCode code)
{
        struct connection *connection = *socket_context;
        struct server *server = data;

        note_call(server);
        if (code == MHD_CONNECTION_NOTIFY_STARTED) {
                *socket_context = server->arriving;
                server->arriving = NULL;
        } else if (connection) {
                /* libmicrohttpd does not end a request whose header it could not make out. */
                if (connection->request)
                        free_request(connection->request);
                connection_free(&server->connections, connection);
                *socket_context = NULL;
        }
}

/* `literal` is a string constant. */
#define IS_FIELD(name, size, literal) \
        ((size) == sizeof(literal) - 1 && strncasecmp(name, literal, sizeof(literal) - 1) == 0)

static enum MHD_Result take_header(void *data, enum MHD_ValueKind kind, const char *name,
                                   size_t size, const char *value, size_t value_size)
{
        struct request *request = data;
        struct api_headers *headers = &request->call.headers;

        if (!value)
                return MHD_YES;
        head_take(&request->head, name, value);
        framing_take(&request->framing, name, size);
        if (IS_FIELD(name, size, "Host")) {
                headers->host_repeated = headers->host;
                headers->host = value;
        } else if (IS_FIELD(name, size, "Accept")) {
                headers->accept = value;
        } else if (IS_FIELD(name, size, "Authorization")) {
                headers->authorization = value;
        } else if (IS_FIELD(name, size, "Content-Length")) {
                framing_take_length(&request->framing);
                request->huge |= value_size >= BODY_READ_MAX_DIGITS &&
                                 strtoull(value, NULL, 10) > BODY_READ_MAX_BYTES;
        } else if (IS_FIELD(name, size, "Content-Type")) {
                headers->content_type = value;
        } else if (IS_FIELD(name, size, "Metadata")) {
                headers->metadata = value;
        } else if (IS_FIELD(name, size, "Origin") || IS_FIELD(name, size, "Sec-Fetch-Site")) {
                headers->of_browser = (struct api_header){name, value};
        } else if (IS_FIELD(name, size, "Transfer-Encoding")) {
                framing_take_coding(&request->framing);
        } else if (IS_FIELD(name, size, "X-Forwarded-For") || IS_FIELD(name, size, "Forwarded") ||
                   IS_FIELD(name, size, "Via")) {
                headers->of_forwarder = (struct api_header){name, value};
        } else {
                request_fields_take(&headers->fields, name, value);
        }
        return MHD_YES;
}

/* Queues call.response, or the answer that is kept; MHD_NO, which closes the connection, if memory
 * is out. */
static enum MHD_Result queue(struct request *request)
{
        struct server *server = request->server;
        struct api_call *call = &request->call;
        struct MHD_Response *out;
        enum MHD_Result queued;

        connection_answer(&server->connections, request->connection, server->loop->now_ms);
        if (call->answer && call->answer->response)
                return MHD_queue_response(request->mhd, call->answer->status,
                                          call->answer->response);

        out = hot_answers_dress(&server->answers, &call->response,
                                server->closing || call->headers.unclear_end);
        if (!out)
                return MHD_NO;
        queued = MHD_queue_response(request->mhd, call->response.status, out);
        if (call->answer)
                hot_answers_keep(&server->answers, call->answer, call->response.status, out,
                                 server->loop->now_ms);
        else
                MHD_destroy_response(out);
        return queued;
}

static void take_headers(struct request *request, const char *method, const char *version)
{
        const union MHD_ConnectionInfo *info;
        struct api_call *call = &request->call;
        size_t used;

        head_begin(&request->head, version);
        framing_begin(&request->framing, version);
        MHD_get_connection_values_n(request->mhd, MHD_HEADER_KIND, take_header, request);
        call->headers.unclear_end = !framing_is_certain(&request->framing);
        info = MHD_get_connection_info(request->mhd, MHD_CONNECTION_INFO_REQUEST_HEADER_SIZE);
        if (!info)
                return;
        call->headers.plain = head_is_plain(&request->head, method, info->header_size);
        used = info->header_size + request->head.n * POOL_FIELD_BYTES + POOL_ANSWER_BYTES;
        call->header_room_bytes = used < POOL_BYTES ? POOL_BYTES - used : 0;
}

/* The header is in. */
static enum MHD_Result start(struct request *request, const char *method, const char *version)
{
        struct peer *peer = &request->connection->peer;
        struct api_call *call = &request->call;
        int r;

        request->state = REQUEST_READING;
        call->method = method;
        call->peer = peer;
        call->habit = &request->connection->habit;
        /* The rules may have come to name units since the connection was accepted. */
        if (request->server->api->names_units && peer->known && !peer->unit_asked)
                peer_find_unit(request->server->finder, request->connection->fd, peer);
        take_headers(request, method, version);

        r = api_begin(request->server->api, call);
        if (r < 0)
                return MHD_NO;
        if (r == API_ANSWER)
                request->state = REQUEST_ANSWERED;
        if (!request->huge && !call->headers.unclear_end)
                return MHD_YES;

        if (request->state == REQUEST_READING) {
                call->body_too_large = true;
                if (api_finish(request->server->api, call) != API_ANSWER)
                        return MHD_NO;
                request->state = REQUEST_ANSWERED;
        }
        return queue(request);
}

static void take_body(struct request *request, const char *bytes, size_t size)
{
        struct api_call *call = &request->call;

        if (request->state != REQUEST_READING || call->body_too_large)
                return;
        if (secret_append(&call->body, bytes, size) != 0)
                call->body_too_large = true;
}

/* The request is complete, or its reply is there. */
static enum MHD_Result finish(struct request *request)
{
        struct server *server = request->server;
        int r = API_ANSWER;

        if (request->state == REQUEST_READING)
                r = api_finish(server->api, &request->call);
        else if (request->state == REQUEST_RESUMED)
                r = api_resume(server->api, &request->call);

        switch (r) {
        case API_ANSWER: request->state = REQUEST_ANSWERED; return queue(request);
        case API_WAIT:
                request->state = REQUEST_WAITING;
                connection_wait(request->connection);
                MHD_suspend_connection(request->mhd);
                return MHD_YES;
        default: return MHD_NO;
        }
}

static enum MHD_Result handle(void *data, struct MHD_Connection *mhd, const char *url,
                              const char *method, const char *version, const char *upload,
                              size_t *upload_size, void **request_data)
{
        struct request *request = *request_data;

        note_call(data);
        if (!request)
                return MHD_NO; /* memory was out when it began */
        if (request->state == REQUEST_NEW)
                return start(request, method, version);
        if (*upload_size > 0) {
                take_body(request, upload, *upload_size);
                *upload_size = 0;
                return MHD_YES;
        }
        return finish(request);
}

static void panic(void *data, const char *file, unsigned int line, const char *reason)
{
        log_error("libmicrohttpd gives up at %s:%u: %s", file, line, reason ? reason : "");
        abort();
}

int server_init(struct server *server, struct loop *loop, struct api *api,
                struct peer_finder *finder, size_t max_connections, uint64_t header_timeout_ms,
                uint64_t idle_timeout_ms)
{
        int r;

        *server = (struct server){.loop = loop, .api = api, .finder = finder};
        hot_answers_init(&server->answers);
        r = connections_init(&server->connections, max_connections, header_timeout_ms,
                             idle_timeout_ms);
        if (r)
                return error_trace(r);
        MHD_set_panic_func(panic, NULL);
        server->mhd = MHD_start_daemon(
                MHD_USE_EPOLL | MHD_USE_NO_LISTEN_SOCKET | MHD_ALLOW_SUSPEND_RESUME, 0, NULL, NULL,
                handle, server, MHD_OPTION_URI_LOG_CALLBACK, begin_request, server,
                MHD_OPTION_NOTIFY_COMPLETED, end_request, server, MHD_OPTION_NOTIFY_CONNECTION,
                notify, server, MHD_OPTION_CONNECTION_MEMORY_LIMIT, POOL_BYTES,
                MHD_OPTION_CONNECTION_LIMIT, MHD_CONNECTIONS_MAX, MHD_OPTION_STRICT_FOR_CLIENT, 1,
                MHD_OPTION_END);
        if (!server->mhd) {
                r = errno ? -errno : -ENOMEM;
                connections_deinit(&server->connections);
                return error_trace(r);
        }
        r = server_wait_init(server);
        if (r < 0)
                server_deinit(server);
        return error_trace(r);
}

void server_deinit(struct server *server)
{
        if (!server->mhd)
                return;
        server_wait_deinit(server);
        MHD_stop_daemon(server->mhd);
        server->mhd = NULL;
        hot_answers_deinit(&server->answers);
        while (server->spares)
                free_request_memory(take_spare(server));
        connections_deinit(&server->connections);
}

bool server_is_full(const struct server *server)
{
        return server->connections.n >= server->connections.max;
}

int server_accept(struct server *server, int fd, const struct sockaddr *address, socklen_t size)
{
        struct connection *connection;
        struct peer peer;
        int r;

        peer_find(server->finder, fd, server->api->names_units, &peer);
        if (peer.starved) {
                peer_deinit(&peer);
                return SERVER_E_STARVED;
        }
        r = connection_new(&connection, &server->connections, fd, &peer, server->loop->now_ms);
        peer_deinit(&peer);
        if (r == CONNECTION_E_SHARE)
                return SERVER_E_SHARE;
        if (r < 0)
                return SERVER_E_STARVED;
        server->arriving = connection;
        if (MHD_add_connection(server->mhd, fd, address, size) != MHD_YES) {
                /* It may have been handed over already, and taken back through notify(). */
                if (server->arriving)
                        connection_free(&server->connections, connection);
                server->arriving = NULL;
                return error_trace(-ENOMEM);
        }
        return 0;
}

void server_resume(struct server *server, struct waiter *waiter)
{
        resume(request_of_waiter(waiter));
}

void server_resume_reload(struct server *server, struct reload_wait *wait)
{
        resume(list_entry(wait, struct request, call.reload_wait));
}

void server_resume_purge(struct server *server, struct purge *purge)
{
        resume(list_entry(purge, struct request, call.purge));
}

bool server_caller_is_gone(struct waiter *waiter)
{
        struct pollfd pollfd = {
                .fd = request_of_waiter(waiter)->connection->fd,
                .events = POLLRDHUP,
        };

        return poll(&pollfd, 1, 0) == 1;
}

void server_ask_units(struct server *server)
{
        list_for_each (link, &server->connections.all) {
                struct connection *connection = list_entry(link, struct connection, all_link);

                if (connection->request && connection->peer.known && !connection->peer.unit_asked)
                        peer_find_unit(server->finder, connection->fd, &connection->peer);
        }
}

void server_close_connections(struct server *server)
{
        server->closing = true;
}
