/* SPDX-License-Identifier: MIT */

/*
 * An issuer stands in the list of those that are ready exactly while it has a flight to start, a
 * free place, and a breaker that lets it. Starting takes from the front and puts the issuer at the
 * back, so that one slow URL with a long queue cannot keep the places of all.
 *
 * Callers' flights stand in the order in which they will be served: in rounds, and in each round
 * every uid has one turn. A uid that walks through ten thousand subjects so makes nobody else wait
 * for more than one of them. Places that are taken are not given back, though, so the last quarter
 * of them is kept for uids that have none: whoever hangs on an issuer's silence hangs alone.
 *
 * Refreshes have queues and lists of their own, which are looked at when no caller's flight can
 * start anywhere; they never take more than half of an issuer's places, so that slow ones do not
 * stand in the way of callers who come later, and one is a half-open breaker's probe only where no
 * caller queues.
 */

#include "issuer.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "error.h"

#define ROOT_UID 0

void issuers_init(struct issuers *issuers, const struct settings *settings)
{
        *issuers = (struct issuers){
                .max_in_flight = settings->max_in_flight_total,
                .max_in_flight_each = settings->max_in_flight,
        };
        list_init(&issuers->all);
        list_init(&issuers->ready);
        list_init(&issuers->refresh_ready);
}

void issuers_deinit(struct issuers *issuers)
{
        assert(!issuers->all.next || list_empty(&issuers->all));
        *issuers = (struct issuers){};
}

struct issuer *issuers_find(const struct issuers *issuers, const char *url)
{
        list_for_each (link, &issuers->all) {
                struct issuer *issuer = list_entry(link, struct issuer, link);

                if (strcmp(issuer->url, url) == 0)
                        return issuer;
        }
        return NULL;
}

int issuer_ref(struct issuer **ret, struct issuers *issuers, const char *url)
{
        struct issuer *issuer = issuers_find(issuers, url);

        if (!issuer) {
                const size_t url_size = strlen(url) + 1;

                issuer = calloc(1, sizeof(*issuer) + url_size);
                if (!issuer)
                        return error_trace(-ENOMEM);
                memcpy(issuer->url, url, url_size);
                list_init(&issuer->queue);
                list_init(&issuer->refreshes);
                list_init(&issuer->placed);
                list_init(&issuer->turn);
                list_init(&issuer->refresh_turn);
                issuer->round = 1;
                issuer->max_in_flight = issuers->max_in_flight_each;
                list_push_back(&issuers->all, &issuer->link);
        }
        issuer->n_refs++;
        *ret = issuer;
        return 0;
}

void issuer_unref(struct issuers *issuers, struct issuer *issuer)
{
        if (--issuer->n_refs > 0)
                return;
        assert(list_empty(&issuer->queue) && list_empty(&issuer->refreshes) &&
               issuer->n_in_flight == 0);
        list_unlink(&issuer->turn);
        list_unlink(&issuer->refresh_turn);
        list_unlink(&issuer->link);
        free(issuer);
}

static struct flight *flight_of(struct list *link)
{
        return list_entry(link, struct flight, link);
}

static uint64_t *served(struct issuer *issuer, uid_t uid)
{
        return &issuer->served[uid % ISSUER_TURNS];
}

/* The round in which a further flight of this uid will be served: the present one, unless it had
 * its turn there, so that who comes again and again with one flight overtakes nobody. */
static uint64_t next_round(struct issuer *issuer, uid_t uid)
{
        const uint64_t served_in = *served(issuer, uid);

        for (struct list *at = issuer->queue.prev; at != &issuer->queue; at = at->prev)
                if (flight_of(at)->turn_uid == uid)
                        return flight_of(at)->round + 1;
        return served_in < issuer->round ? issuer->round : served_in + 1;
}

/* Behind the last of its round. */
static void insert_in_turn(struct issuer *issuer, struct flight *flight)
{
        struct list *at = issuer->queue.prev;

        while (at != &issuer->queue && flight_of(at)->round > flight->round)
                at = at->prev;
        list_insert_between(at, at->next, &flight->link);
}

void issuer_hasten(struct issuer *issuer, struct flight *flight, uid_t uid)
{
        uint64_t round;

        assert(flight->state == FLIGHT_QUEUED && !flight->refresh);
        if (flight->turn_uid == uid)
                return;
        round = next_round(issuer, uid);
        if (round >= flight->round)
                return;
        list_unlink(&flight->link);
        flight->turn_uid = uid;
        flight->round = round;
        insert_in_turn(issuer, flight);
}

/* Whether a uid has one of the places; root may have all. */
static bool has_place(const struct issuer *issuer, uid_t uid)
{
        list_for_each (link, &issuer->placed) {
                const struct flight *flight = list_entry(link, struct flight, place_link);

                if (flight->turn_uid == uid && !flight->refresh)
                        return uid != ROOT_UID;
        }
        return false;
}

/* The next flight of a caller that may have a place, or NULL. */
static struct flight *next_caller(const struct issuer *issuer)
{
        const size_t n_reserved = issuer->max_in_flight / 4;

        if (issuer->n_in_flight >= issuer->max_in_flight)
                return NULL;
        list_for_each (link, &issuer->queue)
                if (issuer->n_in_flight + n_reserved < issuer->max_in_flight ||
                    !has_place(issuer, flight_of(link)->turn_uid))
                        return flight_of(link);
        return NULL;
}

static void settle_turn(struct list *ready_list, struct list *turn, bool ready)
{
        if (ready && list_empty(turn))
                list_push_back(ready_list, turn);
        else if (!ready)
                list_unlink(turn);
}

/* Puts the issuer into the lists of those that are ready, or takes it out, as it should be. */
static void settle(struct issuers *issuers, struct issuer *issuer, uint64_t now_ms)
{
        const size_t max_for_refreshes = (issuer->max_in_flight + 1) / 2;
        const bool may_start = breaker_may_start(&issuer->breaker, now_ms);
        const bool may_refresh = issuer->breaker.state == BREAKER_CLOSED ||
                                 list_empty(&issuer->queue);

        settle_turn(&issuers->ready, &issuer->turn, may_start && next_caller(issuer));
        settle_turn(&issuers->refresh_ready, &issuer->refresh_turn,
                    may_start && may_refresh && !list_empty(&issuer->refreshes) &&
                            issuer->n_in_flight < max_for_refreshes);
}

void issuer_enqueue(struct issuers *issuers, struct issuer *issuer, struct flight *flight,
                    uint64_t now_ms)
{
        flight->state = FLIGHT_QUEUED;
        issuer->n_queued++;
        if (flight->refresh) {
                list_push_back(&issuer->refreshes, &flight->link);
        } else {
                flight->round = next_round(issuer, flight->turn_uid);
                insert_in_turn(issuer, flight);
        }
        settle(issuers, issuer, now_ms);
}

void issuer_requeue(struct issuers *issuers, struct issuer *issuer, struct flight *flight,
                    uint64_t now_ms)
{
        flight->state = FLIGHT_QUEUED;
        list_unlink(&flight->place_link);
        issuer->n_queued++;
        flight->round = issuer->round;
        list_push_front(flight->refresh ? &issuer->refreshes : &issuer->queue, &flight->link);
        settle(issuers, issuer, now_ms);
}

void issuer_dequeue(struct issuers *issuers, struct issuer *issuer, struct flight *flight,
                    uint64_t now_ms)
{
        assert(flight->state == FLIGHT_QUEUED);
        list_unlink(&flight->link);
        issuer->n_queued--;
        settle(issuers, issuer, now_ms);
}

/* The present round is that of the first who still waits, should others have been passed over. */
static void take_turn(struct issuer *issuer, const struct flight *flight)
{
        struct list *link = list_first(&issuer->queue);

        *served(issuer, flight->turn_uid) = flight->round;
        issuer->round = flight->round;
        if (link && flight_of(link)->round < flight->round)
                issuer->round = flight_of(link)->round;
}

static struct flight *start_at(struct issuers *issuers, struct issuer *issuer,
                               struct flight *flight, struct list *turn, uint64_t now_ms)
{
        assert(flight); /* or the issuer would have no turn */
        list_unlink(&flight->link);
        list_push_back(&issuer->placed, &flight->place_link);
        list_unlink(turn);
        if (!flight->refresh)
                take_turn(issuer, flight);
        issuer->n_queued--;
        issuer->n_in_flight++;
        issuers->n_in_flight++;
        breaker_started(&issuer->breaker, flight->key.hash);
        settle(issuers, issuer, now_ms);
        return flight;
}

struct flight *issuers_start(struct issuers *issuers, uint64_t now_ms)
{
        struct issuer *issuer;
        struct list *turn;

        if (issuers->n_in_flight >= issuers->max_in_flight)
                return NULL;
        turn = list_first(&issuers->ready);
        if (turn) {
                issuer = list_entry(turn, struct issuer, turn);
                return start_at(issuers, issuer, next_caller(issuer), turn, now_ms);
        }
        turn = list_first(&issuers->refresh_ready);
        if (turn) {
                issuer = list_entry(turn, struct issuer, refresh_turn);
                return start_at(issuers, issuer, flight_of(list_front(&issuer->refreshes)), turn,
                                now_ms);
        }
        return NULL;
}

void issuer_finish(struct issuers *issuers, struct issuer *issuer, uint64_t now_ms)
{
        assert(issuer->n_in_flight > 0 && issuers->n_in_flight > 0);
        issuer->n_in_flight--;
        issuers->n_in_flight--;
        settle(issuers, issuer, now_ms);
}

void issuers_tick(struct issuers *issuers, uint64_t now_ms)
{
        list_for_each (link, &issuers->all) {
                struct issuer *issuer = list_entry(link, struct issuer, link);

                if (issuer->breaker.state != BREAKER_CLOSED)
                        settle(issuers, issuer, now_ms);
        }
}

uint64_t issuers_next_tick_ms(const struct issuers *issuers)
{
        uint64_t next_ms = UINT64_MAX;

        list_for_each (link, &issuers->all) {
                const struct issuer *issuer = list_entry(link, struct issuer, link);

                if (breaker_next_ms(&issuer->breaker) < next_ms)
                        next_ms = breaker_next_ms(&issuer->breaker);
        }
        return next_ms;
}

void issuers_set_limits(struct issuers *issuers, const struct settings *settings, uint64_t now_ms)
{
        issuers->max_in_flight = settings->max_in_flight_total;
        issuers->max_in_flight_each = settings->max_in_flight;
        list_for_each (link, &issuers->all) {
                struct issuer *issuer = list_entry(link, struct issuer, link);

                issuer->max_in_flight = settings->max_in_flight;
                settle(issuers, issuer, now_ms);
        }
}
