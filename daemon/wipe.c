/* SPDX-License-Identifier: MIT */

/*
 * free() and realloc() of the whole program, libraries included: what is given back is wiped first.
 * libcurl, libmicrohttpd, json-c and OpenSSL copy secrets and tokens into buffers of their own and
 * free them as they are; here none of that outlives its use. malloc() and calloc() stay glibc's.
 *
 * Left out of sanitizer builds, which replace the allocator themselves.
 */

#include <errno.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>

/* glibc's own, by the names it keeps for those who replace the others. */
extern void __libc_free(void *memory);

void free(void *memory)
{
        const int saved = errno;

        if (!memory)
                return;
        explicit_bzero(memory, malloc_usable_size(memory));
        __libc_free(memory);
        errno = saved;
}

void *realloc(void *memory, size_t size)
{
        size_t old_size;
        void *moved;

        if (!memory)
                return malloc(size);
        if (size == 0) {
                free(memory);
                return NULL;
        }
        old_size = malloc_usable_size(memory);
        if (size <= old_size && size >= old_size / 2)
                return memory;
        moved = malloc(size);
        if (!moved)
                return NULL;
        memcpy(moved, memory, size < old_size ? size : old_size);
        free(memory);
        return moved;
}
