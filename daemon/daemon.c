/* SPDX-License-Identifier: MIT */

/*
 * One thread, one loop. A turn waits for descriptors and time, then carries events inward (ends of
 * requests to issuers, the time) and commands outward (requests to begin, callers to answer), lets
 * libmicrohttpd work, which may ask the broker again, and carries outward what came of that.
 *
 * SIGTERM or SIGINT drains: no connection is accepted any more, no fetch begun, and what is
 * in the air has drain_timeout to land. Then callers who still wait are told, answers get a moment
 * to be sent, and everything is torn down in the reverse of the order it was built. A second signal
 * skips the waiting.
 */

#include "daemon.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "../lib/broker.h"
#include "../lib/error.h"
#include "audit.h"
#include "keeper.h"
#include "listen.h"
#include "log.h"
#include "loop.h"
#include "monitor.h"
#include "reload.h"
#include "server.h"
#include "upstream.h"

/* Commands carried out in one turn, so that a flight with thousands of waiters does not stall it.
 */
#define COMMANDS_MAX 256

/* For answers to be sent after the last waiter was answered. */
#define FLUSH_MS 1000

/* Lines in the log about failed fetches. */
#define FAILURES_PER_SECOND_MAX 10

/* Descriptors for anything but connections of callers. */
#define DESCRIPTORS_RESERVED 64

enum phase {
        PHASE_SERVING,
        PHASE_DRAINING, /* fetches may end, until phase_until_ms */
        PHASE_FLUSHING, /* answers may be sent, until phase_until_ms */
        PHASE_DONE,
};

struct daemon {
        const struct config *config;
        struct loop loop;
        struct loop_source signals;
        struct broker *broker;
        struct keeper keeper;
        struct upstream upstream;
        struct api api;
        struct audit *audit;
        struct monitor monitor;
        struct peer_finder finder;
        struct reload reload;
        struct server server;
        struct listeners listeners;
        enum phase phase;
        uint64_t phase_until_ms;
        bool commands_left; /* perhaps */
        struct log_limit failures;
};

/* What the end of a fetch means to an operator. A refusal of a subject is a caller's affair. */
static void log_fetch_end(struct daemon *daemon, const struct upstream_end *end, enum reason reason)
{
        const bool answered = end->result.transport == REASON_NONE;
        uint64_t suppressed;
        char more[64] = "", status[32] = "";

        if (reason == REASON_NONE)
                return;
        if (answered)
                (void)snprintf(status, sizeof(status), "status %u", end->result.status);
        if (reason == REASON_SUBJECT_REFUSED || reason == REASON_SCOPE_REFUSED) {
                log_debug("client '%s': no token from %s: %s: %s", end->client, end->url,
                          reason_info(reason)->code, status);
                return;
        }
        if (!log_limit_pass(&daemon->failures, daemon->loop.now_ms, &suppressed))
                return;
        if (suppressed > 0)
                (void)snprintf(more, sizeof(more), " (and %" PRIu64 " others like it)", suppressed);
        log_warning("client '%s': no token from %s: %s: %s%s", end->client, end->url,
                    reason_info(reason)->code, answered ? status : end->detail, more);
}

static void take_fetch_ends(struct daemon *daemon)
{
        struct upstream_end end;
        enum reason reason;

        while (upstream_next(&daemon->upstream, &end)) {
                reason = broker_fetch_done(daemon->broker, end.flight, &end.result,
                                           daemon->loop.now_ms, daemon->loop.wall_ms / 1000);
                metrics_count_fetch(&daemon->monitor.metrics, end.client, reason);
                metrics_observe_fetch(&daemon->monitor.metrics, end.took_us);
                log_fetch_end(daemon, &end, reason);
                upstream_release(&daemon->upstream, &end);
        }
}

/* Whether everybody who waits for a flight has hung up. */
static bool is_deserted(struct flight *flight)
{
        struct waiter *waiter = NULL;

        while ((waiter = broker_next_waiter(flight, waiter)))
                if (!server_caller_is_gone(waiter))
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
                                        daemon->loop.now_ms, daemon->loop.wall_ms / 1000);
                metrics_count_fetch(&daemon->monitor.metrics, command->client,
                                    REASON_OUT_OF_MEMORY);
        }
}

static void log_note(const struct note *note)
{
        switch (note->kind) {
        case NOTE_BREAKER_OPENED:
                log_warning("%s: too many failures (%s); asking nothing for %" PRIu64 " ms, tokens "
                            "in memory are served",
                            note->url, reason_info(note->reason)->code, note->for_ms);
                break;
        case NOTE_ISSUER_HOLDS:
                log_warning("%s: the issuer asks for fewer requests; asking nothing for %" PRIu64
                            " ms, tokens in memory are served",
                            note->url, note->for_ms);
                break;
        case NOTE_ISSUER_WELL: log_info("%s: the issuer answers again", note->url); break;
        case NOTE_CLIENT_HELD:
                log_error("client '%s': the issuer refuses its client secret (%s); asking nothing "
                          "with it for %" PRIu64 " ms or until it changes, tokens in memory are "
                          "served",
                          note->client, reason_info(note->reason)->code, note->for_ms);
                break;
        case NOTE_CLIENT_WELL:
                log_info("client '%s': the issuer accepts its client secret again", note->client);
                break;
        }
}

/* What was carried out may have more to do in libmicrohttpd, so another turn follows soon. */
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
                case COMMAND_NOTE: log_note(&command.note); break;
                case COMMAND_PURGED: server_resume_purge(&daemon->server, command.purge); break;
                case COMMAND_REPLY: server_resume(&daemon->server, command.waiter); break;
                }
                n++;
        }
        daemon->commands_left = n > 0;
}

static void begin_drain(struct daemon *daemon)
{
        log_info("stopping; waiting at most %" PRIu64 " ms for tokens in flight",
                 daemon->config->drain_timeout_ms);
        daemon->phase = PHASE_DRAINING;
        daemon->phase_until_ms = daemon->loop.now_ms + daemon->config->drain_timeout_ms;
        daemon->api.draining = true;
        listeners_deinit(&daemon->listeners);
        server_close_connections(&daemon->server);
        broker_drain(daemon->broker, daemon->loop.now_ms);
}

/* Answers everybody who waits. The commands are carried out at once, since a fetch that was given
 * up must not end any more; and libmicrohttpd, which has the answers to send, cannot be stopped
 * before. */
static void release_callers(struct daemon *daemon)
{
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
                        log_info("reading the client secrets and the rules for callers again");
                        keeper_read_soon(&daemon->keeper);
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
            broker_is_idle(daemon->broker) && (daemon->server.n_requests == 0 || late))
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
        next_ms = earlier(next_ms, reload_next_tick_ms(&daemon->reload));
        next_ms = earlier(next_ms, audit_next_tick_ms(daemon->audit));
        if (daemon->phase != PHASE_SERVING)
                next_ms = earlier(next_ms, daemon->phase_until_ms);
        return next_ms;
}

static int run(struct daemon *daemon)
{
        int r;

        while (daemon->phase != PHASE_DONE) {
                r = loop_turn(&daemon->loop, next_turn_ms(daemon));
                if (r < 0)
                        return error_trace(r);
                upstream_tick(&daemon->upstream);
                take_fetch_ends(daemon);
                broker_tick(daemon->broker, daemon->loop.now_ms, daemon->loop.wall_ms);
                keeper_tick(&daemon->keeper);
                listeners_tick(&daemon->listeners);
                audit_tick(daemon->audit, daemon->loop.now_ms, daemon->loop.wall_ms);
                carry_out_commands(daemon);
                server_tick(&daemon->server);
                reload_tick(&daemon->reload);
                carry_out_commands(daemon);
                if (daemon->phase != PHASE_SERVING)
                        update_phase(daemon);
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

/* As many connections as there can be descriptors for. */
static size_t affordable_connections(const struct config *config)
{
        const size_t others = DESCRIPTORS_RESERVED + LISTEN_LINGER_MAX + config->n_listeners +
                              2 * config->settings.max_in_flight_total;
        const size_t wanted = config->max_connections + others;
        struct rlimit limit;

        if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
                return config->max_connections;
        if (limit.rlim_cur < wanted) {
                limit.rlim_cur = limit.rlim_max < wanted ? limit.rlim_max : wanted;
                (void)setrlimit(RLIMIT_NOFILE, &limit);
        }
        if (limit.rlim_cur >= wanted)
                return config->max_connections;
        log_warning("only %" PRIu64 " descriptors are allowed (RLIMIT_NOFILE), %zu are needed for "
                    "limits.max_connections; fewer connections will be served",
                    (uint64_t)limit.rlim_cur, wanted);
        return limit.rlim_cur > others ? limit.rlim_cur - others : 1;
}

static void log_totals(const struct daemon *daemon)
{
        struct broker_counters counters;

        broker_get_counters(daemon->broker, &counters);
        log_info("stopped: requests=%" PRIu64 " hits=%" PRIu64 " misses=%" PRIu64
                 " coalesced=%" PRIu64 " refused=%" PRIu64 " timed_out=%" PRIu64
                 " served_old=%" PRIu64 " blocked=%" PRIu64 " rejections=%" PRIu64
                 " fetches=%" PRIu64 " refreshes=%" PRIu64 " retries=%" PRIu64 " dropped=%" PRIu64
                 " tokens=%" PRIu64 " refusals=%" PRIu64 " holds=%" PRIu64 " failures=%" PRIu64
                 " evicted=%" PRIu64 " expired=%" PRIu64 " connections=%" PRIu64
                 " connections_refused=%" PRIu64 " connections_cut=%" PRIu64,
                 counters.requests, counters.hits, counters.misses, counters.coalesced,
                 counters.refused, counters.timed_out, counters.served_old, counters.blocked,
                 counters.rejections, counters.fetches, counters.refreshes, counters.retries,
                 counters.dropped, counters.tokens, counters.refusals, counters.holds,
                 counters.failures, counters.cache.evicted_entries + counters.cache.evicted_memory,
                 counters.cache.expired, daemon->server.connections.accepted,
                 daemon->server.connections.refused, daemon->server.connections.cut);
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
                .loop = &daemon->loop,
        };
        api_policy_changed(&daemon->api);
        reload_init(&daemon->reload, &daemon->loop, daemon->broker, &daemon->api, daemon->config);
        return error_trace(monitor_init(&daemon->monitor, &daemon->api, &daemon->server.connections,
                                        &daemon->reload, &daemon->config->settings));
}

/* Builds all parts, in order; daemon_deinit() takes apart as many as were built. */
static int daemon_init(struct daemon *daemon, const struct config *config)
{
        uint8_t hash_key[SIPHASH_KEY_BYTES];
        int r;

        *daemon = (struct daemon){
                .config = config,
                .signals = {.fd = -1},
                .finder = {.netlink_fd = -1},
                .failures = {.max = FAILURES_PER_SECOND_MAX},
        };
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
                                affordable_connections(config), config->header_timeout_ms,
                                config->idle_timeout_ms);
        if (r == 0)
                r = listeners_init(&daemon->listeners, &daemon->loop, &daemon->server, config);
        if (r == LISTEN_E_FAILED)
                return DAEMON_E_FAILED;
        if (r == 0)
                r = listeners_start(&daemon->listeners);
        return error_trace(r);
}

static void daemon_deinit(struct daemon *daemon)
{
        listeners_deinit(&daemon->listeners);
        server_deinit(&daemon->server);
        if (daemon->reload.loop)
                reload_deinit(&daemon->reload);
        monitor_deinit(&daemon->monitor);
        peer_finder_deinit(&daemon->finder);
        audit_free(daemon->audit);
        upstream_deinit(&daemon->upstream);
        keeper_deinit(&daemon->keeper);
        broker_free(daemon->broker);
        if (daemon->signals.fd >= 0)
                close(daemon->signals.fd);
        loop_deinit(&daemon->loop);
}

int daemon_check(const struct config *config)
{
        const int r = keeper_check(config);

        return r == KEEPER_E_UNUSABLE ? DAEMON_E_CONFIG : error_trace(r);
}

int daemon_run(const struct config *config)
{
        struct daemon daemon;
        int r;

        r = daemon_init(&daemon, config);
        if (r == 0) {
                log_info("ready: %zu client application%s", config->settings.n_clients,
                         config->settings.n_clients == 1 ? "" : "s");
                r = run(&daemon);
                release_callers(&daemon);
                server_tick(&daemon.server);
                log_totals(&daemon);
        }
        daemon_deinit(&daemon);
        return error_trace(r);
}
