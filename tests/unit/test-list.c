/* SPDX-License-Identifier: MIT */

#include "list.h"

#include "helpers.h"

struct item {
        int number;
        struct list link; /* the list under test */
};

static void assert_order(const struct list *head, const int *numbers, size_t n)
{
        const struct list *at = head;
        size_t n_seen = 0;

        list_for_each (it, head)
                n_seen++;
        assert_int_equal(n_seen, n);
        for (size_t i = 0; i < n; i++) {
                assert_ptr_equal(at->next->prev, at);
                at = at->next;
                assert_ptr_not_equal(at, head);
                assert_int_equal(list_entry(at, struct item, link)->number, numbers[i]);
        }
        assert_ptr_equal(at->next, head);
        assert_ptr_equal(head->prev, at);
}

static void a_head_alone_is_an_empty_ring(void **state)
{
        struct list constant = LIST_INIT(constant), head;

        (void)state;
        list_init(&head);
        assert_true(list_empty(&head));
        assert_true(list_empty(&constant));
        assert_null(list_first(&head));
        assert_order(&head, NULL, 0);
        list_unlink(&head);
        assert_true(list_empty(&head));
}

static void pushing_keeps_both_ends(void **state)
{
        struct list head = LIST_INIT(head);
        struct item items[] = {{.number = 0}, {.number = 1}, {.number = 2}, {.number = 3}};

        (void)state;
        list_push_back(&head, &items[1].link);
        list_push_back(&head, &items[2].link);
        list_push_front(&head, &items[0].link);
        list_push_back(&head, &items[3].link);
        assert_order(&head, (int[]){0, 1, 2, 3}, 4);
        assert_ptr_equal(list_first(&head), &items[0].link);
}

static void unlinking_twice_is_harmless(void **state)
{
        struct list head = LIST_INIT(head);
        struct item items[] = {{.number = 0}, {.number = 1}, {.number = 2}};

        (void)state;
        for (size_t i = 0; i < N_OF(items); i++)
                list_push_back(&head, &items[i].link);
        list_unlink(&items[1].link);
        assert_true(list_empty(&items[1].link));
        list_unlink(&items[1].link);
        assert_order(&head, (int[]){0, 2}, 2);
        list_unlink(&items[0].link);
        list_unlink(&items[2].link);
        assert_order(&head, NULL, 0);
        list_push_front(&head, &items[1].link);
        assert_order(&head, (int[]){1}, 1);
}

static void a_loop_survives_the_unlinking_of_its_element(void **state)
{
        struct list head = LIST_INIT(head);
        struct item items[10] = {};

        (void)state;
        for (int i = 0; i < 10; i++) {
                items[i].number = i;
                list_push_back(&head, &items[i].link);
        }
        list_for_each_safe (it, &head)
                if (list_entry(it, struct item, link)->number % 3)
                        list_unlink(it);
        assert_order(&head, (int[]){0, 3, 6, 9}, 4);
        list_for_each_safe (it, &head)
                list_unlink(it);
        assert_true(list_empty(&head));
}

static void random_operations_agree_with_an_array(void **state)
{
        enum { N = 12 };
        struct list head = LIST_INIT(head);
        struct item items[N] = {};
        int model[N] = {};
        size_t n = 0;
        uint64_t seed = 1;

        (void)state;
        for (int i = 0; i < N; i++) {
                items[i].number = i;
                list_init(&items[i].link);
        }
        for (int step = 0; step < 20000; step++) {
                const int number = (int)(random_next(&seed) % N);
                const bool front = random_next(&seed) % 2;
                size_t at = 0;

                while (at < n && model[at] != number)
                        at++;
                if (at < n) {
                        list_unlink(&items[number].link);
                        memmove(model + at, model + at + 1, (n - at - 1) * sizeof(int));
                        n--;
                } else if (front) {
                        list_push_front(&head, &items[number].link);
                        memmove(model + 1, model, n * sizeof(int));
                        model[0] = number;
                        n++;
                } else {
                        list_push_back(&head, &items[number].link);
                        model[n++] = number;
                }
                assert_order(&head, model, n);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(a_head_alone_is_an_empty_ring),
                cmocka_unit_test(pushing_keeps_both_ends),
                cmocka_unit_test(unlinking_twice_is_harmless),
                cmocka_unit_test(a_loop_survives_the_unlinking_of_its_element),
                cmocka_unit_test(random_operations_agree_with_an_array),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
