/* SPDX-License-Identifier: MIT */

/*
 * Flights, from their start until their fetch ends, and what to do next about them. What the end of
 * a fetch means is in broker-outcome.c.
 *
 * A flight outlives its fetches: it may be tried again after a pause, or with another secret. Its
 * end is broker_end_flight().
 */

#include "broker.h"

#include <assert.h>

#include "broker-private.h"
#include "client.h"
#include "error.h"

static struct flight *flight_of(struct list *link)
{
        return list_entry(link, struct flight, link);
}

int broker_begin_flight(struct flight **ret, struct broker *broker, const struct errand *errand,
                        const struct peer *owner, uint64_t now_ms)
{
        struct application *application = errand->application;
        struct flight *flight;
        int r;

        r = flight_new(&flight, &broker->flights, errand->key);
        if (r)
                return error_trace(r);
        if (errand->subject_token)
                r = flight_keep_subject_token(flight, errand->subject_token);
        if (r) {
                flight_free(&broker->flights, flight);
                return error_trace(r);
        }
        application->n_flights++;
        flight->application = application;
        flight->issuer = errand->issuer;
        flight->tries_client = credentials_pass(&application->credentials, now_ms) &&
                               application->credentials.probing;
        flight->refresh = !owner;
        if (owner) {
                flight_own(flight, owner->uid);
                flight->turn_uid = owner->uid;
        }
        flight->queued_at_ms = now_ms;
        issuer_enqueue(&broker->issuers, flight->issuer, flight, now_ms);
        *ret = flight;
        return 0;
}

void broker_start_flights(struct broker *broker, uint64_t now_ms)
{
        struct flight *flight;

        if (broker->overdue)
                return;
        while ((flight = issuers_start(&broker->issuers, now_ms))) {
                struct issuer *issuer = flight->issuer;

                if (issuer->breaker.state == BREAKER_HALF_OPEN)
                        broker_add_note(broker, NOTE_ISSUER_PROBED, flight->application,
                                        issuer->url, issuer->breaker.last_failure, 0);
                flight->state = FLIGHT_STARTING;
                list_push_back(&broker->starts, &flight->link);
        }
}

/* Whether an issuer may be asked behind the callers' backs: it is well, or it is time for a probe
 * and no caller is there to be one. */
static bool takes_refreshes(struct issuer *issuer, uint64_t now_ms)
{
        switch (breaker_state(&issuer->breaker, now_ms)) {
        case BREAKER_CLOSED: return true;
        case BREAKER_HALF_OPEN:
                return breaker_may_start(&issuer->breaker, now_ms) && list_empty(&issuer->queue) &&
                       list_empty(&issuer->refreshes);
        default: return false;
        }
}

void broker_refresh(struct broker *broker, const struct errand *errand, uint64_t now_ms)
{
        const struct grant_key key = errand->key;
        const struct memory_record *record;
        struct flight *flight;
        uint64_t left_ms;

        if (broker->draining || flights_find(&broker->flights, key))
                return;
        record = memory_find(&broker->memory, key, now_ms);
        if ((record && backoff_holds(&record->refresh, now_ms)) ||
            broker_remembered_refusal(broker, key, now_ms, &left_ms) ||
            errand->application->credentials.hold.step_ms > 0 ||
            !takes_refreshes(errand->issuer, now_ms) || !flights_admit_refresh(&broker->flights))
                return;
        if (broker_begin_flight(&flight, broker, errand, NULL, now_ms) < 0)
                return; /* the next request will try again */
        broker->counters.refreshes++;
        broker_start_flights(broker, now_ms);
}

void broker_release_waiter(struct broker *broker, struct waiter *waiter)
{
        timerheap_cancel(&broker->deadlines, &waiter->deadline);
        flight_leave(&broker->flights, waiter);
        list_push_back(&broker->replies, &waiter->link);
}

struct cache_entry *broker_fallback(struct broker *broker, const struct waiter *waiter,
                                    uint64_t now_ms)
{
        struct cache_entry *entry = NULL;

        if (waiter->has_fallback)
                entry = broker_lookup(broker, waiter->flight->key, now_ms);
        /* What it reported may have come back, by another flight than a purged one. */
        return entry && broker_is_rejected(entry->token, waiter->request) ? NULL : entry;
}

static void fail_waiter(struct broker *broker, struct waiter *waiter, struct cache_entry *old,
                        enum reason reason, uint64_t left_ms, uint64_t now_ms)
{
        if (old)
                broker_reply_old_token(broker, &waiter->reply, old, reason, now_ms);
        else
                broker_reply_reason(&waiter->reply, reason, left_ms);
        broker_release_waiter(broker, waiter);
}

void broker_fail_waiters(struct broker *broker, struct flight *flight, enum reason reason,
                         uint64_t left_ms, uint64_t now_ms)
{
        broker_time_out_overdue(broker, flight, now_ms);
        list_for_each_safe (link, &flight->waiters) {
                struct waiter *waiter = list_entry(link, struct waiter, link);

                fail_waiter(broker, waiter, broker_fallback(broker, waiter, now_ms), reason,
                            left_ms, now_ms);
        }
}

void broker_free_flight(struct broker *broker, struct flight *flight)
{
        struct application *application = flight->application;

        if (flight->n_sent == 0 && flight->payer)
                quota_release(broker_quota_of(broker, flight->payer));
        flight_free(&broker->flights, flight);
        broker_release_application(broker, application);
}

void broker_release_application(struct broker *broker, struct application *application)
{
        if (--application->n_flights == 0 && application->retired)
                application_free(application, &broker->issuers);
}

/* One that was let through to see whether a held client's secrets work again, and has not seen it,
 * leaves that to the next. */
static void free_flight(struct broker *broker, struct flight *flight, uint64_t now_ms)
{
        if (flight->tries_client)
                credentials_unpass(&flight->application->credentials, now_ms);
        broker_free_flight(broker, flight);
}

void broker_end_flight(struct broker *broker, struct flight *flight, bool placed, uint64_t now_ms)
{
        list_unlink(&flight->place_link);
        if (placed)
                issuer_finish(&broker->issuers, flight->issuer, now_ms);
        free_flight(broker, flight, now_ms);
        broker_start_flights(broker, now_ms);
}

void broker_free_probe(struct broker *broker, const struct flight *flight)
{
        struct breaker *breaker = &flight->issuer->breaker;

        if (breaker->probe_key == flight->key.hash)
                breaker_dropped(breaker);
}

void broker_park_flight(struct broker *broker, struct flight *flight, uint64_t now_ms)
{
        flight->state = FLIGHT_PARKED;
        list_unlink(&flight->place_link);
        list_push_back(&flight->application->credentials.parked, &flight->link);
        issuer_finish(&broker->issuers, flight->issuer, now_ms);
        broker_answer_hopeless(broker, flight, now_ms);
        broker_start_flights(broker, now_ms);
}

/* Takes a flight that is not under way and has no waiters out of wherever it is, and frees it.
 * Starts nothing in its place, so that a list can be walked meanwhile. */
static void withdraw(struct broker *broker, struct flight *flight, uint64_t now_ms)
{
        struct issuer *issuer = flight->issuer;

        timerheap_cancel(&broker->pauses, &flight->pause);
        if (flight->state == FLIGHT_QUEUED) {
                issuer_dequeue(&broker->issuers, issuer, flight, now_ms);
        } else if (flight->state == FLIGHT_STARTING) {
                list_unlink(&flight->link);
                list_unlink(&flight->place_link);
                broker_free_probe(broker, flight);
                issuer_finish(&broker->issuers, issuer, now_ms);
        } else {
                list_unlink(&flight->link);
        }
        free_flight(broker, flight, now_ms);
        broker->counters.dropped++;
}

/* Whether it could be dropped: it is not under way, nor about to be. */
static bool drop_unsent(struct broker *broker, struct flight *flight, uint64_t now_ms)
{
        if (flight->state != FLIGHT_QUEUED && flight->state != FLIGHT_PAUSED)
                return false;
        if (flight->failure && !flight->detached)
                (void)broker_remember_failure(broker, flight->key, flight->failure, now_ms);
        withdraw(broker, flight, now_ms);
        return true;
}

void broker_drop_refreshes(struct broker *broker, uint64_t now_ms)
{
        list_for_each (issuer_link, &broker->issuers.all) {
                struct issuer *issuer = list_entry(issuer_link, struct issuer, link);

                list_for_each_safe (link, &issuer->refreshes)
                        (void)drop_unsent(broker, flight_of(link), now_ms);
        }
        broker_start_flights(broker, now_ms);
}

void broker_drop_if_unwanted(struct broker *broker, struct flight *flight, uint64_t now_ms)
{
        if (flight->n_waiters > 0)
                issuer_leave(&broker->issuers, flight->issuer, flight, now_ms);
        else if (!flight->refresh && drop_unsent(broker, flight, now_ms))
                broker_start_flights(broker, now_ms);
}

/* Answers and ends a flight that is not under way. */
static void give_up(struct broker *broker, struct flight *flight, enum reason reason,
                    uint64_t left_ms, uint64_t now_ms)
{
        broker_fail_waiters(broker, flight, reason, left_ms, now_ms);
        withdraw(broker, flight, now_ms);
}

void broker_give_up_client(struct broker *broker, struct application *application,
                           enum reason reason, uint64_t left_ms, uint64_t now_ms)
{
        list_for_each_safe (link, &broker->flights.all) {
                struct flight *flight = list_entry(link, struct flight, all_link);

                if (flight->application == application && flight->state != FLIGHT_RUNNING &&
                    flight->state != FLIGHT_CANCELLED)
                        give_up(broker, flight, reason, left_ms, now_ms);
        }
}

void broker_answer_hopeless(struct broker *broker, struct flight *flight, uint64_t now_ms)
{
        enum reason reason;
        uint64_t left_ms;

        reason = broker_issuer_blocked(flight->issuer, now_ms, &left_ms);
        if (!reason)
                return;
        broker_time_out_overdue(broker, flight, now_ms);
        list_for_each_safe (link, &flight->waiters) {
                struct waiter *waiter = list_entry(link, struct waiter, link);
                struct cache_entry *old = broker_fallback(broker, waiter, now_ms);
                const uint64_t until_ms = old ? timerheap_at_ms(&broker->deadlines,
                                                                &waiter->deadline)
                                              : waiter->gives_up_at_ms;

                if (until_ms <= now_ms + left_ms)
                        fail_waiter(broker, waiter, old, reason, left_ms, now_ms);
        }
}

/* Puts flights that were about to be sent to an issuer back into its queue. */
static void take_back_starts(struct broker *broker, struct issuer *issuer, uint64_t now_ms)
{
        /* From the last to the first, since each goes to the front. */
        for (struct list *link = broker->starts.prev, *next; link != &broker->starts; link = next) {
                struct flight *flight = flight_of(link);

                next = link->prev;
                if (flight->issuer == issuer) {
                        list_unlink(link);
                        issuer_requeue(&broker->issuers, issuer, flight, now_ms);
                        issuer_finish(&broker->issuers, issuer, now_ms);
                }
        }
}

void broker_leave_alone(struct broker *broker, struct issuer *issuer, uint64_t now_ms)
{
        if (breaker_left_ms(&issuer->breaker, now_ms) == 0)
                return;
        take_back_starts(broker, issuer, now_ms);
        list_for_each_safe (link, &broker->flights.all) {
                struct flight *flight = list_entry(link, struct flight, all_link);

                if (flight->issuer != issuer || flight->state == FLIGHT_RUNNING ||
                    flight->state == FLIGHT_CANCELLED)
                        continue;
                broker_answer_hopeless(broker, flight, now_ms);
                broker_drop_if_unwanted(broker, flight, now_ms);
        }
        broker_start_flights(broker, now_ms);
}

void broker_fetch_dropped(struct broker *broker, struct flight *flight, uint64_t now_ms)
{
        assert(flight->state == FLIGHT_RUNNING);
        list_unlink(&flight->link);
        broker->counters.dropped++;
        broker->counters.fetches--;
        if (--flight->n_sent == 0 && flight->payer)
                quota_untake(broker_quota_of(broker, flight->payer), flight->payer->fetches);
        broker_free_probe(broker, flight);
        broker_fail_waiters(broker, flight, REASON_CALLER_GONE, 0, now_ms);
        broker_end_flight(broker, flight, true, now_ms);
}

struct waiter *broker_next_waiter(struct flight *flight, struct waiter *waiter)
{
        struct list *link = waiter ? waiter->link.next : flight->waiters.next;

        return link == &flight->waiters ? NULL : list_entry(link, struct waiter, link);
}

/* The fetch of a flight begins: it is the caller's of broker_next() from here. */
static int begin_fetch(struct broker *broker, struct flight *flight, uint64_t now_ms,
                       struct command *ret)
{
        struct application *application = flight->application;
        const struct client_settings *client = application->settings;
        const struct credential *credential = credentials_first(&application->credentials);
        const struct grant grant = grant_of_key(flight->key);
        struct secret form = SECRET_INIT(0);
        int r;

        r = grant_form(&form, &grant, client_sent_id(client), &credential->secret,
                       &flight->subject_token);
        if (r) {
                secret_deinit(&form);
                return error_trace(r);
        }
        flight->state = FLIGHT_RUNNING;
        if (flight->n_sent++ == 0 && flight->payer)
                quota_take(broker_quota_of(broker, flight->payer), flight->payer->fetches, now_ms);
        flight->sent_at_ms = now_ms;
        flight->n_purges = broker->n_purges_asked;
        if (flight->secret_id != credential->id)
                flight->n_secrets++;
        flight->secret_id = credential->id;
        list_push_back(&broker->running, &flight->link);
        broker->counters.fetches++;
        *ret = (struct command){
                .kind = COMMAND_FETCH,
                .flight = flight,
                .waited = now_ms > flight->queued_at_ms && !flight->refresh,
                .client_index = application->index,
                .url = flight->issuer->url,
                .client = client->name,
                .form = form,
        };
        return 0;
}

/* Whether anybody waits, or there is still a token that is to be renewed. */
static bool is_wanted(const struct broker *broker, const struct flight *flight, uint64_t now_ms)
{
        return flight->n_waiters > 0 ||
               (flight->refresh && broker_peek(broker, flight->key, now_ms));
}

/* Whether the subject token that was to be exchanged has ended meanwhile. */
static bool has_lost_its_token(const struct broker *broker, const struct flight *flight,
                               uint64_t now_ms)
{
        return flight->subject_token.value.size > 0 &&
               broker_has_ended(broker, &flight->subject_token, now_ms);
}

/* The next flight to start as a command; those that nobody wants are dropped on the way. */
static bool next_start(struct broker *broker, uint64_t now_ms, struct command *ret)
{
        struct list *link;

        while ((link = list_first(&broker->starts))) {
                struct flight *flight = flight_of(link);

                list_unlink(link);
                broker_time_out_overdue(broker, flight, now_ms);
                if (!is_wanted(broker, flight, now_ms)) {
                        broker->counters.dropped++;
                } else if (has_lost_its_token(broker, flight, now_ms)) {
                        broker->counters.dropped++;
                        broker_fail_waiters(broker, flight, REASON_SUBJECT_TOKEN_EXPIRED, 0,
                                            now_ms);
                } else if (flight->application->credentials.reading) {
                        /* The secret at hand has just been refused. */
                        broker_free_probe(broker, flight);
                        broker_park_flight(broker, flight, now_ms);
                        continue;
                } else {
                        if (begin_fetch(broker, flight, now_ms, ret) == 0)
                                return true;
                        broker->counters.failures++;
                        broker_fail_waiters(broker, flight, REASON_OUT_OF_MEMORY, 0, now_ms);
                }
                broker_free_probe(broker, flight);
                broker_end_flight(broker, flight, true, now_ms);
        }
        return false;
}

/* A reply may have lain for a while since it was put together. */
static void bring_up_to_date(struct broker *broker, struct reply *reply, uint64_t now_ms)
{
        struct token *token = reply->token;

        if (!token)
                return;
        if (now_ms + FRESHNESS_LIVE_MIN_MS <= token->expires_at_ms) {
                reply->expires_in_s = (token->expires_at_ms - now_ms) / 1000;
                return;
        }
        broker_take_back(reply);
        broker->counters.timed_out++;
        broker_reply_reason(reply, REASON_REQUEST_TIMEOUT, 0);
}

bool broker_next(struct broker *broker, uint64_t now_ms, struct command *ret)
{
        struct list *link;

        link = list_first(&broker->cancels);
        if (link) {
                struct flight *flight = flight_of(link);

                *ret = (struct command){.kind = COMMAND_CANCEL, .flight = flight};
                list_unlink(link);
                broker_free_flight(broker, flight);
                return true;
        }
        if (broker->n_notes > 0) {
                *ret = (struct command){.kind = COMMAND_NOTE,
                                        .note = broker->notes[broker->first_note].note};
                broker->first_note = (broker->first_note + 1) % NOTES_MAX;
                broker->n_notes--;
                return true;
        }
        link = list_first(&broker->reads);
        if (link) {
                list_unlink(link);
                *ret = (struct command){
                        .kind = COMMAND_READ_SECRETS,
                        .client_index =
                                application_of(list_entry(link, struct credentials, link))->index,
                };
                return true;
        }
        if (next_start(broker, now_ms, ret))
                return true;
        link = list_first(&broker->purged);
        if (link) {
                list_unlink(link);
                *ret = (struct command){.kind = COMMAND_PURGED,
                                        .purge = list_entry(link, struct purge, link)};
                return true;
        }
        link = list_first(&broker->replies);
        if (link) {
                struct waiter *waiter = list_entry(link, struct waiter, link);

                list_unlink(link);
                bring_up_to_date(broker, &waiter->reply, now_ms);
                *ret = (struct command){.kind = COMMAND_REPLY, .waiter = waiter};
                return true;
        }
        return false;
}
