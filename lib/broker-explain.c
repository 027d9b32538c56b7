/* SPDX-License-Identifier: MIT */

/* Looking on: what a request would meet, without leaving a trace of having looked. */

#include "broker.h"

#include "broker-private.h"

static void explain_entry(const struct question *question, struct explanation *ret)
{
        const struct cache_entry *entry = question->entry;
        const struct token *token = entry->token;
        const uint64_t now_ms = question->now_ms;

        ret->present = true;
        ret->freshness = question->freshness;
        ret->age_ms = now_ms - token->sent_at_ms;
        ret->left_ms = token->expires_at_ms - now_ms;
        if (token->refresh_at_ms > now_ms)
                ret->refresh_in_ms = token->refresh_at_ms - now_ms;
        ret->used = entry->used;
        ret->rejected = entry->rejected;
}

static void explain_memory(struct broker *broker, struct grant_key key, uint64_t now_ms,
                           struct explanation *ret)
{
        const struct memory_record *record = memory_find(&broker->memory, key, now_ms);

        if (!record)
                return;
        ret->remembered = record->reason;
        ret->refusal_left_ms = backoff_left_ms(&record->refusal, now_ms);
        ret->failure_left_ms = backoff_left_ms(&record->miss, now_ms);
        ret->refresh_held_ms = backoff_left_ms(&record->refresh, now_ms);
        ret->rejection_held_ms = backoff_left_ms(&record->rejection, now_ms);
}

static void explain_issuer(struct broker *broker, const struct question *question,
                           struct explanation *ret)
{
        struct issuer *issuer = question->issuer;
        struct breaker *breaker = &issuer->breaker;
        const uint64_t now_ms = question->now_ms;

        ret->url = issuer->url;
        ret->breaker = breaker_state(breaker, now_ms);
        ret->held = ret->breaker == BREAKER_OPEN && breaker->held;
        ret->breaker_left_ms = breaker_left_ms(breaker, now_ms);
        ret->failures = breaker->failures;
        ret->last_failure = breaker->last_failure;
        if (breaker->last_failure_at_ms)
                ret->last_failure_ago_ms = now_ms - breaker->last_failure_at_ms;
        ret->last_success_known = breaker->last_success_at_ms > 0;
        if (ret->last_success_known)
                ret->last_success_ago_ms = now_ms - breaker->last_success_at_ms;
        ret->client_held_ms = backoff_left_ms(&question->application->credentials.hold, now_ms);
}

void broker_explain(struct broker *broker, const struct token_request *request,
                    const struct peer *peer, uint64_t now_ms, struct explanation *ret)
{
        struct question question = {.request = request, .peer = peer, .now_ms = now_ms};
        uint8_t key_bytes[GRANT_KEY_MAX_BYTES];
        const struct client_settings *client;
        const struct flight *flight;
        bool reported;
        int r;

        *ret = (struct explanation){};
        r = broker_judge_request(broker, &question, key_bytes);
        ret->rule = question.rule;
        ret->client_settings = question.client_settings;
        ret->grant.subject_kind = question.kind;
        ret->grant.scope = question.scope;
        if (r) {
                ret->refused = reason_of_error(r);
                return;
        }
        client = &broker->settings->clients[question.client];
        ret->client = client->name;
        ret->secret_expires_s = client->secret_expires_s;
        ret->grant = (struct grant){
                .identity = client->identity,
                .subject_kind = question.kind,
                .subject = request->subject,
                .scope = question.scope,
        };

        flight = flights_find(&broker->flights, question.key);
        /* Only looked at. */
        question.entry = (struct cache_entry *)broker_peek(broker, question.key, now_ms);
        question.worth = broker_entry_worth(broker, &question, &ret->cache_status, &reported);
        ret->blocked = broker_blocked(broker, &question, flight, &ret->blocked_ms);
        if (ret->blocked == REASON_NONE && question.worth != WORTH_ANSWER && !flight)
                ret->blocked = broker_fetches_spent(broker, question.rule, now_ms,
                                                    &ret->blocked_ms);
        ret->would_wait = question.worth != WORTH_ANSWER && ret->blocked == REASON_NONE;
        ret->would_serve_old = question.worth == WORTH_STOPGAP && ret->blocked != REASON_NONE;
        ret->in_flight = flight;
        ret->waiters = flight ? flight->n_waiters : 0;
        if (question.entry)
                explain_entry(&question, ret);
        if (question.entry && question.entry->token->exceeds &&
            !policy_covers_scope(question.rule, token_scope(question.entry->token)))
                ret->exceeds = true;
        explain_memory(broker, question.key, now_ms, ret);
        explain_issuer(broker, &question, ret);
}
