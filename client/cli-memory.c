/* SPDX-License-Identifier: MIT */

/*
 * What libcurl gives back is wiped (see wiping.h). On the stack there is what functions leave
 * there, and, where the libraries' calls are bound as they come, vector registers with pieces of
 * what was copied last.
 */

#include "cli-memory.h"

#include <string.h>

/* More than anything here nests. */
#define STACK_BYTES ((size_t)128 * 1024)

/* What moved or measured a secret has pieces of it in its vector registers: let it move zeros, by
 * as many as it has ways of its own for. */
static void wipe_registers(char *zeros, size_t size)
{
        void *(*volatile copy)(void *, const void *, size_t) = memcpy;
        size_t (*volatile measure)(const char *) = strlen;

        for (size_t n = 1; n <= size / 2; n *= 2)
                copy(zeros, zeros + size / 2, n);
        memset(zeros, 1, size - 1);
        (void)measure(zeros);
}

__attribute__((noinline)) void cli_memory_wipe_stack(void)
{
        char bytes[STACK_BYTES];

        explicit_bzero(bytes, sizeof(bytes));
        wipe_registers(bytes, sizeof(bytes));
}
