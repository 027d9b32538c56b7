/* SPDX-License-Identifier: MIT */

#include "broker-socket.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <pwd.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#define PASSWD_MAX_BYTES 16384

/* A number in digits alone. */
static bool parse_uid(const char *text, uid_t *ret)
{
        unsigned long number;

        if (!*text || text[strspn(text, "0123456789")] != '\0' || strlen(text) > 9)
                return false;
        number = strtoul(text, NULL, 10);
        *ret = (uid_t)number;
        return true;
}

static bool find_user(const char *name, uid_t *ret)
{
        char bytes[PASSWD_MAX_BYTES];
        struct passwd passwd, *found = NULL;

        if (parse_uid(name, ret))
                return true;
        if (getpwnam_r(name, &passwd, bytes, sizeof(bytes), &found) != 0 || !found)
                return false;
        *ret = found->pw_uid;
        return true;
}

static int judge_server(int fd, const struct broker_address *address, struct broker_error *error)
{
        const char *path = address->path, *server_user = address->server_user;
        struct ucred server;
        socklen_t size = sizeof(server);
        uid_t uid;

        if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &server, &size) < 0)
                return broker_error_set(error, BROKER_FAULT_UNREACHABLE,
                                        "The kernel does not say who listens on %s: %s.", path,
                                        strerrordesc_np(errno));
        if (server.uid == 0 || server.uid == geteuid())
                return 0;
        if (!find_user(server_user, &uid))
                return broker_error_set(error, BROKER_FAULT_FOREIGN,
                                        "Who listens on %s is uid %u, and the daemon's user, %s, "
                                        "is not known on this host; nothing was sent.",
                                        path, (unsigned int)server.uid, server_user);
        if (server.uid == uid)
                return 0;
        return broker_error_set(error, BROKER_FAULT_FOREIGN,
                                "Who listens on %s is uid %u: not root, not %s and not you; "
                                "nothing was sent. Name the right socket, or the right user.",
                                path, (unsigned int)server.uid, server_user);
}

/* connect(2) says ECONNREFUSED of a file that is no socket, too. */
static int explain(const struct broker_address *address, int number, struct broker_error *error)
{
        const char *path = address->name;
        struct stat status;

        switch (number) {
        case ENOENT:
        case ENOTDIR:
                return broker_error_set(error, BROKER_FAULT_NO_SOCKET,
                                        "There is no socket %s; is egain-tokend running, and does "
                                        "it listen there?",
                                        path);
        case EACCES:
        case EPERM:
                return broker_error_set(error, BROKER_FAULT_PERMISSION,
                                        "This process, uid %u, may not connect to %s; let it be in "
                                        "the group of the socket.",
                                        (unsigned int)geteuid(), path);
        case EAGAIN:
        case EINPROGRESS:
        case ETIMEDOUT:
                return broker_error_set(error, BROKER_FAULT_TIMEOUT,
                                        "The daemon has not accepted the connection to %s in time.",
                                        path);
        case EPROTOTYPE:
                return broker_error_set(error, BROKER_FAULT_NOT_A_SOCKET,
                                        "%s is a socket, but not one of streams.", path);
        case ECONNREFUSED:
                if (!address->tcp && stat(path, &status) == 0 && !S_ISSOCK(status.st_mode))
                        return broker_error_set(error, BROKER_FAULT_NOT_A_SOCKET,
                                                "%s is a file, but not a socket.", path);
                return broker_error_set(error, BROKER_FAULT_REFUSED,
                                        "Nobody listens on %s; egain-tokend is not running, or not "
                                        "there.",
                                        path);
        default:
                return broker_error_set(error, BROKER_FAULT_UNREACHABLE,
                                        "There is no connection to %s: %s.", path,
                                        strerrordesc_np(number));
        }
}

/* Waits in connect(2) while the server's queue is full, for so long. */
static int set_patience(int fd, uint64_t timeout_ms)
{
        const struct timeval time = {
                .tv_sec = (time_t)(timeout_ms / 1000),
                .tv_usec = (suseconds_t)(timeout_ms % 1000 * 1000),
        };

        return setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &time, sizeof(time));
}

/* Gives the descriptor away, or an errno. */
static int connect_to(const struct sockaddr *to, socklen_t size, uint64_t timeout_ms, int *ret_fd)
{
        const int on = 1;
        int fd, r;

        fd = socket(to->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd < 0)
                return errno;
        r = set_patience(fd, timeout_ms > 0 ? timeout_ms : 1);
        if (r == 0)
                do
                        r = connect(fd, to, size);
                while (r < 0 && errno == EINTR && to->sa_family == AF_UNIX);
        if (r == 0)
                r = set_patience(fd, 0);
        if (r == 0)
                r = fcntl(fd, F_SETFL, O_NONBLOCK);
        if (r == 0 && to->sa_family != AF_UNIX)
                r = setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
        if (r < 0) {
                r = errno;
                close(fd);
                return r;
        }
        *ret_fd = fd;
        return 0;
}

static int connect_unix(const struct broker_address *address, uint64_t timeout_ms, int *ret_fd,
                        struct broker_error *error)
{
        struct sockaddr_un un = {.sun_family = AF_UNIX};
        int number, r;

        memcpy(un.sun_path, address->path, strlen(address->path));
        number = connect_to((const struct sockaddr *)&un, sizeof(un), timeout_ms, ret_fd);
        if (number)
                return explain(address, number, error);
        r = judge_server(*ret_fd, address, error);
        if (r)
                close(*ret_fd);
        return r;
}

int broker_socket_connect(const struct broker_address *address, uint64_t timeout_ms, int *ret_fd,
                          struct broker_error *error)
{
        int number = 0;

        if (!address->tcp)
                return connect_unix(address, timeout_ms, ret_fd, error);
        for (size_t i = 0; i < address->n; i++) {
                const struct sockaddr *to = (const struct sockaddr *)&address->addresses[i];
                const socklen_t size = to->sa_family == AF_INET ? sizeof(struct sockaddr_in)
                                                                : sizeof(struct sockaddr_in6);
                const int before = number;

                number = connect_to(to, size, timeout_ms, ret_fd);
                if (number == 0)
                        return 0;
                /* A host without IPv6 is not what is wrong. */
                if (before && (number == EAFNOSUPPORT || number == EADDRNOTAVAIL))
                        number = before;
        }
        return explain(address, number, error);
}
