/* SPDX-License-Identifier: MIT */
#pragma once

#include <pthread.h>

/* Begins a thread that takes no signals: they are the loop's. 0 or -errno. */
int thread_start(pthread_t *ret, void *(*run)(void *data), void *data);
