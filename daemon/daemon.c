/* SPDX-License-Identifier: MIT */

/*
 * One thread, one loop. A turn waits for descriptors and time, then carries events inward (ends of
 * requests to issuers, the time) and commands outward (requests to begin, callers to answer), lets
 * libmicrohttpd work, which may ask the broker again, and carries outward what came of that.
 *
 * SIGTERM or SIGINT drains: no connection is accepted any more, no fetch begun, and what is
 * in the air has drain_timeout to land. Then callers who still wait are told, answers get a moment
 * to be sent, the cache is left to the process to come, and everything is torn down in the reverse
 * of the order it was built. A second signal skips the waiting.
 */

#include "daemon.h"

#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "../lib/broker.h"
#include "../lib/error.h"
#include "audit.h"
#include "credential-server.h"
#include "descriptors.h"
#include "fdstore.h"
#include "headroom.h"
#include "keeper.h"
#include "listen.h"
#include "log.h"
#include "loop.h"
#include "monitor.h"
#include "protect.h"
#include "reload.h"
#include "report.h"
#include "server.h"
#include "status.h"
#include "trim.h"
#include "upstream.h"

/* Commands carried out in one turn, so that a flight with thousands of waiters does not stall it.
 */
#define COMMANDS_MAX 256

/* For answers to be sent after the last waiter was answered. */
#define FLUSH_MS 1000

/* For the rest of the end, by what the service manager is told of it. */
#define EXTRA_STOP_MS 10000

enum phase {
        PHASE_SERVING,
        PHASE_DRAINING, /* fetches may end, until phase_until_ms */
        PHASE_FLUSHING, /* answers may be sent, until phase_until_ms */
        PHASE_DONE,
};

struct daemon {
        const struct config *config;
        struct notify *notify; /* borrowed */
        struct loop loop;
        struct loop_source signals;
        struct broker *broker;
        struct fdstore fdstore;
        struct keeper keeper;
        struct upstream upstream;
        struct api api;
        struct audit *audit;
        struct monitor monitor;
        struct peer_finder finder;
        struct reload reload;
        struct server server;
        struct credential_server credentials;
        struct listeners listeners;
        struct headroom headroom;
        enum phase phase;
        uint64_t phase_until_ms;
        bool commands_left; /* more than a turn carries out */
};

static void take_fetch_ends(struct daemon *daemon)
{
        struct upstream_end end;
        enum reason reason;

        while (upstream_next(&daemon->upstream, &end)) {
                reason = broker_fetch_done(daemon->broker, end.flight, &end.result,
                                           daemon->loop.now_ms, daemon->loop.wall_ms);
                metrics_count_fetch(&daemon->monitor.metrics, end.client, reason);
                metrics_observe_fetch(&daemon->monitor.metrics, end.took_us);
                report_fetch_end(&end, reason);
                upstream_release(&daemon->upstream, &end);
        }
}

/* Whether everybody who waits for a flight has hung up. */
static bool is_deserted(struct flight *flight)
{
        struct waiter *waiter = NULL;

        while ((waiter = broker_next_waiter(flight, waiter)))
                if (!(credential_server_owns(waiter) ? credential_server_caller_is_gone(waiter)
                                                     : server_caller_is_gone(waiter)))
                        return false;
        return true;
}

static void start_fetch(struct daemon *daemon, struct command *command)
{
        const struct fetch_result failed = {.transport = REASON_OUT_OF_MEMORY};

        if (command->waited && is_deserted(command->flight)) {
                secret_deinit(&command->form);
                broker_fetch_dropped(daemon->broker, command->flight, daemon->loop.now_ms);
                return;
        }
        if (upstream_start(&daemon->upstream, command->flight, command->client, command->url,
                           &daemon->config->tls[command->client_index], &command->form) < 0) {
                log_error("client '%s': cannot begin a request to %s", command->client,
                          command->url);
                (void)broker_fetch_done(daemon->broker, command->flight, &failed,
                                        daemon->loop.now_ms, daemon->loop.wall_ms);
                metrics_count_fetch(&daemon->monitor.metrics, command->client,
                                    REASON_OUT_OF_MEMORY);
        }
}

static void resume(struct daemon *daemon, struct waiter *waiter)
{
        if (credential_server_owns(waiter))
                credential_server_resume(&daemon->credentials, waiter);
        else
                server_resume(&daemon->server, waiter);
}

static void carry_out_commands(struct daemon *daemon)
{
        struct command command;
        int n = 0;

        while (n < COMMANDS_MAX && broker_next(daemon->broker, daemon->loop.now_ms, &command)) {
                switch (command.kind) {
                case COMMAND_FETCH: start_fetch(daemon, &command); break;
                case COMMAND_CANCEL: upstream_cancel(&daemon->upstream, command.flight); break;
                case COMMAND_READ_SECRETS:
                        keeper_read_again(&daemon->keeper, command.client_index);
                        break;
                case COMMAND_NOTE: report_note(&command.note); break;
                case COMMAND_PURGED: server_resume_purge(&daemon->server, command.purge); break;
                case COMMAND_REPLY: resume(daemon, command.waiter); break;
                }
                n++;
        }
        daemon->commands_left = n == COMMANDS_MAX;
}

static void begin_drain(struct daemon *daemon)
{
        log_event(LOG_EVENT_STOPPING, LOG_FIELDS(.for_ms = daemon->config->drain_timeout_ms),
                  "stopping; waiting at most %" PRIu64 " ms for tokens in flight",
                  daemon->config->drain_timeout_ms);
        daemon->phase = PHASE_DRAINING;
        daemon->phase_until_ms = daemon->loop.now_ms + daemon->config->drain_timeout_ms;
        daemon->api.draining = true;
        notify_extend(daemon->notify, daemon->config->drain_timeout_ms + FLUSH_MS + EXTRA_STOP_MS);
        notify_set_state(daemon->notify, NOTIFY_STOPPING);
        listeners_deinit(&daemon->listeners);
        server_close_connections(&daemon->server);
        broker_drain(daemon->broker, daemon->loop.now_ms);
}

static void tell_of_reloads(struct daemon *daemon)
{
        struct reload_wait *wait;

        while ((wait = reload_next_done(&daemon->reload)))
                server_resume_reload(&daemon->server, wait);
}

/* Answers everybody who waits. The commands are carried out at once, since a fetch that was given
 * up must not end any more; and libmicrohttpd, which has the answers to send, cannot be stopped
 * before. */
static void release_callers(struct daemon *daemon)
{
        reload_abort(&daemon->reload);
        tell_of_reloads(daemon);
        broker_abort(daemon->broker, daemon->loop.now_ms);
        do
                carry_out_commands(daemon);
        while (daemon->commands_left);
        daemon->commands_left = true;
}

static void begin_flush(struct daemon *daemon)
{
        daemon->phase = PHASE_FLUSHING;
        daemon->phase_until_ms = daemon->loop.now_ms + FLUSH_MS;
        release_callers(daemon);
}

static void signals_ready(struct loop_source *source, uint32_t events)
{
        struct daemon *daemon = list_entry(source, struct daemon, signals);
        struct signalfd_siginfo info;

        while (read(source->fd, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
                if (info.ssi_signo == SIGHUP) {
                        log_event(LOG_EVENT_RELOADING, LOG_FIELDS(.source = daemon->config->path),
                                  "reading the configuration again");
                        reload_begin(&daemon->reload);
                } else if (daemon->phase == PHASE_SERVING)
                        begin_drain(daemon);
                else
                        daemon->phase_until_ms = daemon->loop.now_ms;
        }
}

/* Goes on to the next phase of shutting down when it is time. */
static void update_phase(struct daemon *daemon)
{
        const bool late = daemon->loop.now_ms >= daemon->phase_until_ms;

        if (daemon->phase == PHASE_DRAINING && (broker_is_idle(daemon->broker) || late))
                begin_flush(daemon);
        if (daemon->phase == PHASE_FLUSHING && !daemon->commands_left &&
            broker_is_idle(daemon->broker) &&
            ((daemon->server.n_requests == 0 && daemon->credentials.n == 0) || late))
                daemon->phase = PHASE_DONE;
}

static uint64_t earlier(uint64_t a, uint64_t b)
{
        return a < b ? a : b;
}

static uint64_t next_turn_ms(struct daemon *daemon)
{
        uint64_t next_ms = server_next_tick_ms(&daemon->server);

        if (daemon->commands_left)
                return daemon->loop.now_ms;
        next_ms = earlier(next_ms, broker_next_tick_ms(daemon->broker));
        next_ms = earlier(next_ms, daemon->upstream.timer_ms);
        next_ms = earlier(next_ms, keeper_next_tick_ms(&daemon->keeper));
        next_ms = earlier(next_ms, listeners_next_tick_ms(&daemon->listeners));
        next_ms = earlier(next_ms, credential_server_next_tick_ms(&daemon->credentials));
        next_ms = earlier(next_ms, reload_next_tick_ms(&daemon->reload));
        next_ms = earlier(next_ms, audit_next_tick_ms(daemon->audit));
        next_ms = earlier(next_ms, log_next_tick_ms());
        next_ms = earlier(next_ms, notify_next_tick_ms(daemon->notify));
        if (daemon->phase != PHASE_SERVING)
                next_ms = earlier(next_ms, daemon->phase_until_ms);
        return next_ms;
}

/* Tells the service manager how we are, and by the turn that we are. */
static void tell_manager(struct daemon *daemon)
{
        const uint64_t now_ms = daemon->loop.now_ms;
        char status[NOTIFY_STATUS_MAX_BYTES];

        if (notify_wants_status(daemon->notify, now_ms)) {
                status_line(status, sizeof(status),
                            daemon->phase == PHASE_SERVING ? "serving" : "stopping", daemon->broker,
                            now_ms);
                notify_set_status(daemon->notify, status);
        }
        if (daemon->phase == PHASE_SERVING)
                notify_set_state(daemon->notify,
                                 daemon->reload.loading ? NOTIFY_RELOADING : NOTIFY_READY);
        notify_tick(daemon->notify, now_ms);
}

static int run(struct daemon *daemon)
{
        int r;

        loop_update_time(&daemon->loop);
        while (daemon->phase != PHASE_DONE) {
                r = loop_turn(&daemon->loop, next_turn_ms(daemon));
                if (r < 0)
                        return error_trace(r);
                log_tick(daemon->loop.now_ms);
                upstream_tick(&daemon->upstream);
                take_fetch_ends(daemon);
                broker_tick(daemon->broker, daemon->loop.now_ms, daemon->loop.wall_ms);
                keeper_tick(&daemon->keeper);
                credential_server_tick(&daemon->credentials);
                listeners_tick(&daemon->listeners);
                audit_tick(daemon->audit, daemon->loop.now_ms, daemon->loop.wall_ms);
                carry_out_commands(daemon);
                upstream_tick(&daemon->upstream); /* issuers need longer than answers to be sent */
                take_fetch_ends(daemon); /* nothing would wake us for those that ended at once */
                server_tick(&daemon->server);
                reload_tick(&daemon->reload);
                carry_out_commands(daemon);
                tell_of_reloads(daemon);
                headroom_tick(&daemon->headroom);
                if (daemon->phase != PHASE_SERVING)
                        update_phase(daemon);
                tell_manager(daemon);
        }
        return 0;
}

static int init_signals(struct daemon *daemon)
{
        sigset_t set;

        signal(SIGPIPE, SIG_IGN);
        sigemptyset(&set);
        sigaddset(&set, SIGTERM);
        sigaddset(&set, SIGINT);
        sigaddset(&set, SIGHUP);
        sigprocmask(SIG_BLOCK, &set, NULL);
        daemon->signals.ready = signals_ready;
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
        if (r == KEEPER_E_UNUSABLE)
                return DAEMON_E_CONFIG;
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

int daemon_check(const struct config *config)
{
        const int r = keeper_check(config, stderr);

        return r == KEEPER_E_UNUSABLE ? DAEMON_E_CONFIG : error_trace(r);
}

int daemon_run(const struct config *config, struct inherit *inherit, struct notify *notify)
{
        struct daemon daemon;
        int r;

        r = daemon_init(&daemon, config, inherit, notify);
        if (r == 0) {
                inherit_settle(inherit);
                fdstore_forget(&daemon.fdstore, notify);
                tell_manager(&daemon);
                log_event(LOG_EVENT_READY, LOG_FIELDS(.count = config->settings.n_clients),
                          "ready: %zu client application%s", config->settings.n_clients,
                          config->settings.n_clients == 1 ? "" : "s");
                trim_after_start();
                protect_from_swap(config->lock_memory);
                r = run(&daemon);
                release_callers(&daemon);
                server_tick(&daemon.server);
                if (r == 0)
                        fdstore_save(&daemon.fdstore, daemon.broker, notify, daemon.loop.now_ms);
                report_totals(daemon.broker, &daemon.server.connections,
                              &daemon.credentials.counters);
        }
        daemon_deinit(&daemon);
        return error_trace(r);
}
