/* SPDX-License-Identifier: MIT */

#include "clock.h"

#include <errno.h>
#include <time.h>

static uint64_t read_ms(clockid_t clock)
{
        struct timespec now = {};

        (void)clock_gettime(clock, &now);
        return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static struct timespec time_of(uint64_t ms)
{
        return (struct timespec){(time_t)(ms / 1000), (long)(ms % 1000 * 1000000)};
}

uint64_t clock_now_ms(void)
{
        return read_ms(CLOCK_MONOTONIC);
}

uint64_t clock_boot_ms(void)
{
        return read_ms(CLOCK_BOOTTIME);
}

void clock_pause(uint64_t ms)
{
        struct timespec time = time_of(ms);

        while (clock_nanosleep(CLOCK_MONOTONIC, 0, &time, &time) == EINTR)
                ;
}

int clock_init_cond(pthread_cond_t *cond)
{
        pthread_condattr_t attributes;
        bool good;

        if (pthread_condattr_init(&attributes) != 0)
                return -ENOMEM;
        good = pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC) == 0 &&
               pthread_cond_init(cond, &attributes) == 0;
        (void)pthread_condattr_destroy(&attributes);
        return good ? 0 : -ENOMEM;
}

bool clock_wait(pthread_cond_t *cond, pthread_mutex_t *lock, uint64_t deadline_ms)
{
        const struct timespec deadline = time_of(deadline_ms);

        return pthread_cond_timedwait(cond, lock, &deadline) != ETIMEDOUT;
}
