/* SPDX-License-Identifier: MIT */

/*
 * LD_PRELOAD=libturns.so TURNS_FILE=FILE: how long the turns of a program's loop are, in processor
 * time of its thread: from the end of one epoll_wait() to the beginning of the next, on the
 * descriptor that was waited for first. FILE is mapped and holds a struct turns at any time; who
 * writes zeros into it begins anew.
 */

#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

struct turns {
        uint64_t n;
        uint64_t longest_ns;
        uint64_t total_ns;
        uint64_t over_1_ms;
};

typedef int wait_fn(int fd, struct epoll_event *events, int n_max, int timeout_ms);

static struct turns *turns;
static wait_fn *real;
static int loop_fd = -1;
static uint64_t began_ns;

static uint64_t now_ns(void)
{
        struct timespec ts;

        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
        return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

static void start(int fd)
{
        const char *path = getenv("TURNS_FILE");
        const int file = path ? open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600) : -1;

        real = (wait_fn *)dlsym(RTLD_NEXT, "epoll_wait");
        if (file < 0 || !real || ftruncate(file, sizeof(*turns)) < 0)
                abort();
        turns = mmap(NULL, sizeof(*turns), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
        if (turns == MAP_FAILED)
                abort();
        close(file);
        loop_fd = fd;
}

static void note(uint64_t ns)
{
        turns->n++;
        turns->total_ns += ns;
        turns->over_1_ms += ns > 1000000;
        if (ns > turns->longest_ns)
                turns->longest_ns = ns;
}

int epoll_wait(int fd, struct epoll_event *events, int n_max, int timeout_ms)
{
        int n;

        if (loop_fd < 0)
                start(fd);
        if (fd != loop_fd)
                return real(fd, events, n_max, timeout_ms);
        if (began_ns > 0)
                note(now_ns() - began_ns);
        n = real(fd, events, n_max, timeout_ms);
        began_ns = now_ns();
        return n;
}
