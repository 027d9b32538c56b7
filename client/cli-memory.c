/* SPDX-License-Identifier: MIT */

/*
 * libcurl copies what it sends and receives into buffers of its own, and gives them back as they
 * are. On the stack there is what functions leave there, and, where the libraries' calls are bound
 * as they come, vector registers with pieces of what was copied last.
 */

#include "cli-memory.h"

#include <curl/curl.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>

/* More than anything here nests. */
#define STACK_BYTES ((size_t)128 * 1024)

static void wipe_and_free(void *memory)
{
        if (!memory)
                return;
        explicit_bzero(memory, malloc_usable_size(memory));
        free(memory);
}

static void *move(void *memory, size_t size)
{
        const size_t old_size = memory ? malloc_usable_size(memory) : 0;
        void *moved;

        if (size == 0) {
                wipe_and_free(memory);
                return NULL;
        }
        if (size <= old_size && size >= old_size / 2)
                return memory;
        moved = malloc(size);
        if (!moved)
                return NULL;
        if (memory)
                memcpy(moved, memory, size < old_size ? size : old_size);
        wipe_and_free(memory);
        return moved;
}

bool cli_memory_init(void)
{
        return curl_global_init_mem(CURL_GLOBAL_DEFAULT, malloc, wipe_and_free, move, strdup,
                                    calloc) == CURLE_OK;
}

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
