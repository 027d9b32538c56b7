/* SPDX-License-Identifier: MIT */

/*
 * One thread, one poll: libmicrohttpd's epoll descriptor, that of the paused requests, and signals.
 * libmicrohttpd is turned at every round, ready or not, since what is behind its descriptor is
 * edge-triggered.
 *
 * A request is answered in the second call of its handler at the earliest (an answer in the first
 * one costs the connection), and after a pause the handler is called again. Whatever may have
 * changed a counter ends with control_notice(), so that no value, however short-lived, escapes
 * those who wait.
 *
 * Stopping a daemon with suspended connections aborts the process: pauses are closed first, then
 * the daemon turns until their requests have been let go.
 */

#include "server.h"

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "control.h"
#include "endpoint.h"
#include "error.h"
#include "request.h"

#define CONNECTION_POOL_BYTES 16384
#define PEM_BYTES_MAX         (1 << 20)
#define STOP_TURNS            4

struct connection {
        bool marked;
};

int server_init(struct server *server, const struct options *options)
{
        int r;

        *server = (struct server){.options = options, .pauses.epoll_fd = -1};
        clients_init(&server->clients);
        rules_init(&server->rules);
        list_init(&server->waiting);
        list_init(&server->watchers);
        r = stats_init(&server->stats);
        if (!r)
                r = pauses_init(&server->pauses);
        return error_trace(r);
}

static void stop(struct server *server)
{
        if (!server->daemon)
                return;
        pauses_close(&server->pauses);
        for (int i = 0; i < STOP_TURNS; i++)
                (void)MHD_run(server->daemon);
        MHD_stop_daemon(server->daemon);
        server->daemon = NULL;
}

void server_deinit(struct server *server)
{
        stop(server);
        pauses_deinit(&server->pauses);
        stats_deinit(&server->stats);
        mint_deinit(&server->mint);
        rules_clear(&server->rules);
        clients_deinit(&server->clients);
}

static void *on_uri(void *userdata, const char *uri, struct MHD_Connection *connection)
{
        (void)connection;
        return request_new(userdata, uri);
}

static enum MHD_Result complete(struct request *request)
{
        return request->control ? control_receive(request) : endpoint_receive(request);
}

static enum MHD_Result resumed(struct request *request)
{
        return request->control ? control_resume(request) : endpoint_resume(request);
}

static enum MHD_Result on_access(void *userdata, struct MHD_Connection *connection, const char *url,
                                 const char *method, const char *version, const char *bytes,
                                 size_t *size, void **context)
{
        struct request *request = *context;
        enum MHD_Result result = MHD_YES;

        (void)url;
        if (!request)
                return MHD_NO;
        switch (request->state) {
        case REQUEST_NEW: request_start(request, connection, method, version); break;
        case REQUEST_RECEIVING:
                if (*size == 0) {
                        result = complete(request);
                } else if (request_receive(request, bytes, *size)) {
                        result = MHD_NO;
                } else {
                        *size = 0;
                }
                break;
        case REQUEST_WAITING: result = resumed(request); break;
        case REQUEST_ANSWERED: break;
        }
        control_notice(userdata);
        return result;
}

static void on_completed(void *userdata, struct MHD_Connection *connection, void **context,
                         enum MHD_RequestTerminationCode code)
{
        struct server *server = userdata;
        struct request *request = *context;

        (void)connection;
        (void)code;
        if (request)
                endpoint_finish(request);
        request_free(request);
        *context = NULL;
        control_notice(server);
}

static void on_connection(void *userdata, struct MHD_Connection *mhd, void **context,
                          enum MHD_ConnectionNotificationCode code)
{
        struct server *server = userdata;
        struct connection *connection = *context;

        (void)mhd;
        if (code == MHD_CONNECTION_NOTIFY_STARTED) {
                server->stats.connections++;
                server->stats.connections_total++;
                *context = calloc(1, sizeof(*connection));
        } else {
                server->stats.connections--;
                if (connection && connection->marked)
                        server->stats.token_connections--;
                free(connection);
                *context = NULL;
        }
        control_notice(server);
}

int64_t server_wall_s(const struct server *server)
{
        return time(NULL) + server->clock_offset_s;
}

void server_mark_connection(struct MHD_Connection *mhd, struct stats *stats)
{
        const union MHD_ConnectionInfo *info = MHD_get_connection_info(
                mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
        struct connection *connection = info ? info->socket_context : NULL;

        if (!connection || connection->marked)
                return;
        connection->marked = true;
        stats->token_connections++;
        stats->token_connections_total++;
}

static void on_panic(void *userdata, const char *file, unsigned line, const char *reason)
{
        (void)userdata;
        (void)fprintf(stderr, "fake-egain: libmicrohttpd panics at %s:%u: %s\n", file, line,
                      reason ? reason : "no reason given");
        abort();
}

/* Reads a whole file as a string. */
static int read_pem(const char *path, char **ret_pem)
{
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        struct stat st;
        char *pem = NULL;
        ssize_t n;
        int r;

        if (fd < 0)
                return error_trace(-errno);
        if (fstat(fd, &st) < 0) {
                r = -errno;
                goto out;
        }
        r = -EFBIG;
        if (st.st_size > PEM_BYTES_MAX)
                goto out;
        r = -ENOMEM;
        pem = calloc(1, (size_t)st.st_size + 1);
        if (!pem)
                goto out;
        n = read(fd, pem, (size_t)st.st_size);
        r = n < 0 ? -errno : n != st.st_size ? -EIO : 0;
out:
        (void)close(fd);
        if (r) {
                free(pem);
                return error_trace(r);
        }
        *ret_pem = pem;
        return 0;
}

int server_start(struct server *server, int listen_fd, unsigned max_connections)
{
        const struct options *options = server->options;
        unsigned flags = MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME;
        char *cert = NULL;
        char *key = NULL;
        int r;

        r = mint_init(&server->mint, options->token_bytes);
        if (!r && options->tls_cert) {
                flags |= MHD_USE_TLS;
                r = read_pem(options->tls_cert, &cert);
                if (!r)
                        r = read_pem(options->tls_key, &key);
        }
        if (r) {
                (void)close(listen_fd);
                free(cert);
                return error_trace(r);
        }

        struct MHD_OptionItem tls[] = {
                {MHD_OPTION_HTTPS_MEM_CERT, 0, cert},
                {MHD_OPTION_HTTPS_MEM_KEY, 0, key},
                {MHD_OPTION_END, 0, NULL},
        };
        if (!cert)
                tls[0].option = MHD_OPTION_END;

        MHD_set_panic_func(on_panic, NULL);
        server->daemon = MHD_start_daemon(
                flags, 0, NULL, NULL, on_access, server, MHD_OPTION_LISTEN_SOCKET, listen_fd,
                MHD_OPTION_ARRAY, tls, MHD_OPTION_NOTIFY_COMPLETED, on_completed, server,
                MHD_OPTION_NOTIFY_CONNECTION, on_connection, server, MHD_OPTION_URI_LOG_CALLBACK,
                on_uri, server, MHD_OPTION_CONNECTION_LIMIT, max_connections,
                MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)CONNECTION_POOL_BYTES,
                MHD_OPTION_STRICT_FOR_CLIENT, 1, MHD_OPTION_SIGPIPE_HANDLED_BY_APP, 1,
                MHD_OPTION_END);
        free(cert);
        free(key);
        /* A daemon that fails to start has closed the socket or not; the process ends anyway. */
        return server->daemon ? 0 : error_trace(-EINVAL);
}

static int timeout_ms(const struct server *server)
{
        int timeout = pauses_timeout_ms(&server->pauses, pause_now_ms());
        MHD_UNSIGNED_LONG_LONG mhd_timeout;

        if (MHD_get_timeout(server->daemon, &mhd_timeout) == MHD_YES &&
            (timeout < 0 || mhd_timeout < (unsigned)timeout))
                timeout = mhd_timeout < INT32_MAX ? (int)mhd_timeout : INT32_MAX;
        return timeout;
}

int server_run(struct server *server, int signal_fd)
{
        struct pollfd fds[] = {
                {.fd = MHD_get_daemon_info(server->daemon, MHD_DAEMON_INFO_EPOLL_FD)->epoll_fd,
                 .events = POLLIN},
                {.fd = server->pauses.epoll_fd, .events = POLLIN},
                {.fd = signal_fd, .events = POLLIN},
        };

        for (;;) {
                if (poll(fds, sizeof(fds) / sizeof(fds[0]), timeout_ms(server)) < 0) {
                        if (errno == EINTR)
                                continue;
                        return error_trace(-errno);
                }
                if (fds[2].revents)
                        return 0;
                pauses_run(&server->pauses, pause_now_ms(), fds[1].revents != 0);
                (void)MHD_run(server->daemon);
                /* A handler may have resumed another connection, which wakes no poll. */
                (void)MHD_run(server->daemon);
        }
}
