/* SPDX-License-Identifier: MIT */

/*
 * An issuer stands in the list of those that are ready exactly while it has a flight to start, a
 * free place, and a breaker that lets it. Starting takes from the front and puts the issuer at the
 * back, so that one slow URL with a long queue cannot keep the places of all.
 *
 * Callers' flights stand in the order in which they will be served: in rounds, and in each round
 * every uid has one turn. A uid that walks through ten thousand subjects so makes nobody else wait
 * for more than one of them.
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

int issuers_init(struct issuers *issuers, const struct settings *settings)
{
        const size_t n_urls = settings->n_clients * _AUDIENCE_N;

        *issuers = (struct issuers){.max_in_flight = settings->max_in_flight_total};
        list_init(&issuers->ready);
        list_init(&issuers->refresh_ready);
        issuers->all = calloc(n_urls, sizeof(*issuers->all));
        issuers->of_client = calloc(n_urls, sizeof(struct issuer *));
        if (!issuers->all || !issuers->of_client) {
                issuers_deinit(issuers);
                return error_trace(-ENOMEM);
        }

        for (size_t i = 0; i < n_urls; i++) {
                const char *url = settings->clients[i / _AUDIENCE_N].token_url[i % _AUDIENCE_N];
                struct issuer *issuer = url ? issuers_find(issuers, url) : NULL;

                issuers->of_client[i] = issuer;
                if (!url || issuer)
                        continue;
                issuer = &issuers->all[issuers->n++];
                issuers->of_client[i] = issuer;
                *issuer = (struct issuer){
                        .url = url,
                        .queue = LIST_INIT(issuer->queue),
                        .refreshes = LIST_INIT(issuer->refreshes),
                        .turn = LIST_INIT(issuer->turn),
                        .refresh_turn = LIST_INIT(issuer->refresh_turn),
                        .round = 1,
                        .max_in_flight = settings->max_in_flight,
                };
        }
        return 0;
}

void issuers_deinit(struct issuers *issuers)
{
        free(issuers->of_client);
        free(issuers->all);
        *issuers = (struct issuers){};
}

struct issuer *issuers_find(struct issuers *issuers, const char *url)
{
        for (size_t i = 0; i < issuers->n; i++)
                if (issuers->all[i].url && strcmp(issuers->all[i].url, url) == 0)
                        return &issuers->all[i];
        return NULL;
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

        settle_turn(&issuers->ready, &issuer->turn,
                    may_start && !list_empty(&issuer->queue) &&
                            issuer->n_in_flight < issuer->max_in_flight);
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

static struct flight *start_at(struct issuers *issuers, struct issuer *issuer, struct list *queue,
                               struct list *turn, uint64_t now_ms)
{
        struct flight *flight = list_entry(list_first(queue), struct flight, link);

        list_unlink(&flight->link);
        list_unlink(turn);
        if (!flight->refresh) {
                issuer->round = flight->round;
                *served(issuer, flight->turn_uid) = flight->round;
        }
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
                return start_at(issuers, issuer, &issuer->queue, turn, now_ms);
        }
        turn = list_first(&issuers->refresh_ready);
        if (turn) {
                issuer = list_entry(turn, struct issuer, refresh_turn);
                return start_at(issuers, issuer, &issuer->refreshes, turn, now_ms);
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
        for (size_t i = 0; i < issuers->n; i++)
                if (issuers->all[i].breaker.state != BREAKER_CLOSED)
                        settle(issuers, &issuers->all[i], now_ms);
}

uint64_t issuers_next_tick_ms(const struct issuers *issuers)
{
        uint64_t next_ms = UINT64_MAX;

        for (size_t i = 0; i < issuers->n; i++)
                if (breaker_next_ms(&issuers->all[i].breaker) < next_ms)
                        next_ms = breaker_next_ms(&issuers->all[i].breaker);
        return next_ms;
}
