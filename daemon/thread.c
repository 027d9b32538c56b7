/* SPDX-License-Identifier: MIT */

#include "thread.h"

#include <signal.h>

#include "../lib/error.h"

int thread_start(pthread_t *ret, void *(*run)(void *data), void *data)
{
        sigset_t all, before;
        int r;

        (void)sigfillset(&all);
        r = pthread_sigmask(SIG_SETMASK, &all, &before);
        if (r)
                return error_trace(-r);
        r = pthread_create(ret, NULL, run, data);
        (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
        return error_trace(-r);
}
