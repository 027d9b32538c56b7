/* SPDX-License-Identifier: MIT */

/*
 * What the end of a fetch means: for the grant (its entry, its memory), for the URL (its breaker),
 * for the client (its secrets), and for those who wait. One unknown subject is remembered, and
 * tells that the issuer is well; an issuer that is down is a matter of the breaker, and hides no
 * cached token; secrets that are refused concern the client, and no subject.
 *
 * Every take_…() ends the flight, or puts it where it will be tried again.
 */

#include "broker.h"

#include <assert.h>

#include "broker-private.h"
#include "error.h"

#define RETRIES_MAX 2

/* The pause before a retry is half to one and a half times this, and twice that before the second.
 */
#define RETRY_PAUSE_MS 200

/* A retry is not worth it if its callers have less than this left when it begins. */
#define RETRY_LEFT_MIN_MS 50

static struct credentials *credentials_of(const struct flight *flight)
{
        return &flight->application->credentials;
}

/* What can change with the end of a fetch, and is worth a note. */
struct health {
        uint64_t opened;
        uint64_t holds;
        bool closed;
        uint32_t client_step_ms;
        bool client_unwell;
};

static struct health health_of(const struct issuer *issuer, const struct credentials *credentials)
{
        return (struct health){
                .opened = issuer->breaker.opened,
                .holds = issuer->breaker.holds,
                .closed = issuer->breaker.state == BREAKER_CLOSED,
                .client_step_ms = credentials->hold.step_ms,
                .client_unwell = credentials->unwell,
        };
}

void broker_add_note(struct broker *broker, enum note_kind kind,
                     const struct application *application, const char *url, enum reason reason,
                     uint64_t for_ms)
{
        if (broker->n_notes == NOTES_MAX) {
                broker->counters.notes_lost++;
                return;
        }
        broker->notes[(broker->first_note + broker->n_notes) % NOTES_MAX] = (struct pending_note){
                .note =
                        {
                                .kind = kind,
                                .client = application->settings->name,
                                .url = url,
                                .reason = reason,
                                .for_ms = for_ms,
                        },
                .application = application,
        };
        broker->n_notes++;
}

static void note_changes(struct broker *broker, const struct application *application,
                         struct issuer *issuer, const struct health *before, uint64_t now_ms)
{
        const struct health after = health_of(issuer, &application->credentials);
        const uint64_t open_ms = breaker_left_ms(&issuer->breaker, now_ms);

        if (after.opened > before->opened)
                broker_add_note(broker, NOTE_BREAKER_OPENED, application, issuer->url,
                                issuer->breaker.last_failure, open_ms);
        else if (after.holds > before->holds)
                broker_add_note(broker, NOTE_ISSUER_HOLDS, application, issuer->url,
                                REASON_ISSUER_THROTTLES, open_ms);
        else if (after.closed && !before->closed)
                broker_add_note(broker, NOTE_ISSUER_WELL, application, issuer->url, REASON_NONE, 0);
        if (after.client_step_ms > before->client_step_ms)
                broker_add_note(broker, NOTE_CLIENT_HELD, application, issuer->url,
                                REASON_CREDENTIALS_REFUSED, after.client_step_ms);
        else if (before->client_unwell && !after.client_unwell)
                broker_add_note(broker, NOTE_CLIENT_WELL, application, issuer->url, REASON_NONE, 0);
}

/* Who has reported this very token is told so, whatever has become of the entry meanwhile. */
static void give_token(struct broker *broker, struct flight *flight, struct token *token,
                       enum reason detail_for_all, uint64_t now_ms)
{
        list_for_each_safe (link, &flight->waiters) {
                struct waiter *waiter = list_entry(link, struct waiter, link);
                enum reason detail = detail_for_all;

                if (!detail && broker_is_rejected(token, waiter->request))
                        detail = REASON_REPEATED_TOKEN;
                broker_reply_token(broker, &waiter->reply, token, detail, now_ms);
                broker_release_waiter(broker, waiter);
        }
}

/* What is remembered against a grant ends with a success, but for the steps between rejections. */
static void forget_failures(struct broker *broker, struct grant_key key, uint64_t now_ms)
{
        struct memory_record *record = memory_find(&broker->memory, key, now_ms);

        if (!record)
                return;
        if (record->rejection.step_ms == 0) {
                memory_forget(&broker->memory, key);
                return;
        }
        record->reason = REASON_NONE;
        backoff_reset(&record->refusal);
        backoff_reset(&record->miss);
        backoff_reset(&record->refresh);
}

uint64_t broker_remember_failure(struct broker *broker, struct grant_key key, enum reason reason,
                                 uint64_t now_ms)
{
        struct memory_record *record = memory_touch(&broker->memory, key, now_ms);

        if (!record)
                return 0;
        record->reason = reason;
        backoff_extend(&record->miss, MEMORY_MISS_FIRST_MS, MEMORY_MISS_MAX_MS, now_ms);
        backoff_extend(&record->refresh, MEMORY_REFRESH_FIRST_MS, MEMORY_REFRESH_MAX_MS, now_ms);
        return record->miss.step_ms;
}

/* A fetch for a token that was reported was sent: the next such is put off, counted from there,
 * even where this one is tried again. */
static void remember_report(struct broker *broker, const struct flight *flight, uint64_t now_ms)
{
        struct memory_record *record;

        if (!flight->for_rejected || flight->n_sent > 1 || flight->detached)
                return;
        record = memory_touch(&broker->memory, flight->key, now_ms);
        if (record)
                backoff_extend(&record->rejection, MEMORY_REJECTION_FIRST_MS,
                               MEMORY_REJECTION_MAX_MS, flight->sent_at_ms);
}

static uint64_t remember_refusal(struct broker *broker, struct grant_key key, enum reason reason,
                                 uint64_t now_ms)
{
        struct memory_record *record = memory_touch(&broker->memory, key, now_ms);

        if (!record)
                return 0;
        record->reason = reason;
        backoff_extend(&record->refusal, MEMORY_REFUSAL_FIRST_MS, MEMORY_REFUSAL_MAX_MS, now_ms);
        return record->refusal.step_ms;
}

static bool token_equal(const struct token *a, const struct token *b)
{
        return text_equal(token_value(a), token_value(b));
}

static void keep_token(struct broker *broker, const struct flight *flight, struct token *token,
                       uint64_t now_ms)
{
        const struct grant grant = grant_of_key(flight->key);
        uint8_t buffer[GRANT_KEY_MAX_BYTES];

        forget_failures(broker, flight->key, now_ms);
        forget_failures(broker, grant_key_make_any_subject(buffer, broker->hash_key, &grant),
                        now_ms);
        /* What was evicted meanwhile was not missed, unless a caller came for it. */
        if (flight->had_waiter || cache_holds(&broker->cache, flight->key))
                (void)cache_store(&broker->cache, flight->key, token);
}

/* A token came: it is kept if it can be, and goes to all who waited either way. */
static void take_token(struct broker *broker, struct flight *flight, struct token *token,
                       uint64_t now_ms)
{
        const struct cache_entry *old = broker_peek(broker, flight->key, now_ms);
        const struct freshness_limits limits = broker_freshness_limits(broker);
        enum reason detail = REASON_NONE;

        token->refresh_at_ms = token->capped
                                       ? token->expires_at_ms
                                       : freshness_refresh_at_ms(token->sent_at_ms,
                                                                 token->expires_at_ms, &limits,
                                                                 broker_random(broker));
        token->n_purges = flight->n_purges;
        broker->counters.tokens++;
        if (old && old->rejected && token_equal(old->token, token))
                detail = REASON_REPEATED_TOKEN;
        token->exceeds = !scope_includes(grant_of_key(flight->key).scope, token_scope(token));
        if (!flight->detached)
                keep_token(broker, flight, token, now_ms);
        give_token(broker, flight, token, detail, now_ms);
}

static bool is_worth_a_retry(enum reason reason)
{
        return reason == REASON_ISSUER_ERROR || reason == REASON_ISSUER_UNREACHABLE ||
               reason == REASON_ISSUER_CUT || reason == REASON_ISSUER_TIMEOUT ||
               reason == REASON_ANSWER_UNUSABLE;
}

/* Whether the flight was put off to be tried again. */
static bool try_again_later(struct broker *broker, struct flight *flight, enum reason reason,
                            uint64_t now_ms)
{
        struct issuer *issuer = flight->issuer;
        const uint64_t pause_ms = (uint64_t)RETRY_PAUSE_MS << flight->retries;
        const uint64_t at_ms = now_ms + pause_ms / 2 + (pause_ms * broker_random(broker) >> 32);

        if (flight->n_waiters == 0 || flight->retries == RETRIES_MAX || broker->draining ||
            flight->application->retired || !is_worth_a_retry(reason) ||
            breaker_state(&issuer->breaker, now_ms) != BREAKER_CLOSED ||
            at_ms + RETRY_LEFT_MIN_MS > flight->latest_ms)
                return false;
        flight->retries++;
        flight->failure = reason;
        flight->state = FLIGHT_PAUSED;
        list_unlink(&flight->place_link);
        list_push_back(&broker->paused, &flight->link);
        (void)timerheap_set(&broker->pauses, &flight->pause, at_ms);
        broker->counters.retries++;
        issuer_finish(&broker->issuers, issuer, now_ms);
        broker_start_flights(broker, now_ms);
        return true;
}

/* Tries a flight again at once, with another secret, if anybody still wants it. */
static void try_again_now(struct broker *broker, struct flight *flight, uint64_t now_ms)
{
        flight->queued_at_ms = now_ms;
        issuer_requeue(&broker->issuers, flight->issuer, flight, now_ms);
        broker_answer_hopeless(broker, flight, now_ms);
        broker_drop_if_unwanted(broker, flight, now_ms);
}

static void take_failure(struct broker *broker, struct flight *flight, enum reason reason,
                         uint64_t now_ms)
{
        struct issuer *issuer = flight->issuer;
        struct breaker *breaker = &issuer->breaker;
        const bool reached = reason != REASON_ISSUER_UNREACHABLE &&
                             reason != REASON_ISSUER_CERTIFICATE;
        uint64_t left_ms = 0;

        broker->counters.failures++;
        if (reason == REASON_OUT_OF_MEMORY)
                broker_free_probe(broker, flight);
        else
                breaker_failed(breaker, flight->key.hash, reason, reached, now_ms);
        if (try_again_later(broker, flight, reason, now_ms))
                return;
        if (reason != REASON_OUT_OF_MEMORY && !flight->detached)
                left_ms = broker_remember_failure(broker, flight->key, reason, now_ms);
        if (left_ms < breaker_left_ms(breaker, now_ms))
                left_ms = breaker_left_ms(breaker, now_ms);
        broker_fail_waiters(broker, flight, reason, left_ms, now_ms);
        broker_end_flight(broker, flight, true, now_ms);
}

/* Holds the client: its secrets are refused, whatever the subject. Returns for how long. */
static uint64_t hold_client(struct broker *broker, struct application *application, uint64_t now_ms)
{
        struct credentials *credentials = &application->credentials;
        uint64_t left_ms;

        credentials_hold(credentials, now_ms);
        left_ms = backoff_left_ms(&credentials->hold, now_ms);
        broker_give_up_client(broker, application, REASON_CREDENTIALS_REFUSED, left_ms, now_ms);
        return left_ms;
}

static void take_refused_credentials(struct broker *broker, struct flight *flight, uint64_t now_ms)
{
        struct credentials *credentials = credentials_of(flight);
        struct issuer *issuer = flight->issuer;
        enum credentials_verdict verdict = credentials_refused(credentials, flight->secret_id);

        broker->counters.failures++;
        breaker_succeeded(&issuer->breaker, now_ms);
        /* Nothing more is tried for a client that is gone, nor where secrets change faster than the
         * issuer answers. */
        if (flight->application->retired || flight->n_secrets > CREDENTIALS_MAX + 1)
                verdict = CREDENTIALS_HOLD;
        switch (verdict) {
        case CREDENTIALS_TRY:
                try_again_now(broker, flight, now_ms);
                issuer_finish(&broker->issuers, issuer, now_ms);
                broker_start_flights(broker, now_ms);
                break;
        case CREDENTIALS_READ:
                if (!credentials->reading) {
                        credentials->reading = true;
                        list_push_back(&broker->reads, &credentials->link);
                }
                broker_park_flight(broker, flight, now_ms);
                break;
        case CREDENTIALS_HOLD:
                broker_fail_waiters(broker, flight, REASON_CREDENTIALS_REFUSED,
                                    hold_client(broker, flight->application, now_ms), now_ms);
                broker_end_flight(broker, flight, true, now_ms);
                break;
        }
}

bool broker_set_secrets(struct broker *broker, size_t client,
                        struct secret secrets[CREDENTIALS_MAX])
{
        assert(client < broker->settings->n_clients);
        return credentials_set(&broker->applications[client]->credentials, secrets);
}

const struct secret *broker_secret(const struct broker *broker, size_t client, size_t i)
{
        return &broker->applications[client]->credentials.all[i].secret;
}

void broker_secrets_read(struct broker *broker, size_t client, uint64_t now_ms)
{
        struct application *application = broker->applications[client];
        struct credentials *credentials = &application->credentials;
        const enum credentials_verdict verdict = credentials_reread(credentials);

        if (verdict == CREDENTIALS_HOLD) {
                (void)hold_client(broker, application, now_ms);
                broker_add_note(broker, NOTE_CLIENT_HELD, application, NULL,
                                REASON_CREDENTIALS_REFUSED, credentials->hold.step_ms);
        }
        /* From the last to the first, since each goes to the front. */
        while (!list_empty(&credentials->parked)) {
                struct flight *flight = list_entry(credentials->parked.prev, struct flight, link);

                list_unlink(&flight->link);
                try_again_now(broker, flight, now_ms);
        }
        broker_start_flights(broker, now_ms);
}

static void take_refused_configuration(struct broker *broker, struct flight *flight,
                                       enum reason reason, uint64_t now_ms)
{
        const struct grant grant = grant_of_key(flight->key);
        uint8_t buffer[GRANT_KEY_MAX_BYTES];
        const struct grant_key key = grant_key_make_any_subject(buffer, broker->hash_key, &grant);
        uint64_t left_ms = 0;

        if (!flight->detached)
                left_ms = remember_refusal(broker, key, reason, now_ms);
        broker->counters.failures++;
        broker_fail_waiters(broker, flight, reason, left_ms, now_ms);
        broker_end_flight(broker, flight, true, now_ms);
}

static void take_refusal(struct broker *broker, struct flight *flight, enum reason reason,
                         uint64_t now_ms)
{
        /* What the issuer takes back is not handed out any more. */
        broker->counters.refusals++;
        if (!flight->detached) {
                cache_remove(&broker->cache, flight->key);
                (void)remember_refusal(broker, flight->key, reason, now_ms);
        }
        broker_fail_waiters(broker, flight, reason, 0, now_ms);
        broker_end_flight(broker, flight, true, now_ms);
}

static void take_hold(struct broker *broker, struct flight *flight, const struct answer *answer,
                      uint64_t now_ms)
{
        struct breaker *breaker = &flight->issuer->breaker;

        broker->counters.holds++;
        breaker_held(breaker, answer->hold_ms, now_ms);
        broker_fail_waiters(broker, flight, answer->reason, breaker_left_ms(breaker, now_ms),
                            now_ms);
        broker_end_flight(broker, flight, true, now_ms);
}

/* The issuer has answered something that shows it well, and our secret accepted. */
static void note_health(struct broker *broker, const struct flight *flight, uint64_t now_ms)
{
        breaker_succeeded(&flight->issuer->breaker, now_ms);
        credentials_accepted(credentials_of(flight), flight->secret_id);
}

/* A token that came of a subject token never outlives it. One that has no life left is none. */
static void judge_life(struct answer *answer, const struct flight *flight, uint64_t now_ms,
                       int64_t wall_ms)
{
        const struct subjecttoken *subject_token = &flight->subject_token;
        const bool exchanged = subject_token->value.size > 0;
        const int64_t left_ms = subject_token->expires_at_s * 1000 - wall_ms;
        struct token *token = answer->token;

        if (token->expires_at_ms < now_ms + FRESHNESS_LIVE_MIN_MS) {
                *answer = (struct answer){.class = ANSWER_FAILURE,
                                          .reason = REASON_ANSWER_UNUSABLE};
        } else if (exchanged && left_ms < FRESHNESS_LIVE_MIN_MS) {
                *answer = (struct answer){.class = ANSWER_REFUSAL,
                                          .reason = REASON_SUBJECT_TOKEN_EXPIRED};
        } else {
                token->capped = exchanged && token->expires_at_ms - now_ms > (uint64_t)left_ms;
                if (token->capped)
                        token->expires_at_ms = now_ms + (uint64_t)left_ms;
                return;
        }
        token_unref(token);
}

enum reason broker_fetch_done(struct broker *broker, struct flight *flight,
                              const struct fetch_result *result, uint64_t now_ms, int64_t wall_ms)
{
        struct issuer *issuer = flight->issuer;
        struct application *application = flight->application;
        const struct health before = health_of(issuer, &application->credentials);
        const uint64_t open_until_ms = issuer->breaker.open.until_ms;
        const struct grant grant = grant_of_key(flight->key);
        struct answer answer;
        int r;

        assert(flight->state == FLIGHT_RUNNING);
        list_unlink(&flight->link);
        application->n_flights++; /* it is looked at after the flight has ended */
        broker_time_out_overdue(broker, flight, now_ms);

        r = answer_understand(&answer, result, broker->settings, &grant, flight->sent_at_ms,
                              wall_ms / 1000);
        if (r < 0)
                answer = (struct answer){.class = ANSWER_FAILURE, .reason = REASON_OUT_OF_MEMORY};
        if (answer.class == ANSWER_TOKEN)
                judge_life(&answer, flight, now_ms, wall_ms);
        remember_report(broker, flight, now_ms);

        switch (answer.class) {
        case ANSWER_TOKEN:
                note_health(broker, flight, now_ms);
                take_token(broker, flight, answer.token, now_ms);
                token_unref(answer.token);
                broker_end_flight(broker, flight, true, now_ms);
                break;
        case ANSWER_REFUSAL:
                note_health(broker, flight, now_ms);
                take_refusal(broker, flight, answer.reason, now_ms);
                break;
        case ANSWER_CREDENTIALS: take_refused_credentials(broker, flight, now_ms); break;
        case ANSWER_CONFIGURATION:
                note_health(broker, flight, now_ms);
                take_refused_configuration(broker, flight, answer.reason, now_ms);
                break;
        case ANSWER_HOLD: take_hold(broker, flight, &answer, now_ms); break;
        case ANSWER_FAILURE: take_failure(broker, flight, answer.reason, now_ms); break;
        }
        /* Who still waits can wait for as long as the breaker was known to stay open. */
        if (issuer->breaker.open.until_ms != open_until_ms)
                broker_leave_alone(broker, issuer, now_ms);
        if (!application->retired)
                note_changes(broker, application, issuer, &before, now_ms);
        broker_release_application(broker, application);
        return answer.reason;
}
