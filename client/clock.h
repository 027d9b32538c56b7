/* SPDX-License-Identifier: MIT */
#pragma once

/* Clocks in milliseconds, and waiting by them. */

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

/* The monotonic clock: how long a call takes. */
uint64_t clock_now_ms(void);

/* The boot clock: how long a token lives, also while the machine sleeps. */
uint64_t clock_boot_ms(void);

/* Signals do not cut it short. */
void clock_pause(uint64_t ms);

/* A condition that is waited for by the monotonic clock. 0 or -ENOMEM. */
int clock_init_cond(pthread_cond_t *cond);

/* As pthread_cond_timedwait(3); false: the time has come. */
bool clock_wait(pthread_cond_t *cond, pthread_mutex_t *lock, uint64_t deadline_ms);
