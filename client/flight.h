/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Threads that want the same token at once: one asks the daemon, the others wait for what it gets.
 * Whoever calls holds the lock that guards all of it.
 */

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "egain_token.h"
#include "question.h"

struct flight {
        struct flight *next; /* flights::first; NULL: the last */
        unsigned char key[QUESTION_KEY_BYTES];
        unsigned int references; /* threads: who asks, and who waits */
        bool done;
        bool alone;                         /* nobody may join it */
        bool rejects;                       /* it reports a token */
        bool barred;                        /* nor may what comes of it be kept */
        struct egain_token *token;          /* a reference; NULL: it failed */
        struct egain_token_failure failure; /* why */
        pthread_cond_t cond;
};

struct flights {
        struct flight *first;
};

/* One that may be joined; NULL: there is none. */
struct flight *flight_find(const struct flights *flights,
                           const unsigned char key[QUESTION_KEY_BYTES]);

/* The caller asks. While a token is reported, it is barred: it may bring that one. NULL: there is
 * no memory. */
struct flight *flight_begin(struct flights *flights, const unsigned char key[QUESTION_KEY_BYTES]);

/* The caller waits until it is done, and then looks at it; `deadline_ms` is of the monotonic clock.
 * False: that has come first. In any case flight_leave() is next. */
bool flight_wait(struct flight *flight, pthread_mutex_t *lock, uint64_t deadline_ms);

/* The caller has asked; tells those who wait. Takes a reference to `token` of its own; NULL: what
 * is in `failure`. flight_leave() is next. */
void flight_end(struct flight *flight, struct egain_token *token,
                const struct egain_token_failure *failure);

void flight_leave(struct flights *flights, struct flight *flight);

/* What all flights that are under way bring is not kept. With a key: those for it. */
void flights_bar(struct flights *flights, const unsigned char *key);

/* In a child after fork(2): of those who asked and waited none is here. */
void flights_abandon(struct flights *flights);
