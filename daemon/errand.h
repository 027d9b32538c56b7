/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Work that may hang, such as reading from a file system that does not answer, in a thread of its
 * own. Whoever has started it waits for a descriptor, and may give it up at any time.
 */

#include <stdatomic.h>

/* Threads of a kind that were given up and have not come back; more are not started. */
#define ERRAND_ABANDONED_MAX 4

struct errand;

struct errand_kind {
        void (*run)(void *data);
        void (*free)(void *data); /* for one that was given up; in either thread */
        _Atomic unsigned int n_abandoned;
};

enum {
        ERRAND_E_BUSY = 1, /* ERRAND_ABANDONED_MAX of the kind hang, waited for by nobody */
};

/* Takes `data` on 0, until errand_finish() gives it back. 0, ERRAND_E_BUSY, -ENOMEM or -errno. */
int errand_start(struct errand **ret, struct errand_kind *kind, void *data);

/* Becomes readable when it is done; belongs to the errand. */
int errand_fd(const struct errand *errand);

/* Frees the errand and returns its data; waits if it is not done. */
void *errand_finish(struct errand *errand);

/* Gives it up without waiting: the thread frees everything itself, should it ever come back. Takes
 * NULL. */
void errand_abandon(struct errand *errand);
