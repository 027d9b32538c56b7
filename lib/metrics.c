/* SPDX-License-Identifier: MIT */

/*
 * Every label here is one of a fixed set, or the name of a client application: who can reach the
 * daemon cannot make time series. A combination appears with its first event, but for those that
 * stand for success, which are there from the start so that rates over them are never absent.
 */

#include "metrics.h"

#include <stdlib.h>
#include <string.h>

#include "error.h"

static const uint64_t bounds_us[METRICS_BOUNDS] = {
        5000,   10000,   25000,   50000,   100000,   250000,
        500000, 1000000, 2500000, 5000000, 10000000, 15000000,
};

static void free_clients(struct metrics_client *clients, size_t n)
{
        for (size_t i = 0; clients && i < n; i++)
                free(clients[i].name);
        free(clients);
}

void metrics_deinit(struct metrics *metrics)
{
        free_clients(metrics->clients, metrics->n_clients);
        *metrics = (struct metrics){};
}

static int compare(const void *a, const void *b)
{
        const struct metrics_client *x = a, *y = b;

        return strcmp(x->name, y->name);
}

static struct metrics_client *find(const struct metrics *metrics, const char *name)
{
        const struct metrics_client key = {.name = (char *)name};

        if (metrics->n_clients == 0)
                return NULL;
        return bsearch(&key, metrics->clients, metrics->n_clients, sizeof(key), compare);
}

int metrics_set_clients(struct metrics *metrics, const struct settings *settings)
{
        const size_t n = settings->n_clients;
        struct metrics_client *clients;

        clients = calloc(n ? n : 1, sizeof(*clients));
        if (!clients)
                return error_trace(-ENOMEM);
        for (size_t i = 0; i < n; i++) {
                const struct metrics_client *before = find(metrics, settings->clients[i].name);

                if (before)
                        clients[i] = *before;
                clients[i].name = strdup(settings->clients[i].name);
                if (!clients[i].name) {
                        free_clients(clients, n);
                        return error_trace(-ENOMEM);
                }
        }
        qsort(clients, n, sizeof(*clients), compare);
        free_clients(metrics->clients, metrics->n_clients);
        metrics->clients = clients;
        metrics->n_clients = n;
        return 0;
}

void metrics_count_request(struct metrics *metrics, enum metrics_request kind, enum reason reason)
{
        metrics->requests[kind][reason]++;
}

/* A detail says why the token is an old one, or that the issuer repeats itself. */
void metrics_count_token(struct metrics *metrics, const struct reply *reply)
{
        metrics->tokens[reply->cache_status][reply->collapsed]++;
        metrics->old_tokens += reply->detail && reply->detail != REASON_REPEATED_TOKEN;
}

void metrics_count_fetch(struct metrics *metrics, const char *client, enum reason reason)
{
        struct metrics_client *found = find(metrics, client);

        if (found)
                found->fetches[reason]++;
        else
                metrics->strangers++;
}

void metrics_observe_fetch(struct metrics *metrics, uint64_t took_us)
{
        size_t i = 0;

        while (i < METRICS_BOUNDS && took_us > bounds_us[i])
                i++;
        metrics->durations[i]++;
        metrics->durations_us += took_us;
}

/* At fault is the caller or its request, or else the issuer or the daemon; the audit record says
 * the same. */
static const char *fault_of(enum reason reason)
{
        return reason_info(reason)->status < 500 ? "refused" : "failed";
}

static const char *code_of(enum reason reason)
{
        return reason == REASON_NONE ? "none" : reason_info(reason)->code;
}

static void render_requests(const uint64_t counts[static _REASON_N], const char *granted,
                            struct exposition *exposition)
{
        for (enum reason reason = REASON_NONE; reason < _REASON_N; reason++)
                if (reason == REASON_NONE || counts[reason] > 0)
                        exposition_sample(exposition,
                                          LABELS({"outcome", reason ? fault_of(reason) : granted},
                                                 {"reason", code_of(reason)}),
                                          counts[reason]);
}

static void render_tokens(const struct metrics *metrics, struct exposition *exposition)
{
        static const char *const names[] = {
                [CACHE_STATUS_HIT] = "hit",
                [CACHE_STATUS_FWD_MISS] = "miss",
                [CACHE_STATUS_FWD_STALE] = "stale",
                [CACHE_STATUS_FWD_REQUEST] = "request",
        };

        exposition_family(
                exposition, "egain_tokend_tokens_served_total", EXPOSITION_COUNTER,
                "Tokens handed out, to callers and as credentials, by where they came from "
                "(the terms of RFC 9211) and whether the fetch of another request served "
                "them.");
        for (enum cache_status status = 0; status <= CACHE_STATUS_FWD_REQUEST; status++)
                for (int collapsed = 0; collapsed < 2; collapsed++) {
                        if (status == CACHE_STATUS_HIT && collapsed)
                                continue;
                        exposition_sample(exposition,
                                          LABELS({"cache", names[status]},
                                                 {"collapsed", collapsed ? "true" : "false"}),
                                          metrics->tokens[status][collapsed]);
                }
        exposition_counter(exposition, "egain_tokend_tokens_served_old_total",
                           "Tokens handed out although they should have been replaced, because no "
                           "new one came.",
                           metrics->old_tokens);
}

static void render_fetches(const struct metrics *metrics, struct exposition *exposition)
{
        exposition_family(exposition, "egain_tokend_fetches_total", EXPOSITION_COUNTER,
                          "Requests to issuers that have ended, by client application and result: "
                          "token, or the reason why there is none.");
        for (size_t i = 0; i < metrics->n_clients; i++)
                for (enum reason reason = REASON_NONE; reason < _REASON_N; reason++) {
                        const struct metrics_client *client = &metrics->clients[i];

                        if (reason != REASON_NONE && client->fetches[reason] == 0)
                                continue;
                        exposition_sample(exposition,
                                          LABELS({"client", client->name},
                                                 {"result", reason ? code_of(reason) : "token"}),
                                          client->fetches[reason]);
                }
        exposition_counter(exposition, "egain_tokend_fetches_unconfigured_total",
                           "Requests to issuers that have ended after their client application had "
                           "left the configuration.",
                           metrics->strangers);
        exposition_histogram_us(exposition, "egain_tokend_fetch_duration_seconds",
                                "How long requests to issuers took, whatever their result.",
                                bounds_us, metrics->durations, METRICS_BOUNDS,
                                metrics->durations_us);
}

void metrics_render(const struct metrics *metrics, struct exposition *exposition)
{
        exposition_family(
                exposition, "egain_tokend_requests_total", EXPOSITION_COUNTER,
                "Requests of callers for a token, answered, by outcome (refused: the caller "
                "or its request is at fault; failed: the issuer or the daemon) and "
                "reason.");
        render_requests(metrics->requests[METRICS_TOKEN], "granted", exposition);
        exposition_family(exposition, "egain_tokend_credential_requests_total", EXPOSITION_COUNTER,
                          "Tokens that systemd asked for as credentials of units, by outcome and "
                          "reason; a unit that is given none does not start.");
        render_requests(metrics->requests[METRICS_CREDENTIAL], "granted", exposition);
        exposition_family(exposition, "egain_tokend_other_requests_total", EXPOSITION_COUNTER,
                          "Requests for anything but a token that were answered, those to wrong "
                          "paths included.");
        render_requests(metrics->requests[METRICS_OTHER], "answered", exposition);
        render_tokens(metrics, exposition);
        render_fetches(metrics, exposition);
}
