/* SPDX-License-Identifier: MIT */

/*
 * A socket is matched by its address and nothing else; its name only tells an operator which unit
 * to look at. All that is wrong is said at once. What cannot be seen on a Unix socket itself, mode
 * and group, is seen on its file.
 */

#include "inherit.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "../lib/error.h"
#include "address.h"
#include "log.h"

static enum inherited_kind kind_of(int fd, const char *name)
{
        struct stat st;

        if (strcmp(name, INHERIT_SNAPSHOT) == 0)
                return INHERITED_SNAPSHOT;
        if (fstat(fd, &st) == 0 && S_ISSOCK(st.st_mode))
                return INHERITED_SOCKET;
        return INHERITED_STRANGE;
}

static int refuse(FILE *errors, const char *what)
{
        const char *fds = getenv("LISTEN_FDS");

        fprintf(errors,
                "LISTEN_FDS=%s: the descriptors that should be inherited cannot be taken over: "
                "%s\n",
                fds ? fds : "", what);
        return INHERIT_E_UNUSABLE;
}

int inherit_init(struct inherit *inherit, FILE *errors)
{
        char **names = NULL;
        int n, result = 0;

        *inherit = (struct inherit){};
        n = sd_listen_fds_with_names(0, &names);
        if (n == -ENOMEM)
                return error_trace(n);
        if (n < 0)
                return refuse(errors, n == -EINVAL ? "not a number, or too few or bad names"
                                                   : strerror(-n));
        if (n > INHERIT_MAX)
                result = refuse(errors, "there are too many");

        for (int i = 0; i < n; i++) {
                if (result) {
                        free(names[i]);
                        continue;
                }
                inherit->all[inherit->n++] = (struct inherited){
                        .fd = SD_LISTEN_FDS_START + i,
                        .kind = kind_of(SD_LISTEN_FDS_START + i, names[i]),
                        .name = names[i], /* ours from now on */
                };
        }
        free(names);
        return result;
}

void inherit_deinit(struct inherit *inherit)
{
        for (size_t i = 0; i < inherit->n; i++) {
                close(inherit->all[i].fd);
                free(inherit->all[i].name);
        }
        inherit->n = 0;
}

bool inherit_has_sockets(const struct inherit *inherit)
{
        for (size_t i = 0; i < inherit->n; i++)
                if (inherit->all[i].kind == INHERITED_SOCKET)
                        return true;
        return false;
}

static bool get_address(const struct inherited *inherited, struct sockaddr_storage *ret)
{
        socklen_t size = sizeof(*ret);

        *ret = (struct sockaddr_storage){};
        return getsockname(inherited->fd, (struct sockaddr *)ret, &size) == 0;
}

static int get_option(const struct inherited *inherited, int option)
{
        socklen_t size = sizeof(int);
        int value;

        return getsockopt(inherited->fd, SOL_SOCKET, option, &value, &size) < 0 ? -1 : value;
}

/* What keeps a socket from being served from, whatever the configuration says; NULL: nothing. */
static const char *fault_of(const struct inherited *inherited, struct sockaddr_storage *ret_address)
{
        if (!get_address(inherited, ret_address))
                return "its address cannot be found out";
        if (ret_address->ss_family != AF_UNIX && ret_address->ss_family != AF_INET &&
            ret_address->ss_family != AF_INET6)
                return "it is neither a Unix nor a TCP socket";
        if (get_option(inherited, SO_TYPE) != SOCK_STREAM)
                return "it is not a stream socket (ListenStream=)";
        if (get_option(inherited, SO_ACCEPTCONN) != 1)
                return "it does not listen (with Accept=yes it would not)";
        if (ret_address->ss_family != AF_UNIX && !address_is_loopback(ret_address))
                return "it is not on a loopback address, and only there the kernel can tell who is "
                       "asking";
        return NULL;
}

static const struct inherited *find(const struct inherit *inherit,
                                    const struct sockaddr_storage *address,
                                    const struct inherited *after)
{
        struct sockaddr_storage own;

        for (size_t i = after ? (size_t)(after - inherit->all) + 1 : 0; i < inherit->n; i++) {
                const struct inherited *inherited = &inherit->all[i];

                if (inherited->kind == INHERITED_SOCKET && get_address(inherited, &own) &&
                    address_equal(&own, address))
                        return inherited;
        }
        return NULL;
}

/* Where the configuration says it: "file:line: " or, of a default, "file: ". */
static void put_place(FILE *errors, const struct config *config, int line)
{
        if (line)
                fprintf(errors, "%s:%d: ", config->path, line);
        else
                fprintf(errors, "%s: ", config->path);
}

/* A Unix socket's file against its listener. Whether it is as it should be. */
static bool check_file(const struct config *config, const struct listener_config *listener,
                       const struct inherited *inherited, const char *address, FILE *errors)
{
        const struct sockaddr_un *un = (const struct sockaddr_un *)&listener->address;
        struct stat st;
        bool good = true;

        if (lstat(un->sun_path, &st) < 0 || !S_ISSOCK(st.st_mode)) {
                put_place(errors, config, listener->line);
                fprintf(errors,
                        "%s: the socket that '%s' handed over has lost its file; restart that "
                        "unit\n",
                        address, inherited->name);
                return false;
        }
        if ((st.st_mode & 0777) != listener->mode) {
                put_place(errors, config, listener->line);
                fprintf(errors,
                        "%s has mode %04o by '%s' (SocketMode=), and 'listen' says %04o; change "
                        "one of them\n",
                        address, st.st_mode & 0777, inherited->name, listener->mode);
                good = false;
        }
        if (listener->gid != (gid_t)-1 && st.st_gid != listener->gid) {
                put_place(errors, config, listener->line);
                fprintf(errors,
                        "%s belongs to group %u by '%s' (SocketGroup=), and 'listen' says %u; "
                        "change one of them\n",
                        address, st.st_gid, inherited->name, listener->gid);
                good = false;
        }
        return good;
}

static bool check_listener(const struct inherit *inherit, const struct config *config,
                           const struct listener_config *listener, FILE *errors)
{
        const struct inherited *inherited = find(inherit, &listener->address, NULL);
        const struct inherited *second;
        char address[ADDRESS_STRLEN];

        address_name(address, &listener->address);
        if (!inherited) {
                if (address_is_lacking(&listener->address))
                        return true;
                put_place(errors, config, listener->line);
                fprintf(errors,
                        "%s was not inherited, and other sockets were; enable the socket unit that "
                        "has it and restart that, or take it out of 'listen'\n",
                        address);
                return false;
        }
        second = find(inherit, &listener->address, inherited);
        if (second) {
                put_place(errors, config, listener->line);
                fprintf(errors, "%s was inherited twice, from '%s' and '%s'\n", address,
                        inherited->name, second->name);
                return false;
        }
        if (listener->address.ss_family != AF_UNIX)
                return true;
        return check_file(config, listener, inherited, address, errors);
}

static bool is_configured(const struct config *config, const struct sockaddr_storage *address)
{
        for (size_t i = 0; i < config->n_listeners; i++)
                if (address_equal(&config->listeners[i].address, address))
                        return true;
        return false;
}

static bool check_inherited(const struct inherited *inherited, const struct config *config,
                            FILE *errors)
{
        struct sockaddr_storage address = {};
        const char *fault = fault_of(inherited, &address);
        char name[ADDRESS_STRLEN];

        address_name(name, &address);
        if (fault) {
                fprintf(errors, "%s: '%s' handed over %s, which cannot be served from: %s\n",
                        config->path, inherited->name, name, fault);
                return false;
        }
        if (is_configured(config, &address))
                return true;
        fprintf(errors,
                "%s: '%s' handed over %s, which 'listen' does not name; add it there, or disable "
                "that unit, stop it and restart egain-tokend\n",
                config->path, inherited->name, name);
        return false;
}

int inherit_check(const struct inherit *inherit, const struct config *config, FILE *errors)
{
        bool good = true;

        if (!inherit_has_sockets(inherit))
                return 0;
        for (size_t i = 0; i < inherit->n; i++)
                if (inherit->all[i].kind == INHERITED_SOCKET)
                        good &= check_inherited(&inherit->all[i], config, errors);
        for (size_t i = 0; i < config->n_listeners; i++)
                good &= check_listener(inherit, config, &config->listeners[i], errors);
        return good ? 0 : INHERIT_E_UNUSABLE;
}

int inherit_socket(struct inherit *inherit, const struct listener_config *listener, int *ret_fd,
                   const char **ret_name)
{
        const struct inherited *found = find(inherit, &listener->address, NULL);
        struct inherited *inherited;
        int fd, flags;

        if (!found)
                return INHERIT_E_NONE;
        inherited = &inherit->all[found - inherit->all];
        fd = fcntl(inherited->fd, F_DUPFD_CLOEXEC, 3);
        if (fd < 0)
                return error_trace(-errno);
        flags = fcntl(fd, F_GETFL);
        if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0) {
                const int error = errno;

                close(fd);
                return error_trace(-error);
        }
        inherited->taken = true;
        *ret_fd = fd;
        *ret_name = inherited->name;
        return 0;
}

int inherit_next_snapshot(struct inherit *inherit)
{
        for (size_t i = 0; i < inherit->n; i++) {
                struct inherited *inherited = &inherit->all[i];

                if (inherited->kind == INHERITED_SNAPSHOT && !inherited->taken) {
                        inherited->taken = true;
                        return inherited->fd;
                }
        }
        return -1;
}

void inherit_settle(struct inherit *inherit)
{
        for (size_t i = 0; i < inherit->n; i++)
                if (!inherit->all[i].taken)
                        log_warning("descriptor %d, '%s', was inherited and is of no use here",
                                    inherit->all[i].fd, inherit->all[i].name);
        inherit_deinit(inherit);
}
