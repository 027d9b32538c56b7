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
        int r;

        *flights = (struct flights){
                .max_flights = max_flights,
                .max_waiters = max_waiters,
                .max_waiters_per_flight = max_waiters_per_flight,
        };
        list_init(&flights->all);
        r = table_init(&flights->table, max_flights);
        if (r == 0)
                r = shares_init(&flights->flight_shares, max_flights);
        if (r == 0)
                r = shares_init(&flights->waiter_shares, max_waiters);
        if (r)
                flights_deinit(flights);
        return error_trace(r);
}

void flights_deinit(struct flights *flights)
{
        assert(flights->n_flights == 0 && flights->n_waiters == 0);
        shares_deinit(&flights->waiter_shares);
        shares_deinit(&flights->flight_shares);
        table_deinit(&flights->table);
        *flights = (struct flights){};
}

int flights_reserve(struct flights *flights, size_t max_flights)
{
        return error_trace(table_grow(&flights->table, max_flights));
}

void flights_set_limits(struct flights *flights, size_t max_flights, size_t max_waiters,
                        size_t max_waiters_per_flight)
{
        flights->max_flights = max_flights;
        flights->max_waiters = max_waiters;
        flights->max_waiters_per_flight = max_waiters_per_flight;
        shares_set_limit(&flights->flight_shares, max_flights);
        shares_set_limit(&flights->waiter_shares, max_waiters);
}

struct flight *flights_find(struct flights *flights, struct grant_key key)
{
        struct table_node *node = *table_bucket(&flights->table, table_position(key.hash));

        while (node && !grant_key_equal(list_entry(node, struct flight, node)->key, key))
                node = node->next;
        return node ? list_entry(node, struct flight, node) : NULL;
}

static int take_shares(struct flights *flights, const struct flight *flight, uid_t uid)
{
        int r;

        r = shares_take(&flights->waiter_shares, uid);
        if (r)
                return r < 0 ? error_trace(r) : REASON_UID_WAITERS_FULL;
        r = flight ? 0 : shares_take(&flights->flight_shares, uid);
        if (r == 0)
                return 0;
        shares_give(&flights->waiter_shares, uid);
        return r < 0 ? error_trace(r) : REASON_UID_FLIGHTS_FULL;
}

void flights_dismiss(struct flights *flights, const struct flight *flight, uid_t uid)
{
        shares_give(&flights->waiter_shares, uid);
        if (!flight)
                shares_give(&flights->flight_shares, uid);
}

int flights_admit(struct flights *flights, const struct flight *flight, uid_t uid)
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
        return take_shares(flights, flight, uid);
}

bool flights_admit_refresh(const struct flights *flights)
{
        return flights->n_flights < flights->max_flights - flights->max_flights / 4;
}

int flight_new(struct flight **ret, struct flights *flights, struct grant_key key)
{
        struct flight *flight;

        assert(flights->n_flights < flights->max_flights);

        flight = malloc(sizeof(*flight) + key.size);
        if (!flight)
                return error_trace(-ENOMEM);
        *flight = (struct flight){
                .node = {.hash = key.hash},
                .link = LIST_INIT(flight->link),
                .turn_link = LIST_INIT(flight->turn_link),
                .place_link = LIST_INIT(flight->place_link),
                .waiters = LIST_INIT(flight->waiters),
                .state = FLIGHT_QUEUED,
                .key = {.hash = key.hash, .size = key.size, .bytes = flight->key_bytes},
        };
        memcpy(flight->key_bytes, key.bytes, key.size);
        list_push_back(&flights->all, &flight->all_link);
        table_insert(&flights->table, &flight->node);
        flights->n_flights++;
        *ret = flight;
        return 0;
}

static void take_out_of_table(struct flights *flights, struct flight *flight)
{
        struct table_node **at = table_bucket(&flights->table, table_position(flight->node.hash));

        while (*at != &flight->node)
                at = &(*at)->next;
        *at = flight->node.next;
}

void flight_free(struct flights *flights, struct flight *flight)
{
        assert(flight->n_waiters == 0 && list_empty(&flight->link));

        if (!flight->detached)
                take_out_of_table(flights, flight);
        if (flight->has_owner)
                shares_give(&flights->flight_shares, flight->owner);
        list_unlink(&flight->all_link);
        list_unlink(&flight->turn_link);
        list_unlink(&flight->place_link);
        flights->n_flights--;
        secret_deinit(&flight->subject_token_bytes);
        free(flight);
}

int flight_keep_subject_token(struct flight *flight, const struct subjecttoken *token)
{
        int r;

        r = secret_assign(&flight->subject_token_bytes, token->value.bytes, token->value.size);
        if (r)
                return error_trace(r);
        flight->subject_token = *token;
        flight->subject_token.value.bytes = flight->subject_token_bytes.bytes;
        return 0;
}

void flight_own(struct flight *flight, uid_t uid)
{
        flight->has_owner = true;
        flight->owner = uid;
}

void flight_detach(struct flights *flights, struct flight *flight)
{
        assert(!flight->detached);

        take_out_of_table(flights, flight);
        flight->detached = true;
        flights->counters.detached++;
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
        shares_give(&flights->waiter_shares, waiter->peer->uid);
        waiter->flight->n_waiters--;
        flights->n_waiters--;
        waiter->flight = NULL;
}
