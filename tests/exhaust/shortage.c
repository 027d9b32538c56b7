/* SPDX-License-Identifier: MIT */

/*
 * Preloaded into a daemon under test: its allocations fail as tests/system/shortage.py says in a
 * file that both map, whose name is in $EGAIN_TEST_SHORTAGE. Every allocation of the process
 * counts, whichever library and thread makes it; glibc's own go through here, too. The first that
 * fails is written down with the calls that led to it.
 *
 * What an allocation is made of is whoever comes next: glibc, or the sanitizers.
 */

#include <dlfcn.h>
#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define TRACE_BYTES  4000
#define TRACE_FRAMES 32

/* As the test packs it. */
struct shortage {
        _Atomic uint64_t armed;
        uint64_t skip;  /* so many succeed, */
        uint64_t count; /* then so many fail */
        _Atomic uint64_t seen;
        _Atomic uint64_t failed;
        char trace[TRACE_BYTES]; /* of the first that failed: "FILE OFFSET NAME" a line */
};

static struct shortage *shortage;

static void *(*next_malloc)(size_t);
static void *(*next_calloc)(size_t, size_t);
static void *(*next_realloc)(void *, size_t);
static int (*next_posix_memalign)(void **, size_t, size_t);
static void *(*next_aligned_alloc)(size_t, size_t);

static void *find(const char *name)
{
        void *found = dlsym(RTLD_NEXT, name);

        if (!found)
                abort();
        return found;
}

static void find_all(void)
{
        if (next_aligned_alloc)
                return;
        next_malloc = (void *(*)(size_t))find("malloc");
        next_calloc = (void *(*)(size_t, size_t))find("calloc");
        next_realloc = (void *(*)(void *, size_t))find("realloc");
        next_posix_memalign = (int (*)(void **, size_t, size_t))find("posix_memalign");
        next_aligned_alloc = (void *(*)(size_t, size_t))find("aligned_alloc");
}

__attribute__((constructor)) static void begin(void)
{
        const char *path = getenv("EGAIN_TEST_SHORTAGE");
        void *frame[1];
        void *mapped;
        int fd;

        find_all();
        (void)backtrace(frame, 1); /* loads what it needs */
        if (!path)
                return;
        fd = open(path, O_RDWR | O_CLOEXEC);
        if (fd < 0)
                abort();
        mapped = mmap(NULL, sizeof(*shortage), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (mapped == MAP_FAILED)
                abort();
        close(fd);
        shortage = mapped;
}

static void write_down(void)
{
        void *frames[TRACE_FRAMES];
        const int n = backtrace(frames, TRACE_FRAMES);
        size_t at = 0;

        for (int i = 2; i < n; i++) {
                Dl_info info;
                int size;

                if (!dladdr(frames[i], &info) || !info.dli_fname)
                        continue;
                size = snprintf(shortage->trace + at, TRACE_BYTES - at, "%s %#lx %s\n",
                                info.dli_fname,
                                (unsigned long)((char *)frames[i] - (char *)info.dli_fbase),
                                info.dli_sname ? info.dli_sname : "?");
                if (size < 0 || (size_t)size >= TRACE_BYTES - at)
                        break;
                at += (size_t)size;
        }
        shortage->trace[at] = '\0';
}

static bool fails(void)
{
        uint64_t n;

        if (!shortage || !atomic_load(&shortage->armed))
                return false;
        n = atomic_fetch_add(&shortage->seen, 1);
        if (n < shortage->skip || n - shortage->skip >= shortage->count)
                return false;
        if (atomic_fetch_add(&shortage->failed, 1) == 0)
                write_down();
        errno = ENOMEM;
        return true;
}

void *malloc(size_t size)
{
        find_all();
        return fails() ? NULL : next_malloc(size);
}

void *calloc(size_t n, size_t size)
{
        find_all();
        return fails() ? NULL : next_calloc(n, size);
}

void *realloc(void *memory, size_t size)
{
        find_all();
        return fails() ? NULL : next_realloc(memory, size);
}

void *reallocarray(void *memory, size_t n, size_t size)
{
        size_t product;

        if (__builtin_mul_overflow(n, size, &product)) {
                errno = ENOMEM;
                return NULL;
        }
        return realloc(memory, product);
}

int posix_memalign(void **ret, size_t alignment, size_t size)
{
        find_all();
        return fails() ? ENOMEM : next_posix_memalign(ret, alignment, size);
}

void *aligned_alloc(size_t alignment, size_t size)
{
        find_all();
        return fails() ? NULL : next_aligned_alloc(alignment, size);
}

/* The sanitizers have their own of these, which would pass by malloc(). */

char *strndup(const char *text, size_t max)
{
        const size_t size = strnlen(text, max);
        char *copy = malloc(size + 1);

        if (!copy)
                return NULL;
        memcpy(copy, text, size);
        copy[size] = '\0';
        return copy;
}

char *strdup(const char *text)
{
        return strndup(text, strlen(text));
}
