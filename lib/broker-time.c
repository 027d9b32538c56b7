/* SPDX-License-Identifier: MIT */

/*
 * What the clock brings: callers whose time is up, tokens at their refresh point or past their end,
 * flights to be tried again, breakers that become half-open; and the end of everything.
 */

#include "broker.h"

#include "broker-private.h"

/* How many waiters one broker_tick() answers, or lets wait on, since their time is up. */
#define TICK_DEADLINES_MAX 256

/* How many entries one broker_tick() looks at. */
#define TICK_ENTRIES_MAX 256

/* Entries come due on whole seconds, so that a full cache does not wake the loop for each. */
#define ENTRY_GRAIN_MS 1000

/* The time of day may run ahead by so much between two ticks before it counts as a leap. */
#define LEAP_MIN_MS 60000

/* Answers a waiter whose time is up, or lets it wait on to its own end. */
static void time_out(struct broker *broker, struct waiter *waiter, uint64_t now_ms)
{
        struct cache_entry *old = NULL;

        if (waiter->has_fallback) {
                old = broker_fallback(broker, waiter, now_ms);
                waiter->has_fallback = false;
                if (!old && waiter->gives_up_at_ms > now_ms) {
                        /* It was evicted or has ended: this caller waits like any other. */
                        (void)timerheap_set(&broker->deadlines, &waiter->deadline,
                                            waiter->gives_up_at_ms);
                        return;
                }
        }
        if (old) {
                broker_reply_old_token(broker, &waiter->reply, old, REASON_REQUEST_TIMEOUT, now_ms);
        } else {
                broker->counters.timed_out++;
                broker_reply_reason(&waiter->reply, REASON_REQUEST_TIMEOUT, 0);
        }
        broker_release_waiter(broker, waiter);
}

/* Ends the waits whose time is up, as many as one tick may. */
static void end_waits(struct broker *broker, uint64_t now_ms)
{
        struct timer *timer;

        for (int i = 0; i < TICK_DEADLINES_MAX; i++) {
                struct waiter *waiter;
                struct flight *flight;

                timer = timerheap_pop(&broker->deadlines, now_ms);
                if (!timer)
                        break;
                waiter = list_entry(timer, struct waiter, deadline);
                flight = waiter->flight;
                time_out(broker, waiter, now_ms);
                if (!waiter->flight)
                        broker_drop_if_unwanted(broker, flight, now_ms);
        }
        broker->overdue = timerheap_next_ms(&broker->deadlines) <= now_ms;
}

void broker_time_out_overdue(struct broker *broker, struct flight *flight, uint64_t now_ms)
{
        if (!broker->overdue)
                return;
        list_for_each_safe (link, &flight->waiters) {
                struct waiter *waiter = list_entry(link, struct waiter, link);

                if (timerheap_at_ms(&broker->deadlines, &waiter->deadline) <= now_ms)
                        time_out(broker, waiter, now_ms);
        }
}

static void end_pauses(struct broker *broker, uint64_t now_ms)
{
        struct timer *timer;

        while ((timer = timerheap_pop(&broker->pauses, now_ms))) {
                struct flight *flight = list_entry(timer, struct flight, pause);

                list_unlink(&flight->link);
                flight->queued_at_ms = now_ms;
                issuer_requeue(&broker->issuers, flight->issuer, flight, now_ms);
        }
}

/* A paused virtual machine stops the clock that lifetimes are measured by, and not the issuer's:
 * when the time of day has run ahead, no token can be sure of its refresh point. */
static void watch_wall_clock(struct broker *broker, uint64_t now_ms, int64_t wall_ms)
{
        const int64_t ahead_ms = wall_ms - (int64_t)now_ms;

        if (broker->wall_known && ahead_ms - broker->wall_ahead_ms > LEAP_MIN_MS)
                broker->due_since_ms = now_ms;
        broker->wall_known = true;
        broker->wall_ahead_ms = ahead_ms;
}

static void refresh_entry(struct broker *broker, const struct cache_entry *entry, uint64_t now_ms)
{
        const struct grant_key key = cache_entry_key(entry);
        const struct grant grant = grant_of_key(key);
        struct application *application = broker_application_of(broker, grant.identity);
        struct issuer *issuer;

        /* Nobody has the subject token any more that an exchange needs. */
        if (!application || grant.subject_kind == SUBJECT_EXCHANGE)
                return;
        issuer = application->issuers[grant_audience(grant.subject_kind)];
        if (issuer)
                broker_refresh(
                        broker,
                        &(struct errand){.key = key, .application = application, .issuer = issuer},
                        now_ms);
}

void broker_tick(struct broker *broker, uint64_t now_ms, int64_t wall_ms)
{
        enum cache_event event = CACHE_EVENT_EXPIRED;
        struct cache_entry *entry = NULL;

        watch_wall_clock(broker, now_ms, wall_ms);
        end_waits(broker, now_ms);
        end_pauses(broker, now_ms);
        issuers_tick(&broker->issuers, now_ms);
        for (int i = 0; i < TICK_ENTRIES_MAX && event != CACHE_EVENT_NONE; i++) {
                event = cache_next_event(&broker->cache, now_ms, &entry);
                if (event == CACHE_EVENT_DUE && entry->used && !broker_is_purged(broker, entry))
                        refresh_entry(broker, entry, now_ms);
        }
        broker_tick_growth(broker);
        broker->trimming = cache_trim(&broker->cache, TICK_ENTRIES_MAX);
        broker_tick_purges(broker);
        broker_start_flights(broker, now_ms);
}

uint64_t broker_next_tick_ms(const struct broker *broker)
{
        const uint64_t times_ms[] = {
                timerheap_next_ms(&broker->deadlines),
                timerheap_next_ms(&broker->pauses),
                issuers_next_tick_ms(&broker->issuers),
        };
        uint64_t next_ms = cache_next_event_ms(&broker->cache);

        if (!list_empty(&broker->purges) || broker->trimming || broker->overdue ||
            broker_is_growing(broker))
                return 0;
        if (next_ms != TIMERHEAP_NEVER)
                next_ms = (next_ms / ENTRY_GRAIN_MS + 1) * ENTRY_GRAIN_MS;
        for (size_t i = 0; i < sizeof(times_ms) / sizeof(times_ms[0]); i++)
                if (times_ms[i] < next_ms)
                        next_ms = times_ms[i];
        return next_ms;
}

void broker_drain(struct broker *broker, uint64_t now_ms)
{
        broker->draining = true;
        broker_drop_refreshes(broker, now_ms);
}

bool broker_is_idle(const struct broker *broker)
{
        return broker->flights.n_flights == 0 && list_empty(&broker->replies) &&
               list_empty(&broker->purges) && list_empty(&broker->purged);
}

void broker_abort(struct broker *broker, uint64_t now_ms)
{
        broker_drain(broker, now_ms);
        broker_finish_purges(broker);
        for (size_t i = 0; i < broker->settings->n_clients; i++)
                broker_give_up_client(broker, broker->applications[i], REASON_SHUTTING_DOWN, 0,
                                      now_ms);
        list_for_each_safe (link, &broker->running) {
                struct flight *flight = list_entry(link, struct flight, link);

                broker_fail_waiters(broker, flight, REASON_SHUTTING_DOWN, 0, now_ms);
                broker_free_probe(broker, flight);
                issuer_finish(&broker->issuers, flight->issuer, now_ms);
                flight->state = FLIGHT_CANCELLED;
                list_unlink(link);
                list_push_back(&broker->cancels, link);
        }
}
