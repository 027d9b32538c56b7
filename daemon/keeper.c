/* SPDX-License-Identifier: MIT */

/*
 * Whatever happens in a folder that holds a secret makes all secrets be read again, a moment later,
 * so that a burst of events is one reading; reading is cheap, and it is the broker that finds out
 * whether a secret is new. That also covers folders whose files are links into another one that is
 * exchanged as a whole.
 *
 * A thread reads, since a file system may hang, and one at a time: what is asked for meanwhile is
 * the next reading's, since the present one may have passed the file already. A reading that hangs
 * is waited for, but nobody else has to: refused flights go on without it. It is left behind when
 * another configuration comes, which may be the one without that file.
 */

#include "keeper.h"

#include <assert.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../lib/error.h"
#include "errand.h"
#include "log.h"
#include "sources.h"

/* From the first event to the reading. */
#define SETTLE_MS 100

/* A folder that is not there, or cannot be watched, is tried again after this. */
#define RETRY_MS 60000

/* Of "credential NAME". */
#define SOURCE_MAX_BYTES 300

#define DAY_S         INT64_C(86400)
#define DAY_MS        ((uint64_t)DAY_S * 1000)
#define WARN_BEFORE_S (30 * DAY_S)

static const struct secret_source *source_of(const struct config *config, size_t client, size_t i)
{
        return &config->secrets[client * CREDENTIALS_MAX + i];
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

static void read_within(struct keeper *keeper, uint64_t time_ms)
{
        if (keeper->reread_at_ms > keeper->loop->now_ms + time_ms)
                keeper->reread_at_ms = keeper->loop->now_ms + time_ms;
}

static void changed(struct loop_source *source, uint32_t events)
{
        char buffer[4096];

        while (read(source->fd, buffer, sizeof(buffer)) > 0)
                ;
        read_within(list_entry(source, struct keeper, watch), SETTLE_MS);
}

/* Takes `fd`, which may be -1, in the place of the one before. */
static int use_watch(struct keeper *keeper, int fd)
{
        int r;

        if (keeper->watch.fd >= 0) {
                loop_remove(keeper->loop, &keeper->watch);
                close(keeper->watch.fd);
        }
        keeper->watch.fd = fd;
        if (fd < 0)
                return 0;
        r = loop_add(keeper->loop, &keeper->watch, EPOLLIN);
        if (r < 0) {
                close(fd);
                keeper->watch.fd = -1;
        }
        return error_trace(r);
}

static void wipe(struct secret secrets[CREDENTIALS_MAX])
{
        for (size_t i = 0; i < CREDENTIALS_MAX; i++)
                secret_deinit(&secrets[i]);
}

/* Copies of what was read, since a thread's memory is elsewhere than what protect.h locks, whatever
 * it grows to; the secret that the broker has stands in for one that could not be read. 0 or
 * -ENOMEM. */
static int copy_secrets(const struct keeper *keeper, size_t client,
                        const struct client_sources *read, struct secret copies[CREDENTIALS_MAX])
{
        int r = 0;

        for (size_t i = 0; i < CREDENTIALS_MAX && r == 0; i++) {
                const struct secret *from = read->unusable[i]
                                                    ? broker_secret(keeper->broker, client, i)
                                                    : &read->secrets[i];

                r = secret_assign(&copies[i], from->bytes, from->size);
        }
        return error_trace(r);
}

/* Gives the broker what was read for a client. Whether all of it could be read. */
static bool take_client(struct keeper *keeper, size_t client, struct client_sources *read,
                        bool first)
{
        struct secret copies[CREDENTIALS_MAX] = {};
        const int r = read->result < 0 ? read->result : copy_secrets(keeper, client, read, copies);

        wipe(read->secrets);
        if (read->result > 0)
                log_kept(keeper->config->settings.clients[client].name, read->said);
        if (r == 0 && broker_set_secrets(keeper->broker, client, copies) && !first)
                log_read(keeper->config, client);
        if (r < 0)
                read_within(keeper, RETRY_MS);
        wipe(copies);
        return r == 0 && read->result == 0;
}

static void mind_unwatched(struct keeper *keeper, size_t client, const struct client_sources *read)
{
        for (size_t i = 0; i < CREDENTIALS_MAX; i++) {
                const struct secret_source *source = source_of(keeper->config, client, i);

                if (!read->unwatched[i])
                        continue;
                log_warning("%s:%d: the folder of %s cannot be watched: %s; the secret is read "
                            "again every minute, and when the issuer refuses it",
                            keeper->config->path, source->line, source->where,
                            strerror(read->unwatched[i]));
                read_within(keeper, RETRY_MS);
        }
}

/* Gives the broker what was read. 0, or -errno: there is no watch. */
static int take(struct keeper *keeper, struct sources *sources, bool first)
{
        const int r = use_watch(keeper, sources->watch_fd);
        bool good = true;

        sources->watch_fd = -1;
        if (r < 0)
                read_within(keeper, RETRY_MS);
        for (size_t i = 0; i < sources->n; i++) {
                mind_unwatched(keeper, i, &sources->clients[i]);
                if (!take_client(keeper, i, &sources->clients[i], first))
                        good = false;
        }
        if (good && keeper->complained)
                log_event(LOG_EVENT_SECRETS_WELL, NULL, "every client secret can be read again");
        keeper->complained = !good;
        return error_trace(r);
}

/* Those who wait for this reading go on. */
static void answer(struct keeper *keeper, struct sources *sources)
{
        for (size_t i = 0; i < sources->n; i++) {
                if (!sources->clients[i].awaited)
                        continue;
                sources->clients[i].awaited = false;
                broker_secrets_read(keeper->broker, i, keeper->loop->now_ms);
        }
}

static void run(void *data)
{
        sources_read(data);
}

static void free_data(void *data)
{
        sources_free(data);
}

static struct errand_kind kind = {.run = run, .free = free_data};

static void ready(struct loop_source *source, uint32_t events)
{
        list_entry(source, struct keeper, ready)->ended = true;
}

/* The descriptor goes with the errand. */
static struct errand *forget_errand(struct keeper *keeper)
{
        struct errand *errand = keeper->errand;

        loop_remove(keeper->loop, &keeper->ready);
        keeper->errand = NULL;
        keeper->present = NULL;
        keeper->ended = false;
        keeper->late = false;
        keeper->late_at_ms = LOOP_NEVER;
        return errand;
}

static int start(struct keeper *keeper, struct sources *sources)
{
        int r;

        r = errand_start(&keeper->errand, &kind, sources);
        if (r)
                return error_trace(r);
        keeper->present = sources;
        keeper->ready = (struct loop_source){.fd = errand_fd(keeper->errand), .ready = ready};
        keeper->late_at_ms = keeper->loop->now_ms + KEEPER_PATIENCE_MS;
        return error_trace(loop_add(keeper->loop, &keeper->ready, EPOLLIN));
}

/* Begins the next reading if there is one, and none is under way. The reading watches anew, and has
 * what has watched so far, which may take time to close. */
static void begin(struct keeper *keeper)
{
        struct sources *sources = keeper->next;
        int r;

        if (keeper->errand || !sources)
                return;
        keeper->next = NULL;
        if (keeper->watch.fd >= 0)
                loop_remove(keeper->loop, &keeper->watch);
        sources->retired_fd = keeper->watch.fd;
        keeper->watch.fd = -1;
        r = start(keeper, sources);
        if (r == 0)
                return;
        log_event(LOG_EVENT_SECRET_KEPT, NULL,
                  "the client secrets cannot be read again: %s; what was read before is kept",
                  r == ERRAND_E_BUSY ? "earlier readings still hang in a file system"
                                     : strerror(-r));
        keeper->complained = true;
        read_within(keeper, RETRY_MS);
        answer(keeper, sources);
        if (keeper->errand) {
                errand_abandon(forget_errand(keeper));
                return;
        }
        (void)use_watch(keeper, sources->retired_fd);
        sources->retired_fd = -1;
        sources_free(sources);
}

static void finish(struct keeper *keeper)
{
        struct sources *sources = errand_finish(forget_errand(keeper));

        if (take(keeper, sources, false) < 0)
                log_warning("changes of secret files are not noticed for a minute");
        answer(keeper, sources);
        sources_free(sources);
}

static void give_up_waiting(struct keeper *keeper)
{
        const size_t at = atomic_load(&keeper->present->at);
        const size_t client = at / CREDENTIALS_MAX;
        const char *const name = keeper->config->settings.clients[client].name;
        char where[SOURCE_MAX_BYTES];

        log_event(LOG_EVENT_SECRET_KEPT, LOG_FIELDS(.client = name),
                  "client '%s': the client secret could not be read within %d s (%s); does its "
                  "file system answer? The secret that was read before is kept",
                  name, KEEPER_PATIENCE_MS / 1000,
                  name_source(where, source_of(keeper->config, client, at % CREDENTIALS_MAX)));
        keeper->complained = true;
        keeper->late = true;
        keeper->late_at_ms = LOOP_NEVER;
        answer(keeper, keeper->present);
        if (keeper->next)
                answer(keeper, keeper->next);
}

/* There is to be a reading that has not begun yet. 0 or -ENOMEM. */
static int want_next(struct keeper *keeper)
{
        return keeper->next ? 0 : error_trace(sources_new(&keeper->next, keeper->config));
}

/* A client waits for the next reading, if it can be had in time. */
static void await_next(struct keeper *keeper, size_t client)
{
        const int r = want_next(keeper);

        if (r == 0 && !keeper->late)
                keeper->next->clients[client].awaited = true;
        else
                broker_secrets_read(keeper->broker, client, keeper->loop->now_ms);
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
        await_next(keeper, client);
        begin(keeper);
}

/* Those who wait for a reading under another configuration wait for the next one under this. */
static void carry_over(struct keeper *keeper, const struct config *before,
                       const struct sources *sources)
{
        const struct settings *const settings = &keeper->config->settings;

        for (size_t i = 0; sources && i < sources->n; i++) {
                if (!sources->clients[i].awaited)
                        continue;
                for (size_t j = 0; j < settings->n_clients; j++)
                        if (settings->clients[j].identity == before->settings.clients[i].identity)
                                await_next(keeper, j);
        }
}

void keeper_set_config(struct keeper *keeper, const struct config *config)
{
        const struct config *const before = keeper->config;
        struct sources *const next = keeper->next;

        keeper->config = config;
        keeper->next = NULL;
        keeper->late = false;
        keeper->reread_at_ms = LOOP_NEVER;
        keeper->warn_at_ms = keeper->loop->now_ms;
        if (take(keeper, config->sources, false) < 0)
                log_warning("changes of secret files are not noticed for a minute");
        carry_over(keeper, before, keeper->present);
        carry_over(keeper, before, next);
        if (keeper->errand)
                errand_abandon(forget_errand(keeper));
        sources_free(next);
        begin(keeper);
}

int keeper_init(struct keeper *keeper, const struct config *config, struct broker *broker,
                struct loop *loop)
{
        int r;

        *keeper = (struct keeper){
                .config = config,
                .broker = broker,
                .loop = loop,
                .watch = {.fd = -1, .ready = changed},
                .reread_at_ms = LOOP_NEVER,
                .late_at_ms = LOOP_NEVER,
                .warn_at_ms = loop->now_ms,
        };
        r = take(keeper, config->sources, true);
        if (r == 0 && keeper->complained)
                r = -ENOMEM; /* they were good when they were read */
        return error_trace(r);
}

void keeper_deinit(struct keeper *keeper)
{
        if (!keeper->config)
                return;
        if (keeper->errand)
                errand_abandon(forget_errand(keeper));
        sources_free(keeper->next);
        keeper->next = NULL;
        (void)use_watch(keeper, -1);
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

void keeper_tick(struct keeper *keeper)
{
        const uint64_t now_ms = keeper->loop->now_ms;
        const size_t n = keeper->config->settings.n_clients;

        if (keeper->ended)
                finish(keeper);
        else if (keeper->late_at_ms <= now_ms)
                give_up_waiting(keeper);
        if (keeper->reread_at_ms <= now_ms && !keeper->errand) {
                keeper->reread_at_ms = LOOP_NEVER;
                if (want_next(keeper) < 0)
                        read_within(keeper, RETRY_MS);
        }
        begin(keeper);
        if (keeper->warn_at_ms <= now_ms) {
                keeper->warn_at_ms = now_ms + DAY_MS;
                for (size_t i = 0; i < n; i++)
                        for (size_t k = 0; k < CREDENTIALS_MAX; k++)
                                warn_of_expiry(keeper, i, k);
        }
}

uint64_t keeper_next_tick_ms(const struct keeper *keeper)
{
        uint64_t next_ms = keeper->warn_at_ms;

        if (keeper->reread_at_ms < next_ms && !keeper->errand)
                next_ms = keeper->reread_at_ms;
        return keeper->late_at_ms < next_ms ? keeper->late_at_ms : next_ms;
}
