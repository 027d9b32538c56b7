/* SPDX-License-Identifier: MIT */

/*
 * Limits are judged before anything is made, and the waiter joins before the fetch is asked for.
 * When a caller's time is up it leaves, and a fetch that is under way goes on without it: the next
 * one to ask finds the token.
 */

#include "flight.h"

#include <assert.h>
#include <stdlib.h>

#include "error.h"

int flights_init(struct flights *flights, size_t max_flights, size_t max_waiters,
                 size_t max_waiters_per_flight)
{
        uint64_t n_buckets = 1;

        *flights = (struct flights){
                .max_flights = max_flights,
                .max_waiters = max_waiters,
                .max_waiters_per_flight = max_waiters_per_flight,
        };
        while (n_buckets < max_flights)
                n_buckets *= 2;
        flights->mask = n_buckets - 1;
        flights->buckets = calloc(n_buckets, sizeof(struct flight *));
        if (!flights->buckets)
                return error_trace(-ENOMEM);
        return 0;
}

void flights_deinit(struct flights *flights)
{
        assert(flights->n_flights == 0 && flights->n_waiters == 0);
        free(flights->buckets);
        *flights = (struct flights){};
}

struct flight *flights_find(struct flights *flights, struct grant_key key)
{
        struct flight *flight = flights->buckets[key.hash & flights->mask];

        while (flight && !grant_key_equal(flight->key, key))
                flight = flight->next;
        return flight;
}

int flights_admit(struct flights *flights, const struct flight *flight)
{
        if (flights->n_waiters >= flights->max_waiters) {
                flights->counters.waiters_full++;
                return REASON_WAITERS_FULL;
        }
        if (flight && flight->n_waiters >= flights->max_waiters_per_flight) {
                flights->counters.flight_full++;
                return REASON_FLIGHT_FULL;
        }
        if (!flight && flights->n_flights >= flights->max_flights) {
                flights->counters.flights_full++;
                return REASON_FLIGHTS_FULL;
        }
        return 0;
}

bool flights_admit_refresh(const struct flights *flights)
{
        return flights->n_flights < flights->max_flights - flights->max_flights / 4;
}

int flight_new(struct flight **ret, struct flights *flights, struct grant_key key, size_t client,
               enum audience audience)
{
        struct flight **bucket = &flights->buckets[key.hash & flights->mask];
        struct flight *flight;

        assert(flights->n_flights < flights->max_flights);

        flight = malloc(sizeof(*flight) + key.size);
        if (!flight)
                return error_trace(-ENOMEM);
        *flight = (struct flight){
                .next = *bucket,
                .link = LIST_INIT(flight->link),
                .waiters = LIST_INIT(flight->waiters),
                .state = FLIGHT_QUEUED,
                .client = client,
                .audience = audience,
                .key = {.hash = key.hash, .size = key.size, .bytes = flight->key_bytes},
        };
        memcpy(flight->key_bytes, key.bytes, key.size);
        *bucket = flight;
        flights->n_flights++;
        *ret = flight;
        return 0;
}

void flight_free(struct flights *flights, struct flight *flight)
{
        struct flight **at = &flights->buckets[flight->key.hash & flights->mask];

        assert(flight->n_waiters == 0 && list_empty(&flight->link));

        while (*at != flight)
                at = &(*at)->next;
        *at = flight->next;
        flights->n_flights--;
        free(flight);
}

void flight_join(struct flights *flights, struct flight *flight, struct waiter *waiter)
{
        waiter->flight = flight;
        flight->had_waiter = true;
        if (waiter->gives_up_at_ms > flight->latest_ms)
                flight->latest_ms = waiter->gives_up_at_ms;
        list_push_back(&flight->waiters, &waiter->link);
        flight->n_waiters++;
        flights->n_waiters++;
}

void flight_leave(struct flights *flights, struct waiter *waiter)
{
        assert(waiter->flight);
        list_unlink(&waiter->link);
        waiter->flight->n_waiters--;
        flights->n_waiters--;
        waiter->flight = NULL;
}
