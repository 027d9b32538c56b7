/* SPDX-License-Identifier: MIT */

/*
 * A folder is watched before a file in it is read, so that no change is missed. Each reading has an
 * inotify of its own, which takes the place of the one before: what is no longer configured is no
 * longer watched, and a thread that was left behind adds no watch to what others use.
 */

#include "sources.h"

#include <libgen.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <unistd.h>

#include "../lib/error.h"
#include "secrets.h"

/* Of a message: the path of the configuration and a line. */
#define PREFIX_MAX_BYTES 4200

#define WATCHED_EVENTS                                                                       \
        (IN_CLOSE_WRITE | IN_MOVED_TO | IN_CREATE | IN_DELETE | IN_ATTRIB | IN_DELETE_SELF | \
         IN_MOVE_SELF)

static int copy_source(struct secret_source *to, const struct secret_source *from)
{
        *to = (struct secret_source){.kind = from->kind, .line = from->line};
        if (from->where) {
                to->where = strdup(from->where);
                if (!to->where)
                        return error_trace(-ENOMEM);
        }
        if (from->kind != SECRET_KIND_INLINE)
                return 0;
        return error_trace(secret_assign(&to->value, from->value.bytes, from->value.size));
}

int sources_new(struct sources **ret, const struct config *config)
{
        const size_t n = config->settings.n_clients;
        struct sources *sources = calloc(1, sizeof(*sources) + n * sizeof(sources->clients[0]));
        int r;

        if (!sources)
                return error_trace(-ENOMEM);
        sources->own_uid = config->policy.own_uid;
        sources->watch_fd = -1;
        sources->retired_fd = -1;
        sources->n = n;
        sources->path = strdup(config->path);
        r = sources->path ? 0 : -ENOMEM;
        for (size_t i = 0; r == 0 && i < n * CREDENTIALS_MAX; i++)
                r = copy_source(&sources->clients[i / CREDENTIALS_MAX].from[i % CREDENTIALS_MAX],
                                &config->secrets[i]);
        if (r) {
                sources_free(sources);
                return error_trace(r);
        }
        *ret = sources;
        return 0;
}

void sources_free(struct sources *sources)
{
        if (!sources)
                return;
        for (size_t i = 0; i < sources->n; i++) {
                struct client_sources *client = &sources->clients[i];

                for (size_t k = 0; k < CREDENTIALS_MAX; k++) {
                        secret_deinit(&client->secrets[k]);
                        secret_deinit(&client->from[k].value);
                        free(client->from[k].where);
                }
                free(client->said);
        }
        if (sources->watch_fd >= 0)
                close(sources->watch_fd);
        if (sources->retired_fd >= 0)
                close(sources->retired_fd);
        free(sources->path);
        free(sources);
}

/* 0 or errno. To watch a folder twice is harmless. */
static int watch_folder_of(struct sources *sources, const char *path)
{
        char *copy;
        int r = 0;

        if (sources->watch_fd < 0)
                sources->watch_fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
        if (sources->watch_fd < 0)
                return errno;
        copy = strdup(path);
        if (!copy ||
            inotify_add_watch(sources->watch_fd, dirname(copy), WATCHED_EVENTS | IN_ONLYDIR) < 0)
                r = errno;
        free(copy);
        return r;
}

static int read_one(struct sources *sources, struct client_sources *client, size_t i, FILE *errors)
{
        const struct secret_source *from = &client->from[i];
        int r;

        if (from->kind == SECRET_KIND_FILE)
                client->unwatched[i] = watch_folder_of(sources, from->where);
        r = secrets_read(&client->secrets[i], from, sources->path, sources->own_uid, errors);
        client->unusable[i] = r > 0;
        return r > 0 ? SOURCES_E_UNUSABLE : error_trace(r);
}

static int read_client(struct sources *sources, size_t at)
{
        struct client_sources *client = &sources->clients[at];
        size_t size;
        FILE *errors = open_memstream(&client->said, &size);
        int r, result = 0;

        if (!errors)
                return error_trace(-ENOMEM);
        for (size_t i = 0; i < CREDENTIALS_MAX && result >= 0; i++) {
                atomic_store(&sources->at, CREDENTIALS_MAX * at + i);
                r = read_one(sources, client, i, errors);
                if (r)
                        result = r;
        }
        if (fclose(errors) != 0 || !client->said)
                result = -ENOMEM;
        return error_trace(result);
}

void sources_read(struct sources *sources)
{
        if (sources->retired_fd >= 0)
                close(sources->retired_fd);
        sources->retired_fd = -1;
        for (size_t i = 0; i < sources->n; i++)
                sources->clients[i].result = read_client(sources, i);
}

static int check_key(const struct config *config, size_t client, FILE *errors)
{
        const struct client_tls *tls = &config->tls[client];
        char prefix[PREFIX_MAX_BYTES];
        int r;

        if (!tls->key_file)
                return 0;
        (void)snprintf(prefix, sizeof(prefix), "%s:%d: ", config->path, tls->line);
        r = secrets_check_path(tls->key_file, config->policy.own_uid, prefix, errors);
        return r > 0 ? SOURCES_E_UNUSABLE : error_trace(r);
}

/* Whether a file that libcurl will need can be read; said if not. */
static bool is_readable(const char *path, const char *option, FILE *errors)
{
        if (!path || access(path, R_OK) == 0)
                return true;
        fprintf(errors, "%s: cannot be read: %s; it is given as '%s'\n", path, strerror(errno),
                option);
        return false;
}

/* Reads those of a configuration into config->sources, and tries the other files that it names. 0
 * or -ENOMEM. */
static int attach(struct config *config, FILE *errors)
{
        struct sources *sources;
        int r;

        r = sources_new(&config->sources, config);
        if (r)
                return error_trace(r);
        sources = config->sources;
        sources_read(sources);

        sources->unusable = !is_readable(config->upstream.ca_file, "ca_file", errors);
        for (size_t i = 0; i < sources->n; i++) {
                const struct client_sources *client = &sources->clients[i];

                if (!is_readable(config->tls[i].cert_file, "cert_file", errors))
                        sources->unusable = true;
                if (client->said)
                        fputs(client->said, errors);
                r = check_key(config, i, errors);
                if (r < 0 || client->result < 0)
                        return error_trace(r < 0 ? r : client->result);
                if (r > 0 || client->result > 0)
                        sources->unusable = true;
        }
        return 0;
}

int sources_load_noting(struct config **ret, const char *path, FILE *errors)
{
        struct config *config;
        int r;

        r = config_load(&config, path, errors);
        if (r)
                return error_trace(r);
        r = attach(config, errors);
        if (r)
                config_free(config);
        else
                *ret = config;
        return error_trace(r);
}

int sources_load(struct config **ret, const char *path, FILE *errors)
{
        struct config *config;
        int r;

        r = sources_load_noting(&config, path, errors);
        if (r)
                return error_trace(r);
        if (config->sources->unusable) {
                config_free(config);
                return CONFIG_E_INVALID;
        }
        *ret = config;
        return 0;
}
