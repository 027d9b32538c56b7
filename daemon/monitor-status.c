/* SPDX-License-Identifier: MIT */

/*
 * GET /v1/status: the state in plain words, for people and small programs; what is to be drawn over
 * time is in the metrics. There is nothing secret in it, so a library writes it. Times are whole
 * seconds, rounded up where they say how long something will last, so that 0 means "no longer".
 */

#include <inttypes.h>
#include <json-c/json.h>
#include <stdio.h>
#include <string.h>

#include "../lib/error.h"
#include "audit.h"
#include "connection.h"
#include "monitor.h"

#define SENTENCE_MAX_BYTES 160

static int64_t up_to_seconds(uint64_t ms)
{
        return (int64_t)((ms + 999) / 1000);
}

static void add_string(json_object *object, const char *name, const char *string)
{
        json_object_object_add(object, name, string ? json_object_new_string(string) : NULL);
}

static void add_number(json_object *object, const char *name, uint64_t number)
{
        json_object_object_add(object, name, json_object_new_uint64(number));
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

static json_object *last_failure_of(const struct issuer_health *issuer)
{
        json_object *failure;

        if (!issuer->last_failure)
                return NULL;
        failure = json_object_new_object();
        add_string(failure, "reason", reason_info(issuer->last_failure)->code);
        add_string(failure, "text", reason_info(issuer->last_failure)->description);
        add_number(failure, "ago", issuer->last_failure_ago_ms / 1000);
        return failure;
}

static json_object *token_url_of(const struct client_health *client, enum audience audience)
{
        static const char *const names[] = {
                [AUDIENCE_USER] = "users",
                [AUDIENCE_CUSTOMER] = "customers",
                [AUDIENCE_ANONYMOUS] = "anonymous customers",
        };
        const struct issuer_health *issuer = &client->issuers[audience];
        json_object *object = json_object_new_object();
        char sentence[SENTENCE_MAX_BYTES];

        add_string(object, "for", names[audience]);
        add_string(object, "token_url", issuer->url);
        add_string(object, "state", state_of(client, issuer));
        add_string(object, "health", say_state(sentence, client, issuer));
        json_object_object_add(object, "last_success_ago",
                               issuer->last_success_known
                                       ? json_object_new_uint64(issuer->last_success_ago_ms / 1000)
                                       : NULL);
        json_object_object_add(object, "last_failure", last_failure_of(issuer));
        add_number(object, "in_flight", issuer->n_in_flight);
        add_number(object, "queued", issuer->n_queued);
        return object;
}

static json_object *secrets_of(const struct client_health *client, int64_t wall_s)
{
        static const char *const names[] = {"current", "next"};
        json_object *secrets = json_object_new_object();

        for (int i = 0; i < 2; i++)
                if (client->secret_expires_s[i])
                        json_object_object_add(
                                secrets, names[i],
                                json_object_new_int64(client->secret_expires_s[i] - wall_s));
        return secrets;
}

static json_object *client_of(const struct api *api, size_t i)
{
        json_object *object = json_object_new_object(), *urls = json_object_new_array();
        struct client_health client;

        broker_look_at_client(api->broker, i, api->loop->now_ms, &client);
        add_string(object, "name", client.name);
        json_object_object_add(object, "secret_expires_in",
                               secrets_of(&client, api->loop->wall_ms / 1000));
        for (enum audience audience = 0; audience < _AUDIENCE_N; audience++)
                if (client.has_issuer[audience])
                        json_object_array_add(urls, token_url_of(&client, audience));
        json_object_object_add(object, "token_urls", urls);
        return object;
}

static json_object *clients_of(const struct api *api)
{
        json_object *clients = json_object_new_array();

        for (size_t i = 0; i < broker_n_clients(api->broker); i++)
                json_object_array_add(clients, client_of(api, i));
        return clients;
}

static json_object *tokens_of(const struct broker_counters *counters,
                              const struct broker_limits *limits)
{
        const struct cache_counters *cache = &counters->cache;
        json_object *tokens = json_object_new_object();

        add_number(tokens, "entries", counters->entries);
        add_number(tokens, "max_entries", limits->entries);
        add_number(tokens, "bytes", counters->memory_bytes);
        add_number(tokens, "max_bytes", limits->memory_bytes);
        add_number(tokens, "evicted", cache->evicted_entries + cache->evicted_memory);
        return tokens;
}

static json_object *requests_of(const struct broker_counters *counters)
{
        json_object *requests = json_object_new_object();

        add_number(requests, "all", counters->requests);
        add_number(requests, "hits", counters->hits);
        add_number(requests, "misses", counters->misses);
        add_number(requests, "coalesced", counters->coalesced);
        add_number(requests, "waiting", counters->waiters);
        return requests;
}

static json_object *fetches_of(const struct broker_counters *counters)
{
        json_object *fetches = json_object_new_object();

        add_number(fetches, "all", counters->fetches);
        add_number(fetches, "tokens", counters->tokens);
        add_number(fetches, "in_flight", counters->in_flight);
        return fetches;
}

static json_object *audit_of(const struct audit *audit)
{
        json_object *object = json_object_new_object();
        struct audit_counters counters;

        audit_get_counters(audit, &counters);
        add_number(object, "grants", counters.grants);
        add_number(object, "refusals", counters.refusals);
        add_number(object, "folded", counters.folded);
        add_number(object, "dropped", counters.dropped_grants + counters.dropped_refusals);
        add_number(object, "withheld", counters.withheld);
        add_number(object, "queued", counters.queued);
        return object;
}

static json_object *connections_of(const struct connections *connections)
{
        json_object *object = json_object_new_object();

        add_number(object, "open", connections->n);
        add_number(object, "max", connections->max);
        add_number(object, "refused", connections->refused + connections->shares.refused);
        return object;
}

static void add_all(json_object *object, const struct monitor *monitor)
{
        const struct api *api = monitor->api;
        struct broker_counters counters;
        struct broker_limits limits;

        broker_get_counters(api->broker, &counters);
        broker_get_limits(api->broker, &limits);
        add_string(object, "version", PROJECT_VERSION);
        add_number(object, "uptime", (api->loop->now_ms - monitor->ready_at_ms) / 1000);
        add_number(object, "configuration", monitor_generation(monitor));
        json_object_object_add(object, "draining", json_object_new_boolean(api->draining));
        add_number(object, "rules", broker_policy(api->broker)->n_rules);
        json_object_object_add(object, "clients", clients_of(api));
        json_object_object_add(object, "tokens", tokens_of(&counters, &limits));
        json_object_object_add(object, "requests", requests_of(&counters));
        json_object_object_add(object, "fetches", fetches_of(&counters));
        json_object_object_add(object, "audit", audit_of(api->audit));
        json_object_object_add(object, "connections", connections_of(monitor->connections));
}

int monitor_render_status(const struct monitor *monitor, struct response *ret)
{
        json_object *object = json_object_new_object();
        const char *text = NULL;
        int r = -ENOMEM;

        *ret = (struct response){
                .status = 200, .content_type = "application/json", .no_store = true};
        if (object) {
                add_all(object, monitor);
                text = json_object_to_json_string_ext(
                        object, JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_NOSLASHESCAPE);
        }
        if (text)
                r = secret_append(&ret->body, text, strlen(text));
        if (r == 0)
                r = secret_append(&ret->body, "\n", 1);
        json_object_put(object);
        if (r)
                response_deinit(ret);
        return error_trace(r);
}
