/* SPDX-License-Identifier: MIT */

#include "broker-socket.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

/* Held for as long as a descriptor is there that nobody knows of. */
static pthread_mutex_t sockets_lock = PTHREAD_MUTEX_INITIALIZER;

int broker_socket_judge(int fd, const struct broker_address *address, struct broker_error *error)
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
        if (!broker_address_find_user(address, &uid))
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
int broker_socket_explain(const struct broker_address *address, int number,
                          struct broker_error *error)
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
        case 0: /* libcurl takes it for a connection that is being made */
        case EAGAIN:
                return broker_error_set(error, BROKER_FAULT_BUSY,
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

int broker_socket_open(int family, int type, int protocol, int *slot)
{
        broker_socket_hold();
        *slot = socket(family, type | SOCK_CLOEXEC, protocol);
        broker_socket_let_go();
        return *slot;
}

void broker_socket_close(int *slot)
{
        broker_socket_hold();
        if (*slot >= 0)
                close(*slot);
        *slot = -1;
        broker_socket_let_go();
}

void broker_socket_hold(void)
{
        (void)pthread_mutex_lock(&sockets_lock);
}

void broker_socket_let_go(void)
{
        (void)pthread_mutex_unlock(&sockets_lock);
}
