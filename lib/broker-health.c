/* SPDX-License-Identifier: MIT */

/* How everything is doing, for whoever monitors: no request is needed to ask, and nothing is left
 * of having asked. */

#include "broker.h"

#include "broker-private.h"

static void look_at(struct issuer *issuer, uint64_t now_ms, struct issuer_health *ret)
{
        struct breaker *breaker = &issuer->breaker;

        *ret = (struct issuer_health){
                .url = issuer->url,
                .breaker = breaker_state(breaker, now_ms),
                .left_ms = breaker_left_ms(breaker, now_ms),
                .failures = breaker->failures,
                .last_failure = breaker->last_failure,
                .last_success_known = breaker->last_success_at_ms > 0,
                .opened = breaker->opened,
                .holds = breaker->holds,
                .n_in_flight = issuer->n_in_flight,
                .n_queued = issuer->n_queued,
        };
        ret->held = ret->breaker == BREAKER_OPEN && breaker->held;
        if (breaker->failures > 0)
                ret->failing_ms = now_ms - breaker->failing_since_ms;
        if (breaker->last_failure_at_ms > 0)
                ret->last_failure_ago_ms = now_ms - breaker->last_failure_at_ms;
        if (ret->last_success_known)
                ret->last_success_ago_ms = now_ms - breaker->last_success_at_ms;
}

size_t broker_n_clients(const struct broker *broker)
{
        return broker->settings->n_clients;
}

void broker_look_at_client(struct broker *broker, size_t client, uint64_t now_ms,
                           struct client_health *ret)
{
        const struct application *application = broker->applications[client];
        const struct client_settings *settings = application->settings;
        const struct credentials *credentials = &application->credentials;

        *ret = (struct client_health){
                .name = settings->name,
                .held_ms = backoff_left_ms(&credentials->hold, now_ms),
                .unwell = credentials->unwell,
                .secret_expires_s = settings->secret_expires_s,
        };
        for (enum audience audience = 0; audience < _AUDIENCE_N; audience++) {
                struct issuer *issuer = application->issuers[audience];

                if (!issuer)
                        continue;
                ret->has_issuer[audience] = true;
                look_at(issuer, now_ms, &ret->issuers[audience]);
        }
}

const void *broker_look_at_issuer(struct broker *broker, const void *last, uint64_t now_ms,
                                  struct issuer_health *ret)
{
        const struct issuer *before = last;
        struct list *link = before ? before->link.next : broker->issuers.all.next;
        struct issuer *issuer = list_entry(link, struct issuer, link);

        if (link == &broker->issuers.all)
                return NULL;
        look_at(issuer, now_ms, ret);
        return issuer;
}

void broker_get_limits(const struct broker *broker, struct broker_limits *ret)
{
        *ret = (struct broker_limits){
                .entries = broker->cache.max_entries,
                .memory_bytes = broker->cache.max_memory_bytes,
                .flights = broker->flights.max_flights,
                .waiters = broker->flights.max_waiters,
                .in_flight = broker->issuers.max_in_flight,
                .memories = broker->memory.max,
        };
}
