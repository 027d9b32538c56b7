/* SPDX-License-Identifier: MIT */

/*
 * libcurl takes the functions of whoever initialises it first. These wipe what is freed and else do
 * what the C library does, so that memory of either kind may be freed by the other.
 *
 * Everything is initialised, TLS too, since the program may use libcurl for more than we do and
 * what is left out the first time is left out for good.
 */

#include "wiping.h"

#include <curl/curl.h>
#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

static pthread_once_t once = PTHREAD_ONCE_INIT;
static CURLcode outcome;

static void wiping_free(void *memory)
{
        if (!memory)
                return;
        explicit_bzero(memory, malloc_usable_size(memory));
        free(memory);
}

static void *wiping_realloc(void *memory, size_t size)
{
        const size_t old_size = memory ? malloc_usable_size(memory) : 0;
        void *moved;

        if (size == 0) {
                wiping_free(memory);
                return NULL;
        }
        moved = malloc(size);
        if (!moved)
                return NULL;
        if (memory)
                memcpy(moved, memory, old_size < size ? old_size : size);
        wiping_free(memory);
        return moved;
}

static void init(void)
{
        outcome = curl_global_init_mem(CURL_GLOBAL_DEFAULT, malloc, wiping_free, wiping_realloc,
                                       strdup, calloc);
}

int wiping_init_curl(void)
{
        if (pthread_once(&once, init) != 0 || outcome != CURLE_OK)
                return -ENOMEM;
        return 0;
}
