/* SPDX-License-Identifier: MIT */

/*
 * One thread, one loop. A turn waits for descriptors and time, then carries events inward (ends of
 * requests to issuers, the time) and commands outward (requests to begin, callers to answer), lets
 * libmicrohttpd work, which may ask the broker again, and carries outward what came of that.
 *
 * SIGTERM or SIGINT drains: no connection is accepted any more, no fetch begun, and what is
 * in the air has drain_timeout to land. Then callers who still wait are told, and answers get a
 * moment to be sent. A second signal skips the waiting.
 */

#include "daemon-private.h"

#include <inttypes.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "../lib/error.h"
#include "log.h"
#include "report.h"
#include "status.h"

/* Commands carried out in one turn, so that a flight with thousands of waiters does not stall it.
 */
#define COMMANDS_MAX 256

/* For answers to be sent after the last waiter was answered. */
#define FLUSH_MS 1000

/* For the rest of the end, by what the service manager is told of it. */
#define EXTRA_STOP_MS 10000

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

/* The commands are carried out at once, since a fetch that was given up must not end any more. */
void daemon_release_callers(struct daemon *daemon)
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
        daemon_release_callers(daemon);
}

void daemon_signals_ready(struct loop_source *source, uint32_t events)
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

void daemon_tell_manager(struct daemon *daemon)
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

int daemon_turn(struct daemon *daemon)
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
                daemon_tell_manager(daemon);
        }
        return 0;
}
