/* SPDX-License-Identifier: MIT */

#include "issuer.h"

#include <errno.h>

#include "helpers.h"

#define N_FLIGHTS 64
#define SECOND_MS UINT64_C(2000) /* how long a breaker is open the second time */

/* Issuers of four URLs, and flights that are in no table: an issuer only needs their link. */
static struct client_settings clients[] = {
        {.token_url = {"https://a/user", "https://a/customer"}},
        {.token_url = {"https://b/user", NULL}},
        {.token_url = {"https://a/customer", "https://b/user"}}, /* nothing new */
        {.token_url = {NULL, "https://c/customer"}},
};

#define N_URLS 4

static struct issuers issuers;
static struct issuer *urls[N_URLS]; /* in the order in which clients[] names them first */
static struct flight flights[N_FLIGHTS];
static uint64_t now_ms;

static void add_reference(const char *url, size_t *n)
{
        struct issuer *issuer = NULL;

        assert_int_equal(issuer_ref(&issuer, &issuers, url), 0);
        for (size_t i = 0; i < *n; i++)
                if (urls[i] == issuer)
                        return;
        assert_true(*n < N_URLS);
        urls[(*n)++] = issuer;
}

static void begin(size_t max_in_flight, size_t max_in_flight_total)
{
        const struct settings settings = {
                .clients = clients,
                .n_clients = N_OF(clients),
                .max_in_flight = max_in_flight,
                .max_in_flight_total = max_in_flight_total,
        };

        size_t n;

        now_ms = 1000000;
        issuers_init(&issuers, &settings);
        n = 0;
        for (size_t i = 0; i < N_OF(clients); i++)
                for (int k = 0; k < _AUDIENCE_N; k++)
                        if (clients[i].token_url[k])
                                add_reference(clients[i].token_url[k], &n);
        assert_int_equal(n, N_URLS);
        for (size_t i = 0; i < N_FLIGHTS; i++) {
                flights[i] = (struct flight){.state = FLIGHT_RUNNING};
                list_init(&flights[i].link);
                list_init(&flights[i].turn_link);
                list_init(&flights[i].waiters);
        }
}

/* Whatever still waits or is under way. */
static void end(void)
{
        for (size_t i = 0; i < N_FLIGHTS; i++)
                list_unlink(&flights[i].link);
        for (size_t i = 0; i < N_URLS; i++) {
                urls[i]->n_in_flight = 0;
                while (urls[i]->n_refs > 1)
                        issuer_unref(&issuers, urls[i]);
                issuer_unref(&issuers, urls[i]);
        }
        assert_true(list_empty(&issuers.all) && list_empty(&issuers.ready) &&
                    list_empty(&issuers.refresh_ready));
        issuers_deinit(&issuers);
}

static void enqueue(size_t issuer, size_t flight)
{
        issuer_enqueue(&issuers, urls[issuer], &flights[flight], now_ms);
}

static void assert_starts(size_t flight)
{
        assert_ptr_equal(issuers_start(&issuers, now_ms), &flights[flight]);
        assert_true(list_empty(&flights[flight].link));
}

static void assert_none_starts(void)
{
        assert_null(issuers_start(&issuers, now_ms));
}

static size_t n_issuers(void)
{
        size_t n = 0;

        list_for_each (link, &issuers.all)
                n++;
        return n;
}

static void each_distinct_url_is_one_issuer(void **state)
{
        (void)state;
        begin(1, 1);
        assert_int_equal(n_issuers(), N_URLS);
        assert_int_equal(urls[0]->n_refs, 1);
        assert_int_equal(urls[1]->n_refs, 2);
        for (size_t i = 0; i < N_OF(clients); i++) {
                for (int k = 0; k < _AUDIENCE_N; k++) {
                        const char *url = clients[i].token_url[k];

                        if (!url)
                                continue;
                        assert_non_null(issuers_find(&issuers, url));
                        assert_string_equal(issuers_find(&issuers, url)->url, url);
                }
        }
        assert_null(issuers_find(&issuers, "https://a/"));
        assert_null(issuers_find(&issuers, "https://a/user/"));
        end();
}

static void a_url_is_found_by_its_text_and_not_by_its_address(void **state)
{
        char url[] = "https://b/user";

        (void)state;
        begin(1, 1);
        assert_ptr_equal(issuers_find(&issuers, url),
                         issuers_find(&issuers, clients[1].token_url[0]));
        end();
}

static void flights_start_in_the_order_they_came(void **state)
{
        (void)state;
        begin(10, 10);
        for (size_t i = 0; i < 5; i++) {
                enqueue(0, i);
                assert_int_equal(flights[i].state, FLIGHT_QUEUED);
        }
        for (size_t i = 0; i < 5; i++)
                assert_starts(i);
        assert_none_starts();
        assert_int_equal(issuers.n_in_flight, 5);
        assert_int_equal(urls[0]->n_in_flight, 5);
        assert_int_equal(urls[1]->n_in_flight, 0);
        end();
}

static void each_url_starts_as_many_as_its_cap(void **state)
{
        (void)state;
        begin(2, 10);
        for (size_t i = 0; i < 4; i++)
                enqueue(0, i);
        assert_starts(0);
        assert_starts(1);
        assert_none_starts();
        enqueue(1, 10); /* another URL has places of its own */
        assert_starts(10);
        assert_none_starts();
        issuer_finish(&issuers, urls[0], now_ms);
        assert_starts(2);
        assert_none_starts();
        issuer_finish(&issuers, urls[1], now_ms);
        assert_none_starts();
        end();
}

static void all_urls_together_start_as_many_as_the_total_cap(void **state)
{
        (void)state;
        begin(3, 4);
        for (size_t i = 0; i < 3; i++) {
                enqueue(0, i);
                enqueue(1, 10 + i);
        }
        for (int i = 0; i < 4; i++)
                assert_non_null(issuers_start(&issuers, now_ms));
        assert_none_starts();
        assert_int_equal(issuers.n_in_flight, 4);
        issuer_finish(&issuers, urls[0], now_ms);
        assert_non_null(issuers_start(&issuers, now_ms));
        assert_none_starts();
        end();
}

static void urls_take_turns_so_that_a_long_queue_keeps_nobody_waiting(void **state)
{
        (void)state;
        begin(10, 10);
        for (size_t i = 0; i < 6; i++)
                enqueue(0, i);
        enqueue(1, 10);
        enqueue(1, 11);
        enqueue(2, 20);
        assert_starts(0);
        assert_starts(10);
        assert_starts(20);
        assert_starts(1);
        assert_starts(11);
        assert_starts(2);
        enqueue(2, 21); /* comes back at the end of the line */
        assert_starts(3);
        assert_starts(21);
        assert_starts(4);
        assert_starts(5);
        end();
}

static void turns_go_on_where_the_total_cap_stopped_them(void **state)
{
        (void)state;
        begin(10, 1);
        for (size_t i = 0; i < 3; i++)
                for (size_t k = 0; k < 3; k++)
                        enqueue(i, 10 * i + k);
        for (size_t k = 0; k < 3; k++) {
                for (size_t i = 0; i < 3; i++) {
                        assert_starts(10 * i + k);
                        assert_none_starts();
                        issuer_finish(&issuers, urls[i], now_ms);
                }
        }
        assert_none_starts();
        assert_int_equal(issuers.n_in_flight, 0);
        end();
}

static void a_dequeued_flight_never_starts_and_leaves_no_gap(void **state)
{
        (void)state;
        begin(10, 10);
        for (size_t i = 0; i < 4; i++)
                enqueue(0, i);
        issuer_dequeue(&issuers, urls[0], &flights[0], now_ms);
        issuer_dequeue(&issuers, urls[0], &flights[2], now_ms);
        assert_true(list_empty(&flights[0].link));
        assert_starts(1);
        assert_starts(3);
        assert_none_starts();
        end();
}

static void a_url_whose_queue_was_emptied_takes_no_turn(void **state)
{
        (void)state;
        begin(10, 10);
        enqueue(0, 0);
        enqueue(1, 10);
        issuer_dequeue(&issuers, urls[0], &flights[0], now_ms);
        assert_starts(10);
        assert_none_starts();
        enqueue(0, 0);
        assert_starts(0);
        end();
}

/* Emptied while it was at its cap, and so in no line. */
static void dequeuing_at_a_url_without_a_place_is_harmless(void **state)
{
        (void)state;
        begin(1, 10);
        enqueue(0, 0);
        enqueue(0, 1);
        assert_starts(0);
        issuer_dequeue(&issuers, urls[0], &flights[1], now_ms);
        issuer_finish(&issuers, urls[0], now_ms);
        assert_none_starts();
        enqueue(0, 1);
        assert_starts(1);
        end();
}

static void enqueue_refresh(size_t issuer, size_t flight)
{
        flights[flight].refresh = true;
        enqueue(issuer, flight);
}

static void finish(size_t issuer)
{
        issuer_finish(&issuers, urls[issuer], now_ms);
}

static void open_breaker(size_t issuer)
{
        for (uint64_t key = 0; key < BREAKER_FAILURES; key++)
                breaker_failed(&urls[issuer]->breaker, key, REASON_ISSUER_ERROR, true, now_ms);
}

static void a_requeued_flight_is_the_next_of_its_kind(void **state)
{
        (void)state;
        begin(2, 10);
        for (size_t i = 0; i < 4; i++)
                enqueue(0, i);
        assert_starts(0);
        flights[0].state = FLIGHT_RUNNING;
        issuer_requeue(&issuers, urls[0], &flights[0], now_ms);
        assert_int_equal(flights[0].state, FLIGHT_QUEUED);
        finish(0);
        assert_starts(0);
        assert_starts(1);
        finish(0);
        finish(0);
        assert_starts(2);
        end();

        begin(10, 10);
        enqueue_refresh(0, 10);
        enqueue_refresh(0, 11);
        assert_starts(10);
        issuer_requeue(&issuers, urls[0], &flights[10], now_ms);
        finish(0);
        enqueue(0, 0);
        assert_starts(0);
        assert_starts(10);
        assert_starts(11);
        end();
}

static void refreshes_start_when_no_caller_waits_anywhere(void **state)
{
        (void)state;
        begin(10, 10);
        enqueue_refresh(0, 10);
        enqueue_refresh(1, 20);
        enqueue_refresh(0, 11);
        enqueue(1, 0);
        enqueue(0, 1);
        enqueue(1, 2);
        assert_starts(0);
        assert_starts(1);
        assert_starts(2);
        assert_starts(10); /* and URLs take turns at those, too */
        assert_starts(20);
        enqueue(2, 3);
        assert_starts(3);
        assert_starts(11);
        assert_none_starts();
        end();
}

static void refreshes_take_half_of_a_urls_places_at_most(void **state)
{
        static const struct {
                size_t cap;
                size_t for_refreshes;
        } cases[] = {{1, 1}, {2, 1}, {3, 2}, {4, 2}, {10, 5}};

        (void)state;
        for (size_t i = 0; i < N_OF(cases); i++) {
                begin(cases[i].cap, 20);
                for (size_t k = 0; k < 15; k++)
                        enqueue_refresh(0, k);
                for (size_t k = 0; k < cases[i].for_refreshes; k++)
                        assert_starts(k);
                assert_none_starts();
                /* The others are the callers'. */
                for (size_t k = cases[i].for_refreshes; k < cases[i].cap; k++) {
                        enqueue(0, 30 + k);
                        assert_starts(30 + k);
                }
                enqueue(0, 60);
                assert_none_starts();
                for (size_t k = 0; k < cases[i].cap; k++)
                        finish(0);
                assert_starts(60);
                end();
        }
}

static void a_dequeued_refresh_never_starts(void **state)
{
        (void)state;
        begin(10, 10);
        enqueue_refresh(0, 0);
        enqueue_refresh(0, 1);
        enqueue_refresh(1, 2);
        issuer_dequeue(&issuers, urls[0], &flights[0], now_ms);
        issuer_dequeue(&issuers, urls[1], &flights[2], now_ms);
        assert_starts(1);
        assert_none_starts();
        end();
}

/* A caller comes for what is about to be refreshed: the flight becomes his. */
static void a_refresh_can_become_a_callers_flight_while_it_waits(void **state)
{
        (void)state;
        begin(1, 10);
        enqueue_refresh(0, 0);
        enqueue_refresh(0, 1);
        issuer_dequeue(&issuers, urls[0], &flights[1], now_ms);
        flights[1].refresh = false;
        enqueue(0, 1);
        assert_starts(1);
        finish(0);
        assert_starts(0);
        end();
}

static void nothing_starts_while_the_breaker_is_open(void **state)
{
        (void)state;
        begin(10, 10);
        enqueue(0, 0);
        assert_starts(0);
        enqueue_refresh(0, 10);
        enqueue(1, 20);
        open_breaker(0);
        finish(0);
        enqueue(0, 1);
        enqueue(0, 2);
        assert_starts(20); /* other URLs are not concerned */
        assert_none_starts();
        assert_int_equal(issuers_next_tick_ms(&issuers), now_ms + BREAKER_FIRST_MS);
        now_ms += BREAKER_FIRST_MS - 1;
        issuers_tick(&issuers, now_ms);
        assert_none_starts();
        now_ms++;
        issuers_tick(&issuers, now_ms);
        assert_int_equal(issuers_next_tick_ms(&issuers), UINT64_MAX);
        assert_starts(1); /* the probe, alone */
        assert_none_starts();
        enqueue(0, 3);
        assert_none_starts();
        breaker_succeeded(&urls[0]->breaker, now_ms);
        finish(0);
        assert_starts(2);
        assert_starts(3);
        assert_starts(10);
        end();
}

static void a_failed_probe_keeps_the_queue_waiting_and_a_dropped_one_is_replaced(void **state)
{
        (void)state;
        begin(10, 10);
        enqueue(0, 0);
        assert_starts(0);
        open_breaker(0);
        finish(0);
        for (size_t i = 1; i < 5; i++) {
                flights[i].key.hash = i;
                enqueue(0, i);
        }
        now_ms += BREAKER_FIRST_MS;
        issuers_tick(&issuers, now_ms);
        assert_starts(1);
        breaker_dropped(&urls[0]->breaker);
        finish(0);
        assert_starts(2);
        assert_none_starts();
        breaker_failed(&urls[0]->breaker, 2, REASON_ISSUER_ERROR, true, now_ms);
        finish(0);
        assert_none_starts();
        assert_int_equal(issuers_next_tick_ms(&issuers), now_ms + SECOND_MS);
        now_ms += SECOND_MS;
        issuers_tick(&issuers, now_ms);
        assert_starts(3);
        assert_none_starts();
        end();
}

/* The end of a request that began before the breaker opened is not the end of the probe. */
static void a_late_failure_lets_no_second_probe_start(void **state)
{
        (void)state;
        begin(10, 10);
        for (size_t i = 0; i < 8; i++) {
                flights[i].key.hash = 100 + i;
                enqueue(0, i);
        }
        for (size_t i = 0; i < 4; i++)
                assert_starts(i);
        open_breaker(0);
        finish(0);
        now_ms += BREAKER_FIRST_MS;
        issuers_tick(&issuers, now_ms);
        assert_starts(4);
        breaker_failed(&urls[0]->breaker, 101, REASON_ISSUER_TIMEOUT, true, now_ms);
        finish(0);
        assert_none_starts();
        now_ms += 3600000;
        issuers_tick(&issuers, now_ms);
        assert_none_starts();
        breaker_succeeded(&urls[0]->breaker, now_ms);
        finish(0);
        assert_starts(5);
        end();
}

static void a_refresh_is_the_probe_only_where_no_caller_queues(void **state)
{
        (void)state;
        begin(10, 10);
        enqueue_refresh(0, 10);
        enqueue_refresh(0, 11);
        breaker_held(&urls[0]->breaker, 3000, now_ms);
        issuers_tick(&issuers, now_ms);
        assert_none_starts();
        assert_int_equal(issuers_next_tick_ms(&issuers), now_ms + 3000);
        enqueue(0, 0);
        now_ms += 3000;
        issuers_tick(&issuers, now_ms);
        assert_starts(0);
        assert_none_starts();
        breaker_held(&urls[0]->breaker, 3000, now_ms);
        finish(0);
        now_ms += 3000;
        issuers_tick(&issuers, now_ms);
        assert_starts(10);
        assert_none_starts();
        breaker_succeeded(&urls[0]->breaker, now_ms);
        finish(0);
        assert_starts(11);
        end();
}

static void the_next_tick_is_that_of_the_first_breaker(void **state)
{
        (void)state;
        begin(10, 10);
        assert_int_equal(issuers_next_tick_ms(&issuers), UINT64_MAX);
        breaker_held(&urls[0]->breaker, 3000, now_ms);
        breaker_held(&urls[2]->breaker, 2000, now_ms);
        breaker_held(&urls[3]->breaker, 9000, now_ms);
        assert_int_equal(issuers_next_tick_ms(&issuers), now_ms + 2000);
        issuers_tick(&issuers, now_ms + 2000);
        assert_int_equal(issuers_next_tick_ms(&issuers), now_ms + 3000);
        issuers_tick(&issuers, now_ms + 9000);
        assert_int_equal(issuers_next_tick_ms(&issuers), UINT64_MAX);
        end();
}

/* The rule for who may start, on its own: some URL has a flight and a place, and there is a place
 * in all. And the longest waiting of its URL is the one that does. */
static void random_operations_keep_every_cap_and_leave_no_place_empty(void **state)
{
        enum { N_ISSUERS = 3, CAP = 3, TOTAL = 5 };
        size_t queues[N_ISSUERS][N_FLIGHTS], n_queued[N_ISSUERS] = {}, running[N_ISSUERS] = {};
        size_t free_flights[N_FLIGHTS], n_free = 0, total = 0;
        uint64_t seed = 9;

        (void)state;
        begin(CAP, TOTAL);
        for (; n_free < N_FLIGHTS; n_free++)
                free_flights[n_free] = n_free;
        for (int step = 0; step < 50000; step++) {
                const size_t i = random_next(&seed) % N_ISSUERS;
                struct flight *flight;
                bool may_start = false;

                switch (random_next(&seed) % 5) {
                case 0:
                        if (n_free == 0)
                                break;
                        queues[i][n_queued[i]] = free_flights[--n_free];
                        enqueue(i, queues[i][n_queued[i]++]);
                        break;
                case 1:
                        if (n_queued[i] == 0)
                                break;
                        flight = &flights[queues[i][--n_queued[i]]];
                        issuer_dequeue(&issuers, urls[i], flight, now_ms);
                        free_flights[n_free++] = (size_t)(flight - flights);
                        break;
                case 2:
                        if (running[i] == 0)
                                break;
                        issuer_finish(&issuers, urls[i], now_ms);
                        running[i]--;
                        total--;
                        break;
                default:
                        for (size_t k = 0; k < N_ISSUERS; k++)
                                may_start |= n_queued[k] > 0 && running[k] < CAP && total < TOTAL;
                        flight = issuers_start(&issuers, now_ms);
                        assert_int_equal(flight != NULL, may_start);
                        for (size_t k = 0; flight && k < N_ISSUERS; k++) {
                                if (n_queued[k] == 0 || &flights[queues[k][0]] != flight)
                                        continue;
                                assert_true(running[k] < CAP);
                                free_flights[n_free++] = queues[k][0];
                                memmove(&queues[k][0], &queues[k][1],
                                        --n_queued[k] * sizeof(queues[k][0]));
                                running[k]++;
                                total++;
                                flight = NULL;
                        }
                        assert_null(flight); /* it was the first of some queue */
                }
                assert_int_equal(issuers.n_in_flight, total);
                for (size_t k = 0; k < N_ISSUERS; k++)
                        assert_int_equal(urls[k]->n_in_flight, running[k]);
        }
        end();
}

static void enqueue_for(uid_t uid, size_t flight)
{
        flights[flight].turn_uid = uid;
        enqueue(0, flight);
}

static void two_uids_take_turns_and_each_keeps_its_order(void **state)
{
        (void)state;
        begin(64, 64);
        for (size_t i = 0; i < 5; i++)
                enqueue_for(1001, i);
        for (size_t i = 10; i < 13; i++)
                enqueue_for(1002, i);
        assert_starts(0);
        assert_starts(10);
        assert_starts(1);
        assert_starts(11);
        enqueue_for(1001, 5);
        assert_starts(2);
        assert_starts(12);
        assert_starts(3);
        assert_starts(4);
        assert_starts(5);
        assert_none_starts();
        end();
}

static void a_long_queue_of_one_uid_delays_another_by_one_flight(void **state)
{
        enum { N = 200 };
        static struct flight walk[N];

        (void)state;
        begin(1, 1);
        for (size_t i = 0; i < N; i++) {
                walk[i] = (struct flight){.turn_uid = 1001};
                list_init(&walk[i].link);
                list_init(&walk[i].turn_link);
                issuer_enqueue(&issuers, urls[0], &walk[i], now_ms);
        }
        for (size_t i = 0; i < N; i++) {
                assert_ptr_equal(issuers_start(&issuers, now_ms), &walk[i]);
                if (i % 2 == 0) /* comes when one of the others runs, */
                        enqueue_for(1002, 1);
                finish(0);
                assert_starts(1);
                if (i % 2 == 0) /* or when its own has just started */
                        enqueue_for(1002, 1);
                finish(0);
        }
        assert_none_starts();
        end();
}

/* It queues one flight at a time, so that it is never seen to have any more. */
static void who_asks_again_at_once_does_not_overtake_who_has_two(void **state)
{
        (void)state;
        begin(1, 1);
        enqueue_for(1002, 0);
        enqueue_for(1002, 1);
        enqueue_for(1002, 2);
        enqueue_for(1001, 10);
        assert_starts(0);
        finish(0);
        for (size_t i = 0; i < 2; i++) {
                assert_starts(10 + i);
                enqueue_for(1001, 11 + i);
                finish(0);
                assert_starts(1 + i);
                finish(0);
        }
        assert_starts(12);
        end();
}

static void join(struct flight *flight, uid_t uid)
{
        issuer_join(&issuers, urls[0], flight, uid, now_ms);
}

static void a_flight_is_hastened_to_the_turn_of_who_joins_it(void **state)
{
        (void)state;
        begin(64, 64);
        for (size_t i = 0; i < 6; i++)
                enqueue_for(1001, i);
        join(&flights[4], 1001); /* it has its own turns */
        join(&flights[4], 1002);
        join(&flights[0], 1002); /* the first already */
        assert_int_equal(flights[0].turn_uid, 1001);
        assert_int_equal(flights[4].turn_uid, 1002);
        join(&flights[5], 1002); /* the second turn of that one */
        assert_starts(0);
        assert_starts(4);
        assert_starts(1);
        assert_starts(5);
        assert_starts(2);
        assert_starts(3);
        end();
}

static void what_is_tried_again_goes_before_all_turns(void **state)
{
        (void)state;
        begin(64, 64);
        for (size_t i = 0; i < 3; i++)
                enqueue_for(1001, i);
        enqueue_for(1002, 10);
        assert_starts(0);
        assert_starts(10);
        issuer_requeue(&issuers, urls[0], &flights[0], now_ms);
        enqueue_for(1003, 20);
        assert_starts(0);
        assert_starts(20);
        assert_starts(1);
        assert_starts(2);
        end();
}

static void refreshes_know_no_turns(void **state)
{
        (void)state;
        begin(64, 64);
        for (size_t i = 0; i < 6; i++) {
                flights[i].turn_uid = i < 4 ? 1001 : 1002;
                enqueue_refresh(0, i);
        }
        for (size_t i = 0; i < 6; i++)
                assert_starts(i);
        end();
}

/*
 * Turns in plain words: everybody has a row of flights of his own. Each round, whoever has one
 * starts one, and who comes first in a round is first in it. Uids here share no place among the
 * turns that are kept.
 */
static void random_turns_leave_nobody_behind(void **state)
{
        enum { UIDS = 5 };
        size_t rows[UIDS][N_FLIGHTS], n_in_row[UIDS] = {};
        size_t overtaken[UIDS][UIDS] = {}; /* how often since the first of the row is the first */
        size_t idle[N_FLIGHTS], n_idle = 0;
        uint64_t seed = 12;

        (void)state;
        begin(N_FLIGHTS, N_FLIGHTS);
        for (; n_idle < N_FLIGHTS; n_idle++)
                idle[n_idle] = n_idle;
        for (int step = 0; step < 20000; step++) {
                const size_t uid = random_next(&seed) % (step / 100 % 2 ? UIDS : 2);
                struct flight *flight;
                size_t started;

                switch (random_next(&seed) % 5) {
                case 0:
                case 1:
                        if (n_idle == 0)
                                break;
                        rows[uid][n_in_row[uid]++] = idle[--n_idle];
                        enqueue_for((uid_t)(1000 + uid), idle[n_idle]);
                        break;
                case 2:
                        if (n_in_row[uid] == 0)
                                break;
                        flight = &flights[rows[uid][--n_in_row[uid]]];
                        issuer_dequeue(&issuers, urls[0], flight, now_ms);
                        idle[n_idle++] = (size_t)(flight - flights);
                        if (n_in_row[uid] == 0)
                                memset(overtaken[uid], 0, sizeof(overtaken[uid]));
                        break;
                default:
                        flight = issuers_start(&issuers, now_ms);
                        if (!flight) {
                                for (size_t i = 0; i < UIDS; i++)
                                        assert_int_equal(n_in_row[i], 0);
                                break;
                        }
                        finish(0);
                        started = flight->turn_uid - 1000;
                        assert_ptr_equal(flight, &flights[rows[started][0]]); /* in order */
                        memmove(&rows[started][0], &rows[started][1],
                                --n_in_row[started] * sizeof(rows[started][0]));
                        idle[n_idle++] = (size_t)(flight - flights);
                        memset(overtaken[started], 0, sizeof(overtaken[started]));
                        for (size_t i = 0; i < UIDS; i++) {
                                if (i == started || n_in_row[i] == 0)
                                        continue;
                                /* In the round where it had its turn, and in the next. */
                                assert_true(++overtaken[i][started] <= 2);
                        }
                }
        }
        end();
}

/* All places that they may have are taken, the kept ones are free: steps that looked at the whole
 * queue each would be ten milliards. */
static void a_flight_of_a_hundred_thousand_costs_no_more_than_one_of_ten(void **state)
{
        enum { N = 100000, UIDS = 4, EACH = N / UIDS };
        static struct flight queued[N];

        (void)state;
        for (int in_rows = 0; in_rows < 2; in_rows++) {
                begin(16, 16);
                for (size_t i = 0; i < 12; i++) {
                        enqueue_for((uid_t)(1001 + i % UIDS), i);
                        assert_starts(i);
                }
                for (size_t i = 0; i < N; i++) {
                        queued[i] = (struct flight){
                                .turn_uid = (uid_t)(1001 + (in_rows ? i / EACH : i % UIDS)),
                        };
                        list_init(&queued[i].waiters);
                        issuer_enqueue(&issuers, urls[0], &queued[i], now_ms);
                        assert_null(urls[0]->next);
                }
                assert_none_starts();
                assert_int_equal(urls[0]->n_queued, N);
                for (size_t i = 0; i < EACH; i++)
                        assert_int_equal(queued[in_rows ? i : UIDS * i].round,
                                         queued[in_rows ? i + EACH : UIDS * i + 1].round);
                for (size_t i = 0; i < N; i++) /* from the midst */
                        issuer_dequeue(&issuers, urls[0], &queued[(i + N / 3) % N], now_ms);
                assert_int_equal(urls[0]->n_queued, 0);
                assert_true(list_empty(&urls[0]->queue));
                end();
        }
}

static void an_issuer_goes_with_its_last_reference(void **state)
{
        struct issuer *issuer = NULL;

        (void)state;
        begin(3, 10);
        assert_int_equal(issuer_ref(&issuer, &issuers, "https://d/user"), 0);
        assert_int_equal(issuer->max_in_flight, 3);
        assert_int_equal(n_issuers(), N_URLS + 1);
        assert_int_equal(issuer_ref(&issuer, &issuers, "https://d/user"), 0);
        issuer_unref(&issuers, issuer);
        assert_ptr_equal(issuers_find(&issuers, "https://d/user"), issuer);
        issuer_unref(&issuers, issuer);
        assert_null(issuers_find(&issuers, "https://d/user"));
        assert_int_equal(n_issuers(), N_URLS);
        end();
}

static void an_issuer_that_goes_takes_no_turn_any_more(void **state)
{
        struct issuer *issuer = NULL;

        (void)state;
        begin(3, 10);
        assert_int_equal(issuer_ref(&issuer, &issuers, "https://d/user"), 0);
        issuer_enqueue(&issuers, issuer, &flights[0], now_ms);
        enqueue(0, 1);
        issuer_dequeue(&issuers, issuer, &flights[0], now_ms);
        issuer_unref(&issuers, issuer);
        assert_starts(1);
        assert_none_starts();
        end();
}

static void raised_limits_let_more_start_at_once(void **state)
{
        const struct settings more = {.max_in_flight = 3, .max_in_flight_total = 4};
        struct issuer *issuer = NULL;

        (void)state;
        begin(1, 2);
        for (size_t i = 0; i < 4; i++) {
                enqueue(0, i);
                enqueue(1, 10 + i);
        }
        assert_starts(0);
        assert_starts(10);
        assert_none_starts();
        issuers_set_limits(&issuers, &more, now_ms);
        assert_starts(1);
        assert_starts(11);
        assert_none_starts();
        assert_int_equal(issuer_ref(&issuer, &issuers, "https://d/user"), 0);
        assert_int_equal(issuer->max_in_flight, 3); /* those that come later, too */
        issuer_unref(&issuers, issuer);
        end();
}

static void lowered_limits_let_none_start_until_enough_have_ended(void **state)
{
        const struct settings fewer = {.max_in_flight = 1, .max_in_flight_total = 2};

        (void)state;
        begin(3, 10);
        for (size_t i = 0; i < 5; i++)
                enqueue(0, i);
        enqueue_refresh(1, 10);
        for (size_t i = 0; i < 3; i++)
                assert_starts(i);
        issuers_set_limits(&issuers, &fewer, now_ms);
        assert_none_starts();
        finish(0);
        assert_none_starts();
        finish(0);
        assert_starts(10);
        assert_none_starts();
        finish(0);
        assert_starts(3);
        assert_none_starts();
        end();
}

static void out_of_memory_is_said(void **state)
{
        struct issuer *issuer = NULL;

        (void)state;
        begin(1, 1);
        alloc_fail_at(1);
        assert_int_equal(issuer_ref(&issuer, &issuers, "https://d/user"), -ENOMEM);
        assert_true(alloc_has_failed());
        assert_null(issuers_find(&issuers, "https://d/user"));
        end();
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(each_distinct_url_is_one_issuer),
                cmocka_unit_test(a_url_is_found_by_its_text_and_not_by_its_address),
                cmocka_unit_test(flights_start_in_the_order_they_came),
                cmocka_unit_test(each_url_starts_as_many_as_its_cap),
                cmocka_unit_test(all_urls_together_start_as_many_as_the_total_cap),
                cmocka_unit_test(urls_take_turns_so_that_a_long_queue_keeps_nobody_waiting),
                cmocka_unit_test(turns_go_on_where_the_total_cap_stopped_them),
                cmocka_unit_test(a_dequeued_flight_never_starts_and_leaves_no_gap),
                cmocka_unit_test(a_url_whose_queue_was_emptied_takes_no_turn),
                cmocka_unit_test(dequeuing_at_a_url_without_a_place_is_harmless),
                cmocka_unit_test(a_requeued_flight_is_the_next_of_its_kind),
                cmocka_unit_test(refreshes_start_when_no_caller_waits_anywhere),
                cmocka_unit_test(refreshes_take_half_of_a_urls_places_at_most),
                cmocka_unit_test(a_dequeued_refresh_never_starts),
                cmocka_unit_test(a_refresh_can_become_a_callers_flight_while_it_waits),
                cmocka_unit_test(nothing_starts_while_the_breaker_is_open),
                cmocka_unit_test(
                        a_failed_probe_keeps_the_queue_waiting_and_a_dropped_one_is_replaced),
                cmocka_unit_test(a_late_failure_lets_no_second_probe_start),
                cmocka_unit_test(a_refresh_is_the_probe_only_where_no_caller_queues),
                cmocka_unit_test(the_next_tick_is_that_of_the_first_breaker),
                cmocka_unit_test(random_operations_keep_every_cap_and_leave_no_place_empty),
                cmocka_unit_test(an_issuer_goes_with_its_last_reference),
                cmocka_unit_test(an_issuer_that_goes_takes_no_turn_any_more),
                cmocka_unit_test(raised_limits_let_more_start_at_once),
                cmocka_unit_test(lowered_limits_let_none_start_until_enough_have_ended),
                cmocka_unit_test(out_of_memory_is_said),
                cmocka_unit_test(two_uids_take_turns_and_each_keeps_its_order),
                cmocka_unit_test(a_long_queue_of_one_uid_delays_another_by_one_flight),
                cmocka_unit_test(who_asks_again_at_once_does_not_overtake_who_has_two),
                cmocka_unit_test(a_flight_is_hastened_to_the_turn_of_who_joins_it),
                cmocka_unit_test(what_is_tried_again_goes_before_all_turns),
                cmocka_unit_test(refreshes_know_no_turns),
                cmocka_unit_test(random_turns_leave_nobody_behind),
                cmocka_unit_test(a_flight_of_a_hundred_thousand_costs_no_more_than_one_of_ten),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
