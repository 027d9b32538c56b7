/* SPDX-License-Identifier: MIT */

/*
 * GET /v1/status: the state in plain words, for people and small programs; what is to be drawn over
 * time is in the metrics. Times are whole seconds, rounded up where they say how long something
 * will last, so that 0 means "no longer".
 */

#include <inttypes.h>
#include <stdio.h>

#include "../lib/error.h"
#include "audit.h"
#include "connection.h"
#include "json-writer.h"
#include "monitor.h"

#define SENTENCE_MAX_BYTES 160

static int64_t up_to_seconds(uint64_t ms)
{
        return (int64_t)((ms + 999) / 1000);
}

/* How a client application is doing at one of its token URLs. */
static const char *state_of(const struct client_health *client, const struct issuer_health *issuer)
{
        if (client->held_ms > 0)
                return "held";
        if (issuer->held)
                return "throttled";
        if (issuer->breaker == BREAKER_OPEN)
                return "open";
        if (issuer->breaker == BREAKER_HALF_OPEN || client->unwell)
                return "probing";
        if (issuer->failures > 0)
                return "failing";
        return issuer->last_success_known ? "well" : "unknown";
}

/* The same as a sentence. */
static const char *say_state(char out[SENTENCE_MAX_BYTES], const struct client_health *client,
                             const struct issuer_health *issuer)
{
        const char *text = "";

        if (client->held_ms > 0)
                (void)snprintf(out, SENTENCE_MAX_BYTES,
                               "The issuer refuses the client secret; nothing is asked for %" PRId64
                               " s, or until it changes.",
                               up_to_seconds(client->held_ms));
        else if (issuer->held)
                (void)snprintf(out, SENTENCE_MAX_BYTES,
                               "The issuer asks for fewer requests; nothing is asked for %" PRId64
                               " s.",
                               up_to_seconds(issuer->left_ms));
        else if (issuer->breaker == BREAKER_OPEN)
                (void)snprintf(out, SENTENCE_MAX_BYTES,
                               "Failing for %" PRIu64 " s; nothing is asked for %" PRId64 " s.",
                               issuer->failing_ms / 1000, up_to_seconds(issuer->left_ms));
        else if (issuer->breaker == BREAKER_HALF_OPEN || client->unwell)
                text = "Was left alone; the next request tries whether it is well again.";
        else if (issuer->failures > 0)
                (void)snprintf(out, SENTENCE_MAX_BYTES,
                               "Failing for %" PRIu64 " s, %u in a row; is still asked.",
                               issuer->failing_ms / 1000, issuer->failures);
        else
                text = issuer->last_success_known ? "Well." : "Not asked yet.";
        return *text ? text : out;
}

static void add_last_failure(struct json_writer *out, const struct issuer_health *issuer)
{
        if (!issuer->last_failure) {
                json_writer_null(out, "last_failure");
                return;
        }
        json_writer_begin(out, "last_failure", '{');
        json_writer_string(out, "reason", reason_info(issuer->last_failure)->code);
        json_writer_string(out, "text", reason_info(issuer->last_failure)->description);
        json_writer_uint(out, "ago", issuer->last_failure_ago_ms / 1000);
        json_writer_end(out, '}');
}

static void add_token_url(struct json_writer *out, const struct client_health *client,
                          enum audience audience)
{
        static const char *const names[] = {
                [AUDIENCE_USER] = "users",
                [AUDIENCE_CUSTOMER] = "customers",
                [AUDIENCE_ANONYMOUS] = "anonymous customers",
        };
        const struct issuer_health *issuer = &client->issuers[audience];
        char sentence[SENTENCE_MAX_BYTES];

        json_writer_begin(out, NULL, '{');
        json_writer_string(out, "for", names[audience]);
        json_writer_string(out, "token_url", issuer->url);
        json_writer_string(out, "state", state_of(client, issuer));
        json_writer_string(out, "health", say_state(sentence, client, issuer));
        if (issuer->last_success_known)
                json_writer_uint(out, "last_success_ago", issuer->last_success_ago_ms / 1000);
        else
                json_writer_null(out, "last_success_ago");
        add_last_failure(out, issuer);
        json_writer_uint(out, "in_flight", issuer->n_in_flight);
        json_writer_uint(out, "queued", issuer->n_queued);
        json_writer_end(out, '}');
}

static void add_secrets(struct json_writer *out, const struct client_health *client, int64_t wall_s)
{
        static const char *const names[] = {"current", "next"};

        json_writer_begin(out, "secret_expires_in", '{');
        for (int i = 0; i < 2; i++)
                if (client->secret_expires_s[i])
                        json_writer_int(out, names[i], client->secret_expires_s[i] - wall_s);
        json_writer_end(out, '}');
}

static void add_client(struct json_writer *out, const struct api *api, size_t i)
{
        struct client_health client;

        broker_look_at_client(api->broker, i, api->loop->now_ms, &client);
        json_writer_begin(out, NULL, '{');
        json_writer_string(out, "name", client.name);
        add_secrets(out, &client, api->loop->wall_ms / 1000);
        json_writer_begin(out, "token_urls", '[');
        for (enum audience audience = 0; audience < _AUDIENCE_N; audience++)
                if (client.has_issuer[audience])
                        add_token_url(out, &client, audience);
        json_writer_end(out, ']');
        json_writer_end(out, '}');
}

static void add_clients(struct json_writer *out, const struct api *api)
{
        json_writer_begin(out, "clients", '[');
        for (size_t i = 0; i < broker_n_clients(api->broker); i++)
                add_client(out, api, i);
        json_writer_end(out, ']');
}

static void add_tokens(struct json_writer *out, const struct broker_counters *counters,
                       const struct broker_limits *limits)
{
        const struct cache_counters *cache = &counters->cache;

        json_writer_begin(out, "tokens", '{');
        json_writer_uint(out, "entries", counters->entries);
        json_writer_uint(out, "max_entries", limits->entries);
        json_writer_uint(out, "bytes", counters->memory_bytes);
        json_writer_uint(out, "max_bytes", limits->memory_bytes);
        json_writer_uint(out, "evicted", cache->evicted_entries + cache->evicted_memory);
        json_writer_end(out, '}');
}

static void add_requests(struct json_writer *out, const struct broker_counters *counters)
{
        json_writer_begin(out, "requests", '{');
        json_writer_uint(out, "all", counters->requests);
        json_writer_uint(out, "hits", counters->hits);
        json_writer_uint(out, "misses", counters->misses);
        json_writer_uint(out, "coalesced", counters->coalesced);
        json_writer_uint(out, "waiting", counters->waiters);
        json_writer_end(out, '}');
}

static void add_fetches(struct json_writer *out, const struct broker_counters *counters)
{
        json_writer_begin(out, "fetches", '{');
        json_writer_uint(out, "all", counters->fetches);
        json_writer_uint(out, "tokens", counters->tokens);
        json_writer_uint(out, "in_flight", counters->in_flight);
        json_writer_end(out, '}');
}

static void add_audit(struct json_writer *out, const struct audit *audit)
{
        struct audit_counters counters;

        audit_get_counters(audit, &counters);
        json_writer_begin(out, "audit", '{');
        json_writer_uint(out, "grants", counters.grants);
        json_writer_uint(out, "refusals", counters.refusals);
        json_writer_uint(out, "folded", counters.folded);
        json_writer_uint(out, "dropped", counters.dropped_grants + counters.dropped_refusals);
        json_writer_uint(out, "withheld", counters.withheld);
        json_writer_uint(out, "queued", counters.queued);
        json_writer_end(out, '}');
}

static void add_connections(struct json_writer *out, const struct connections *connections)
{
        json_writer_begin(out, "connections", '{');
        json_writer_uint(out, "open", connections->n);
        json_writer_uint(out, "max", connections->max);
        json_writer_uint(out, "refused", connections->refused + connections->shares.refused);
        json_writer_end(out, '}');
}

int monitor_render_status(const struct monitor *monitor, struct response *ret)
{
        const struct api *api = monitor->api;
        struct broker_counters counters;
        struct broker_limits limits;
        struct json_writer out;
        int r;

        *ret = (struct response){
                .status = 200, .content_type = "application/json", .no_store = true};
        broker_get_counters(api->broker, &counters);
        broker_get_limits(api->broker, &limits);
        json_writer_init(&out, &ret->body);
        json_writer_begin(&out, NULL, '{');
        json_writer_string(&out, "version", PROJECT_VERSION);
        json_writer_uint(&out, "uptime", (api->loop->now_ms - monitor->ready_at_ms) / 1000);
        json_writer_uint(&out, "configuration", monitor_generation(monitor));
        json_writer_bool(&out, "draining", api->draining);
        json_writer_uint(&out, "rules", broker_policy(api->broker)->n_rules);
        add_clients(&out, api);
        add_tokens(&out, &counters, &limits);
        add_requests(&out, &counters);
        add_fetches(&out, &counters);
        add_audit(&out, api->audit);
        add_connections(&out, monitor->connections);
        json_writer_end(&out, '}');
        r = json_writer_finish(&out);
        if (r)
                response_deinit(ret);
        return error_trace(r);
}
