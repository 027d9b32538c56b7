/* SPDX-License-Identifier: MIT */

/*
 * What is known about a question: what its caller may have, what the entry in memory is worth to
 * it, and what stands against asking the issuer. Nothing is changed here. The verdict of the policy
 * comes before anything is looked up or joined, so that neither content nor timing tells a caller
 * without rights what is here.
 *
 * What the entry is worth to this request is one of three (enum worth). A token that lives but
 * should be replaced is handed out where no new one can be had: an issuer that fails is no reason
 * to withhold a token that works. The one exception is the caller who says that an API refused it.
 */

#include <string.h>

#include "broker-private.h"
#include "client.h"
#include "error.h"
#include "sha256.h"
#include "verdict.h"

/* A token this young satisfies any min_ttl: asking again would bring no longer one. */
#define YOUNG_MS 10000

/* How long a caller who could have the old token waits for a new one. */
#define PATIENCE_MS 2000

/* How long before its end the old token is handed over at the latest, so that it is not missed. */
#define FALLBACK_SLACK_MS 100

int broker_judge_request(struct broker *broker, struct question *question,
                         uint8_t buffer[static GRANT_KEY_MAX_BYTES])
{
        const struct token_request *request = question->request;
        const struct client_settings *client;
        size_t index;
        struct grant grant;
        int r, unknown;

        question->kind = request->subject_kind;
        r = policy_select(broker->policy, question->peer, &request->keys, &question->rule);
        unknown = client_select(broker->settings, request, &index);
        if (!unknown) {
                client = &broker->settings->clients[index];
                question->client = index;
                question->client_settings = client;
                question->application = broker->applications[index];
                question->kind = client_kind(client, request);
        }
        /* Whoever has no rule is not told which clients there are. */
        if (r || unknown)
                return r ? r : unknown;
        r = policy_check_client(question->rule, index);
        if (r == 0)
                r = policy_check_subject(question->rule, question->kind, request->subject);
        if (r)
                return r;
        question->issuer = question->application->issuers[grant_audience(question->kind)];
        if (!question->issuer)
                return client_is_anonymous(client) ? REASON_ANONYMOUS_CLIENT : REASON_NO_TOKEN_URL;
        if (request->scope.size > 0)
                question->scope = request->scope;
        else if (client->default_scope)
                question->scope = TEXT(client->default_scope);
        else
                return REASON_MISSING_SCOPE;
        r = policy_check_scope(question->rule, question->scope);
        if (r)
                return r;
        grant = (struct grant){
                .identity = client->identity,
                .subject_kind = question->kind,
                .subject = request->subject,
                .scope = question->scope,
        };
        if (question->kind == SUBJECT_EXCHANGE) {
                r = subjecttoken_digest(question->digest, broker->token_key,
                                        &request->subject_token);
                if (r)
                        return error_trace(r);
                grant.digest = question->digest;
        }
        question->key = grant_key_make(buffer, broker->hash_key, &grant);
        return 0;
}

static void recall(const struct broker *broker, struct question *question,
                   const struct verdict *verdict)
{
        question->rule = verdict->rule;
        question->kind = verdict->kind;
        question->client = verdict->client;
        question->client_settings = &broker->settings->clients[verdict->client];
        question->application = broker->applications[verdict->client];
        question->issuer = question->application->issuers[grant_audience(verdict->kind)];
        question->scope = verdict->scope;
        question->key = (struct grant_key){verdict->key_hash, verdict->key_size, verdict->key};
}

static void keep(const struct broker *broker, const struct question *question,
                 struct verdict *verdict)
{
        if (question->kind == SUBJECT_EXCHANGE || question->key.size > sizeof(verdict->key))
                return;
        verdict->generation = broker->generation;
        verdict->rule = question->rule;
        verdict->kind = question->kind;
        verdict->client = question->client;
        verdict->scope = question->scope;
        verdict->key_hash = question->key.hash;
        verdict->key_size = question->key.size;
        memcpy(verdict->key, question->key.bytes, question->key.size);
}

int broker_recall_request(struct broker *broker, struct question *question,
                          uint8_t buffer[static GRANT_KEY_MAX_BYTES])
{
        struct verdict *verdict = question->request->verdict;
        int r;

        if (verdict && verdict->generation == broker->generation) {
                recall(broker, question, verdict);
                return 0;
        }
        r = broker_judge_request(broker, question, buffer);
        if (r == 0 && verdict)
                keep(broker, question, verdict);
        return r;
}

bool broker_has_ended(const struct broker *broker, const struct subjecttoken *token,
                      uint64_t now_ms)
{
        return broker->wall_known &&
               subjecttoken_has_ended(token, (int64_t)now_ms + broker->wall_ahead_ms);
}

/* What is capped satisfies any, for the same reason. */
static bool satisfies(const struct token *token, uint64_t min_ttl_ms, uint64_t now_ms)
{
        const uint64_t lifetime_ms = token->expires_at_ms - token->sent_at_ms;
        const uint64_t young_ms = lifetime_ms / 10 > YOUNG_MS ? lifetime_ms / 10 : YOUNG_MS;

        return token->capped || token->expires_at_ms - now_ms >= min_ttl_ms ||
               now_ms - token->sent_at_ms < young_ms;
}

bool broker_is_rejected(const struct token *token, const struct token_request *request)
{
        const struct text value = token_value(token);
        uint8_t digest[SHA256_BYTES];

        if (!request->rejects)
                return false;
        sha256(value.bytes, value.size, digest);
        return memcmp(digest, request->rejected_sha256, sizeof(digest)) == 0;
}

enum worth broker_entry_worth(const struct broker *broker, struct question *question,
                              enum cache_status *ret_status, bool *ret_reported)
{
        const struct cache_entry *entry = question->entry;

        *ret_status = CACHE_STATUS_FWD_MISS;
        *ret_reported = false;
        if (!entry)
                return WORTH_NOTHING;

        question->freshness = broker_freshness(broker, entry->token, question->now_ms);
        *ret_status = CACHE_STATUS_FWD_REQUEST;
        if (broker_is_rejected(entry->token, question->request)) {
                *ret_reported = true;
                return WORTH_NOTHING;
        }
        if (!satisfies(entry->token, question->request->min_ttl_ms, question->now_ms))
                return WORTH_STOPGAP;
        *ret_status = CACHE_STATUS_FWD_STALE;
        if (entry->rejected || question->freshness == FRESHNESS_SPENT)
                return WORTH_STOPGAP;
        *ret_status = CACHE_STATUS_HIT;
        return WORTH_ANSWER;
}

enum reason broker_remembered_refusal(struct broker *broker, struct grant_key key, uint64_t now_ms,
                                      uint64_t *ret_left_ms)
{
        const struct grant grant = grant_of_key(key);
        uint8_t buffer[GRANT_KEY_MAX_BYTES];
        const struct grant_key keys[] = {
                key,
                grant_key_make_any_subject(buffer, broker->hash_key, &grant),
        };

        for (size_t i = 0; i < 2; i++) {
                const struct memory_record *record = memory_find(&broker->memory, keys[i], now_ms);

                if (record && backoff_holds(&record->refusal, now_ms)) {
                        *ret_left_ms = backoff_left_ms(&record->refusal, now_ms);
                        return record->reason;
                }
        }
        return REASON_NONE;
}

/* Why no fetch may begin for this grant just now; else REASON_NONE. */
static enum reason remembered_failure(struct broker *broker, const struct question *question,
                                      uint64_t *ret_left_ms)
{
        const struct memory_record *record = memory_find(&broker->memory, question->key,
                                                         question->now_ms);
        const struct backoff *failure;

        if (!record)
                return REASON_NONE;
        if (question->entry && question->entry->rejected &&
            backoff_holds(&record->rejection, question->now_ms)) {
                *ret_left_ms = backoff_left_ms(&record->rejection, question->now_ms);
                return REASON_REJECTED_AGAIN;
        }
        failure = question->worth == WORTH_NOTHING ? &record->miss : &record->refresh;
        *ret_left_ms = backoff_left_ms(failure, question->now_ms);
        return backoff_holds(failure, question->now_ms) ? record->reason : REASON_NONE;
}

uint64_t broker_deadline_ms(const struct broker *broker, const struct question *question)
{
        uint64_t deadline_ms = question->now_ms + broker->settings->request_timeout_ms;

        if (question->worth == WORTH_STOPGAP) {
                const uint64_t last_ms = question->entry->token->expires_at_ms -
                                         FRESHNESS_LIVE_MIN_MS - FALLBACK_SLACK_MS;

                if (question->now_ms + PATIENCE_MS < deadline_ms)
                        deadline_ms = question->now_ms + PATIENCE_MS;
                if (last_ms < deadline_ms)
                        deadline_ms = last_ms;
        }
        return deadline_ms;
}

enum reason broker_issuer_blocked(struct issuer *issuer, uint64_t now_ms, uint64_t *ret_left_ms)
{
        struct breaker *breaker = &issuer->breaker;

        if (breaker_state(breaker, now_ms) != BREAKER_OPEN)
                return REASON_NONE;
        *ret_left_ms = breaker_left_ms(breaker, now_ms);
        return breaker->held ? REASON_ISSUER_THROTTLES : REASON_BREAKER_OPEN;
}

/* Why nothing may be asked of the issuer just now; else REASON_NONE. */
static enum reason judge_issuer(struct broker *broker, const struct question *question,
                                uint64_t *ret_left_ms)
{
        struct credentials *credentials = &question->application->credentials;

        if (broker->draining)
                return REASON_SHUTTING_DOWN;
        if (credentials_are_held(credentials, question->now_ms)) {
                *ret_left_ms = backoff_left_ms(&credentials->hold, question->now_ms);
                return REASON_CREDENTIALS_REFUSED;
        }
        return broker_issuer_blocked(question->issuer, question->now_ms, ret_left_ms);
}

/* Why it is of no use to join a flight: it ends, or will not be sent for longer than the caller
 * would wait; else REASON_NONE. */
static enum reason judge_flight(const struct broker *broker, const struct question *question,
                                const struct flight *flight, uint64_t *ret_left_ms)
{
        enum reason reason;
        uint64_t left_ms;

        if (flight->state == FLIGHT_CANCELLED)
                return REASON_SHUTTING_DOWN;
        if (flight->state == FLIGHT_RUNNING)
                return REASON_NONE;
        reason = broker_issuer_blocked(flight->issuer, question->now_ms, &left_ms);
        if (!reason || broker_deadline_ms(broker, question) > question->now_ms + left_ms)
                return REASON_NONE;
        *ret_left_ms = left_ms;
        return reason;
}

enum reason broker_blocked(struct broker *broker, const struct question *question,
                           const struct flight *flight, uint64_t *ret_left_ms)
{
        enum reason reason;

        *ret_left_ms = 0;
        reason = broker_remembered_refusal(broker, question->key, question->now_ms, ret_left_ms);
        if (reason)
                return reason;
        if (flight)
                return judge_flight(broker, question, flight, ret_left_ms);
        reason = remembered_failure(broker, question, ret_left_ms);
        if (reason)
                return reason;
        return judge_issuer(broker, question, ret_left_ms);
}
