/* SPDX-License-Identifier: MIT */

/*
 * A Unix socket is bound closed to everybody, then gets its group and mode, then listens: nobody
 * who should not can connect in between. A socket file that nobody listens on is left from a crash
 * and replaced; one that somebody listens on is not. At the end a socket file is removed only if it
 * is still the one that was bound here, since a successor may have put its own in its place; one
 * that was inherited never is.
 *
 * A refused connection gets its answer before its request was read. Closing it at once would reset
 * it, and the client might never see the answer; so it is shut down for writing and kept for a
 * moment.
 */

#include "listen.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "../lib/error.h"
#include "address.h"
#include "log.h"

#define BACKLOG    4096
#define ACCEPT_MAX 64   /* connections taken from one listener in one turn */
#define LINGER_MS  1000 /* for a refused client to read why */
#define PAUSE_MS   100  /* after descriptors ran out */
#define WELL_MS    5000 /* without a failure to accept, after one */

struct listener {
        struct loop_source source;
        struct listeners *all;
        bool tcp;
        bool credentials;
        char name[ADDRESS_STRLEN];                              /* for messages */
        char path[sizeof(((struct sockaddr_un *)0)->sun_path)]; /* "": no file to remove */
        dev_t device;
        ino_t inode;
};

static int fail(const struct listener *listener, const char *what)
{
        log_error("cannot %s %s: %s", what, listener->name, strerror(errno));
        return LISTEN_E_FAILED;
}

/* Removes a socket file that nobody listens on. 0 or LISTEN_E_FAILED. */
static int remove_stale(const struct listener *listener, const struct listener_config *config)
{
        struct stat st;
        int fd, r;

        if (lstat(listener->path, &st) < 0)
                return errno == ENOENT ? 0 : fail(listener, "look at");
        if (!S_ISSOCK(st.st_mode)) {
                log_error("cannot listen on %s: there is a file of this name that is not a socket",
                          listener->name);
                return LISTEN_E_FAILED;
        }
        fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (fd < 0)
                return fail(listener, "open a socket to try");
        r = connect(fd, (const struct sockaddr *)&config->address, config->address_size);
        if (r < 0 && errno == ECONNREFUSED) {
                close(fd);
                return unlink(listener->path) < 0 ? fail(listener, "remove the old") : 0;
        }
        close(fd);
        log_error("cannot listen on %s: another process does already", listener->name);
        return LISTEN_E_FAILED;
}

static int bind_unix(struct listener *listener, const struct listener_config *config)
{
        struct sockaddr_un un;
        struct stat st;
        mode_t umask_before;
        int r;

        memcpy(&un, &config->address, sizeof(un));
        memcpy(listener->path, un.sun_path, sizeof(listener->path));
        r = remove_stale(listener, config);
        if (r) {
                listener->path[0] = '\0';
                return r;
        }
        umask_before = umask(0777);
        r = bind(listener->source.fd, (const struct sockaddr *)&config->address,
                 config->address_size);
        umask(umask_before);
        if (r < 0 || lstat(listener->path, &st) < 0) {
                listener->path[0] = '\0';
                return fail(listener, "bind");
        }
        listener->device = st.st_dev;
        listener->inode = st.st_ino;

        if (config->gid != (gid_t)-1 && lchown(listener->path, (uid_t)-1, config->gid) < 0)
                return fail(listener, "set the group of");
        if (chmod(listener->path, config->mode) < 0)
                return fail(listener, "set the mode of");
        return 0;
}

static int bind_tcp(const struct listener *listener, const struct listener_config *config)
{
        const int fd = listener->source.fd, on = 1;

        if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0)
                return fail(listener, "set SO_REUSEADDR on");
        if (config->address.ss_family == AF_INET6 &&
            setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on)) < 0)
                return fail(listener, "set IPV6_V6ONLY on");
        if (bind(fd, (const struct sockaddr *)&config->address, config->address_size) < 0)
                return fail(listener, "bind");
        return 0;
}

static void linger(struct listeners *listeners, int fd, enum reason reason);

/* Stops accepting for a moment: a descriptor that cannot be taken would keep the loop awake. */
static void pause_accepting(struct listeners *listeners)
{
        for (size_t i = 0; i < listeners->n; i++)
                loop_remove(listeners->loop, &listeners->all[i].source);
        listeners->paused_until_ms = listeners->loop->now_ms + PAUSE_MS;
}

static void accept_failed(struct listener *listener)
{
        struct listeners *listeners = listener->all;

        if (errno != EMFILE && errno != ENFILE && errno != ENOMEM && errno != ENOBUFS)
                return;
        if (!listeners->well_at_ms)
                log_event(LOG_EVENT_ACCEPT_PAUSED,
                          LOG_FIELDS(.listener = listener->name, .reason = strerror(errno)),
                          "cannot accept on %s: %s; trying again every %d ms", listener->name,
                          strerror(errno), PAUSE_MS);
        listeners->well_at_ms = listeners->loop->now_ms + WELL_MS;
        pause_accepting(listeners);
}

static void accept_some(struct loop_source *source, uint32_t events)
{
        struct listener *listener = list_entry(source, struct listener, source);
        struct listeners *listeners = listener->all;
        const int on = 1;
        int fd;

        for (int i = 0; i < ACCEPT_MAX; i++) {
                struct sockaddr_storage address = {};
                socklen_t size = sizeof(address);

                fd = accept4(source->fd, (struct sockaddr *)&address, &size,
                             SOCK_NONBLOCK | SOCK_CLOEXEC);
                if (fd < 0) {
                        accept_failed(listener);
                        return;
                }
                if (server_is_full(listeners->server)) {
                        listeners->server->connections.refused++;
                        linger(listeners, fd, REASON_CONNECTIONS_FULL);
                        continue;
                }
                if (listener->tcp)
                        (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
                switch (server_accept(listeners->server, fd, (struct sockaddr *)&address, size)) {
                case SERVER_E_SHARE: linger(listeners, fd, REASON_UID_CONNECTIONS_FULL); break;
                case SERVER_E_STARVED: linger(listeners, fd, REASON_OUT_OF_MEMORY); break;
                default: break;
                }
        }
}

/* Takes connections for credentials as far as there is room. Those that there is none for wait in
 * the socket's queue, where nothing can start a unit without its credential. */
static void accept_credentials(struct loop_source *source, uint32_t events)
{
        struct listener *listener = list_entry(source, struct listener, source);
        struct listeners *listeners = listener->all;
        int fd;

        for (int i = 0; !credential_server_is_full(listeners->credentials); i++) {
                if (i == ACCEPT_MAX)
                        return; /* those that are closed at once fill nothing */
                fd = accept4(source->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
                if (fd < 0) {
                        accept_failed(listener);
                        return;
                }
                credential_server_accept(listeners->credentials, fd);
        }
        if (!listeners->credentials_full)
                credential_server_note_full(listeners->credentials);
        listeners->credentials_full = true;
        (void)loop_modify(listeners->loop, source, 0);
}

/* There is room again. */
static void resume_credentials(struct listeners *listeners)
{
        listeners->credentials_full = false;
        for (size_t i = 0; i < listeners->n; i++)
                if (listeners->all[i].credentials)
                        (void)loop_modify(listeners->loop, &listeners->all[i].source, EPOLLIN);
}

/* Its file stays when we end: it is the service manager's. 0, -errno or INHERIT_E_NONE. */
static int inherit_listener(struct listener *listener, struct inherit *inherit,
                            const struct listener_config *config)
{
        const char *unit;
        int r;

        r = inherit_socket(inherit, config, &listener->source.fd, &unit);
        if (r)
                return error_trace(r);
        log_event(LOG_EVENT_LISTENING, LOG_FIELDS(.listener = listener->name, .source = unit),
                  "listening on %s, inherited from '%s'", listener->name, unit);
        return 0;
}

static int open_listener(struct listener *listener, const struct listener_config *config)
{
        int r;

        listener->source.fd = socket(config->address.ss_family,
                                     SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        if (listener->source.fd < 0)
                return fail(listener, "open a socket for");
        r = listener->tcp ? bind_tcp(listener, config) : bind_unix(listener, config);
        if (r)
                return r;
        if (listen(listener->source.fd, BACKLOG) < 0)
                return fail(listener, "listen on");
        log_event(LOG_EVENT_LISTENING, LOG_FIELDS(.listener = listener->name), "listening on %s",
                  listener->name);
        return 0;
}

/* One that was inherited, or else our own; once one was inherited all of them must have been. */
static int init_listener(struct listener *listener, struct inherit *inherit,
                         const struct listener_config *config)
{
        int r;

        listener->source = (struct loop_source){
                .fd = -1,
                .ready = config->credentials ? accept_credentials : accept_some,
        };
        listener->credentials = config->credentials;
        listener->tcp = config->address.ss_family != AF_UNIX;
        address_name(listener->name, &config->address);
        if (!inherit_has_sockets(inherit))
                return open_listener(listener, config);
        r = inherit_listener(listener, inherit, config);
        if (r == INHERIT_E_NONE) {
                log_error("%s was not inherited, and other sockets were", listener->name);
                return LISTEN_E_FAILED;
        }
        return error_trace(r);
}

int listeners_init(struct listeners *listeners, struct loop *loop, struct server *server,
                   struct credential_server *credentials, struct inherit *inherit,
                   const struct config *config)
{
        int r;

        *listeners = (struct listeners){
                .loop = loop,
                .server = server,
                .credentials = credentials,
        };
        listeners->all = calloc(config->n_listeners, sizeof(*listeners->all));
        if (!listeners->all)
                return error_trace(-ENOMEM);

        for (size_t i = 0; i < config->n_listeners; i++) {
                struct listener *listener = &listeners->all[listeners->n];

                if (address_is_lacking(&config->listeners[i].address)) {
                        log_warning("this host has no IPv6; [::1] is left out");
                        continue;
                }
                listener->all = listeners;
                listeners->n++;
                r = init_listener(listener, inherit, &config->listeners[i]);
                if (r) {
                        listeners_deinit(listeners);
                        return r;
                }
        }
        if (listeners->n == 0) {
                log_error("there is nothing to listen on");
                listeners_deinit(listeners);
                return LISTEN_E_FAILED;
        }
        return 0;
}

static void end_oldest_lingerer(struct listeners *listeners)
{
        const int fd = listeners->lingerers[listeners->oldest].fd;
        char unread[4096];

        /* With its request unread the connection would be reset, and the answer lost perhaps. */
        (void)recv(fd, unread, sizeof(unread), MSG_DONTWAIT);
        close(fd);
        listeners->oldest = (listeners->oldest + 1) % LISTEN_LINGER_MAX;
        listeners->n_lingerers--;
}

/* Answers a connection that is one too many, and keeps it until the client can have read it. */
static void linger(struct listeners *listeners, int fd, enum reason reason)
{
        const struct reason_info *info = reason_info(reason);
        char answer[512], body[256];
        size_t at;

        (void)snprintf(body, sizeof(body), "{\"error\":\"%s\",\"error_description\":\"%s\"}",
                       info->error, info->description);
        (void)snprintf(answer, sizeof(answer),
                       "HTTP/1.1 %u %s\r\nContent-Type: application/json\r\n"
                       "Cache-Control: no-store\r\nPragma: no-cache\r\nRetry-After: %u\r\n"
                       "Connection: close\r\nContent-Length: %zu\r\n\r\n%s",
                       info->status,
                       info->status == 429 ? "Too Many Requests" : "Service Unavailable",
                       info->retry_after_s, strlen(body), body);
        (void)send(fd, answer, strlen(answer), MSG_DONTWAIT | MSG_NOSIGNAL);
        (void)shutdown(fd, SHUT_WR);

        if (listeners->n_lingerers == LISTEN_LINGER_MAX)
                end_oldest_lingerer(listeners);
        at = (listeners->oldest + listeners->n_lingerers) % LISTEN_LINGER_MAX;
        listeners->lingerers[at] = (struct lingerer){
                .fd = fd, .deadline_ms = listeners->loop->now_ms + LINGER_MS};
        listeners->n_lingerers++;
}

void listeners_deinit(struct listeners *listeners)
{
        struct stat st;

        while (listeners->n_lingerers > 0)
                end_oldest_lingerer(listeners);
        for (size_t i = 0; i < listeners->n; i++) {
                struct listener *listener = &listeners->all[i];

                if (listener->source.fd < 0)
                        continue;
                loop_remove(listeners->loop, &listener->source);
                close(listener->source.fd);
                if (listener->path[0] && lstat(listener->path, &st) == 0 &&
                    st.st_dev == listener->device && st.st_ino == listener->inode)
                        (void)unlink(listener->path);
        }
        free(listeners->all);
        listeners->all = NULL;
        listeners->n = 0;
        listeners->credentials_full = false;
}

int listeners_start(struct listeners *listeners)
{
        int r;

        listeners->paused_until_ms = 0;
        for (size_t i = 0; i < listeners->n; i++) {
                r = loop_add(listeners->loop, &listeners->all[i].source, EPOLLIN);
                if (r < 0)
                        return error_trace(r);
        }
        return 0;
}

void listeners_tick(struct listeners *listeners)
{
        const uint64_t now_ms = listeners->loop->now_ms;

        while (listeners->n_lingerers > 0 &&
               listeners->lingerers[listeners->oldest].deadline_ms <= now_ms)
                end_oldest_lingerer(listeners);
        if (listeners->paused_until_ms && listeners->paused_until_ms <= now_ms &&
            listeners_start(listeners) < 0)
                pause_accepting(listeners);
        if (listeners->well_at_ms && listeners->well_at_ms <= now_ms) {
                listeners->well_at_ms = 0;
                log_event(LOG_EVENT_ACCEPT_RESUMED, NULL,
                          "connections have been accepted for %d s without a failure",
                          WELL_MS / 1000);
        }
        if (listeners->credentials_full && !credential_server_is_full(listeners->credentials))
                resume_credentials(listeners);
}

uint64_t listeners_next_tick_ms(const struct listeners *listeners)
{
        uint64_t next_ms = LOOP_NEVER;

        if (listeners->n_lingerers > 0)
                next_ms = listeners->lingerers[listeners->oldest].deadline_ms;
        if (listeners->paused_until_ms && listeners->paused_until_ms < next_ms)
                next_ms = listeners->paused_until_ms;
        if (listeners->well_at_ms && listeners->well_at_ms < next_ms)
                next_ms = listeners->well_at_ms;
        if (listeners->credentials_full && !credential_server_is_full(listeners->credentials))
                next_ms = listeners->loop->now_ms;
        return next_ms;
}
