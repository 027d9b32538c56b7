/* SPDX-License-Identifier: MIT */

#include "table.h"

#include <errno.h>

#include "helpers.h"

#define N 3000

struct thing {
        struct table_node node;
        bool in;
        unsigned int seen;
};

static struct thing things[N];

static void scatter(void)
{
        uint64_t seed = 4;

        for (size_t i = 0; i < N; i++)
                things[i] = (struct thing){.node.hash = random_next(&seed)};
        things[0].node.hash = 0;
        things[1].node.hash = UINT64_MAX;
}

static struct thing *thing_of(struct table_node *node)
{
        return (struct thing *)(void *)node;
}

static struct table_node **find(struct table *table, const struct thing *thing)
{
        struct table_node **at = table_bucket(table, table_position(thing->node.hash));

        while (*at && *at != &thing->node)
                at = &(*at)->next;
        return at;
}

static void put_in(struct table *table, struct thing *thing)
{
        table_insert(table, &thing->node);
        thing->in = true;
}

static void take_out(struct table *table, struct thing *thing)
{
        struct table_node **at = find(table, thing);

        assert_non_null(*at);
        *at = (*at)->next;
        thing->in = false;
}

/* What is in one bucket counts as seen; returns where that ends. */
static uint64_t see_bucket(struct table *table, uint64_t position)
{
        const uint64_t end = table_bucket_end(table, position);

        assert_true(end > position && end <= TABLE_END);
        for (struct table_node *node = *table_bucket(table, position); node; node = node->next) {
                assert_in_range(table_position(node->hash), position, end - 1);
                thing_of(node)->seen++;
        }
        return end;
}

/* Each thing that is in is found, and in one bucket, and no other is. Returns the longest chain. */
static size_t check(struct table *table)
{
        size_t longest = 0, n_seen, n_before = 0;

        for (size_t i = 0; i < N; i++) {
                things[i].seen = 0;
                assert_true(!*find(table, &things[i]) == !things[i].in);
        }
        for (uint64_t at = 0; at < TABLE_END; n_before = n_seen) {
                at = see_bucket(table, at);
                n_seen = 0;
                for (size_t i = 0; i < N; i++)
                        n_seen += things[i].seen;
                if (n_seen - n_before > longest)
                        longest = n_seen - n_before;
        }
        for (size_t i = 0; i < N; i++)
                assert_int_equal(things[i].seen, things[i].in);
        return longest;
}

static uint64_t n_buckets(const struct table *table)
{
        uint64_t n = 0;

        for (uint64_t at = 0; at < TABLE_END; n++)
                at = table_bucket_end(table, at);
        return n;
}

static void there_are_as_many_buckets_as_entries_or_up_to_twice_as_many(void **state)
{
        static const struct {
                size_t n, buckets;
        } sizes[] = {{0, 1}, {1, 1}, {2, 2}, {3, 4}, {4, 4}, {5, 8}, {1000, 1024}, {1025, 2048}};
        struct table table;

        (void)state;
        for (size_t i = 0; i < N_OF(sizes); i++) {
                assert_int_equal(table_init(&table, sizes[i].n), 0);
                assert_int_equal(n_buckets(&table), sizes[i].buckets);
                assert_false(table_is_growing(&table));
                table_deinit(&table);

                assert_int_equal(table_init(&table, 1), 0);
                assert_int_equal(table_grow(&table, sizes[i].n), 0);
                table_step(&table, 1);
                assert_int_equal(n_buckets(&table), sizes[i].buckets);
                assert_false(table_is_growing(&table));
                table_deinit(&table);
        }
}

static void it_grows_in_steps_and_everything_is_found_meanwhile(void **state)
{
        struct table table;
        size_t n_steps = 0, at = N / 2;

        (void)state;
        scatter();
        assert_int_equal(table_init(&table, 100), 0);
        for (size_t i = 0; i < N / 2; i++)
                put_in(&table, &things[i]);
        assert_true(check(&table) > 10);
        assert_int_equal(table_grow(&table, N), 0);
        assert_true(table_is_growing(&table));
        for (; table_is_growing(&table); n_steps++) {
                (void)check(&table);
                for (size_t k = 0; k < 20; k++, at++) {
                        put_in(&table, &things[at]);
                        if (k % 2)
                                take_out(&table, &things[at - N / 2]);
                }
                table_step(&table, 3);
        }
        assert_int_equal(n_steps, (128 + 2) / 3);
        assert_true(check(&table) <= 8);
        table_deinit(&table);
}

static void it_never_gets_smaller(void **state)
{
        struct table table;

        (void)state;
        assert_int_equal(table_init(&table, 100), 0);
        alloc_fail_at(1);
        assert_int_equal(table_grow(&table, 100), 0);
        assert_int_equal(table_grow(&table, 128), 0);
        assert_int_equal(table_grow(&table, 3), 0);
        assert_false(alloc_has_failed()); /* it asks for none */
        assert_false(table_is_growing(&table));
        assert_int_equal(n_buckets(&table), 128);
        table_deinit(&table);
}

/* What is asked for meanwhile comes next; of several, the largest. */
static void it_grows_again_where_that_is_asked_for_while_it_grows(void **state)
{
        struct table table;
        size_t n_steps = 0;

        (void)state;
        scatter();
        assert_int_equal(table_init(&table, 16), 0);
        for (size_t i = 0; i < N; i++)
                put_in(&table, &things[i]);
        assert_int_equal(table_grow(&table, 64), 0);
        table_step(&table, 8);
        assert_int_equal(table_grow(&table, 256), 0);
        assert_int_equal(table_grow(&table, 4096), 0);
        assert_int_equal(table_grow(&table, 512), 0);
        assert_int_equal(table_grow(&table, 30), 0);
        (void)check(&table);
        for (; table_is_growing(&table); n_steps++) {
                table_step(&table, 8);
                (void)check(&table);
        }
        assert_int_equal(n_steps, 1 + 8);
        assert_int_equal(n_buckets(&table), 4096);
        assert_true(check(&table) <= 8);
        table_deinit(&table);

        assert_int_equal(table_init(&table, 16), 0); /* given up meanwhile */
        assert_int_equal(table_grow(&table, 64), 0);
        assert_int_equal(table_grow(&table, 256), 0);
        table_deinit(&table);
}

/* Whoever walks meanwhile sees what is there all the time once, what comes and goes at most so. */
static void a_walk_sees_everything_once_while_it_grows(void **state)
{
        (void)state;
        for (size_t stride = 1; stride <= 16; stride *= 2) {
                struct table table;
                size_t k = 0;

                scatter();
                assert_int_equal(table_init(&table, 64), 0);
                for (size_t i = 0; i < N; i++)
                        if (i % 3 != 1)
                                put_in(&table, &things[i]);
                for (uint64_t at = 0; at < TABLE_END; k++) {
                        at = see_bucket(&table, at);
                        if (k == 5 || k == 40)
                                assert_int_equal(table_grow(&table, k * 20), 0);
                        if (k % 4 == 0)
                                table_step(&table, stride);
                        if (k % 3 == 1 && k < N && !things[k].in)
                                put_in(&table, &things[k]);
                        else if (k % 3 == 2 && k < N && things[k].in)
                                take_out(&table, &things[k]);
                }
                for (size_t i = 0; i < N; i++)
                        assert_in_range(things[i].seen, i % 3 == 0 || (i % 3 == 2 && i >= k), 1);
                table_deinit(&table);
        }
}

static void without_memory_it_stays_as_it_is(void **state)
{
        struct table table;

        (void)state;
        alloc_fail_at(1);
        assert_int_equal(table_init(&table, 4), -ENOMEM);
        assert_true(alloc_has_failed());
        table_deinit(&table);

        scatter();
        assert_int_equal(table_init(&table, 4), 0);
        for (size_t i = 0; i < 100; i++)
                put_in(&table, &things[i]);
        alloc_fail_at(1);
        assert_int_equal(table_grow(&table, 1000), -ENOMEM);
        assert_true(alloc_has_failed());
        assert_false(table_is_growing(&table));
        (void)check(&table);

        assert_int_equal(table_grow(&table, 100), 0);
        table_step(&table, 1);
        alloc_fail_at(1);
        assert_int_equal(table_grow(&table, 1000), -ENOMEM);
        assert_true(alloc_has_failed());
        (void)check(&table);
        table_step(&table, 3);
        assert_false(table_is_growing(&table));
        assert_int_equal(n_buckets(&table), 128);
        (void)check(&table);
        table_deinit(&table);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(there_are_as_many_buckets_as_entries_or_up_to_twice_as_many),
                cmocka_unit_test(it_grows_in_steps_and_everything_is_found_meanwhile),
                cmocka_unit_test(it_never_gets_smaller),
                cmocka_unit_test(it_grows_again_where_that_is_asked_for_while_it_grows),
                cmocka_unit_test(a_walk_sees_everything_once_while_it_grows),
                cmocka_unit_test(without_memory_it_stays_as_it_is),
        };

        return cmocka_run_group_tests_name("table", tests, NULL, NULL);
}
