/* SPDX-License-Identifier: MIT */

#include "headroom.h"

#include <sched.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "helpers.h"

/* Enough, wherever in a page the heap ends before. */
#define LARGE_BYTES (HEADROOM_FROM_BYTES + HEADROOM_PAGE_BYTES)

#define PAGE_BYTES ((size_t)sysconf(_SC_PAGESIZE))

static struct headroom headroom;
static uintptr_t old_end;

static int set_up(void **state)
{
        (void)state;
        headroom_init(&headroom);
        old_end = headroom.end;
        return 0;
}

/* What a test has taken of the heap is given back, unless malloc() has taken more behind it. */
static int tear_down(void **state)
{
        (void)state;
        headroom_deinit(&headroom);
        if ((uintptr_t)sbrk(0) == headroom.end)
                (void)sbrk(-(intptr_t)(headroom.end - old_end));
        return 0;
}

static bool kernel_can(void)
{
        void *page = mmap(NULL, PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
                          0);
        const bool can = page != MAP_FAILED && madvise(page, PAGE_BYTES, MADV_POPULATE_WRITE) == 0;

        (void)munmap(page, PAGE_BYTES);
        return can;
}

/* Has the heap end elsewhere; where it ended. */
static char *move(intptr_t size)
{
        char *before = sbrk(size);

        assert_int_not_equal((intptr_t)before, -1);
        return before;
}

static void grow(size_t size)
{
        (void)move((intptr_t)size);
        headroom_tick(&headroom);
}

static void wait_for(uint64_t bytes)
{
        while (headroom_ready_bytes(&headroom) < bytes)
                (void)sched_yield();
        assert_int_equal(headroom_ready_bytes(&headroom), bytes);
}

static size_t resident_bytes(uintptr_t from, size_t size)
{
        static unsigned char pages[HEADROOM_STEP_BYTES / 4096];
        size_t bytes = 0;

        /* NOLINTNEXTLINE(performance-no-int-to-ptr): a place in the heap */
        assert_int_equal(mincore((void *)from, size, pages), 0);
        for (size_t i = 0; i < size / PAGE_BYTES; i++)
                bytes += pages[i] & 1 ? PAGE_BYTES : 0;
        return bytes;
}

static uintptr_t page_of(uintptr_t at)
{
        return at & ~(HEADROOM_PAGE_BYTES - 1);
}

static void what_a_small_heap_grows_by_is_ready_at_once(void **state)
{
        const uintptr_t begin = headroom.end + PAGE_BYTES - headroom.end % PAGE_BYTES;

        (void)state;
        grow(HEADROOM_SMALL_STEP_BYTES);
        assert_int_equal(resident_bytes(begin, HEADROOM_SMALL_STEP_BYTES - PAGE_BYTES),
                         HEADROOM_SMALL_STEP_BYTES - PAGE_BYTES);
        assert_false(headroom.started);
}

static void a_large_block_of_a_small_heap_is_left_alone(void **state)
{
        const uintptr_t begin = headroom.end + PAGE_BYTES - headroom.end % PAGE_BYTES;

        (void)state;
        grow(HEADROOM_SMALL_STEP_BYTES + 1);
        assert_int_equal(resident_bytes(begin, HEADROOM_SMALL_STEP_BYTES - PAGE_BYTES), 0);
}

static void a_small_heap_needs_no_thread(void **state)
{
        (void)state;
        grow(HEADROOM_FROM_BYTES - 1);
        grow(0);
        assert_false(headroom.started);
        assert_int_equal(headroom_ready_bytes(&headroom), 0);
        assert_int_equal(
                resident_bytes(page_of(headroom.end) - HEADROOM_STEP_BYTES, HEADROOM_STEP_BYTES),
                0);
}

static void what_a_large_heap_grows_by_is_ready_before_it_is_touched(void **state)
{
        uintptr_t before;

        (void)state;
        grow(LARGE_BYTES);
        assert_true(headroom.running);
        wait_for(page_of(headroom.end) - headroom.begin);
        before = headroom.end;
        grow(HEADROOM_STEP_BYTES);
        wait_for(page_of(headroom.end) - headroom.begin);
        assert_int_equal(resident_bytes(page_of(before), HEADROOM_STEP_BYTES), HEADROOM_STEP_BYTES);
        /* The page that it ends in is not whole: it is for the next step. */
        assert_true(page_of(headroom.end) == headroom.end ||
                    resident_bytes(page_of(headroom.end), PAGE_BYTES) == 0);
}

static void what_is_there_keeps_its_bytes(void **state)
{
        char *begin;

        (void)state;
        begin = move((intptr_t)LARGE_BYTES);
        memset(begin, 'x', 2 * HEADROOM_PAGE_BYTES);
        headroom_tick(&headroom);
        wait_for(page_of(headroom.end) - headroom.begin);
        for (size_t i = 0; i < 2 * HEADROOM_PAGE_BYTES; i++)
                assert_int_equal(begin[i], 'x');
}

static void a_heap_that_shrinks_and_grows_again_is_got_ready_again(void **state)
{
        uint64_t ready_bytes;
        uintptr_t end;

        (void)state;
        grow(LARGE_BYTES);
        grow(HEADROOM_STEP_BYTES);
        end = headroom.end;
        while (page_of(headroom.end) - headroom.begin > headroom_ready_bytes(&headroom))
                (void)sched_yield();
        ready_bytes = headroom_ready_bytes(&headroom);
        (void)move(-(intptr_t)HEADROOM_STEP_BYTES);
        headroom_tick(&headroom);
        assert_int_equal(headroom.end, end - HEADROOM_STEP_BYTES);
        grow(HEADROOM_STEP_BYTES);
        wait_for(ready_bytes + HEADROOM_STEP_BYTES);
}

static void it_ends_without_having_begun(void **state)
{
        struct headroom zeros = {};

        (void)state;
        headroom_deinit(&zeros);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(what_a_small_heap_grows_by_is_ready_at_once, set_up,
                                                tear_down),
                cmocka_unit_test_setup_teardown(a_large_block_of_a_small_heap_is_left_alone, set_up,
                                                tear_down),
                cmocka_unit_test_setup_teardown(a_small_heap_needs_no_thread, set_up, tear_down),
                cmocka_unit_test_setup_teardown(
                        what_a_large_heap_grows_by_is_ready_before_it_is_touched, set_up,
                        tear_down),
                cmocka_unit_test_setup_teardown(what_is_there_keeps_its_bytes, set_up, tear_down),
                cmocka_unit_test_setup_teardown(
                        a_heap_that_shrinks_and_grows_again_is_got_ready_again, set_up, tear_down),
                cmocka_unit_test(it_ends_without_having_begun),
        };

        if (!kernel_can()) {
                print_message("1..0 # SKIP no MADV_POPULATE_WRITE\n");
                return 0;
        }
        return cmocka_run_group_tests(tests, NULL, NULL);
}
