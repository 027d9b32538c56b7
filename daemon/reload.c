/* SPDX-License-Identifier: MIT */

/*
 * The file is read by a thread (see loading.h), because names of users and groups are looked up in
 * it. Rules name client applications by their place in the list, so they can be taken over only
 * while that list is the same.
 */

#include "reload.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "../lib/error.h"
#include "credential-server.h"
#include "loading.h"
#include "log.h"

void reload_init(struct reload *reload, struct loop *loop, struct broker *broker, struct api *api,
                 struct credential_server *credentials, const struct config *config)
{
        *reload = (struct reload){.loop = loop,
                                  .broker = broker,
                                  .api = api,
                                  .credentials = credentials,
                                  .config = config,
                                  .deadline_ms = LOOP_NEVER};
}

/* The descriptor goes with `loading`. */
static void forget_source(struct reload *reload)
{
        loop_remove(reload->loop, &reload->source);
        reload->loading = NULL;
        reload->done = false;
        reload->deadline_ms = LOOP_NEVER;
}

static void abandon(struct reload *reload)
{
        struct loading *loading = reload->loading;

        forget_source(reload);
        loading_abandon(loading);
}

void reload_deinit(struct reload *reload)
{
        if (reload->loading)
                abandon(reload);
        config_free(reload->before);
        config_free(reload->current);
        reload->before = NULL;
        reload->current = NULL;
}

static void loaded(struct loop_source *source, uint32_t events)
{
        list_entry(source, struct reload, source)->done = true;
}

void reload_begin(struct reload *reload)
{
        int r;

        if (reload->loading) {
                reload->again = true;
                return;
        }
        reload->again = false;
        r = loading_start(&reload->loading, reload->config->path);
        if (r == 0) {
                reload->source = (struct loop_source){.fd = loading_fd(reload->loading),
                                                      .ready = loaded};
                r = loop_add(reload->loop, &reload->source, EPOLLIN);
                if (r) {
                        loading_abandon(reload->loading);
                        reload->loading = NULL;
                }
        }
        if (r) {
                reload->n_failed++;
                log_error("cannot read the configuration again: %s", strerror(-r));
                return;
        }
        reload->deadline_ms = reload->loop->now_ms + LOADING_TIMEOUT_MS;
}

static bool same_string(const char *a, const char *b)
{
        return a == b || (a && b && strcmp(a, b) == 0);
}

static bool same_client(const struct config *a, const struct config *b, size_t i)
{
        const struct client_settings *x = &a->settings.clients[i], *y = &b->settings.clients[i];

        return same_string(x->name, y->name) && same_string(x->client_id, y->client_id) &&
               same_string(x->token_url[AUDIENCE_USER], y->token_url[AUDIENCE_USER]) &&
               same_string(x->token_url[AUDIENCE_CUSTOMER], y->token_url[AUDIENCE_CUSTOMER]) &&
               same_string(x->default_scope, y->default_scope);
}

static bool same_clients(const struct config *a, const struct config *b)
{
        if (a->settings.n_clients != b->settings.n_clients)
                return false;
        for (size_t i = 0; i < a->settings.n_clients; i++)
                if (!same_client(a, b, i))
                        return false;
        return true;
}

static bool same_listeners(const struct config *a, const struct config *b)
{
        if (a->n_listeners != b->n_listeners)
                return false;
        for (size_t i = 0; i < a->n_listeners; i++) {
                const struct listener_config *x = &a->listeners[i], *y = &b->listeners[i];

                if (x->address_size != y->address_size || x->mode != y->mode || x->gid != y->gid ||
                    x->credentials != y->credentials ||
                    memcmp(&x->address, &y->address, x->address_size) != 0)
                        return false;
        }
        return true;
}

static bool same_limits(const struct config *a, const struct config *b)
{
        struct settings x = a->settings, y = b->settings;

        x.clients = y.clients = NULL;
        /* All members are words: there is nothing between them. */
        return memcmp(&x, &y, sizeof(x)) == 0 && a->max_connections == b->max_connections &&
               a->header_timeout_ms == b->header_timeout_ms &&
               a->idle_timeout_ms == b->idle_timeout_ms &&
               a->drain_timeout_ms == b->drain_timeout_ms && a->log_level == b->log_level;
}

static bool same_sources(const struct config *a, const struct config *b)
{
        for (size_t i = 0; i < 2 * a->settings.n_clients; i++)
                if (a->secrets[i].kind != b->secrets[i].kind ||
                    !same_string(a->secrets[i].where, b->secrets[i].where) ||
                    !same_string(a->tls[i / 2].cert_file, b->tls[i / 2].cert_file) ||
                    !same_string(a->tls[i / 2].key_file, b->tls[i / 2].key_file))
                        return false;
        return true;
}

static bool same_upstream(const struct upstream_config *a, const struct upstream_config *b)
{
        return a->connect_timeout_ms == b->connect_timeout_ms && a->timeout_ms == b->timeout_ms &&
               a->max_response_bytes == b->max_response_bytes &&
               same_string(a->ca_file, b->ca_file) && same_string(a->proxy, b->proxy) &&
               same_string(a->no_proxy, b->no_proxy);
}

static bool same_audit(const struct audit_config *a, const struct audit_config *b)
{
        return a->target == b->target && a->subjects == b->subjects && a->fold_ms == b->fold_ms &&
               a->required == b->required && a->max_records == b->max_records &&
               same_string(a->file, b->file) && same_string(a->key_file, b->key_file);
}

/* Names what is different and has to wait for a restart. */
static void log_differences(const struct config *a, const struct config *b)
{
        if (!same_listeners(a, b))
                log_warning("%s: 'listen' has changed, which takes effect at a restart", b->path);
        if (!same_sources(a, b))
                log_warning("%s: where secrets or certificates are from has changed, which takes "
                            "effect at a restart",
                            b->path);
        if (!same_limits(a, b))
                log_warning("%s: limits, time-outs or the log level have changed, which takes "
                            "effect at a restart",
                            b->path);
        if (!same_upstream(&a->upstream, &b->upstream))
                log_warning("%s: 'upstream' has changed, which takes effect at a restart", b->path);
        if (!same_audit(&a->audit, &b->audit))
                log_warning("%s: 'audit' has changed, which takes effect at a restart", b->path);
}

/* The rules of `config` hold from now on; it is taken over, or freed. */
static void take_over(struct reload *reload, struct config *config)
{
        int r;

        if (!same_clients(reload->config, config)) {
                reload->n_failed++;
                log_error("%s: 'clients' have changed, which needs a restart; nothing was taken "
                          "over, the rules for callers neither",
                          config->path);
                config_free(config);
                return;
        }
        credential_server_use(reload->credentials, config);
        r = broker_set_policy(reload->broker, &config->policy, reload->loop->now_ms);
        if (r) {
                credential_server_use(reload->credentials,
                                      reload->current ? reload->current : reload->config);
                reload->n_failed++;
                log_error("cannot take over the rules for callers: %s", strerror(-r));
                config_free(config);
                return;
        }
        config_free(reload->before);
        reload->before = reload->current;
        reload->current = config;
        reload->n_done++;
        api_policy_changed(reload->api);
        log_info("read %s again: %zu rule%s for callers hold%s from now on", config->path,
                 config->policy.n_rules, config->policy.n_rules == 1 ? "" : "s",
                 config->policy.n_rules == 1 ? "s" : "");
        log_differences(reload->config, config);
}

/* What was said while the file was read, line by line. */
static void log_messages(char *messages, bool good)
{
        char *rest = messages, *line;

        while ((line = strsep(&rest, "\n"))) {
                if (!*line)
                        continue;
                if (good)
                        log_warning("%s", line);
                else
                        log_error("%s", line);
        }
        free(messages);
}

static void finish(struct reload *reload)
{
        struct config *config = NULL;
        struct loading *loading = reload->loading;
        char *messages = NULL;
        int r;

        forget_source(reload);
        r = loading_finish(loading, &config, &messages);
        if (messages)
                log_messages(messages, r == 0);
        if (r) {
                reload->n_failed++;
                log_error("the configuration was not taken over%s%s; the old one stays",
                          r < 0 ? ": " : "", r < 0 ? strerror(-r) : "");
                return;
        }
        take_over(reload, config);
}

void reload_tick(struct reload *reload)
{
        if (!reload->loading)
                return;
        if (reload->done) {
                finish(reload);
        } else if (reload->loop->now_ms >= reload->deadline_ms) {
                abandon(reload);
                reload->n_failed++;
                log_error("the configuration could not be read within %d s (does the name service "
                          "answer?); the old one stays",
                          LOADING_TIMEOUT_MS / 1000);
        } else {
                return;
        }
        if (reload->again)
                reload_begin(reload);
}

uint64_t reload_next_tick_ms(const struct reload *reload)
{
        return reload->deadline_ms;
}
