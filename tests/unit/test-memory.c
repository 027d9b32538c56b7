/* SPDX-License-Identifier: MIT */

#include "memory.h"

#include <errno.h>

#include "helpers.h"

static struct memory_record *touch(struct memory *memory, unsigned int number, uint64_t now_ms)
{
        struct key_buffer key;

        return memory_touch(memory, key_of_number(&key, number), now_ms);
}

static struct memory_record *find(struct memory *memory, unsigned int number, uint64_t now_ms)
{
        struct key_buffer key;

        return memory_find(memory, key_of_number(&key, number), now_ms);
}

static void forget(struct memory *memory, unsigned int number)
{
        struct key_buffer key;

        memory_forget(memory, key_of_number(&key, number));
}

/* How many records are in the buckets, and whether the list agrees. */
static size_t count(const struct memory *memory)
{
        size_t in_buckets = 0, in_list = 0;
        uint64_t last_ms = 0;

        for (uint64_t at = 0; at < TABLE_END; at = table_bucket_end(&memory->table, at))
                for (struct table_node *it = *table_bucket(&memory->table, at); it; it = it->next)
                        in_buckets++;
        list_for_each (link, &memory->records) {
                const struct memory_record *it = list_entry(link, struct memory_record, link);

                assert_true(it->touched_at_ms >= last_ms);
                last_ms = it->touched_at_ms;
                in_list++;
        }
        assert_int_equal(in_list, in_buckets);
        assert_int_equal(memory->n, in_buckets);
        return in_buckets;
}

static void what_was_touched_is_found_under_its_key_only(void **state)
{
        struct memory_record *record;
        struct memory memory;

        (void)state;
        assert_int_equal(memory_init(&memory, 10), 0);
        assert_null(find(&memory, 1, 0));
        record = touch(&memory, 1, 1000);
        assert_non_null(record);
        assert_int_equal(record->reason, REASON_NONE);
        assert_int_equal(record->refusal.step_ms, 0);
        assert_int_equal(record->miss.step_ms, 0);
        assert_int_equal(record->refresh.step_ms, 0);
        assert_int_equal(record->rejection.step_ms, 0);
        record->reason = REASON_SUBJECT_REFUSED;
        assert_ptr_equal(find(&memory, 1, 1000), record);
        assert_ptr_equal(touch(&memory, 1, 1001), record);
        assert_int_equal(record->reason, REASON_SUBJECT_REFUSED);
        assert_null(find(&memory, 2, 1000));
        assert_int_equal(count(&memory), 1);
        forget(&memory, 2);
        assert_int_equal(count(&memory), 1);
        forget(&memory, 1);
        forget(&memory, 1);
        assert_null(find(&memory, 1, 1000));
        assert_int_equal(count(&memory), 0);
        assert_int_equal(memory.evicted, 0);
        memory_deinit(&memory);
        memory_deinit(&memory); /* harmless twice */
}

static void keys_of_equal_hash_are_told_apart_by_their_bytes(void **state)
{
        enum { N = 6 };
        struct memory_record *records[N];
        struct key_buffer keys[N];
        struct memory memory;

        (void)state;
        assert_int_equal(memory_init(&memory, N), 0);
        for (unsigned int i = 0; i < N; i++) {
                key_of_number(&keys[i], i);
                keys[i].key.hash = 5;
                records[i] = memory_touch(&memory, keys[i].key, 0);
        }
        for (int i = 0; i < N; i++)
                assert_ptr_equal(memory_find(&memory, keys[i].key, 0), records[i]);
        for (int i = 1; i < N; i += 2)
                memory_forget(&memory, keys[i].key);
        for (int i = 0; i < N; i++)
                assert_ptr_equal(memory_find(&memory, keys[i].key, 0), i % 2 ? NULL : records[i]);
        memory_deinit(&memory);
}

static void the_cap_is_reached_and_never_passed(void **state)
{
        static const size_t caps[] = {1, 2, 3, 64, 65, 100};

        (void)state;
        for (size_t i = 0; i < N_OF(caps); i++) {
                struct memory memory;

                assert_int_equal(memory_init(&memory, caps[i]), 0);
                for (unsigned int number = 0; number < 3 * caps[i]; number++) {
                        assert_non_null(touch(&memory, number, 1000));
                        assert_int_equal(count(&memory), number < caps[i] ? number + 1 : caps[i]);
                        assert_non_null(find(&memory, number, 1000));
                        assert_int_equal(memory.evicted,
                                         number < caps[i] ? 0 : number + 1 - caps[i]);
                }
                assert_non_null(touch(&memory, (unsigned int)(3 * caps[i] - 1), 1000));
                assert_int_equal(memory.evicted, 2 * caps[i]); /* none for one that is there */
                memory_deinit(&memory);
        }
}

static void the_one_touched_longest_ago_goes_first(void **state)
{
        struct memory memory;

        (void)state;
        assert_int_equal(memory_init(&memory, 3), 0);
        touch(&memory, 1, 1000);
        touch(&memory, 2, 1001);
        touch(&memory, 3, 1002);
        touch(&memory, 1, 1003);
        assert_non_null(find(&memory, 2, 1004)); /* to look at it is not to touch it */
        touch(&memory, 4, 1004);
        assert_null(find(&memory, 2, 1004));
        touch(&memory, 5, 1005);
        assert_null(find(&memory, 3, 1005));
        touch(&memory, 6, 1006);
        assert_null(find(&memory, 1, 1006));
        assert_non_null(find(&memory, 4, 1006));
        assert_int_equal(memory.evicted, 3);
        memory_deinit(&memory);
}

static void nothing_is_remembered_for_longer_than_two_minutes(void **state)
{
        struct memory_record *record;
        struct memory memory;

        (void)state;
        assert_int_equal(memory_init(&memory, 3), 0);
        record = touch(&memory, 1, 1000);
        backoff_extend(&record->refusal, MEMORY_REFUSAL_FIRST_MS, MEMORY_REFUSAL_MAX_MS, 1000);
        assert_non_null(find(&memory, 1, 1000 + MEMORY_KEEP_MS - 1));
        assert_null(find(&memory, 1, 1000 + MEMORY_KEEP_MS));
        /* Touched in time it stays as it is … */
        record = touch(&memory, 1, 1000 + MEMORY_KEEP_MS - 1);
        assert_int_equal(record->refusal.step_ms, MEMORY_REFUSAL_FIRST_MS);
        assert_non_null(find(&memory, 1, 1000 + UINT64_C(2) * MEMORY_KEEP_MS - 2));
        /* … and later it begins anew. */
        record = touch(&memory, 1, 1000 + UINT64_C(2) * MEMORY_KEEP_MS);
        assert_int_equal(record->refusal.step_ms, 0);
        assert_int_equal(count(&memory), 1);
        assert_int_equal(memory.evicted, 0);
        memory_deinit(&memory);
}

/* Every step that is still running is remembered: the longest is shorter than the memory. */
static void no_step_outlives_the_memory_of_it(void **state)
{
        static const uint32_t steps_ms[] = {MEMORY_REFUSAL_MAX_MS, MEMORY_MISS_MAX_MS,
                                            MEMORY_REFRESH_MAX_MS, MEMORY_REJECTION_MAX_MS};

        (void)state;
        for (size_t i = 0; i < N_OF(steps_ms); i++)
                assert_true(steps_ms[i] < MEMORY_KEEP_MS);
}

static void old_records_make_room_before_any_is_pushed_out(void **state)
{
        struct memory memory;

        (void)state;
        assert_int_equal(memory_init(&memory, 30), 0);
        for (unsigned int i = 0; i < 30; i++)
                touch(&memory, i, i < 20 ? 1000 : 2000);
        /* A few at a time, so that none is made to pay for all. */
        touch(&memory, 100, 1000 + MEMORY_KEEP_MS);
        assert_in_range(count(&memory), 12, 30);
        for (unsigned int i = 101; i < 120; i++)
                touch(&memory, i, 1000 + MEMORY_KEEP_MS);
        assert_int_equal(count(&memory), 30);
        assert_int_equal(memory.evicted, 0);
        for (unsigned int i = 20; i < 30; i++)
                assert_non_null(find(&memory, i, 1000 + MEMORY_KEEP_MS));
        touch(&memory, 120, 1000 + MEMORY_KEEP_MS);
        assert_int_equal(memory.evicted, 1);
        assert_null(find(&memory, 20, 1000 + MEMORY_KEEP_MS));
        memory_deinit(&memory);
}

struct step {
        uint32_t first_ms;
        uint32_t max_ms;
        uint32_t expected_ms[7];
};

static void steps_double_as_documented(void **state)
{
        static const struct step kinds[] = {
                {MEMORY_REFUSAL_FIRST_MS,
                 MEMORY_REFUSAL_MAX_MS,
                 {10000, 20000, 40000, 60000, 60000, 60000, 60000}},
                {MEMORY_MISS_FIRST_MS,
                 MEMORY_MISS_MAX_MS,
                 {1000, 2000, 4000, 8000, 16000, 30000, 30000}},
                {MEMORY_REFRESH_FIRST_MS,
                 MEMORY_REFRESH_MAX_MS,
                 {5000, 10000, 20000, 40000, 60000, 60000, 60000}},
                {MEMORY_REJECTION_FIRST_MS,
                 MEMORY_REJECTION_MAX_MS,
                 {5000, 10000, 20000, 40000, 60000, 60000, 60000}},
        };
        struct memory memory;

        (void)state;
        for (size_t i = 0; i < N_OF(kinds); i++) {
                uint64_t now_ms = 1000;

                assert_int_equal(memory_init(&memory, 3), 0);
                for (size_t k = 0; k < N_OF(kinds[i].expected_ms); k++) {
                        struct memory_record *record = touch(&memory, 1, now_ms);

                        backoff_extend(&record->miss, kinds[i].first_ms, kinds[i].max_ms, now_ms);
                        assert_int_equal(record->miss.step_ms, kinds[i].expected_ms[k]);
                        now_ms = record->miss.until_ms; /* again as soon as it may be */
                        assert_ptr_equal(find(&memory, 1, now_ms), record);
                }
                memory_deinit(&memory);
        }
}

static void random_operations_agree_with_a_model(void **state)
{
        enum { N_NUMBERS = 60, CAP = 20 };
        uint64_t touched_at_ms[N_NUMBERS] = {}, order[N_NUMBERS] = {}, n_touches = 0;
        uint64_t now_ms = 1000, seed = 12;
        struct memory memory;

        (void)state;
        assert_int_equal(memory_init(&memory, CAP), 0);
        for (int step = 0; step < 50000; step++) {
                const unsigned int number = (unsigned int)(random_next(&seed) % N_NUMBERS);
                unsigned int newer = 0;

                now_ms += random_next(&seed) % 4000;
                if (random_next(&seed) % 8 == 0) {
                        forget(&memory, number);
                        order[number] = 0;
                } else {
                        touch(&memory, number, now_ms);
                        touched_at_ms[number] = now_ms;
                        order[number] = ++n_touches;
                }
                assert_true(count(&memory) <= CAP);
                /* Nothing is found that should not be, and the newest always are. */
                for (unsigned int i = 0; i < N_NUMBERS; i++) {
                        const bool young = order[i] > 0 &&
                                           now_ms - touched_at_ms[i] < MEMORY_KEEP_MS;

                        newer = 0;
                        for (unsigned int k = 0; k < N_NUMBERS; k++)
                                newer += order[k] > order[i];
                        if (!young)
                                assert_null(find(&memory, i, now_ms));
                        else if (newer < CAP / 2)
                                assert_non_null(find(&memory, i, now_ms));
                }
        }
        memory_deinit(&memory);
}

static void out_of_memory_makes_no_record_and_loses_none(void **state)
{
        struct memory memory;

        (void)state;
        alloc_fail_at(1);
        assert_int_equal(memory_init(&memory, 2), -ENOMEM);
        assert_true(alloc_has_failed());
        memory_deinit(&memory);
        assert_int_equal(memory_init(&memory, 2), 0);
        touch(&memory, 1, 1000);
        touch(&memory, 2, 1000);
        alloc_fail_at(1);
        assert_null(touch(&memory, 3, 1000));
        assert_true(alloc_has_failed());
        assert_non_null(find(&memory, 1, 1000));
        assert_non_null(find(&memory, 2, 1000));
        assert_int_equal(memory.evicted, 0);
        alloc_fail_at(1);
        assert_non_null(touch(&memory, 1, 1000)); /* needs none */
        assert_false(alloc_has_failed());
        memory_deinit(&memory);
}

static void another_cap_is_reached_little_by_little(void **state)
{
        struct memory memory;

        (void)state;
        assert_int_equal(memory_init(&memory, 10), 0);
        for (unsigned int i = 0; i < 10; i++)
                assert_non_null(touch(&memory, i, 1000));
        memory_set_limit(&memory, 4);
        assert_int_equal(count(&memory), 10);
        for (unsigned int i = 10; i < 20; i++) {
                const size_t before = count(&memory);

                assert_non_null(touch(&memory, i, 1000));
                assert_int_equal(count(&memory), before > 4 ? before - 1 : 4);
                assert_non_null(find(&memory, i, 1000));
        }
        assert_int_equal(count(&memory), 4);
        alloc_fail_at(1);
        assert_int_equal(memory_reserve(&memory, 100), -ENOMEM);
        assert_true(alloc_has_failed());
        assert_int_equal(memory_reserve(&memory, 100), 0);
        memory_set_limit(&memory, 100);
        for (unsigned int i = 20; i < 200; i++) {
                assert_non_null(touch(&memory, i, 1000));
                assert_non_null(find(&memory, i - 3, 1000));
                table_step(&memory.table, 1);
        }
        assert_int_equal(count(&memory), 100);
        assert_int_equal(count_buckets(&memory.table), 128);
        memory_deinit(&memory);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(what_was_touched_is_found_under_its_key_only),
                cmocka_unit_test(keys_of_equal_hash_are_told_apart_by_their_bytes),
                cmocka_unit_test(the_cap_is_reached_and_never_passed),
                cmocka_unit_test(the_one_touched_longest_ago_goes_first),
                cmocka_unit_test(nothing_is_remembered_for_longer_than_two_minutes),
                cmocka_unit_test(no_step_outlives_the_memory_of_it),
                cmocka_unit_test(old_records_make_room_before_any_is_pushed_out),
                cmocka_unit_test(steps_double_as_documented),
                cmocka_unit_test(random_operations_agree_with_a_model),
                cmocka_unit_test(out_of_memory_makes_no_record_and_loses_none),
                cmocka_unit_test(another_cap_is_reached_little_by_little),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
