/* SPDX-License-Identifier: MIT */

#include "heap.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#define PAGES_MAX 1024

static size_t page_bytes;

/* Where the heap ended before. */
static char *move_end(intptr_t by_bytes)
{
        char *const before = sbrk(by_bytes);

        assert_true((uintptr_t)before != UINTPTR_MAX);
        return before;
}

/* As malloc() does where it runs out; what begins there is a new page. */
static char *grow(size_t pages)
{
        const size_t over = (uintptr_t)sbrk(0) % page_bytes;

        if (over > 0)
                (void)move_end((intptr_t)(page_bytes - over));
        return move_end((intptr_t)(pages * page_bytes));
}

/* 5.14 is the first kernel that can do it at all. */
static void need_kernel(void)
{
        if (madvise(grow(1), page_bytes, MADV_POPULATE_WRITE) < 0)
                skip();
}

/* How many of the pages are there. */
static size_t present(char *begin, size_t pages)
{
        unsigned char in_core[PAGES_MAX];
        size_t n = 0;

        assert_in_range(pages, 1, PAGES_MAX);
        assert_int_equal(mincore(begin, pages * page_bytes, in_core), 0);
        for (size_t i = 0; i < pages; i++)
                n += in_core[i] & 1;
        return n;
}

static void what_the_heap_has_grown_by_is_there_at_once(void **state)
{
        struct heap heap;
        char *first, *second;

        need_kernel();
        heap_init(&heap);
        first = grow(16);
        assert_int_equal(present(first, 16), 0);
        heap_populate(&heap);
        assert_int_equal(present(first, 16), 16);

        second = grow(33);
        assert_int_equal(present(second, 33), 0);
        heap_populate(&heap);
        assert_int_equal(present(second, 33), 33);
}

static void what_was_there_before_is_left_as_it_is(void **state)
{
        char *const before = grow(8);
        struct heap heap;

        heap_init(&heap);
        before[0] = 'x';
        heap_populate(&heap);
        assert_int_equal(before[0], 'x');
        assert_int_equal(present(before, 8), 1);
}

static void a_large_block_is_left_to_be_touched(void **state)
{
        const size_t most = HEAP_GROWTH_MAX_BYTES / page_bytes;
        struct heap heap;
        char *block;

        need_kernel();
        heap_init(&heap);
        block = grow(most + 1);
        heap_populate(&heap);
        assert_int_equal(present(block, most + 1), 0);

        block = grow(most);
        heap_populate(&heap);
        assert_int_equal(present(block, most), most);
}

static void a_heap_that_has_shrunk_may_grow_again(void **state)
{
        struct heap heap;
        char *block;

        need_kernel();
        block = grow(8);
        heap_init(&heap);
        (void)move_end(-(intptr_t)(8 * page_bytes));
        heap_populate(&heap);
        assert_ptr_equal(grow(8), block);
        heap_populate(&heap);
        assert_int_equal(present(block, 8), 8);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(what_the_heap_has_grown_by_is_there_at_once),
                cmocka_unit_test(what_was_there_before_is_left_as_it_is),
                cmocka_unit_test(a_large_block_is_left_to_be_touched),
                cmocka_unit_test(a_heap_that_has_shrunk_may_grow_again),
        };

        page_bytes = (size_t)sysconf(_SC_PAGESIZE);
        return cmocka_run_group_tests(tests, NULL, NULL);
}
