/* SPDX-License-Identifier: MIT */

/*
 * The allocations of OpenSSL, libcurl and libnghttp2's sessions go through here on their way to the
 * C library. What is asked for with no size, as by a realloc() that gives back, is no refusal.
 *
 * libcurl makes its sessions with a function that is defined here, where the dynamic linker finds
 * it first, and that has them made with these allocations. A libcurl that uses another never calls
 * it.
 */

#include "starvation.h"

#include <dlfcn.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/crypto.h>

/* libnghttp2's, whose header is not needed for what are pointers here. */
struct nghttp2_session;
struct nghttp2_session_callbacks;
struct nghttp2_option;

struct nghttp2_mem {
        void *data;
        void *(*malloc)(size_t size, void *data);
        void (*free)(void *memory, void *data);
        void *(*calloc)(size_t n, size_t size, void *data);
        void *(*realloc)(void *memory, size_t size, void *data);
};

int nghttp2_session_client_new2(struct nghttp2_session **ret,
                                const struct nghttp2_session_callbacks *callbacks, void *data,
                                const struct nghttp2_option *option);

#define NGHTTP2_ERR_NOMEM (-901)

static atomic_uint_fast64_t n_refused;

static void *looked_at(void *memory, size_t size)
{
        if (!memory && size > 0)
                atomic_fetch_add_explicit(&n_refused, 1, memory_order_relaxed);
        return memory;
}

static void *allocate(size_t size, const char *file, int line)
{
        (void)file;
        (void)line;
        return looked_at(malloc(size), size);
}

static void *reallocate(void *memory, size_t size, const char *file, int line)
{
        (void)file;
        (void)line;
        return looked_at(realloc(memory, size), size);
}

static void give_back(void *memory, const char *file, int line)
{
        (void)file;
        (void)line;
        free(memory);
}

static void *session_malloc(size_t size, void *data)
{
        (void)data;
        return looked_at(malloc(size), size);
}

static void session_free(void *memory, void *data)
{
        (void)data;
        free(memory);
}

static void *session_calloc(size_t n, size_t size, void *data)
{
        (void)data;
        return looked_at(calloc(n, size), n * size);
}

static void *session_realloc(void *memory, size_t size, void *data)
{
        (void)data;
        return looked_at(realloc(memory, size), size);
}

int nghttp2_session_client_new2(struct nghttp2_session **ret,
                                const struct nghttp2_session_callbacks *callbacks, void *data,
                                const struct nghttp2_option *option)
{
        static struct nghttp2_mem memory = {
                .malloc = session_malloc,
                .free = session_free,
                .calloc = session_calloc,
                .realloc = session_realloc,
        };
        static int (*make)(struct nghttp2_session **, const struct nghttp2_session_callbacks *,
                           void *, const struct nghttp2_option *, struct nghttp2_mem *);

        if (!make)
                *(void **)&make = dlsym(RTLD_NEXT, "nghttp2_session_client_new3");
        return make ? make(ret, callbacks, data, option, &memory) : NGHTTP2_ERR_NOMEM;
}

static void *curl_malloc(size_t size)
{
        return looked_at(malloc(size), size);
}

static void *curl_calloc(size_t n, size_t size)
{
        return looked_at(calloc(n, size), n * size);
}

static void *curl_realloc(void *memory, size_t size)
{
        return looked_at(realloc(memory, size), size);
}

static char *curl_strdup(const char *text)
{
        return looked_at(strdup(text), 1);
}

CURLcode starvation_init_curl(void)
{
        return curl_global_init_mem(CURL_GLOBAL_DEFAULT, curl_malloc, free, curl_realloc,
                                    curl_strdup, curl_calloc);
}

bool starvation_watch(void)
{
        return CRYPTO_set_mem_functions(allocate, reallocate, give_back) == 1;
}

uint64_t starvation_count(void)
{
        return atomic_load_explicit(&n_refused, memory_order_relaxed);
}
