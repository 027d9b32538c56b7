/* SPDX-License-Identifier: MIT */

/*
 * An entry is a Unix socket, for callers or for credentials, or a loopback port. "localhost" is not
 * looked up: it means both loopback addresses, because whoever held the other one could answer in
 * our name. Nothing but loopback can be written, since only there the kernel tells who is asking.
 */

#include "config-listen.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#include "../lib/error.h"
#include "config-names.h"
#include "config-units.h"

#define LISTENERS_MAX         64 /* entries */
#define DEFAULT_SOCKET        "/run/egain-tokend/token.sock"
#define DEFAULT_MODE          0660
#define CREDENTIALS_MODE      0600 /* who connects is systemd, as root */
#define UNIX_PATH_SIZE        sizeof(((struct sockaddr_un *)NULL)->sun_path)
#define NO_GID                ((gid_t)-1)
#define UNIX_PATH_EXPECTATION "an absolute path of at most 107 bytes that names a file"

_Static_assert(UNIX_PATH_SIZE == 108, "UNIX_PATH_EXPECTATION tells another length");

struct entry {
        char *unix_path; /* owned, like the others */
        char *credentials;
        char *tcp;
        char *mode;
        char *group;
};

static bool is_unix_path(const char *value)
{
        size_t size = strlen(value);

        return config_reader_is_path(value) && size < UNIX_PATH_SIZE && value[size - 1] != '/';
}

/* "0660": three or four octal digits. (mode_t)-1 if it is not. */
static mode_t parse_mode(const char *value)
{
        size_t size = strlen(value);
        mode_t mode = 0;

        if (size < 3 || size > 4 || strspn(value, "01234567") != size)
                return (mode_t)-1;
        for (; *value; value++)
                mode = mode * 8 + (mode_t)(*value - '0');
        return mode <= 0777 ? mode : (mode_t)-1;
}

static bool is_mode(const char *value)
{
        return parse_mode(value) != (mode_t)-1;
}

/* The port behind `host`, a colon between them; 0 if it is not. */
static uint16_t parse_port(const char *value, const char *host)
{
        size_t size = strlen(host);
        uint64_t port;

        if (strncmp(value, host, size) != 0 || value[size] != ':' ||
            config_units_parse(CONFIG_UNIT_COUNT, value + size + 1, &port) != 0 ||
            port > UINT16_MAX)
                return 0;
        return (uint16_t)port;
}

static bool is_tcp(const char *value)
{
        return parse_port(value, "localhost") || parse_port(value, "127.0.0.1") ||
               parse_port(value, "[::1]");
}

static const struct config_option entry_options[] = {
        {"unix", CONFIG_KIND_STRING, CONFIG_FIELD(struct entry, unix_path), .check = is_unix_path,
         .expected = UNIX_PATH_EXPECTATION},
        {"credentials", CONFIG_KIND_STRING, CONFIG_FIELD(struct entry, credentials),
         .check = is_unix_path, .expected = UNIX_PATH_EXPECTATION},
        {"tcp", CONFIG_KIND_STRING, CONFIG_FIELD(struct entry, tcp), .check = is_tcp,
         .expected =
                 "\"localhost:PORT\", \"127.0.0.1:PORT\" or \"[::1]:PORT\" with a PORT from 1 to "
                 "65535 (only on loopback can the kernel tell who is asking)"},
        {"mode", CONFIG_KIND_STRING, CONFIG_FIELD(struct entry, mode), .check = is_mode,
         .expected = "an octal mode in quotes, such as \"0660\""},
        {"group", CONFIG_KIND_STRING, CONFIG_FIELD(struct entry, group),
         .check = config_names_is_name, .expected = CONFIG_NAMES_GROUP_EXPECTED},
        {.name = NULL},
};

static int add_listener(struct config *config, const struct listener_config *listener)
{
        struct listener_config *listeners;

        listeners = reallocarray(config->listeners, config->n_listeners + 1, sizeof(*listeners));
        if (!listeners)
                return error_trace(-ENOMEM);
        config->listeners = listeners;
        config->listeners[config->n_listeners++] = *listener;
        return 0;
}

/* The same, unless something listens there already. `name` tells the address. */
static int add_new_listener(struct config_reader *reader, struct config *config,
                            const struct listener_config *listener, const char *name)
{
        for (size_t i = 0; i < config->n_listeners; i++) {
                const struct listener_config *other = &config->listeners[i];

                if (other->address_size == listener->address_size &&
                    memcmp(&other->address, &listener->address, other->address_size) == 0)
                        return config_mistakes_add(&reader->mistakes, listener->line,
                                                   "%s is listened on already, by line %d", name,
                                                   other->line);
        }
        return add_listener(config, listener);
}

static struct listener_config unix_listener(const char *path)
{
        struct listener_config listener = {.mode = DEFAULT_MODE, .gid = NO_GID};
        struct sockaddr_un *address = (struct sockaddr_un *)&listener.address;

        address->sun_family = AF_UNIX;
        memcpy(address->sun_path, path, strlen(path) + 1);
        listener.address_size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(path) +
                                            1);
        return listener;
}

static int add_tcp4(struct config_reader *reader, struct config *config, int line, uint16_t port)
{
        struct listener_config listener = {.gid = NO_GID, .line = line};
        struct sockaddr_in *address = (struct sockaddr_in *)&listener.address;
        char name[32];

        address->sin_family = AF_INET;
        address->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        address->sin_port = htons(port);
        listener.address_size = sizeof(*address);
        (void)snprintf(name, sizeof(name), "127.0.0.1:%u", port);
        return add_new_listener(reader, config, &listener, name);
}

static int add_tcp6(struct config_reader *reader, struct config *config, int line, uint16_t port)
{
        struct listener_config listener = {.gid = NO_GID, .line = line};
        struct sockaddr_in6 *address = (struct sockaddr_in6 *)&listener.address;
        char name[32];

        address->sin6_family = AF_INET6;
        address->sin6_addr = in6addr_loopback;
        address->sin6_port = htons(port);
        listener.address_size = sizeof(*address);
        (void)snprintf(name, sizeof(name), "[::1]:%u", port);
        return add_new_listener(reader, config, &listener, name);
}

static int add_tcp(struct config_reader *reader, struct config *config, int line, const char *value)
{
        uint16_t both = parse_port(value, "localhost");
        uint16_t port4 = both ? both : parse_port(value, "127.0.0.1");
        uint16_t port6 = both ? both : parse_port(value, "[::1]");
        int r = 0;

        if (port4)
                r = add_tcp4(reader, config, line, port4);
        if (!r && port6)
                r = add_tcp6(reader, config, line, port6);
        return error_trace(r);
}

/* Judges what can be judged, whatever else is wrong. `name` is "unix" or "credentials", `path` NULL
 * where that was refused. */
static int add_unix(struct config_reader *reader, struct config *config, config_setting_t *setting,
                    const struct entry *entry, const char *name, const char *path)
{
        struct listener_config listener = unix_listener(path ? path : "");
        int r;

        listener.line = config_reader_line(setting, name);
        listener.credentials = strcmp(name, "credentials") == 0;
        if (listener.credentials)
                listener.mode = CREDENTIALS_MODE;
        if (entry->mode)
                listener.mode = parse_mode(entry->mode);
        if (entry->group) {
                bool known;

                r = config_names_group(reader, config_reader_line(setting, "group"), entry->group,
                                       &listener.gid, &known);
                if (r)
                        return error_trace(r);
        }
        if (!path)
                return 0;
        return add_new_listener(reader, config, &listener, path);
}

/* mode and group make sense for a Unix socket only. */
static int reject_for_tcp(struct config_reader *reader, config_setting_t *setting, const char *name)
{
        if (!config_setting_get_member(setting, name))
                return 0;
        return config_mistakes_add(&reader->mistakes, config_reader_line(setting, name),
                                   "'%s' goes with 'unix', not with 'tcp'", name);
}

static int read_entry(struct config_reader *reader, config_setting_t *setting,
                      struct config *config)
{
        bool is_unix, is_tcp_too, is_credentials;
        struct entry entry = {.unix_path = NULL};
        int r;

        r = config_reader_group(reader, setting, entry_options, &entry);
        if (r || !config_setting_is_group(setting))
                goto out;

        is_unix = config_setting_get_member(setting, "unix");
        is_tcp_too = config_setting_get_member(setting, "tcp");
        is_credentials = config_setting_get_member(setting, "credentials");
        if (is_unix + is_tcp_too + is_credentials != 1) {
                r = config_mistakes_add(&reader->mistakes,
                                        config_reader_line(setting, is_tcp_too ? "tcp" : "unix"),
                                        "an entry of 'listen' needs one%s of 'unix', 'tcp' and "
                                        "'credentials'",
                                        is_unix || is_tcp_too ? ", not several," : "");
        } else if (is_tcp_too) {
                r = reject_for_tcp(reader, setting, "mode");
                if (!r)
                        r = reject_for_tcp(reader, setting, "group");
                if (!r && entry.tcp)
                        r = add_tcp(reader, config, config_reader_line(setting, "tcp"), entry.tcp);
        } else {
                r = is_unix ? add_unix(reader, config, setting, &entry, "unix", entry.unix_path)
                            : add_unix(reader, config, setting, &entry, "credentials",
                                       entry.credentials);
        }

out:
        free(entry.unix_path);
        free(entry.credentials);
        free(entry.tcp);
        free(entry.mode);
        free(entry.group);
        return error_trace(r);
}

int config_listen_read(struct config_reader *reader, config_setting_t *setting, void *target)
{
        size_t n;
        int r;

        r = config_reader_list(reader, setting, LISTENERS_MAX, &n);
        if (r)
                return error_trace(r);
        for (size_t i = 0; i < n; i++) {
                r = read_entry(reader, config_setting_get_elem(setting, (unsigned int)i), target);
                if (r)
                        return error_trace(r);
        }
        return 0;
}

int config_listen_default(struct config *config)
{
        struct listener_config listener = unix_listener(DEFAULT_SOCKET);

        return add_listener(config, &listener);
}
