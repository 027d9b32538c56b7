/* SPDX-License-Identifier: MIT */

/*
 * GET /metrics. Names follow Prometheus' guide: base units, counters end in _total, a state is a
 * family of samples of which one is 1. conf/prometheus-rules.yml and conf/grafana-dashboard.json
 * name many of them.
 */

#include "../lib/error.h"
#include "audit.h"
#include "connection.h"
#include "log.h"
#include "monitor.h"
#include "process.h"
#include "protect.h"
#include "reload.h"

#define US_PER_MS 1000

/* Room for what a few clients and token URLs need, so that the text seldom has to move. */
#define TYPICAL_BYTES 32768

static void add_broker(struct exposition *out, const struct broker_counters *counters)
{
        exposition_counter(out, "egain_tokend_cache_hits_total",
                           "Requests for a token that were answered from memory.", counters->hits);
        exposition_counter(out, "egain_tokend_cache_misses_total",
                           "Requests for a token that began a fetch.", counters->misses);
        exposition_counter(out, "egain_tokend_coalesced_total",
                           "Requests for a token that joined a fetch which was under way.",
                           counters->coalesced);
        exposition_counter(out, "egain_tokend_blocked_total",
                           "Requests that met a reason not to ask the issuer just now.",
                           counters->blocked);
        exposition_counter(out, "egain_tokend_timed_out_total",
                           "Requests that waited until their time ran out.", counters->timed_out);
        exposition_counter(out, "egain_tokend_rejections_total",
                           "Requests that reported the current token as refused by an API.",
                           counters->rejections);
        exposition_counter(out, "egain_tokend_rights_lost_total",
                           "Requests that waited, and had lost their right when their turn came.",
                           counters->rights_lost);
        exposition_counter(out, "egain_tokend_granted_too_much_total",
                           "Requests refused since the issuer had granted more scope than their "
                           "rule gives.",
                           counters->granted_too_much);

        exposition_counter(out, "egain_tokend_fetches_begun_total", "Requests to issuers, begun.",
                           counters->fetches);
        exposition_counter(out, "egain_tokend_refreshes_total",
                           "Renewals that were begun behind the callers' backs.",
                           counters->refreshes);
        exposition_counter(out, "egain_tokend_fetch_retries_total",
                           "Failed fetches that were tried once more.", counters->retries);
        exposition_counter(out, "egain_tokend_fetches_abandoned_total",
                           "Fetches that were given up before they were sent.", counters->dropped);
}

static void add_limits(struct exposition *out, const struct broker_counters *counters,
                       const struct connections *connections)
{
        const struct {
                const char *limit;
                uint64_t n;
        } limits[] =
                {
                        {"flights", counters->limits.flights_full},
                        {"waiters", counters->limits.waiters_full},
                        {"waiters_per_flight", counters->limits.flight_full},
                        {"purges", counters->purges_full},
                },
          shares[] = {
                  {"flights", counters->uid_flights_full},
                  {"waiters", counters->uid_waiters_full},
                  {"connections", connections->shares.refused},
          };

        exposition_counter(out, "egain_tokend_quota_refusals_total",
                           "Requests kept from a fetch by their rule's quota.",
                           counters->fetches_spent);
        exposition_family(out, "egain_tokend_share_refusals_total", EXPOSITION_COUNTER,
                          "Requests or connections turned away since their uid held a quarter of "
                          "all there may be.");
        for (size_t i = 0; i < sizeof(shares) / sizeof(shares[0]); i++)
                exposition_sample(out, LABELS({"limit", shares[i].limit}), shares[i].n);
        exposition_family(out, "egain_tokend_limit_refusals_total", EXPOSITION_COUNTER,
                          "Requests turned away at a limit of the daemon's.");
        for (size_t i = 0; i < sizeof(limits) / sizeof(limits[0]); i++)
                exposition_sample(out, LABELS({"limit", limits[i].limit}), limits[i].n);
}

static void add_cache(struct exposition *out, const struct broker_counters *counters,
                      const struct broker_limits *limits)
{
        const struct cache_counters *cache = &counters->cache;
        const struct {
                const char *cause;
                uint64_t n;
        } causes[] = {
                {"entries", cache->evicted_entries},
                {"memory", cache->evicted_memory},
                {"expired", cache->expired},
                {"removed", cache->removed - counters->purged},
                {"purged", counters->purged},
                {"refused_too_large", cache->refused_too_large},
        };

        exposition_gauge(out, "egain_tokend_cache_entries", "Tokens in memory.", counters->entries);
        exposition_gauge(out, "egain_tokend_cache_max_entries", "Tokens there may be in memory.",
                         limits->entries);
        exposition_gauge(out, "egain_tokend_cache_bytes", "What they take.",
                         counters->memory_bytes);
        exposition_gauge(out, "egain_tokend_cache_max_bytes", "What they may take.",
                         limits->memory_bytes);
        exposition_counter(out, "egain_tokend_cache_stored_total", "Tokens put into memory.",
                           cache->stored + cache->replaced);
        exposition_family(
                out, "egain_tokend_cache_evictions_total", EXPOSITION_COUNTER,
                "Tokens taken out of memory, by cause: room was needed (entries, memory), "
                "their end (expired), the issuer refuses them now (removed), a purge; or "
                "never put in (refused_too_large).");
        for (size_t i = 0; i < sizeof(causes) / sizeof(causes[0]); i++)
                exposition_sample(out, LABELS({"cause", causes[i].cause}), causes[i].n);
}

static void add_present(struct exposition *out, const struct broker_counters *counters,
                        const struct broker_limits *limits)
{
        exposition_gauge(
                out, "egain_tokend_flights",
                "Tokens being fetched, or queued to be; this is each of them once, however "
                "many requests wait for it.",
                counters->flights);
        exposition_gauge(out, "egain_tokend_max_flights", "How many there may be.",
                         limits->flights);
        exposition_gauge(out, "egain_tokend_waiters", "Requests waiting for a fetch.",
                         counters->waiters);
        exposition_gauge(out, "egain_tokend_max_waiters", "How many there may be.",
                         limits->waiters);
        exposition_gauge(out, "egain_tokend_fetches_in_flight", "Requests to issuers under way.",
                         counters->in_flight);
        exposition_gauge(out, "egain_tokend_max_fetches_in_flight", "How many there may be.",
                         limits->in_flight);
        exposition_gauge(out, "egain_tokend_memories",
                         "Grants of which a refusal or a failure is remembered.",
                         counters->memories);
        exposition_gauge(out, "egain_tokend_max_memories", "How many there may be.",
                         limits->memories);
        exposition_counter(out, "egain_tokend_memories_evicted_total",
                           "Memories that made room for others.", counters->memories_evicted);
}

static void add_breaker(struct exposition *out, const struct issuer_health *issuer)
{
        const struct {
                const char *state;
                bool is;
        } states[] = {
                {"closed", issuer->breaker == BREAKER_CLOSED},
                {"open", issuer->breaker == BREAKER_OPEN && !issuer->held},
                {"held", issuer->held},
                {"half_open", issuer->breaker == BREAKER_HALF_OPEN},
        };

        for (size_t i = 0; i < sizeof(states) / sizeof(states[0]); i++)
                exposition_sample(out, LABELS({"url", issuer->url}, {"state", states[i].state}),
                                  states[i].is);
}

/* What is told of each token URL. */
enum issuer_figure {
        ISSUER_BREAKER,
        ISSUER_FAILURES,
        ISSUER_OPENED,
        ISSUER_HOLDS,
        ISSUER_IN_FLIGHT,
        ISSUER_QUEUED,
        ISSUER_LAST_SUCCESS,
        _ISSUER_FIGURE_N,
};

static const struct {
        const char *name;
        enum exposition_type type;
        const char *help;
} issuer_figures[_ISSUER_FIGURE_N] = {
        [ISSUER_BREAKER] = {"egain_tokend_breaker_state", EXPOSITION_GAUGE,
                            "1 for the state that a token URL's circuit breaker is in: closed (it "
                            "is asked), open (it failed), held (it throttles), half_open (one "
                            "request may try)."},
        [ISSUER_FAILURES] = {"egain_tokend_issuer_failures_in_a_row", EXPOSITION_GAUGE,
                             "Failures of a token URL since its last success."},
        [ISSUER_OPENED] = {"egain_tokend_breaker_openings_total", EXPOSITION_COUNTER,
                           "How often too many failures opened the breaker."},
        [ISSUER_HOLDS] = {"egain_tokend_issuer_holds_total", EXPOSITION_COUNTER,
                          "How often the issuer asked for fewer requests."},
        [ISSUER_IN_FLIGHT] = {"egain_tokend_issuer_in_flight", EXPOSITION_GAUGE,
                              "Requests under way at a token URL."},
        [ISSUER_QUEUED] = {"egain_tokend_issuer_queued", EXPOSITION_GAUGE,
                           "Tokens queued to be fetched at a token URL."},
        [ISSUER_LAST_SUCCESS] = {"egain_tokend_issuer_last_success_timestamp_seconds",
                                 EXPOSITION_GAUGE,
                                 "When a token URL last gave an answer that shows it well; not "
                                 "there before the first."},
};

static void add_issuer(struct exposition *out, enum issuer_figure figure,
                       const struct issuer_health *issuer, int64_t wall_ms)
{
        const struct exposition_label *labels = LABELS({"url", issuer->url});

        switch (figure) {
        case ISSUER_BREAKER: add_breaker(out, issuer); break;
        case ISSUER_FAILURES: exposition_sample(out, labels, issuer->failures); break;
        case ISSUER_OPENED: exposition_sample(out, labels, issuer->opened); break;
        case ISSUER_HOLDS: exposition_sample(out, labels, issuer->holds); break;
        case ISSUER_IN_FLIGHT: exposition_sample(out, labels, issuer->n_in_flight); break;
        case ISSUER_QUEUED: exposition_sample(out, labels, issuer->n_queued); break;
        default:
                if (issuer->last_success_known)
                        exposition_sample_us(out, labels,
                                             (wall_ms - (int64_t)issuer->last_success_ago_ms) *
                                                     US_PER_MS);
                break;
        }
}

static void add_issuers(struct exposition *out, const struct api *api)
{
        for (enum issuer_figure figure = 0; figure < _ISSUER_FIGURE_N; figure++) {
                struct issuer_health issuer;
                const void *at = NULL;

                exposition_family(out, issuer_figures[figure].name, issuer_figures[figure].type,
                                  issuer_figures[figure].help);
                while ((at = broker_look_at_issuer(api->broker, at, api->loop->now_ms, &issuer)))
                        add_issuer(out, figure, &issuer, api->loop->wall_ms);
        }
}

static void add_clients(struct exposition *out, const struct api *api)
{
        static const char *const secrets[] = {"current", "next"};
        const size_t n = broker_n_clients(api->broker);
        struct client_health client;

        exposition_family(out, "egain_tokend_client_held", EXPOSITION_GAUGE,
                          "1 while nothing is asked for with a client application, since the "
                          "issuer refuses its secrets.");
        for (size_t i = 0; i < n; i++) {
                broker_look_at_client(api->broker, i, api->loop->now_ms, &client);
                exposition_sample(out, LABELS({"client", client.name}), client.held_ms > 0);
        }
        exposition_family(out, "egain_tokend_client_secret_left_seconds", EXPOSITION_GAUGE,
                          "How long a client secret is still good, where the configuration says; "
                          "negative: it has expired.");
        for (size_t i = 0; i < n; i++) {
                broker_look_at_client(api->broker, i, api->loop->now_ms, &client);
                for (int k = 0; k < 2; k++)
                        if (client.secret_expires_s[k])
                                exposition_sample_us(
                                        out,
                                        LABELS({"client", client.name}, {"secret", secrets[k]}),
                                        (client.secret_expires_s[k] * 1000 - api->loop->wall_ms) *
                                                US_PER_MS);
        }
        exposition_counter(out, "egain_tokend_client_secrets_sent_total",
                           "Requests that came with a client_secret, which callers do not need.",
                           api->secrets_sent);
}

static void add_audit(struct exposition *out, const struct audit *audit)
{
        struct audit_counters counters;

        audit_get_counters(audit, &counters);
        exposition_family(out, "egain_tokend_audit_records_total", EXPOSITION_COUNTER,
                          "Audit records queued to be written.");
        exposition_sample(out, LABELS({"queue", "grants"}), counters.grants);
        exposition_sample(out, LABELS({"queue", "refusals"}), counters.refusals);
        exposition_family(out, "egain_tokend_audit_records_dropped_total", EXPOSITION_COUNTER,
                          "Audit records that were lost for want of room.");
        exposition_sample(out, LABELS({"queue", "grants"}), counters.dropped_grants);
        exposition_sample(out, LABELS({"queue", "refusals"}), counters.dropped_refusals);
        exposition_counter(out, "egain_tokend_audit_folded_total",
                           "Decisions that are counted in the record of another.", counters.folded);
        exposition_counter(out, "egain_tokend_audit_withheld_total",
                           "Tokens that were not handed out since they could not be recorded.",
                           counters.withheld);
        exposition_gauge(out, "egain_tokend_audit_queued", "Audit records that wait to be written.",
                         counters.queued);
}

static void add_connections(struct exposition *out, const struct connections *connections)
{
        exposition_gauge(out, "egain_tokend_connections", "Connections of callers.",
                         connections->n);
        exposition_gauge(out, "egain_tokend_max_connections", "How many there may be.",
                         connections->max);
        exposition_counter(out, "egain_tokend_connections_accepted_total",
                           "Connections of callers that were accepted.", connections->accepted);
        exposition_family(out, "egain_tokend_connections_refused_total", EXPOSITION_COUNTER,
                          "Connections that were answered 503 or 429 and closed: all there may be "
                          "(limit), or all that their uid may have (share).");
        exposition_sample(out, LABELS({"cause", "limit"}), connections->refused);
        exposition_sample(out, LABELS({"cause", "share"}), connections->shares.refused);
        exposition_counter(out, "egain_tokend_connections_cut_total",
                           "Connections that were cut because a request took too long to come or "
                           "its answer to go, or since they were idle.",
                           connections->cut);
}

static void add_daemon(struct exposition *out, const struct monitor *monitor,
                       const struct broker_counters *counters)
{
        const struct api *api = monitor->api;
        struct log_counters log;

        log_get_counters(&log);
        exposition_family(out, "egain_tokend_build_info", EXPOSITION_GAUGE,
                          "Always 1; what runs is in the labels.");
        exposition_sample(out, LABELS({"version", PROJECT_VERSION}), 1);
        exposition_gauge_us(out, "egain_tokend_uptime_seconds", "How long it has been ready.",
                            (int64_t)(api->loop->now_ms - monitor->ready_at_ms) * US_PER_MS);
        exposition_gauge(out, "egain_tokend_draining", "1 while it is about to stop.",
                         api->draining);
        exposition_gauge(out, "egain_tokend_config_generation",
                         "Which configuration since the start holds; the first is 1.",
                         monitor_generation(monitor));
        exposition_family(out, "egain_tokend_reloads_total", EXPOSITION_COUNTER,
                          "Configurations that were read again, and taken over or not.");
        exposition_sample(out, LABELS({"result", "done"}), monitor->reload->n_done);
        exposition_sample(out, LABELS({"result", "failed"}), monitor->reload->n_failed);
        exposition_gauge(out, "egain_tokend_memory_locked",
                         "1 while memory is locked, which keeps it out of swap.",
                         protect_is_locked());
        exposition_counter(out, "egain_tokend_log_lines_dropped_total",
                           "Log lines that could not be written.", log.dropped);
        exposition_counter(out, "egain_tokend_notes_lost_total",
                           "Changes of state that the log did not hear of.", counters->notes_lost);
}

/* Named as Prometheus' own client libraries name them. */
static void add_process(struct exposition *out, int64_t started_at_us)
{
        struct process_figures process;

        process_read(&process);
        exposition_family(out, "process_cpu_seconds_total", EXPOSITION_COUNTER,
                          "Total user and system CPU time spent in seconds.");
        exposition_sample_us(out, NULL, (int64_t)process.cpu_us);
        exposition_gauge(out, "process_resident_memory_bytes", "Resident memory size in bytes.",
                         process.resident_bytes);
        exposition_gauge(out, "process_virtual_memory_bytes", "Virtual memory size in bytes.",
                         process.virtual_bytes);
        exposition_gauge(out, "process_open_fds", "Number of open file descriptors.",
                         process.open_fds);
        exposition_gauge(out, "process_max_fds", "Maximum number of open file descriptors.",
                         process.max_fds);
        exposition_gauge_us(out, "process_start_time_seconds",
                            "Start time of the process since unix epoch in seconds.",
                            started_at_us);
}

int monitor_render_metrics(const struct monitor *monitor, struct response *ret)
{
        const struct api *api = monitor->api;
        struct broker_counters counters;
        struct broker_limits limits;
        struct exposition out;

        *ret = (struct response){
                .status = 200,
                .content_type = EXPOSITION_CONTENT_TYPE,
                .no_store = true,
        };
        broker_get_counters(api->broker, &counters);
        broker_get_limits(api->broker, &limits);

        exposition_init(&out, &ret->body);
        out.r = secret_reserve(&ret->body, TYPICAL_BYTES);
        metrics_render(&monitor->metrics, &out);
        add_broker(&out, &counters);
        add_limits(&out, &counters, monitor->connections);
        add_cache(&out, &counters, &limits);
        add_present(&out, &counters, &limits);
        add_issuers(&out, api);
        add_clients(&out, api);
        add_audit(&out, api->audit);
        add_connections(&out, monitor->connections);
        add_daemon(&out, monitor, &counters);
        add_process(&out, monitor->started_at_us);
        if (out.r)
                response_deinit(ret);
        return error_trace(out.r);
}
