/* SPDX-License-Identifier: MIT */

/*
 * The broker between two turns of the loop, from outside and from inside: counters add up, no limit
 * is exceeded, lists and counters say the same, and no flight waits for what it could have.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "broker-private.h"
#include "world.h"

/* More uids than these hold nothing in any test. */
#define HOLDERS_MAX 64

struct tally {
        size_t n_flights;
        size_t n_waiters;
};

/* Nobody waits, for what is not under way, behind an issuer that is left alone until he has
 * stopped waiting. What replaced a purged entry later is no matter here. */
static void watch_hope(const struct world *world, const struct flight *flight,
                       const struct waiter *waiter)
{
        struct breaker breaker = flight->issuer->breaker; /* a copy, since looking may move it on */
        const bool old = waiter->has_fallback && !flight->detached &&
                         broker_peek(world->broker, flight->key, world->now_ms);

        if (breaker_state(&breaker, world->now_ms) == BREAKER_OPEN)
                assert_true((old ? timerheap_at_ms(&world->broker->deadlines, &waiter->deadline)
                                 : waiter->gives_up_at_ms) > breaker.open.until_ms);
}

static size_t watch_list(const struct world *world, const struct list *list,
                         enum flight_state state, struct tally *tally)
{
        size_t n = 0;

        list_for_each (link, list) {
                const struct flight *flight = list_entry(link, struct flight, link);
                size_t n_waiters = 0;

                assert_int_equal(flight->state, state);
                assert_int_equal(timer_is_set(&flight->pause), state == FLIGHT_PAUSED);
                list_for_each (waiting, &flight->waiters) {
                        const struct waiter *waiter = list_entry(waiting, struct waiter, link);

                        assert_ptr_equal(waiter->flight, flight);
                        assert_true(timer_is_set(&waiter->deadline));
                        if (state != FLIGHT_RUNNING)
                                watch_hope(world, flight, waiter);
                        n_waiters++;
                }
                assert_int_equal(flight->n_waiters, n_waiters);
                /* Whoever runs may go on for nobody; whoever waits does it for somebody. */
                if (state == FLIGHT_QUEUED || state == FLIGHT_PAUSED)
                        assert_true(n_waiters > 0 || flight->refresh);
                if (n_waiters > 0)
                        assert_false(flight->refresh);
                /* To be sent again is not to be tried with another secret. */
                if (world->n_secret_ends == 0 && flight->application->credentials.last_id == 1)
                        assert_true(flight->n_secrets <= 1);
                tally->n_waiters += n_waiters;
                tally->n_flights++;
                n++;
        }
        return n;
}

/* Whether a uid other than root's has one of an issuer's places; they are counted on the way. */
static bool has_place(const struct issuer *issuer, uid_t uid)
{
        bool has = false;
        size_t n = 0;

        list_for_each (link, &issuer->placed) {
                const struct flight *flight = list_entry(link, struct flight, place_link);

                has |= flight->turn_uid == uid && !flight->refresh && uid != 0;
                n++;
        }
        assert_int_equal(n, issuer->n_in_flight);
        return has;
}

/* The last quarter of the places is for those who have none. */
static bool is_in_reserve(const struct issuer *issuer)
{
        return issuer->n_in_flight + issuer->max_in_flight / 4 >= issuer->max_in_flight;
}

/* Whether anybody who waits for a flight has no place at its issuer. */
static bool has_placeless(const struct issuer *issuer, const struct flight *flight)
{
        list_for_each (link, &flight->waiters)
                if (!has_place(issuer, list_entry(link, struct waiter, link)->peer->uid))
                        return true;
        return false;
}

/* Nobody waits for what would start, were it a flight of his own. */
static void watch_reserve(const struct issuer *issuer)
{
        list_for_each (link, &issuer->queue)
                assert_true(is_in_reserve(issuer) &&
                            !has_placeless(issuer, list_entry(link, struct flight, link)));
}

/* Whatever keeps flights from starting, the issuer knows which would be the next, and is among
 * those that are ready if there is one. */
static void watch_next(const struct issuer *issuer, bool may_start, bool settled)
{
        const struct flight *next = NULL;

        list_for_each (link, &issuer->queue) {
                const struct flight *flight = list_entry(link, struct flight, link);

                if (issuer->n_in_flight < issuer->max_in_flight &&
                    (!is_in_reserve(issuer) || has_placeless(issuer, flight))) {
                        next = flight;
                        break;
                }
        }
        assert_ptr_equal(issuer->next, next);
        if (!list_empty(&issuer->turn))
                assert_true(may_start && next);
        else if (settled)
                assert_false(may_start && next);
}

static void watch_issuer(const struct world *world, const struct issuer *issuer)
{
        const struct broker *broker = world->broker;
        const uint64_t now_ms = world->now_ms;
        struct breaker breaker = issuer->breaker; /* a copy, since looking may move it on */
        const enum breaker_state state = breaker_state(&breaker, now_ms);
        const bool place = broker->issuers.n_in_flight < broker->issuers.max_in_flight &&
                           issuer->n_in_flight < issuer->max_in_flight;
        /* What the clock brings has come when the next tick has been. */
        const bool settled = broker_next_tick_ms(broker) > now_ms;
        const bool may_start = breaker_may_start(&breaker, now_ms);

        assert_int_equal(issuer->max_in_flight, world->settings.max_in_flight);
        assert_true(issuer->n_in_flight <= issuer->max_in_flight || world->lowered);
        watch_next(issuer, may_start, settled);
        if (place && settled && may_start) {
                watch_reserve(issuer);
                if (state == BREAKER_CLOSED &&
                    issuer->n_in_flight < (issuer->max_in_flight + 1) / 2)
                        assert_true(list_empty(&issuer->refreshes));
        }
        if (breaker.state == BREAKER_HALF_OPEN && breaker.probing)
                assert_true(issuer->n_in_flight > 0);
}

/* Who holds how much of something, counted by hand. */
struct holders {
        struct {
                uid_t uid;
                size_t n;
        } all[HOLDERS_MAX];
        size_t n;
};

static void count_holder(struct holders *holders, uid_t uid)
{
        size_t i = 0;

        if (uid == 0)
                return;
        while (i < holders->n && holders->all[i].uid != uid)
                i++;
        assert_true(i < HOLDERS_MAX);
        if (i == holders->n)
                holders->all[holders->n++].uid = uid;
        holders->all[i].n++;
}

static void watch_shares(const struct shares *shares, const struct holders *holders, size_t limit,
                         bool lowered)
{
        assert_int_equal(shares->n_uids, holders->n);
        for (size_t i = 0; i < holders->n; i++) {
                assert_int_equal(shares_held(shares, holders->all[i].uid), holders->all[i].n);
                assert_true(holders->all[i].n <= (limit < 4 ? 1 : limit / 4) || lowered);
        }
}

/* All flights, whatever their state: each is in the table or detached, and what it takes of the
 * shares is what was given. */
static void watch_flights(struct flights *flights, bool lowered)
{
        struct holders owners = {}, waiters = {};
        size_t n = 0, n_in_table = 0;

        list_for_each (link, &flights->all) {
                struct flight *flight = list_entry(link, struct flight, all_link);

                assert_true((flights_find(flights, flight->key) == flight) == !flight->detached);
                n_in_table += !flight->detached;
                n++;
                if (flight->has_owner)
                        count_holder(&owners, flight->owner);
                list_for_each (waiting, &flight->waiters)
                        count_holder(&waiters, list_entry(waiting, struct waiter, link)->peer->uid);
        }
        assert_int_equal(n, flights->n_flights);
        for (uint64_t at = 0; at < TABLE_END; at = table_bucket_end(&flights->table, at))
                for (struct table_node *it = *table_bucket(&flights->table, at); it; it = it->next)
                        n_in_table--;
        assert_int_equal(n_in_table, 0);
        watch_shares(&flights->flight_shares, &owners, flights->max_flights, lowered);
        watch_shares(&flights->waiter_shares, &waiters, flights->max_waiters, lowered);
}

/* What is set aside of the rules' quotas is for flights that were not sent yet. */
static void watch_quotas(const struct broker *broker)
{
        const struct policy *policy = broker->policy;

        for (size_t i = 0; i < policy->n_rules; i++) {
                size_t n = 0;

                list_for_each (link, &broker->flights.all) {
                        const struct flight *flight = list_entry(link, struct flight, all_link);

                        n += flight->payer == &policy->rules[i] && flight->n_sent == 0;
                }
                assert_int_equal(broker->quotas[i].n_reserved, n);
                assert_true(n <= policy->rules[i].fetches.count);
        }
        list_for_each (link, &broker->flights.all) {
                const struct flight *flight = list_entry(link, struct flight, all_link);

                if (flight->payer)
                        assert_true(flight->payer >= policy->rules &&
                                    flight->payer < policy->rules + policy->n_rules);
                if (flight->state == FLIGHT_RUNNING || flight->state == FLIGHT_PAUSED)
                        assert_true(flight->n_sent > 0);
        }
}

/* All that queue stand among those of their uid, too, in the same order. */
static size_t watch_turns(const struct issuer *issuer)
{
        size_t n = 0;

        for (size_t i = 0; i < ISSUER_TURNS; i++) {
                const struct flight *before = NULL;

                list_for_each (link, &issuer->turns[i].queued) {
                        const struct flight *flight = list_entry(link, struct flight, turn_link);

                        assert_int_equal(flight->turn_uid % ISSUER_TURNS, i);
                        if (before && before->turn_uid == flight->turn_uid)
                                assert_true(before->round <= flight->round);
                        before = flight;
                        n++;
                }
        }
        return n;
}

static void watch_rounds(const struct issuer *issuer)
{
        size_t n = watch_turns(issuer);
        uint64_t round = issuer->round;

        list_for_each (link, &issuer->queue) {
                const struct flight *flight = list_entry(link, struct flight, link);

                assert_true(flight->round >= round);
                round = flight->round;
                n--;
        }
        assert_int_equal(n, 0);
}

static size_t flights_of(const struct broker *broker, const struct application *application)
{
        size_t n = 0;

        list_for_each (link, &broker->flights.all)
                n += list_entry(link, struct flight, all_link)->application == application;
        return n;
}

/* Refers to an issuer: how many of its audiences are fetched there. */
static size_t references(const struct application *application, const struct issuer *issuer)
{
        size_t n = 0;

        for (int i = 0; i < _AUDIENCE_N; i++)
                n += application->issuers[i] == issuer;
        return n;
}

static void watch_application(const struct broker *broker, const struct application *application,
                              const struct client_settings *settings)
{
        assert_int_equal(flights_of(broker, application), application->n_flights);
        assert_ptr_equal(application->settings, settings);
        assert_int_equal(application->retired, !settings);
        for (int i = 0; settings && i < _AUDIENCE_N; i++) {
                assert_int_equal(!settings->token_url[i], !application->issuers[i]);
                if (settings->token_url[i])
                        assert_string_equal(settings->token_url[i], application->issuers[i]->url);
        }
}

/* What is configured is there; what is not is there for the sake of fetches under way, of which
 * nothing will be kept. Every issuer is somebody's. */
static void watch_applications(const struct broker *broker)
{
        size_t n_flights = 0;

        for (size_t i = 0; i < broker->settings->n_clients; i++) {
                assert_int_equal(broker->applications[i]->index, i);
                watch_application(broker, broker->applications[i], &broker->settings->clients[i]);
                n_flights += broker->applications[i]->n_flights;
        }
        list_for_each (link, &broker->retired) {
                const struct application *application = list_entry(link, struct application, link);

                watch_application(broker, application, NULL);
                assert_true(application->n_flights > 0);
                n_flights += application->n_flights;
        }
        assert_int_equal(n_flights, broker->flights.n_flights);
        list_for_each (link, &broker->flights.all) {
                const struct flight *flight = list_entry(link, struct flight, all_link);

                assert_true(references(flight->application, flight->issuer) > 0);
                assert_int_equal(grant_of_key(flight->key).subject_kind == SUBJECT_EXCHANGE,
                                 flight->subject_token.value.size > 0);
                if (flight->application->retired)
                        assert_true(flight->detached && flight->state == FLIGHT_RUNNING);
        }
        list_for_each (link, &broker->issuers.all) {
                const struct issuer *issuer = list_entry(link, struct issuer, link);
                size_t n = 0;

                for (size_t i = 0; i < broker->settings->n_clients; i++)
                        n += references(broker->applications[i], issuer);
                list_for_each (it, &broker->retired)
                        n += references(list_entry(it, struct application, link), issuer);
                assert_int_equal(n, issuer->n_refs);
                assert_ptr_equal(issuers_find(&broker->issuers, issuer->url), issuer);
        }
}

static void watch_broker(const struct world *world)
{
        const struct broker *broker = world->broker;
        struct tally tally = {};
        size_t n_in_flight = 0, n_running;

        list_for_each (link, &broker->issuers.all) {
                const struct issuer *issuer = list_entry(link, struct issuer, link);

                (void)watch_list(world, &issuer->queue, FLIGHT_QUEUED, &tally);
                (void)watch_list(world, &issuer->refreshes, FLIGHT_QUEUED, &tally);
                watch_issuer(world, issuer);
                watch_rounds(issuer);
                n_in_flight += issuer->n_in_flight;
        }
        for (size_t i = 0; i < broker->settings->n_clients; i++) {
                const struct credentials *credentials = &broker->applications[i]->credentials;

                if (watch_list(world, &credentials->parked, FLIGHT_PARKED, &tally) > 0)
                        assert_true(credentials->reading);
        }
        watch_applications(broker);
        watch_quotas(broker);
        assert_int_equal(watch_list(world, &broker->paused, FLIGHT_PAUSED, &tally),
                         broker->pauses.n);
        n_running = watch_list(world, &broker->running, FLIGHT_RUNNING, &tally);
        assert_int_equal(n_running, n_in_flight);
        assert_int_equal(n_running, broker->issuers.n_in_flight);
        assert_int_equal(n_running, world->n_fetches);
        assert_true(list_empty(&broker->starts));
        assert_true(list_empty(&broker->cancels));
        assert_true(list_empty(&broker->replies));
        watch_flights((struct flights *)&broker->flights, world->lowered); /* only looked at */
        assert_true(list_empty(&broker->purged));
        assert_int_equal(broker->n_purges, world->n_purging);
        assert_int_equal(tally.n_flights, broker->flights.n_flights);
        assert_int_equal(tally.n_waiters, broker->flights.n_waiters);
        assert_int_equal(tally.n_waiters, broker->deadlines.n);
}

/* What was over a limit when that was lowered gets less, and no more. */
static void watch_limit(uint64_t *peak, uint64_t n, uint64_t limit)
{
        if (n > limit)
                assert_true(n <= *peak);
        *peak = n > limit ? n : limit;
}

bool world_sweeps(const struct world *world)
{
        return !list_empty(&world->broker->sweep.link);
}

void world_check(struct world *world)
{
        const struct broker_counters c = world_counters(world);
        const struct settings *s = &world->settings;

        assert_int_equal(c.requests,
                         c.hits + c.misses + c.coalesced + c.refused + world->n_old_at_once);
        assert_int_equal(c.waiters, world->n_waiting);
        assert_int_equal(c.in_flight, world->n_fetches);
        assert_true(c.flights >= c.in_flight);
        if (!world->starved)
                assert_int_equal(c.fetches, c.tokens + c.refusals + c.holds + c.failures +
                                                    c.in_flight + world->n_cancelled);
        if (!world->starved && !world->aborted)
                /* Each was sent, or given up, or still waits; those whose secret was refused may
                 * have been sent again. */
                assert_in_range(c.fetches + c.dropped + (c.flights - c.in_flight),
                                c.misses + c.refreshes + c.retries,
                                c.misses + c.refreshes + c.retries + world->n_secret_ends);
        assert_int_equal(c.entries, c.cache.stored - c.cache.expired - c.cache.removed -
                                            c.cache.evicted_entries - c.cache.evicted_memory);
        assert_true((c.entries == 0) == (c.memory_bytes == 0));

        watch_limit(&world->peak.waiters, c.waiters, s->max_waiters);
        watch_limit(&world->peak.flights, c.flights, s->max_flights);
        watch_limit(&world->peak.in_flight, c.in_flight, s->max_in_flight_total);
        watch_limit(&world->peak.entries, c.entries, s->max_entries);
        watch_limit(&world->peak.memory_bytes, c.memory_bytes, s->max_memory_bytes);
        watch_limit(&world->peak.memories, c.memories, s->max_memories);
        assert_int_equal(broker_is_idle(world->broker),
                         c.flights == 0 && world->n_purging == 0 && !world_sweeps(world));
        watch_broker(world);
}
