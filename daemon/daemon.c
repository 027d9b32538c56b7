/* SPDX-License-Identifier: MIT */

/*
 * All parts are built in order, and the daemon turns (daemon-turn.c) until it is told to end. Then
 * the cache is left to the process to come, and everything is torn down in the reverse of the order
 * it was built.
 */

#include "daemon.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "../lib/error.h"
#include "daemon-private.h"
#include "descriptors.h"
#include "log.h"
#include "protect.h"
#include "report.h"
#include "trim.h"

static int init_signals(struct daemon *daemon)
{
        sigset_t set;

        signal(SIGPIPE, SIG_IGN);
        sigemptyset(&set);
        sigaddset(&set, SIGTERM);
        sigaddset(&set, SIGINT);
        sigaddset(&set, SIGHUP);
        sigprocmask(SIG_BLOCK, &set, NULL);
        daemon->signals.ready = daemon_signals_ready;
        daemon->signals.fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
        if (daemon->signals.fd < 0)
                return error_trace(-errno);
        return error_trace(loop_add(&daemon->loop, &daemon->signals, EPOLLIN));
}

/* A configuration that was read again takes the place of the one before. */
static int apply_config(void *data, const struct config *config)
{
        struct daemon *daemon = data;
        int r;

        if (policy_names_units(&config->policy))
                server_ask_units(&daemon->server);
        credential_server_use(&daemon->credentials, config);
        r = broker_reconfigure(daemon->broker, &config->settings, &config->policy,
                               daemon->loop.now_ms);
        if (r) {
                credential_server_use(&daemon->credentials, daemon->config);
                return error_trace(r);
        }
        daemon->config = config;
        keeper_set_config(&daemon->keeper, config);
        upstream_set_config(&daemon->upstream, &config->upstream,
                            config->settings.max_in_flight_total);
        connections_set_limits(&daemon->server.connections, descriptors_for_connections(config),
                               config->header_timeout_ms, config->idle_timeout_ms);
        log_configure(config->log_level, config->log_format);
        api_policy_changed(&daemon->api);
        (void)metrics_set_clients(&daemon->monitor.metrics, &config->settings);
        return 0;
}

static bool has_tcp(const struct config *config)
{
        for (size_t i = 0; i < config->n_listeners; i++)
                if (config->listeners[i].address.ss_family != AF_UNIX)
                        return true;
        return false;
}

/* Who asks, and what is recorded of it. 0, -errno or AUDIT_E_FAILED. */
static int init_identity(struct daemon *daemon)
{
        int r;

        r = audit_new(&daemon->audit, &daemon->config->audit);
        if (r)
                return error_trace(r);
        r = peer_finder_init(&daemon->finder, has_tcp(daemon->config));
        if (r < 0) {
                log_error("cannot open a socket to identify TCP peers with: %s", strerror(-r));
                return error_trace(r);
        }
        daemon->api = (struct api){
                .broker = daemon->broker,
                .audit = daemon->audit,
                .monitor = &daemon->monitor,
                .answers = &daemon->server.answers,
                .loop = &daemon->loop,
                .reload = &daemon->reload,
        };
        api_policy_changed(&daemon->api);
        reload_init(&daemon->reload, &daemon->loop, daemon->config, apply_config, daemon);
        return error_trace(monitor_init(&daemon->monitor, &daemon->api, &daemon->server.connections,
                                        &daemon->reload, &daemon->config->settings));
}

/* Those that the process before has left, as copies, since a start may be tried again. */
static void take_snapshots(struct daemon *daemon, struct inherit *inherit)
{
        char name[] = FDSTORE_NAME, *names[1] = {name};
        int fd;

        while ((fd = inherit_next_snapshot(inherit)) >= 0) {
                fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
                if (fd >= 0)
                        fdstore_take(&daemon->fdstore, &fd, names, 1, daemon->loop.now_ms);
        }
}

/* Builds all parts, in order; daemon_deinit() takes apart as many as were built. */
static int daemon_init(struct daemon *daemon, const struct config *config, struct inherit *inherit,
                       struct notify *notify)
{
        uint8_t hash_key[SIPHASH_KEY_BYTES];
        int r;

        *daemon = (struct daemon){
                .config = config,
                .notify = notify,
                .signals = {.fd = -1},
                .finder = {.netlink_fd = -1},
        };
        headroom_init(&daemon->headroom);
        fdstore_init(&daemon->fdstore);
        r = loop_init(&daemon->loop);
        if (r == 0)
                r = init_signals(daemon);
        if (r == 0 && getrandom(hash_key, sizeof(hash_key), 0) != (ssize_t)sizeof(hash_key))
                r = -EIO;
        if (r == 0)
                r = broker_new(&daemon->broker, &config->settings, &config->policy, hash_key);
        if (r == 0)
                r = keeper_init(&daemon->keeper, config, daemon->broker, &daemon->loop);
        if (r == 0)
                r = upstream_init(&daemon->upstream, &daemon->loop, &config->upstream,
                                  config->settings.max_in_flight_total);
        if (r == 0)
                r = init_identity(daemon);
        if (r == AUDIT_E_FAILED)
                return DAEMON_E_FAILED;
        if (r == 0)
                r = server_init(&daemon->server, &daemon->loop, &daemon->api, &daemon->finder,
                                descriptors_for_connections(config), config->header_timeout_ms,
                                config->idle_timeout_ms);
        if (r == 0)
                r = credential_server_init(&daemon->credentials, &daemon->loop, daemon->broker,
                                           daemon->audit, &daemon->monitor.metrics, &daemon->finder,
                                           &daemon->reload, config);
        if (r == 0)
                r = listeners_init(&daemon->listeners, &daemon->loop, &daemon->server,
                                   &daemon->credentials, inherit, config);
        if (r == LISTEN_E_FAILED)
                return DAEMON_E_FAILED;
        if (r == 0) {
                take_snapshots(daemon, inherit);
                fdstore_restore(&daemon->fdstore, daemon->broker, daemon->loop.now_ms);
                r = listeners_start(&daemon->listeners);
        }
        return error_trace(r);
}

static void daemon_deinit(struct daemon *daemon)
{
        listeners_deinit(&daemon->listeners);
        credential_server_deinit(&daemon->credentials);
        server_deinit(&daemon->server);
        monitor_deinit(&daemon->monitor);
        peer_finder_deinit(&daemon->finder);
        audit_free(daemon->audit);
        upstream_deinit(&daemon->upstream);
        keeper_deinit(&daemon->keeper);
        fdstore_deinit(&daemon->fdstore);
        broker_free(daemon->broker);
        reload_deinit(&daemon->reload); /* everything borrows from its configuration */
        if (daemon->signals.fd >= 0)
                close(daemon->signals.fd);
        loop_deinit(&daemon->loop);
        headroom_deinit(&daemon->headroom);
}

int daemon_run(const struct config *config, struct inherit *inherit, struct notify *notify)
{
        struct daemon daemon;
        int r;

        r = daemon_init(&daemon, config, inherit, notify);
        if (r == 0) {
                inherit_settle(inherit);
                fdstore_forget(&daemon.fdstore, notify);
                daemon_tell_manager(&daemon);
                log_event(LOG_EVENT_READY, LOG_FIELDS(.count = config->settings.n_clients),
                          "ready: %zu client application%s", config->settings.n_clients,
                          config->settings.n_clients == 1 ? "" : "s");
                trim_after_start();
                protect_from_swap(config->lock_memory);
                r = daemon_turn(&daemon);
                daemon_release_callers(&daemon);
                server_tick(&daemon.server);
                if (r == 0)
                        fdstore_save(&daemon.fdstore, daemon.broker, notify, daemon.loop.now_ms);
                report_totals(daemon.broker, &daemon.server.connections,
                              &daemon.credentials.counters);
        }
        daemon_deinit(&daemon);
        return error_trace(r);
}
