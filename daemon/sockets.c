/* SPDX-License-Identifier: MIT */

/*
 * A socket that was opened here is also closed here, so that it is known when its number comes to
 * mean another one: only these may stay in the loop while libcurl does not want them. Of others,
 * such as the pipe to a thread of the resolver, the end is not told, and they go when libcurl says
 * so.
 *
 * What happens to a socket that nobody wants is its end, as a rule: it is taken out of the loop,
 * and libcurl, which looks before it uses a connection again, finds out by itself. But bytes that
 * came out of turn it takes for the answer to the next request, of another subject. Under HTTP/1
 * there are none that mean any good, so that such a connection is ended here. (HTTP/2 has frames
 * that belong to no request, and numbers for those that do.)
 */

#include "sockets.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../lib/error.h"
#include "../lib/list.h"
#include "../lib/secret.h"
#include "log.h"
#include "starvation.h"

/* It lives from open_socket() to close_socket(), or from watch_socket() with an interest to
 * CURL_POLL_REMOVE. */
struct watch {
        struct loop_source source;
        struct sockets *sockets;
        struct list idle_link; /* sockets::idle, while it is silent and not wanted */
        int local_port;        /* 0: not known, or there is none yet */
        uint64_t heard_ms;     /* when something came on it last, while it was wanted */
        uint32_t events;       /* it is in the loop for; 0: it is not */
        bool ours;             /* opened here */
        bool wanted;           /* by libcurl */
        bool silent;           /* while it is not wanted, if all is well */
};

static struct watch *find(const struct sockets *sockets, int fd)
{
        return (size_t)fd < sockets->n ? sockets->by_fd[fd] : NULL;
}

static void leave_loop(struct watch *watch)
{
        if (watch->events)
                loop_remove(watch->sockets->loop, &watch->source);
        watch->events = 0;
}

static void watch_free(struct watch *watch)
{
        leave_loop(watch);
        list_unlink(&watch->idle_link);
        watch->sockets->by_fd[watch->source.fd] = NULL;
        free(watch);
}

/* What is there must not be found by libcurl, which looks at it before the end. */
static void end_connection(int fd)
{
        char bytes[1024];

        shutdown(fd, SHUT_RDWR);
        while (recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT) > 0)
                ;
        secret_wipe(bytes, sizeof(bytes));
}

static void socket_ready(struct loop_source *source, uint32_t events)
{
        struct watch *watch = list_entry(source, struct watch, source);
        int flags = 0;

        if (!watch->wanted) {
                if (watch->silent)
                        end_connection(source->fd);
                leave_loop(watch);
                return;
        }
        if (events & EPOLLIN) {
                watch->heard_ms = watch->sockets->loop->now_ms;
                flags |= CURL_CSELECT_IN;
        }
        if (events & EPOLLOUT)
                flags |= CURL_CSELECT_OUT;
        if (events & (EPOLLERR | EPOLLHUP))
                flags |= CURL_CSELECT_ERR;
        sockets_act(watch->sockets, source->fd, flags);
}

static int make_room(struct sockets *sockets, size_t n)
{
        struct watch **by_fd;

        if (n <= sockets->n)
                return 0;
        n = n > 2 * sockets->n ? n : 2 * sockets->n;
        by_fd = realloc(sockets->by_fd, n * sizeof(struct watch *));
        if (!by_fd)
                return error_trace(-ENOMEM);
        memset(by_fd + sockets->n, 0, (n - sockets->n) * sizeof(struct watch *));
        sockets->by_fd = by_fd;
        sockets->n = n;
        return 0;
}

/* NULL: memory is out. */
static struct watch *watch_new(struct sockets *sockets, int fd, bool ours)
{
        struct watch *watch = NULL;

        if (make_room(sockets, (size_t)fd + 1) == 0)
                watch = calloc(1, sizeof(*watch));
        if (!watch)
                return NULL;
        watch->source = (struct loop_source){.fd = fd, .ready = socket_ready};
        watch->sockets = sockets;
        watch->ours = ours;
        list_init(&watch->idle_link);
        sockets->by_fd[fd] = watch;
        return watch;
}

/* false: it cannot be watched. */
static bool want(struct watch *watch, uint32_t events)
{
        struct loop *loop = watch->sockets->loop;
        int r;

        watch->wanted = true;
        list_unlink(&watch->idle_link);
        if (watch->events == events)
                return true;
        r = watch->events ? loop_modify(loop, &watch->source, events)
                          : loop_add(loop, &watch->source, events);
        if (r < 0) {
                log_warning("cannot watch a connection to an issuer: %s", strerror(-r));
                return false;
        }
        watch->events = events;
        return true;
}

static bool is_http_1(CURL *easy)
{
        long version = 0;

        curl_easy_getinfo(easy, CURLINFO_HTTP_VERSION, &version);
        return version == CURL_HTTP_VERSION_1_0 || version == CURL_HTTP_VERSION_1_1;
}

static int local_port_of(int fd)
{
        union {
                struct sockaddr any;
                struct sockaddr_in in;
                struct sockaddr_in6 in6;
        } address = {.in6 = {}};
        socklen_t size = sizeof(address);

        if (getsockname(fd, &address.any, &size) < 0)
                return 0;
        return ntohs(address.any.sa_family == AF_INET6 ? address.in6.sin6_port
                                                       : address.in.sin_port);
}

static int port_of(struct watch *watch)
{
        if (watch->local_port == 0)
                watch->local_port = local_port_of(watch->source.fd);
        return watch->local_port;
}

static void let_go(struct watch *watch, CURL *easy)
{
        if (!watch->ours) {
                watch_free(watch);
                return;
        }
        watch->wanted = false;
        watch->silent = is_http_1(easy);
        if (!watch->silent)
                return;
        (void)port_of(watch);
        list_unlink(&watch->idle_link);
        list_push_front(&watch->sockets->idle, &watch->idle_link);
}

/* Never fails: libcurl would take an error for the end of the whole multi handle. */
static int watch_socket(CURL *easy, curl_socket_t fd, int what, void *data, void *socket_data)
{
        struct sockets *sockets = data;
        struct watch *watch = find(sockets, fd);
        uint32_t events = 0;

        if (what == CURL_POLL_REMOVE) {
                if (watch)
                        let_go(watch, easy);
                return 0;
        }
        if (what & CURL_POLL_IN)
                events |= EPOLLIN;
        if (what & CURL_POLL_OUT)
                events |= EPOLLOUT;
        if (!watch)
                watch = watch_new(sockets, fd, false);
        if (!watch || !want(watch, events))
                sockets->lose(sockets->data, easy);
        return 0;
}

static curl_socket_t open_socket(void *data, curlsocktype purpose, struct curl_sockaddr *address)
{
        struct socket_user *user = data;
        struct sockets *sockets = user->sockets;
        const int fd = socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
        struct watch *stale;

        if (fd < 0) {
                user->starved |= errno == EMFILE || errno == ENFILE || errno == ENOMEM ||
                                 errno == ENOBUFS;
                return CURL_SOCKET_BAD;
        }
        /* Of one whose end was not told, and whose number this one has now. */
        stale = find(sockets, fd);
        if (stale)
                watch_free(stale);
        if (!watch_new(sockets, fd, true)) {
                user->starved = true;
                close(fd);
                return CURL_SOCKET_BAD;
        }
        return fd;
}

static int close_socket(void *data, curl_socket_t fd)
{
        struct sockets *sockets = data;
        struct watch *watch = find(sockets, fd);

        if (watch)
                watch_free(watch);
        return close(fd);
}

void sockets_init(struct sockets *sockets, struct loop *loop, CURLM *multi,
                  void (*lose)(void *data, CURL *easy),
                  void (*starve)(void *data, curl_socket_t fd), void *data)
{
        *sockets = (struct sockets){
                .loop = loop,
                .multi = multi,
                .lose = lose,
                .starve = starve,
                .data = data,
        };
        list_init(&sockets->idle);
        curl_multi_setopt(multi, CURLMOPT_SOCKETFUNCTION, watch_socket);
        curl_multi_setopt(multi, CURLMOPT_SOCKETDATA, sockets);
}

void sockets_deinit(struct sockets *sockets)
{
        for (size_t fd = 0; fd < sockets->n; fd++)
                if (sockets->by_fd[fd])
                        watch_free(sockets->by_fd[fd]);
        free(sockets->by_fd);
        *sockets = (struct sockets){};
}

void sockets_begin_send(struct sockets *sockets, int local_port)
{
        list_for_each (link, &sockets->idle) {
                const struct watch *watch = list_entry(link, struct watch, idle_link);
                char byte;

                if (watch->local_port != 0 && watch->local_port != local_port)
                        continue;
                if (recv(watch->source.fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) > 0)
                        end_connection(watch->source.fd);
        }
}

void sockets_act(struct sockets *sockets, curl_socket_t fd, int flags)
{
        const uint64_t n_starvations = starvation_count();
        int n_running;

        if (sockets->disordered)
                return;
        if (curl_multi_socket_action(sockets->multi, fd, flags, &n_running) != CURLM_OK)
                sockets->disordered = true;
        else if (starvation_count() != n_starvations)
                sockets->starve(sockets->data, fd);
}

int sockets_local_port(curl_socket_t fd)
{
        return fd == CURL_SOCKET_TIMEOUT ? 0 : local_port_of(fd);
}

/* NULL: none; also for 0. */
static struct watch *find_by_port(const struct sockets *sockets, int local_port)
{
        for (size_t fd = 0; local_port != 0 && fd < sockets->n; fd++) {
                struct watch *watch = sockets->by_fd[fd];

                if (watch && watch->ours && port_of(watch) == local_port)
                        return watch;
        }
        return NULL;
}

bool sockets_has(struct sockets *sockets, int local_port)
{
        const struct watch *watch = find_by_port(sockets, local_port);
        char byte;
        ssize_t n;

        if (!watch)
                return false;
        n = recv(watch->source.fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
        return n > 0 || (n < 0 && errno == EAGAIN);
}

void sockets_end(struct sockets *sockets, int local_port)
{
        const struct watch *watch = find_by_port(sockets, local_port);

        if (watch)
                end_connection(watch->source.fd);
}

void sockets_end_unheard(struct sockets *sockets, int local_port, uint64_t since_ms)
{
        const struct watch *watch = find_by_port(sockets, local_port);

        if (watch && watch->heard_ms <= since_ms)
                end_connection(watch->source.fd);
}

CURLcode sockets_serve(struct socket_user *user, CURL *easy)
{
        CURLcode code;

        code = curl_easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, open_socket);
        if (code == CURLE_OK)
                code = curl_easy_setopt(easy, CURLOPT_OPENSOCKETDATA, user);
        if (code == CURLE_OK)
                code = curl_easy_setopt(easy, CURLOPT_CLOSESOCKETFUNCTION, close_socket);
        if (code == CURLE_OK)
                code = curl_easy_setopt(easy, CURLOPT_CLOSESOCKETDATA, user->sockets);
        return code;
}
