/* SPDX-License-Identifier: MIT */

#include "timerheap.h"

#include <errno.h>

#include "helpers.h"

#define N_TIMERS 40

/* What the heap should hold: times in order, and for each timer its own. */
struct oracle {
        uint64_t sorted[N_TIMERS];
        size_t n;
        uint64_t at_ms[N_TIMERS];
        bool set[N_TIMERS];
};

static void oracle_remove(struct oracle *oracle, size_t timer)
{
        size_t at = 0;

        if (!oracle->set[timer])
                return;
        oracle->set[timer] = false;
        while (oracle->sorted[at] != oracle->at_ms[timer])
                at++;
        memmove(&oracle->sorted[at], &oracle->sorted[at + 1],
                (oracle->n - at - 1) * sizeof(uint64_t));
        oracle->n--;
}

static void oracle_set(struct oracle *oracle, size_t timer, uint64_t at_ms)
{
        size_t at = 0;

        oracle_remove(oracle, timer);
        while (at < oracle->n && oracle->sorted[at] <= at_ms)
                at++;
        memmove(&oracle->sorted[at + 1], &oracle->sorted[at], (oracle->n - at) * sizeof(uint64_t));
        oracle->sorted[at] = at_ms;
        oracle->n++;
        oracle->set[timer] = true;
        oracle->at_ms[timer] = at_ms;
}

static void assert_agree(const struct timerheap *heap, const struct timer *timers,
                         const struct oracle *oracle)
{
        assert_int_equal(heap->n, oracle->n);
        assert_int_equal(timerheap_next_ms(heap),
                         oracle->n > 0 ? oracle->sorted[0] : TIMERHEAP_NEVER);
        for (size_t i = 0; i < N_TIMERS; i++) {
                assert_int_equal(timer_is_set(&timers[i]), oracle->set[i]);
                if (!oracle->set[i])
                        continue;
                assert_ptr_equal(timerheap_slot(heap, timers[i].position)->timer, &timers[i]);
                assert_int_equal(timerheap_at_ms(heap, &timers[i]), oracle->at_ms[i]);
        }
}

static void pop_and_compare(struct timerheap *heap, struct timer *timers, struct oracle *oracle,
                            uint64_t now_ms)
{
        struct timer *popped = timerheap_pop(heap, now_ms);

        if (oracle->n == 0 || oracle->sorted[0] > now_ms) {
                assert_null(popped);
                return;
        }
        assert_non_null(popped);
        assert_false(timer_is_set(popped));
        assert_int_equal(oracle->at_ms[popped - timers], oracle->sorted[0]);
        oracle_remove(oracle, (size_t)(popped - timers));
}

static void random_operations_agree_with_a_sorted_array(void **state)
{
        struct timer timers[N_TIMERS] = {};
        struct oracle oracle = {};
        struct timerheap heap;
        uint64_t seed = 2;

        (void)state;
        /* Fewer places than timers, so that it is full at times; few times, so that many tie. */
        assert_int_equal(timerheap_init(&heap, N_TIMERS - 5), 0);
        for (int step = 0; step < 100000; step++) {
                const size_t i = random_next(&seed) % N_TIMERS;
                const uint64_t at_ms = random_next(&seed) % 30;

                switch (random_next(&seed) % 8) {
                case 0:
                        timerheap_cancel(&heap, &timers[i]);
                        oracle_remove(&oracle, i);
                        break;
                case 1: pop_and_compare(&heap, timers, &oracle, at_ms); break;
                default:
                        if (!oracle.set[i] && oracle.n == heap.capacity) {
                                assert_int_equal(timerheap_set(&heap, &timers[i], at_ms),
                                                 TIMERHEAP_E_FULL);
                                break;
                        }
                        assert_int_equal(timerheap_set(&heap, &timers[i], at_ms), 0);
                        oracle_set(&oracle, i, at_ms);
                }
                assert_agree(&heap, timers, &oracle);
        }
        while (oracle.n > 0)
                pop_and_compare(&heap, timers, &oracle, 30);
        assert_agree(&heap, timers, &oracle);
        timerheap_deinit(&heap);
}

static void a_full_heap_refuses_new_timers_and_moves_old_ones(void **state)
{
        struct timer timers[4] = {};
        struct timerheap heap;

        (void)state;
        assert_int_equal(timerheap_init(&heap, 3), 0);
        for (uint64_t i = 0; i < 3; i++)
                assert_int_equal(timerheap_set(&heap, &timers[i], 10 + i), 0);
        assert_int_equal(timerheap_set(&heap, &timers[3], 1), TIMERHEAP_E_FULL);
        assert_false(timer_is_set(&timers[3]));
        assert_int_equal(timerheap_next_ms(&heap), 10);
        assert_int_equal(timerheap_set(&heap, &timers[0], 20), 0);
        assert_int_equal(timerheap_next_ms(&heap), 11);
        timerheap_cancel(&heap, &timers[2]);
        assert_int_equal(timerheap_set(&heap, &timers[3], 1), 0);
        assert_ptr_equal(timerheap_pop(&heap, 1), &timers[3]);
        timerheap_deinit(&heap);
}

static void an_empty_heap_has_nothing_due_ever(void **state)
{
        struct timer timer = {};
        struct timerheap heap;

        (void)state;
        assert_int_equal(timerheap_init(&heap, 0), 0);
        assert_int_equal(timerheap_next_ms(&heap), TIMERHEAP_NEVER);
        assert_null(timerheap_pop(&heap, TIMERHEAP_NEVER));
        timerheap_cancel(&heap, &timer);
        assert_int_equal(timerheap_set(&heap, &timer, 1), TIMERHEAP_E_FULL);
        timerheap_deinit(&heap);
}

static void a_timer_is_due_at_its_millisecond_and_not_before(void **state)
{
        struct timer timer = {}, never = {};
        struct timerheap heap;

        (void)state;
        assert_int_equal(timerheap_init(&heap, 2), 0);
        assert_int_equal(timerheap_set(&heap, &timer, 1000), 0);
        assert_int_equal(timerheap_set(&heap, &never, TIMERHEAP_NEVER), 0);
        assert_null(timerheap_pop(&heap, 999));
        assert_ptr_equal(timerheap_pop(&heap, 1000), &timer);
        assert_null(timerheap_pop(&heap, TIMERHEAP_NEVER - 1));
        timerheap_deinit(&heap);
}

static void cancelling_the_last_slot_and_twice_is_harmless(void **state)
{
        struct timer timers[2] = {};
        struct timerheap heap;

        (void)state;
        assert_int_equal(timerheap_init(&heap, 2), 0);
        assert_int_equal(timerheap_set(&heap, &timers[0], 1), 0);
        assert_int_equal(timerheap_set(&heap, &timers[1], 2), 0);
        timerheap_cancel(&heap, &timers[1]);
        timerheap_cancel(&heap, &timers[1]);
        assert_int_equal(heap.n, 1);
        timerheap_cancel(&heap, &timers[0]);
        assert_int_equal(heap.n, 0);
        timerheap_deinit(&heap);
}

static void out_of_memory_is_said_and_deinit_still_works(void **state)
{
        struct timerheap heap;

        (void)state;
        for (unsigned int n = 1; n <= 3; n++) {
                alloc_fail_at(n);
                assert_int_equal(timerheap_init(&heap, TIMERHEAP_SEGMENT_SLOTS), -ENOMEM);
                assert_true(alloc_has_failed());
                timerheap_deinit(&heap);
        }
}

static void a_heap_that_grows_keeps_its_timers_and_takes_more(void **state)
{
        struct timer timers[N_TIMERS] = {};
        struct timerheap heap;

        (void)state;
        assert_int_equal(timerheap_init(&heap, 4), 0);
        for (size_t i = 0; i < 4; i++)
                assert_int_equal(timerheap_set(&heap, &timers[i], 100 - i), 0);
        assert_int_not_equal(timerheap_set(&heap, &timers[4], 1), 0);
        alloc_fail_at(1);
        assert_int_equal(timerheap_grow(&heap, N_TIMERS), -ENOMEM);
        assert_true(alloc_has_failed());
        assert_int_equal(heap.capacity, 4);
        assert_int_equal(timerheap_grow(&heap, 3), 0); /* it never shrinks */
        assert_int_equal(heap.capacity, 4);
        assert_int_equal(timerheap_grow(&heap, N_TIMERS), 0);
        for (size_t i = 4; i < N_TIMERS; i++)
                assert_int_equal(timerheap_set(&heap, &timers[i], 100 - i), 0);
        for (size_t i = N_TIMERS; i-- > 0;)
                assert_ptr_equal(timerheap_pop(&heap, 1000), &timers[i]);
        assert_null(timerheap_pop(&heap, 1000));
        timerheap_deinit(&heap);
}

enum { MANY = 3 * TIMERHEAP_SEGMENT_SLOTS };

/* Also where memory is out in between. Returns whether the earliest stayed in its place. */
static bool grow_to_many(uint32_t n_before)
{
        static struct timer timers[MANY];
        const struct timerheap_slot *earliest;
        struct timerheap heap;
        uint64_t seed = 7, last_ms = 0;
        bool stayed;

        memset(timers, 0, sizeof(timers));
        assert_int_equal(timerheap_init(&heap, n_before), 0);
        for (size_t i = 0; i < n_before; i++)
                assert_int_equal(timerheap_set(&heap, &timers[i], random_next(&seed) % MANY), 0);
        assert_int_equal(timerheap_set(&heap, &timers[n_before], 0), TIMERHEAP_E_FULL);
        earliest = timerheap_slot(&heap, 1);
        for (unsigned int n = 3; n >= 1; n--) {
                alloc_fail_at(n);
                assert_int_equal(timerheap_grow(&heap, MANY), -ENOMEM);
                assert_true(alloc_has_failed());
                assert_int_equal(timerheap_set(&heap, &timers[n_before], 0), TIMERHEAP_E_FULL);
        }
        assert_int_equal(timerheap_grow(&heap, MANY), 0);
        stayed = timerheap_slot(&heap, 1) == earliest;
        for (size_t i = n_before; i < MANY; i++)
                assert_int_equal(timerheap_set(&heap, &timers[i], random_next(&seed) % MANY), 0);
        assert_int_equal(timerheap_set(&heap, &(struct timer){}, 0), TIMERHEAP_E_FULL);
        for (size_t i = 0; i < MANY; i++) {
                const uint64_t next_ms = timerheap_next_ms(&heap);

                assert_true(next_ms >= last_ms);
                assert_non_null(timerheap_pop(&heap, next_ms));
                last_ms = next_ms;
        }
        assert_null(timerheap_pop(&heap, TIMERHEAP_NEVER));
        timerheap_deinit(&heap);
        return stayed;
}

static void a_heap_of_many_grows_without_moving_what_is_in(void **state)
{
        (void)state;
        (void)grow_to_many(10);
        (void)grow_to_many(TIMERHEAP_SEGMENT_SLOTS - 1);
        assert_true(grow_to_many(TIMERHEAP_SEGMENT_SLOTS));
        assert_true(grow_to_many(2 * TIMERHEAP_SEGMENT_SLOTS - 2));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(random_operations_agree_with_a_sorted_array),
                cmocka_unit_test(a_full_heap_refuses_new_timers_and_moves_old_ones),
                cmocka_unit_test(an_empty_heap_has_nothing_due_ever),
                cmocka_unit_test(a_timer_is_due_at_its_millisecond_and_not_before),
                cmocka_unit_test(cancelling_the_last_slot_and_twice_is_harmless),
                cmocka_unit_test(out_of_memory_is_said_and_deinit_still_works),
                cmocka_unit_test(a_heap_that_grows_keeps_its_timers_and_takes_more),
                cmocka_unit_test(a_heap_of_many_grows_without_moving_what_is_in),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
