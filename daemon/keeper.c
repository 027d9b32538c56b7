/* SPDX-License-Identifier: MIT */

/*
 * Whatever happens in a folder that holds a secret makes all secrets of files be read again, a
 * moment later, so that a burst of events is one reading; reading is cheap, and it is the broker
 * that finds out whether a secret is new. That also covers folders whose files are links into
 * another one that is exchanged as a whole.
 */

#include "keeper.h"

#include <inttypes.h>
#include <libgen.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <unistd.h>

#include "../lib/error.h"
#include "log.h"
#include "secrets.h"

/* From the first event to the reading. */
#define SETTLE_MS 100

/* A folder that is not there, or cannot be watched, is tried again after this. */
#define RETRY_MS 60000

/* Of a message: the path of the configuration and a line. */
#define PREFIX_MAX_BYTES 4200

/* Of "credential NAME". */
#define SOURCE_MAX_BYTES 300

#define DAY_S         INT64_C(86400)
#define DAY_MS        ((uint64_t)DAY_S * 1000)
#define WARN_BEFORE_S (30 * DAY_S)
#define WATCHED_EVENTS                                                                       \
        (IN_CLOSE_WRITE | IN_MOVED_TO | IN_CREATE | IN_DELETE | IN_ATTRIB | IN_DELETE_SELF | \
         IN_MOVE_SELF)

static const struct secret_source *source_of(const struct config *config, size_t client, size_t i)
{
        return &config->secrets[client * CREDENTIALS_MAX + i];
}

/* Reads both secrets of a client; `kept` (NULL: nothing) tells what stands in for one that cannot
 * be read. 0, -ENOMEM or KEEPER_E_UNUSABLE, having said why on `errors`. */
static int read_client(const struct config *config, size_t client, const struct broker *kept,
                       struct secret secrets[CREDENTIALS_MAX], FILE *errors)
{
        int r, result = 0;

        for (size_t i = 0; i < CREDENTIALS_MAX; i++) {
                r = secrets_read(&secrets[i], source_of(config, client, i), config->path,
                                 config->policy.own_uid, errors);
                if (r > 0) {
                        const struct secret *old = kept ? broker_secret(kept, client, i) : NULL;

                        result = KEEPER_E_UNUSABLE;
                        r = old ? secret_assign(&secrets[i], old->bytes, old->size) : 0;
                }
                if (r < 0)
                        return error_trace(r);
        }
        return result;
}

static void wipe(struct secret secrets[CREDENTIALS_MAX])
{
        for (size_t i = 0; i < CREDENTIALS_MAX; i++)
                secret_deinit(&secrets[i]);
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
        return r > 0 ? KEEPER_E_UNUSABLE : error_trace(r);
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

/* Reads all into the broker, or (NULL) nowhere, and says all that is wrong. */
static int read_all(const struct config *config, struct broker *broker, FILE *errors)
{
        int r, result = 0;

        if (!is_readable(config->upstream.ca_file, "ca_file", errors))
                result = KEEPER_E_UNUSABLE;
        for (size_t i = 0; i < config->settings.n_clients; i++) {
                struct secret secrets[CREDENTIALS_MAX] = {};

                if (!is_readable(config->tls[i].cert_file, "cert_file", errors))
                        result = KEEPER_E_UNUSABLE;
                r = read_client(config, i, NULL, secrets, errors);
                if (r == 0 && broker)
                        (void)broker_set_secrets(broker, i, secrets);
                wipe(secrets);
                if (r > 0)
                        result = r;
                if (r >= 0)
                        r = check_key(config, i, errors);
                if (r > 0)
                        result = r;
                if (r < 0)
                        return error_trace(r);
        }
        return result;
}

int keeper_check(const struct config *config, FILE *errors)
{
        return error_trace(read_all(config, NULL, errors));
}

/* Says in the log what was said on a stream about a client's secrets, line by line. */
static void log_kept(const char *client, const char *lines)
{
        while (*lines) {
                const size_t size = strcspn(lines, "\n");

                log_event(LOG_EVENT_SECRET_KEPT, LOG_FIELDS(.client = client),
                          "%.*s; the secret that was read before is kept", (int)size, lines);
                lines += size + (lines[size] == '\n');
        }
}

/* Where a secret is from, without what is in it. */
static const char *name_source(char name[SOURCE_MAX_BYTES], const struct secret_source *source)
{
        switch (source->kind) {
        case SECRET_KIND_NONE: return "none";
        case SECRET_KIND_INLINE: return "configuration";
        case SECRET_KIND_FILE: return source->where;
        case SECRET_KIND_CREDENTIAL: break;
        }
        (void)snprintf(name, SOURCE_MAX_BYTES, "credential %s", source->where);
        return name;
}

/* Which of the two has changed is the broker's to know; the place of the first leads to both. */
static void log_read(const struct config *config, size_t client)
{
        const char *const name = config->settings.clients[client].name;
        char current[SOURCE_MAX_BYTES], next[SOURCE_MAX_BYTES];
        const struct secret_source *second = source_of(config, client, 1);
        const char *where = name_source(current, source_of(config, client, 0));

        if (second->kind == SECRET_KIND_NONE)
                log_event(LOG_EVENT_SECRET_READ, LOG_FIELDS(.client = name, .source = where),
                          "client '%s': the client secret has changed, and was read again (%s)",
                          name, where);
        else
                log_event(LOG_EVENT_SECRET_READ, LOG_FIELDS(.client = name, .source = where),
                          "client '%s': the client secret has changed, and was read again (%s, or "
                          "the next one: %s)",
                          name, where, name_source(next, second));
}

/* Reads a client's secrets into the broker; one that cannot be read stays as it is. Whether all
 * could be read. */
static bool reread(struct keeper *keeper, size_t client)
{
        struct secret secrets[CREDENTIALS_MAX] = {};
        char *said = NULL;
        size_t size;
        FILE *errors = open_memstream(&said, &size);
        int r;

        if (!errors)
                return false;
        r = read_client(keeper->config, client, keeper->broker, secrets, errors);
        if (fclose(errors) != 0 || !said) {
                wipe(secrets);
                free(said);
                return false;
        }
        if (r > 0)
                log_kept(keeper->config->settings.clients[client].name, said);
        if (r >= 0 && broker_set_secrets(keeper->broker, client, secrets))
                log_read(keeper->config, client);
        wipe(secrets);
        free(said);
        return r == 0;
}

void keeper_read_again(struct keeper *keeper, size_t client)
{
        const char *name = keeper->config->settings.clients[client].name;

        log_event(LOG_EVENT_SECRET_REFUSED, LOG_FIELDS(.client = name),
                  "client '%s': the issuer refuses the client secret; reading it again", name);
        for (size_t i = 0; i < CREDENTIALS_MAX; i++)
                if (source_of(keeper->config, client, i)->kind == SECRET_KIND_CREDENTIAL)
                        log_warning(
                                "client '%s': its secret is a systemd credential, which systemd "
                                "replaces only when the service is restarted",
                                name);
        (void)reread(keeper, client);
        broker_secrets_read(keeper->broker, client, keeper->loop->now_ms);
}

static void changed(struct loop_source *source, uint32_t events)
{
        struct keeper *keeper = list_entry(source, struct keeper, source);
        char buffer[4096] __attribute__((aligned(__alignof__(struct inotify_event))));

        while (read(source->fd, buffer, sizeof(buffer)) > 0)
                ;
        keeper_read_soon(keeper);
}

void keeper_read_soon(struct keeper *keeper)
{
        if (keeper->reread_at_ms > keeper->loop->now_ms + SETTLE_MS)
                keeper->reread_at_ms = keeper->loop->now_ms + SETTLE_MS;
}

/* Watches the folder of each file, also one that has come in the place of another; to do so twice
 * is harmless. Whether all of them are watched. */
static bool watch_files(struct keeper *keeper)
{
        const size_t n = keeper->config->settings.n_clients * CREDENTIALS_MAX;
        bool all = true;

        for (size_t i = 0; i < n; i++) {
                const struct secret_source *source = &keeper->config->secrets[i];
                char *copy;

                if (source->kind != SECRET_KIND_FILE)
                        continue;
                copy = strdup(source->where);
                if (!copy || inotify_add_watch(keeper->source.fd, dirname(copy),
                                               WATCHED_EVENTS | IN_ONLYDIR) < 0) {
                        log_warning("%s:%d: the folder of %s cannot be watched: %s; the secret is "
                                    "read again every minute, and when the issuer refuses it",
                                    keeper->config->path, source->line, source->where,
                                    strerror(errno));
                        all = false;
                }
                free(copy);
        }
        return all;
}

int keeper_init(struct keeper *keeper, const struct config *config, struct broker *broker,
                struct loop *loop)
{
        int r;

        *keeper = (struct keeper){
                .config = config,
                .broker = broker,
                .loop = loop,
                .source = {.fd = -1, .ready = changed},
                .reread_at_ms = LOOP_NEVER,
                .warn_at_ms = loop->now_ms,
        };
        r = read_all(config, broker, stderr);
        if (r)
                return error_trace(r);

        keeper->source.fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
        if (keeper->source.fd < 0) {
                log_warning("changes of secret files will not be noticed: %s", strerror(errno));
                return 0;
        }
        if (!watch_files(keeper))
                keeper->reread_at_ms = loop->now_ms + RETRY_MS;
        r = loop_add(loop, &keeper->source, EPOLLIN);
        return error_trace(r);
}

void keeper_deinit(struct keeper *keeper)
{
        if (!keeper->config || keeper->source.fd < 0)
                return;
        loop_remove(keeper->loop, &keeper->source);
        close(keeper->source.fd);
        keeper->source.fd = -1;
}

static void warn_of_expiry(const struct keeper *keeper, size_t client, size_t i)
{
        const struct client_settings *settings = &keeper->config->settings.clients[client];
        const int64_t left_s = settings->secret_expires_s[i] - keeper->loop->wall_ms / 1000;
        const char *which = i == 0 ? "client secret" : "next client secret";
        const struct log_fields *fields = LOG_FIELDS(.client = settings->name, .source = which,
                                                     .for_ms = left_s > 0 ? (uint64_t)left_s * 1000
                                                                          : 0);

        if (settings->secret_expires_s[i] == 0 || left_s > WARN_BEFORE_S)
                return;
        if (left_s <= 0)
                log_event(LOG_EVENT_SECRET_EXPIRED, fields, "client '%s': the %s has expired",
                          settings->name, which);
        else
                log_event(LOG_EVENT_SECRET_EXPIRING, fields,
                          "client '%s': the %s expires in %" PRId64 " day%s", settings->name, which,
                          (left_s + DAY_S - 1) / DAY_S, left_s <= DAY_S ? "" : "s");
}

static void reread_all(struct keeper *keeper)
{
        bool good = true;

        for (size_t i = 0; i < keeper->config->settings.n_clients; i++)
                good &= reread(keeper, i);
        if (good && keeper->complained)
                log_event(LOG_EVENT_SECRETS_WELL, NULL, "every client secret can be read again");
        keeper->complained = !good;
}

void keeper_set_config(struct keeper *keeper, const struct config *config)
{
        keeper->config = config;
        keeper->reread_at_ms = LOOP_NEVER;
        keeper->warn_at_ms = keeper->loop->now_ms;
        if (keeper->source.fd >= 0 && !watch_files(keeper))
                keeper->reread_at_ms = keeper->loop->now_ms + RETRY_MS;
        reread_all(keeper);
}

void keeper_tick(struct keeper *keeper)
{
        const uint64_t now_ms = keeper->loop->now_ms;
        const size_t n = keeper->config->settings.n_clients;

        if (keeper->reread_at_ms <= now_ms) {
                keeper->reread_at_ms = LOOP_NEVER;
                if (keeper->source.fd >= 0 && !watch_files(keeper))
                        keeper->reread_at_ms = now_ms + RETRY_MS;
                reread_all(keeper);
        }
        if (keeper->warn_at_ms <= now_ms) {
                keeper->warn_at_ms = now_ms + DAY_MS;
                for (size_t i = 0; i < n; i++)
                        for (size_t k = 0; k < CREDENTIALS_MAX; k++)
                                warn_of_expiry(keeper, i, k);
        }
}

uint64_t keeper_next_tick_ms(const struct keeper *keeper)
{
        return keeper->reread_at_ms < keeper->warn_at_ms ? keeper->reread_at_ms
                                                         : keeper->warn_at_ms;
}
