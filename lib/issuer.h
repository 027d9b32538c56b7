/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * One token URL: which flights wait for a place there, how many requests are under way, and how it
 * is doing. Whether a fetch may start is decided here and nowhere else.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "breaker.h"
#include "flight.h"
#include "list.h"

/* Uids whose last turns are kept apart; of those that share a place, one waits a turn longer. */
#define ISSUER_TURNS 64

/* What is known of the turns of a uid, or of several that have the same remainder. */
struct issuer_turns {
        uint64_t served;    /* the last round in which one of them had its turn */
        struct list queued; /* their flights in issuer::queue; of each uid in the order there */
};

struct issuer {
        struct list link;         /* issuers::all */
        size_t n_refs;            /* of applications */
        struct list queue;        /* flights of callers, in the order of service */
        struct flight *next;      /* the first of them that may have a place; NULL: none */
        struct list refreshes;    /* flights that nobody waits for */
        struct list turn;         /* issuers::ready */
        struct list refresh_turn; /* issuers::refresh_ready */
        uint64_t round;           /* the present one */
        struct list placed;       /* flights that have a place */
        size_t n_queued;          /* in both queues */
        size_t n_in_flight;
        size_t max_in_flight;
        struct issuer_turns turns[ISSUER_TURNS]; /* by uid */
        struct breaker breaker;
        char url[];
};

/* All of them, taking turns for the places there are in all. */
struct issuers {
        struct list all;
        size_t max_in_flight_each;
        struct list ready;         /* issuers that could start a caller's flight */
        struct list refresh_ready; /* issuers that could start a refresh */
        size_t n_in_flight;
        size_t max_in_flight;
};

void issuers_init(struct issuers *issuers, const struct settings *settings);

/* No issuer is left. */
void issuers_deinit(struct issuers *issuers);

/* Other limits, from now on. */
void issuers_set_limits(struct issuers *issuers, const struct settings *settings, uint64_t now_ms);

/* The issuer for a token URL, or NULL. */
struct issuer *issuers_find(const struct issuers *issuers, const char *url);

/* The issuer for a token URL, made if need be. 0 or -ENOMEM. */
int issuer_ref(struct issuer **ret, struct issuers *issuers, const char *url);

/* It goes with the last reference; no flight is in its queues then, nor under way. */
void issuer_unref(struct issuers *issuers, struct issuer *issuer);

/* Queues a flight, by flight->refresh among the callers', where the next turn of its turn_uid is,
 * or behind them. */
void issuer_enqueue(struct issuers *issuers, struct issuer *issuer, struct flight *flight,
                    uint64_t now_ms);

/* The same, but before all others: it had its turn, and will be tried again. */
void issuer_requeue(struct issuers *issuers, struct issuer *issuer, struct flight *flight,
                    uint64_t now_ms);

/* Somebody has joined a flight, and is among its waiters: a refresh is his from now on, in his turn
 * or in the place that it has. Others' that queues takes his turn if it comes earlier, and is
 * served as soon as one of his own would be. */
void issuer_join(struct issuers *issuers, struct issuer *issuer, struct flight *flight, uid_t uid,
                 uint64_t now_ms);

/* Some have left a flight, and others still wait for it. */
void issuer_leave(struct issuers *issuers, struct issuer *issuer, struct flight *flight,
                  uint64_t now_ms);

/* Takes a queued flight back. */
void issuer_dequeue(struct issuers *issuers, struct issuer *issuer, struct flight *flight,
                    uint64_t now_ms);

/* The flight that may start now, taken out of its queue, its place taken; NULL: none may. */
struct flight *issuers_start(struct issuers *issuers, uint64_t now_ms);

/* Gives back the place of a flight that issuers_start() returned, and that has left `placed`. What
 * its end means for the breaker is to be said before. */
void issuer_finish(struct issuers *issuers, struct issuer *issuer, uint64_t now_ms);

/* Time has passed: breakers may have become half-open. */
void issuers_tick(struct issuers *issuers, uint64_t now_ms);
uint64_t issuers_next_tick_ms(const struct issuers *issuers);
