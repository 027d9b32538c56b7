/* SPDX-License-Identifier: MIT */

/*
 * While the cache fills, tokens lie in pages that are used for the first time, and the kernel is
 * entered for each as it is touched: in a virtual machine that may cost as much as ten system
 * calls. malloc() has its heap grow by a good hundred kilobytes at a time, though, and for all of
 * them at once the kernel is entered once.
 */

#include "heap.h"

#include <sys/mman.h>
#include <unistd.h>

static uintptr_t heap_end(void)
{
        return (uintptr_t)sbrk(0);
}

void heap_init(struct heap *heap)
{
        *heap = (struct heap){.end = heap_end()};
}

void heap_populate(struct heap *heap)
{
        const uintptr_t begin = heap->end, end = heap_end();
        uintptr_t page;

        heap->end = end;
        if (end <= begin || end - begin > HEAP_GROWTH_MAX_BYTES)
                return;
        page = begin & ~((uintptr_t)sysconf(_SC_PAGESIZE) - 1);
        /* A kernel before 5.14 does not know this, and then it is as without. */
        /* NOLINTNEXTLINE(performance-no-int-to-ptr): the kernel tells numbers */
        (void)madvise((void *)page, end - page, MADV_POPULATE_WRITE);
}
