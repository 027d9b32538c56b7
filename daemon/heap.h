/* SPDX-License-Identifier: MIT */
#pragma once

/* The heap's pages, as it grows. */

#include <stdint.h>

/* More than this at once is one large block, which may never be used to its end. */
#define HEAP_GROWTH_MAX_BYTES ((uintptr_t)512 * 1024)

struct heap {
        uintptr_t end; /* where it ended when it was looked at last */
};

void heap_init(struct heap *heap);

/* Has the kernel provide what the heap has grown by since, if it has. That costs next to nothing
 * where it has not, and cannot fail in a way that matters. */
void heap_populate(struct heap *heap);
