/* SPDX-License-Identifier: MIT */

/*
 * Names of users and groups are looked up in a configuration, and its secrets are read with it, so
 * that is done by a thread. A configuration that was replaced stays for as long as a call that
 * waited under it has not been answered, since replies name clients and scopes.
 */

#include "reload.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../lib/error.h"
#include "loading.h"
#include "log.h"
#include "reload-compare.h"
#include "sources.h"

void reload_init(struct reload *reload, struct loop *loop, const struct config *config,
                 reload_apply_fn *apply, void *apply_data)
{
        *reload = (struct reload){
                .loop = loop,
                .initial = config,
                .apply = apply,
                .apply_data = apply_data,
                .deadline_ms = LOOP_NEVER,
        };
        reload->first.n_users = 1;
        reload->era = &reload->first;
        list_init(&reload->next);
        list_init(&reload->present);
        list_init(&reload->done);
}

const struct config *reload_config(const struct reload *reload)
{
        return reload->era->config ? reload->era->config : reload->initial;
}

struct reload_era *reload_hold(struct reload *reload)
{
        reload->era->n_users++;
        return reload->era;
}

void reload_release(struct reload_era *era)
{
        if (!era || --era->n_users > 0 || !era->config)
                return;
        config_free(era->config);
        free(era);
}

/* The descriptor goes with `loading`. */
static struct loading *forget_loading(struct reload *reload)
{
        struct loading *loading = reload->loading;

        loop_remove(reload->loop, &reload->source);
        reload->loading = NULL;
        reload->loaded = false;
        reload->deadline_ms = LOOP_NEVER;
        return loading;
}

void reload_deinit(struct reload *reload)
{
        if (!reload->loop)
                return;
        if (reload->loading)
                loading_abandon(forget_loading(reload));
        reload_release(reload->era);
        *reload = (struct reload){};
}

void reload_begin(struct reload *reload)
{
        reload->wanted = true;
}

void reload_wait(struct reload *reload, struct reload_wait *wait)
{
        *wait = (struct reload_wait){};
        list_push_back(&reload->next, &wait->link);
        reload_begin(reload);
}

static void move_all(struct list *to, struct list *from)
{
        list_for_each_safe (link, from) {
                list_unlink(link);
                list_push_back(to, link);
        }
}

/* Tells everybody who waits for the present reading. */
static void tell(struct reload *reload, bool good, const char *messages)
{
        list_for_each (link, &reload->present) {
                struct reload_wait *wait = list_entry(link, struct reload_wait, link);

                wait->good = good;
                wait->messages = messages && *messages ? strdup(messages) : NULL;
        }
        move_all(&reload->done, &reload->present);
}

void reload_abort(struct reload *reload)
{
        reload->wanted = false;
        if (reload->loading)
                loading_abandon(forget_loading(reload));
        move_all(&reload->present, &reload->next);
        tell(reload, false, "the daemon is shutting down");
}

struct reload_wait *reload_next_done(struct reload *reload)
{
        struct list *link = list_first(&reload->done);

        if (!link)
                return NULL;
        list_unlink(link);
        return list_entry(link, struct reload_wait, link);
}

static void fail(struct reload *reload, const char *messages)
{
        reload->n_failed++;
        tell(reload, false, messages);
}

static void loaded(struct loop_source *source, uint32_t events)
{
        list_entry(source, struct reload, source)->loaded = true;
}

static void start(struct reload *reload)
{
        int r;

        reload->wanted = false;
        reload->earliest_ms = reload->loop->now_ms + RELOAD_INTERVAL_MS;
        move_all(&reload->present, &reload->next);
        r = loading_start_with(&reload->loading, reload->initial->path, sources_load);
        if (r == 0) {
                reload->source = (struct loop_source){.fd = loading_fd(reload->loading),
                                                      .ready = loaded};
                reload->deadline_ms = reload->loop->now_ms + LOADING_TIMEOUT_MS;
                r = loop_add(reload->loop, &reload->source, EPOLLIN);
                if (r)
                        loading_abandon(forget_loading(reload));
        }
        if (!r)
                return;
        log_event(LOG_EVENT_RELOAD_FAILED, LOG_FIELDS(.source = reload->initial->path),
                  "cannot read the configuration again: %s",
                  r == LOADING_E_BUSY
                          ? "earlier readings still hang in the name service, or a file system"
                          : strerror(-r));
        fail(reload, "the configuration cannot be read just now; see the log");
}

/* Why the new configuration cannot be taken over at all; NULL: it can. */
static const char *obstacle(const struct reload *reload, const struct config *config)
{
        if (!reload_same_listeners(reload->initial, config))
                return "'listen' has changed, which needs a restart; nothing was taken over";
        return NULL;
}

/* `config` holds from now on, or is freed. Whether it does. */
static bool take_over(struct reload *reload, struct config *config)
{
        struct reload_era *era = calloc(1, sizeof(*era));
        char changes[RELOAD_CHANGES_MAX_BYTES];
        int r = era ? 0 : -ENOMEM;

        if (r == 0) {
                reload_keep_identities(config, reload_config(reload));
                reload_name_changes(changes, reload_config(reload), config);
                r = reload->apply(reload->apply_data, config);
        }
        if (r) {
                log_event(LOG_EVENT_RELOAD_FAILED, LOG_FIELDS(.source = config->path),
                          "cannot take over %s: %s", config->path, strerror(-r));
                free(era);
                config_free(config);
                return false;
        }
        *era = (struct reload_era){.config = config, .n_users = 1};
        reload_release(reload->era);
        reload->era = era;
        reload->n_done++;
        log_event(LOG_EVENT_RELOADED, LOG_FIELDS(.source = config->path, .changed = changes),
                  "read %s again; changed: %s", config->path, changes);
        if (!reload_same_audit(&reload->initial->audit, &config->audit))
                log_warning("%s: 'audit' has changed, which takes effect at a restart",
                            config->path);
        if (reload->initial->lock_memory != config->lock_memory)
                log_warning("%s: 'lock_memory' has changed, which takes effect at a restart",
                            config->path);
        return true;
}

/* What was said while the file was read, line by line. */
static void log_messages(const char *messages, bool good)
{
        while (*messages) {
                const size_t size = strcspn(messages, "\n");

                if (size > 0 && good)
                        log_warning("%.*s", (int)size, messages);
                else if (size > 0)
                        log_error("%.*s", (int)size, messages);
                messages += size + (messages[size] == '\n');
        }
}

/* What was read is no mistake in itself, and cannot be taken over. */
static void refuse(struct reload *reload, struct config *config, const char *why)
{
        char *message = NULL;

        log_event(LOG_EVENT_RELOAD_FAILED, LOG_FIELDS(.source = config->path, .changed = "listen"),
                  "%s: %s", config->path, why);
        if (asprintf(&message, "%s: %s", config->path, why) < 0)
                message = NULL;
        fail(reload, message ? message : why);
        free(message);
        config_free(config);
}

static void finish(struct reload *reload)
{
        struct config *config = NULL;
        char *messages = NULL;
        const char *why;
        int r;

        r = loading_finish(forget_loading(reload), &config, &messages);
        log_messages(messages ? messages : "", r == 0);
        why = r ? NULL : obstacle(reload, config);
        if (why) {
                refuse(reload, config, why);
        } else if (r) {
                log_event(LOG_EVENT_RELOAD_FAILED, LOG_FIELDS(.source = reload->initial->path),
                          "the configuration was not taken over; the old one stays");
                fail(reload, r == -ENOMEM ? "the daemon is out of memory" : messages);
        } else if (take_over(reload, config)) {
                tell(reload, true, messages);
        } else {
                fail(reload, "the daemon is out of memory");
        }
        free(messages);
}

static void give_up(struct reload *reload)
{
        loading_abandon(forget_loading(reload));
        log_event(LOG_EVENT_RELOAD_FAILED, LOG_FIELDS(.source = reload->initial->path),
                  "the configuration could not be read within %d s (does the name service "
                  "answer?), or a secret of it (does its file system?); the old one stays",
                  LOADING_TIMEOUT_MS / 1000);
        fail(reload, "reading takes too long; does the name service answer? Does the file system "
                     "of each secret?");
}

void reload_tick(struct reload *reload)
{
        const uint64_t now_ms = reload->loop->now_ms;

        if (reload->loaded)
                finish(reload);
        else if (reload->deadline_ms <= now_ms)
                give_up(reload);
        if (reload->wanted && !reload->loading && reload->earliest_ms <= now_ms)
                start(reload);
}

uint64_t reload_next_tick_ms(const struct reload *reload)
{
        uint64_t next_ms = reload->deadline_ms;

        if (reload->wanted && !reload->loading && reload->earliest_ms < next_ms)
                next_ms = reload->earliest_ms;
        return next_ms;
}
