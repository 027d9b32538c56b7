/* SPDX-License-Identifier: MIT */

#include "flight.h"

#include <errno.h>

#include "helpers.h"

#define ROOT 0

static struct flight *new_flight(struct flights *flights, unsigned int number)
{
        struct flight *flight = NULL;
        struct key_buffer key;

        assert_int_equal(flight_new(&flight, flights, key_of_number(&key, number)), 0);
        return flight;
}

static void join(struct flights *flights, struct flight *flight, struct waiter *waiter)
{
        static const struct peer root = {.known = true, .uid = ROOT};

        if (!waiter->peer)
                waiter->peer = &root;
        flight_join(flights, flight, waiter);
}

static struct flight *find(struct flights *flights, unsigned int number)
{
        struct key_buffer key;

        return flights_find(flights, key_of_number(&key, number));
}

static void a_new_flight_is_found_by_its_key_and_waits_to_start(void **state)
{
        struct flights flights;
        struct flight *flight;
        struct key_buffer key;

        (void)state;
        assert_int_equal(flights_init(&flights, 10, 10, 10), 0);
        assert_null(find(&flights, 3));
        flight = new_flight(&flights, 3); /* the buffer of its key is gone by now */
        assert_ptr_equal(find(&flights, 3), flight);
        assert_null(find(&flights, 4));
        assert_int_equal(flights.n_flights, 1);
        assert_int_equal(flight->state, FLIGHT_QUEUED);
        assert_int_equal(flight->n_waiters, 0);
        assert_true(list_empty(&flight->waiters));
        assert_true(list_empty(&flight->link));
        assert_true(grant_key_equal(flight->key, key_of_number(&key, 3)));
        flight_free(&flights, flight);
        assert_null(find(&flights, 3));
        assert_int_equal(flights.n_flights, 0);
        flights_deinit(&flights);
}

static void the_table_is_as_large_as_the_cap_and_evenly_filled(void **state)
{
        static const struct {
                size_t cap;
                uint64_t buckets;
        } sizes[] = {{0, 1}, {1, 1}, {2, 2}, {3, 4}, {5, 8}, {64, 64}, {65, 128}, {500, 512}};
        static struct flight *all[500];
        struct flights flights;

        (void)state;
        for (size_t i = 0; i < N_OF(sizes); i++) {
                assert_int_equal(flights_init(&flights, sizes[i].cap, 1, 1), 0);
                assert_int_equal(count_buckets(&flights.table), sizes[i].buckets);
                flights_deinit(&flights);
        }
        assert_int_equal(flights_init(&flights, N_OF(all), 1, 1), 0);
        for (unsigned int i = 0; i < N_OF(all); i++)
                all[i] = new_flight(&flights, i);
        assert_int_equal(count_buckets(&flights.table), 512);
        for (size_t i = 0; i < N_OF(all); i++)
                flight_free(&flights, all[i]);
        flights_deinit(&flights);
}

static void the_table_grows_with_the_cap_and_flights_may_end_meanwhile(void **state)
{
        static struct flight *all[500];
        struct flights flights;

        (void)state;
        assert_int_equal(flights_init(&flights, 50, 1, 1), 0);
        for (unsigned int i = 0; i < 50; i++)
                all[i] = new_flight(&flights, i);
        alloc_fail_at(1);
        assert_int_equal(flights_reserve(&flights, N_OF(all)), -ENOMEM);
        assert_true(alloc_has_failed());
        assert_int_equal(flights_reserve(&flights, N_OF(all)), 0);
        flights_set_limits(&flights, N_OF(all), 1, 1);
        for (unsigned int i = 50; i < N_OF(all); i++) {
                all[i] = new_flight(&flights, i);
                for (unsigned int k = i < 100 ? 0 : i - 100; k <= i; k++)
                        assert_ptr_equal(find(&flights, k), all[k]);
                if (i % 2)
                        flight_detach(&flights, all[i]);
                flight_free(&flights, all[i]);
                assert_null(find(&flights, i));
                all[i] = new_flight(&flights, i);
                table_step(&flights.table, 1);
        }
        assert_int_equal(count_buckets(&flights.table), 512);
        for (size_t i = 0; i < N_OF(all); i++)
                flight_free(&flights, all[i]);
        flights_deinit(&flights);
}

static void flights_of_equal_hash_are_told_apart_and_freed_in_any_order(void **state)
{
        enum { N = 5 };
        struct key_buffer keys[N];
        struct flight *all[N] = {};
        struct flights flights;
        uint64_t seed = 8;

        (void)state;
        assert_int_equal(flights_init(&flights, N, 0, 0), 0);
        for (unsigned int i = 0; i < N; i++) {
                key_of_number(&keys[i], i);
                keys[i].key.hash = 3;
        }
        for (int step = 0; step < 1000; step++) {
                const size_t i = random_next(&seed) % N;

                if (all[i]) {
                        flight_free(&flights, all[i]);
                        all[i] = NULL;
                } else {
                        assert_int_equal(flight_new(&all[i], &flights, keys[i].key), 0);
                }
                for (size_t k = 0; k < N; k++)
                        assert_ptr_equal(flights_find(&flights, keys[k].key), all[k]);
        }
        for (size_t i = 0; i < N; i++)
                if (all[i])
                        flight_free(&flights, all[i]);
        flights_deinit(&flights);
}

static void waiters_keep_their_order_and_are_counted(void **state)
{
        struct waiter waiters[4] = {};
        struct flights flights;
        struct flight *a, *b;
        size_t i = 0;

        (void)state;
        assert_int_equal(flights_init(&flights, 2, 10, 10), 0);
        a = new_flight(&flights, 1);
        b = new_flight(&flights, 2);
        for (size_t k = 0; k < 3; k++)
                join(&flights, a, &waiters[k]);
        join(&flights, b, &waiters[3]);
        assert_int_equal(a->n_waiters, 3);
        assert_int_equal(b->n_waiters, 1);
        assert_int_equal(flights.n_waiters, 4);
        list_for_each (link, &a->waiters)
                assert_ptr_equal(list_entry(link, struct waiter, link), &waiters[i++]);
        assert_int_equal(i, 3);
        assert_ptr_equal(waiters[1].flight, a);

        flight_leave(&flights, &waiters[1]);
        assert_null(waiters[1].flight);
        assert_true(list_empty(&waiters[1].link));
        assert_int_equal(a->n_waiters, 2);
        assert_int_equal(flights.n_waiters, 3);
        assert_ptr_equal(list_first(&a->waiters), &waiters[0].link);
        assert_ptr_equal(waiters[0].link.next, &waiters[2].link);

        flight_leave(&flights, &waiters[0]);
        flight_leave(&flights, &waiters[2]);
        flight_leave(&flights, &waiters[3]);
        assert_int_equal(flights.n_waiters, 0);
        assert_ptr_equal(find(&flights, 1), a); /* it goes on without its callers */
        flight_free(&flights, a);
        flight_free(&flights, b);
        flights_deinit(&flights);
}

static void assert_counters(const struct flights *flights, uint64_t waiters_full,
                            uint64_t flight_full, uint64_t flights_full)
{
        assert_int_equal(flights->counters.waiters_full, waiters_full);
        assert_int_equal(flights->counters.flight_full, flight_full);
        assert_int_equal(flights->counters.flights_full, flights_full);
}

static void new_flights_are_admitted_up_to_the_cap(void **state)
{
        enum { CAP = 7 };
        struct flight *all[CAP];
        struct flights flights;

        (void)state;
        assert_int_equal(flights_init(&flights, CAP, 100, 100), 0);
        for (unsigned int i = 0; i < CAP; i++) {
                assert_int_equal(flights_admit(&flights, NULL, ROOT), 0);
                all[i] = new_flight(&flights, i);
        }
        assert_counters(&flights, 0, 0, 0);
        assert_int_equal(flights_admit(&flights, NULL, ROOT), REASON_FLIGHTS_FULL);
        assert_int_equal(flights_admit(&flights, NULL, ROOT), REASON_FLIGHTS_FULL);
        assert_counters(&flights, 0, 0, 2);
        assert_int_equal(flights_admit(&flights, all[0], ROOT), 0); /* joining is not flying */
        flight_free(&flights, all[3]);
        assert_int_equal(flights_admit(&flights, NULL, ROOT), 0);
        all[3] = new_flight(&flights, 3);
        for (int i = 0; i < CAP; i++)
                flight_free(&flights, all[i]);
        flights_deinit(&flights);
}

static void waiters_are_admitted_up_to_the_cap_of_their_flight(void **state)
{
        enum { CAP = 5 };
        struct waiter waiters[CAP] = {};
        struct flights flights;
        struct flight *flight, *other;

        (void)state;
        assert_int_equal(flights_init(&flights, 10, 100, CAP), 0);
        flight = new_flight(&flights, 1);
        other = new_flight(&flights, 2);
        for (int i = 0; i < CAP; i++) {
                assert_int_equal(flights_admit(&flights, flight, ROOT), 0);
                join(&flights, flight, &waiters[i]);
        }
        assert_int_equal(flights_admit(&flights, flight, ROOT), REASON_FLIGHT_FULL);
        assert_counters(&flights, 0, 1, 0);
        assert_int_equal(flights_admit(&flights, other, ROOT), 0);
        assert_int_equal(flights_admit(&flights, NULL, ROOT), 0);
        flight_leave(&flights, &waiters[0]);
        assert_int_equal(flights_admit(&flights, flight, ROOT), 0);
        for (int i = 1; i < CAP; i++)
                flight_leave(&flights, &waiters[i]);
        flight_free(&flights, flight);
        flight_free(&flights, other);
        flights_deinit(&flights);
}

static void waiters_are_admitted_up_to_the_cap_of_all_flights(void **state)
{
        enum { CAP = 6 };
        struct waiter waiters[CAP] = {};
        struct flight *all[3];
        struct flights flights;

        (void)state;
        assert_int_equal(flights_init(&flights, 3, CAP, CAP), 0);
        for (unsigned int i = 0; i < 3; i++)
                all[i] = new_flight(&flights, i);
        for (int i = 0; i < CAP; i++) {
                assert_int_equal(flights_admit(&flights, all[i % 3], ROOT), 0);
                join(&flights, all[i % 3], &waiters[i]);
        }
        for (int i = 0; i < 3; i++)
                assert_int_equal(flights_admit(&flights, all[i], ROOT), REASON_WAITERS_FULL);
        assert_int_equal(flights_admit(&flights, NULL, ROOT), REASON_WAITERS_FULL);
        assert_counters(&flights, 4, 0, 0);
        flight_leave(&flights, &waiters[4]);
        assert_int_equal(flights_admit(&flights, all[0], ROOT), 0);
        for (int i = 0; i < CAP; i++)
                if (waiters[i].flight)
                        flight_leave(&flights, &waiters[i]);
        for (int i = 0; i < 3; i++)
                flight_free(&flights, all[i]);
        flights_deinit(&flights);
}

static void a_flight_knows_when_the_last_of_its_callers_gives_up(void **state)
{
        static const uint64_t give_up_ms[] = {5000, 9000, 7000};
        static const uint64_t latest_ms[] = {5000, 9000, 9000};
        struct waiter waiters[N_OF(give_up_ms)] = {};
        struct flights flights;
        struct flight *flight;

        (void)state;
        assert_int_equal(flights_init(&flights, 1, 10, 10), 0);
        flight = new_flight(&flights, 1);
        assert_false(flight->had_waiter);
        assert_false(flight->refresh);
        assert_int_equal(flight->latest_ms, 0);
        for (size_t i = 0; i < N_OF(waiters); i++) {
                waiters[i].gives_up_at_ms = give_up_ms[i];
                join(&flights, flight, &waiters[i]);
                assert_true(flight->had_waiter);
                assert_int_equal(flight->latest_ms, latest_ms[i]);
        }
        for (size_t i = 0; i < N_OF(waiters); i++)
                flight_leave(&flights, &waiters[i]);
        assert_true(flight->had_waiter); /* it had, and that matters */
        flight_free(&flights, flight);
        flights_deinit(&flights);
}

static void refreshes_leave_a_quarter_of_the_flights_to_callers(void **state)
{
        static const struct {
                size_t cap;
                unsigned int refreshes; /* as many are admitted */
        } cases[] = {{1, 1}, {2, 2}, {3, 3}, {4, 3}, {7, 6}, {8, 6}, {100, 75}};

        (void)state;
        for (size_t i = 0; i < N_OF(cases); i++) {
                struct flight *all[100];
                struct flights flights;

                assert_int_equal(flights_init(&flights, cases[i].cap, 10, 10), 0);
                for (unsigned int n = 0; n < cases[i].cap; n++) {
                        assert_int_equal(flights_admit_refresh(&flights), n < cases[i].refreshes);
                        assert_int_equal(flights_admit(&flights, NULL, ROOT), 0);
                        all[n] = new_flight(&flights, n);
                }
                assert_false(flights_admit_refresh(&flights));
                for (unsigned int n = 0; n < cases[i].cap; n++)
                        flight_free(&flights, all[n]);
                flights_deinit(&flights);
        }
}

static void assert_held(const struct flights *flights, uid_t uid, size_t n_flights,
                        size_t n_waiters)
{
        assert_int_equal(shares_held(&flights->flight_shares, uid), n_flights);
        assert_int_equal(shares_held(&flights->waiter_shares, uid), n_waiters);
}

static void a_uid_begins_a_quarter_of_the_flights_and_joins_as_before(void **state)
{
        static const struct peer peer = {.known = true, .uid = 1001};
        struct waiter waiters[3] = {{.peer = &peer}, {.peer = &peer}, {.peer = &peer}};
        struct flights flights;
        struct flight *all[2], *root;

        (void)state;
        assert_int_equal(flights_init(&flights, 8, 100, 100), 0);
        for (unsigned int i = 0; i < 2; i++) {
                assert_int_equal(flights_admit(&flights, NULL, 1001), 0);
                all[i] = new_flight(&flights, i);
                flight_own(all[i], 1001);
                join(&flights, all[i], &waiters[i]);
        }
        assert_held(&flights, 1001, 2, 2);
        assert_int_equal(flights_admit(&flights, NULL, 1001), REASON_UID_FLIGHTS_FULL);
        assert_held(&flights, 1001, 2, 2); /* what was taken of the other went back */
        assert_int_equal(flights.flight_shares.refused, 1);
        assert_int_equal(flights.waiter_shares.refused, 0);
        assert_counters(&flights, 0, 0, 0);
        assert_int_equal(flights_admit(&flights, all[0], 1001), 0);
        join(&flights, all[0], &waiters[2]);
        assert_held(&flights, 1001, 2, 3);
        assert_int_equal(flights_admit(&flights, NULL, 1002), 0);
        flights_dismiss(&flights, NULL, 1002);
        for (unsigned int i = 2; i < 8; i++)
                assert_int_equal(flights_admit(&flights, NULL, ROOT), 0);
        root = new_flight(&flights, 9);

        /* A flight keeps its owner's place when its owner has gone, and gives it back at its end.
         */
        for (int i = 0; i < 3; i++)
                flight_leave(&flights, &waiters[i]);
        assert_held(&flights, 1001, 2, 0);
        assert_int_equal(flights_admit(&flights, NULL, 1001), REASON_UID_FLIGHTS_FULL);
        flight_free(&flights, all[1]);
        assert_held(&flights, 1001, 1, 0);
        assert_int_equal(flights_admit(&flights, NULL, 1001), 0);
        flights_dismiss(&flights, NULL, 1001);
        flight_free(&flights, all[0]);
        flight_free(&flights, root);
        assert_int_equal(flights.flight_shares.n_uids, 0);
        assert_int_equal(flights.waiter_shares.n_uids, 0);
        flights_deinit(&flights);
}

static void a_uid_has_a_quarter_of_the_waiters(void **state)
{
        static const struct peer peer = {.known = true, .uid = 1001};
        struct waiter waiters[3] = {{.peer = &peer}, {.peer = &peer}, {.peer = &peer}};
        struct flights flights;
        struct flight *flight;

        (void)state;
        assert_int_equal(flights_init(&flights, 100, 12, 100), 0);
        flight = new_flight(&flights, 1);
        for (int i = 0; i < 3; i++) {
                assert_int_equal(flights_admit(&flights, flight, 1001), 0);
                join(&flights, flight, &waiters[i]);
        }
        assert_int_equal(flights_admit(&flights, flight, 1001), REASON_UID_WAITERS_FULL);
        assert_int_equal(flights_admit(&flights, NULL, 1001), REASON_UID_WAITERS_FULL);
        assert_int_equal(flights.waiter_shares.refused, 2);
        assert_held(&flights, 1001, 0, 3);
        assert_int_equal(flights_admit(&flights, flight, 1002), 0);
        flights_dismiss(&flights, flight, 1002);
        assert_held(&flights, 1002, 0, 0);
        flight_leave(&flights, &waiters[0]);
        assert_int_equal(flights_admit(&flights, NULL, 1001), 0);
        flights_dismiss(&flights, NULL, 1001);
        flight_leave(&flights, &waiters[1]);
        flight_leave(&flights, &waiters[2]);
        flight_free(&flights, flight);
        flights_deinit(&flights);
}

static void a_share_that_cannot_be_kept_is_not_taken(void **state)
{
        struct flights flights;

        (void)state;
        assert_int_equal(flights_init(&flights, 100, 100, 100), 0);
        for (unsigned int n = 1; n <= 2; n++) {
                alloc_fail_at(n);
                assert_int_equal(flights_admit(&flights, NULL, 1001), -ENOMEM);
                assert_true(alloc_has_failed());
                assert_held(&flights, 1001, 0, 0);
        }
        for (unsigned int n = 1; n <= 3; n++) {
                struct flights other;

                alloc_fail_at(n);
                assert_int_equal(flights_init(&other, 1, 1, 1), -ENOMEM);
                assert_true(alloc_has_failed());
        }
        flights_deinit(&flights);
}

static void a_detached_flight_is_found_no_more_and_makes_room_for_another_of_its_key(void **state)
{
        static const struct peer peer = {.known = true, .uid = 1001};
        struct waiter waiter = {.peer = &peer};
        struct flight *old, *new, *other;
        struct flights flights;
        size_t n = 0;

        (void)state;
        assert_int_equal(flights_init(&flights, 4, 4, 4), 0);
        assert_int_equal(flights_admit(&flights, NULL, 1001), 0);
        old = new_flight(&flights, 1);
        flight_own(old, 1001);
        join(&flights, old, &waiter);
        other = new_flight(&flights, 2);
        flight_detach(&flights, old);
        assert_true(old->detached);
        assert_null(find(&flights, 1));
        assert_ptr_equal(find(&flights, 2), other);
        assert_int_equal(flights.counters.detached, 1);
        assert_int_equal(flights.n_flights, 2); /* it still counts, */
        assert_held(&flights, 1001, 1, 1);      /* also for whoever began it */
        new = new_flight(&flights, 1);
        assert_ptr_equal(find(&flights, 1), new);
        list_for_each (link, &flights.all)
                n++;
        assert_int_equal(n, 3);
        flight_leave(&flights, &waiter);
        flight_free(&flights, old);
        assert_ptr_equal(find(&flights, 1), new);
        assert_held(&flights, 1001, 0, 0);
        flight_free(&flights, other);
        flight_free(&flights, new);
        assert_true(list_empty(&flights.all));
        flights_deinit(&flights);
}

static void a_cap_of_nothing_admits_nobody(void **state)
{
        struct flights flights;

        (void)state;
        assert_int_equal(flights_init(&flights, 0, 1, 1), 0);
        assert_int_equal(flights_admit(&flights, NULL, ROOT), REASON_FLIGHTS_FULL);
        assert_null(find(&flights, 1));
        flights_deinit(&flights);
}

static void out_of_memory_makes_no_flight(void **state)
{
        struct flight *flight = NULL;
        struct flights flights;
        struct key_buffer key;

        (void)state;
        alloc_fail_at(1);
        assert_int_equal(flights_init(&flights, 10, 10, 10), -ENOMEM);
        flights_deinit(&flights);
        assert_int_equal(flights_init(&flights, 10, 10, 10), 0);
        alloc_fail_at(1);
        assert_int_equal(flight_new(&flight, &flights, key_of_number(&key, 1)), -ENOMEM);
        assert_true(alloc_has_failed());
        assert_int_equal(flights.n_flights, 0);
        assert_null(find(&flights, 1));
        flights_deinit(&flights);
}

/* The copy that a flight keeps goes with it, and nothing of it stays behind. */
static void a_subject_token_is_wiped_with_its_flight(void **state)
{
        static const char needle[] = "subject-token-that-nobody-may-find";
        const struct subjecttoken token = {
                .value = TEXT(needle), .type = SUBJECTTOKEN_JWT, .expires_at_s = 7};
        struct key_buffer buffer;
        struct flights flights;
        struct flight *flight;

        (void)state;
        frees_watch(needle);
        assert_int_equal(flights_init(&flights, 4, 4, 4), 0);
        assert_int_equal(flight_new(&flight, &flights, key_of_subject(&buffer, "okta")), 0);
        alloc_fail_at(1);
        assert_int_equal(flight_keep_subject_token(flight, &token), -ENOMEM);
        assert_int_equal(flight->subject_token.value.size, 0);
        assert_true(alloc_has_failed());
        assert_int_equal(flight_keep_subject_token(flight, &token), 0);
        assert_true(text_equal(flight->subject_token.value, token.value));
        assert_ptr_not_equal(flight->subject_token.value.bytes, token.value.bytes);
        assert_int_equal(flight->subject_token.type, SUBJECTTOKEN_JWT);
        assert_int_equal(flight->subject_token.expires_at_s, 7);
        flight_free(&flights, flight);
        flights_deinit(&flights);
        assert_int_equal(frees_dirty(), 0);
        frees_watch(NULL);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(a_new_flight_is_found_by_its_key_and_waits_to_start),
                cmocka_unit_test(the_table_is_as_large_as_the_cap_and_evenly_filled),
                cmocka_unit_test(the_table_grows_with_the_cap_and_flights_may_end_meanwhile),
                cmocka_unit_test(flights_of_equal_hash_are_told_apart_and_freed_in_any_order),
                cmocka_unit_test(waiters_keep_their_order_and_are_counted),
                cmocka_unit_test(new_flights_are_admitted_up_to_the_cap),
                cmocka_unit_test(waiters_are_admitted_up_to_the_cap_of_their_flight),
                cmocka_unit_test(waiters_are_admitted_up_to_the_cap_of_all_flights),
                cmocka_unit_test(a_flight_knows_when_the_last_of_its_callers_gives_up),
                cmocka_unit_test(refreshes_leave_a_quarter_of_the_flights_to_callers),
                cmocka_unit_test(a_cap_of_nothing_admits_nobody),
                cmocka_unit_test(out_of_memory_makes_no_flight),
                cmocka_unit_test(a_uid_begins_a_quarter_of_the_flights_and_joins_as_before),
                cmocka_unit_test(a_uid_has_a_quarter_of_the_waiters),
                cmocka_unit_test(a_share_that_cannot_be_kept_is_not_taken),
                cmocka_unit_test(
                        a_detached_flight_is_found_no_more_and_makes_room_for_another_of_its_key),
                cmocka_unit_test(a_subject_token_is_wiped_with_its_flight),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
