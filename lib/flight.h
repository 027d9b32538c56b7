/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Single-flight: whoever asks for a token that is being fetched waits for that fetch. A flight
 * stands for one grant, from the caller that misses or the refresh that begins it until it has an
 * outcome; its waiters are embedded in the callers' own requests.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "grant.h"
#include "list.h"
#include "policy.h"
#include "reason.h"
#include "reply.h"
#include "secret.h"
#include "share.h"
#include "table.h"
#include "timerheap.h"

struct application;
struct flight;
struct issuer;

/* One caller's place in a flight. Zero it before use; it must not move or go while it waits. */
struct waiter {
        struct list link;                    /* flight::waiters, then broker::replies */
        struct flight *flight;               /* NULL: waits no longer */
        struct timer deadline;               /* broker::deadlines */
        const struct token_request *request; /* borrowed while it waits, and */
        const struct peer *peer;             /* this too, so that it can be judged again */
        uint64_t gives_up_at_ms;             /* the caller's own end; the deadline may be earlier */
        bool has_fallback;                   /* gets the old token where no new one comes */
        struct reply reply;                  /* being put together, and handed over at the end */
};

enum flight_state {
        FLIGHT_QUEUED,   /* in one of its issuer's queues */
        FLIGHT_STARTING, /* may start, and the start is among the broker's commands */
        FLIGHT_RUNNING,  /* the fetch is the caller's of broker_next() to end */
        FLIGHT_PAUSED,   /* failed, and will be tried again in a moment */
        FLIGHT_PARKED,   /* its client's secrets are being read again */
        FLIGHT_CANCELLED,
};

struct flight {
        struct table_node node; /* flights::table, unless it is detached */
        struct list all_link;   /* flights::all */
        struct list link; /* issuer::queue or ::refreshes, broker::starts, ::running, ::paused or
                           * ::cancels, credentials::parked, by state */
        struct list turn_link;  /* issuer_turns::queued */
        struct list place_link; /* issuer::placed */
        struct list waiters;
        size_t n_waiters;
        enum flight_state state;
        unsigned int n_sent; /* how often a fetch was sent */
        uint64_t sent_at_ms; /* when the last was, */
        uint32_t n_purges;   /* and after how many purges */
        bool tries_client;   /* the one that was let through at the end of its client's hold */
        bool refresh;        /* goes on without waiters */
        bool had_waiter;     /* a caller wanted it, at least at some time */
        bool for_rejected;   /* begun since a token was reported */
        bool detached;       /* purged while it ran: nobody joins, nothing of it is kept */
        bool has_owner;      /* a caller began it, who holds a share of the flights: */
        uid_t owner;
        const struct rule *payer; /* whose quota it is counted in, and set aside in until it is
                                   * sent; borrowed; NULL: none's */
        bool shared;              /* others than turn_uid wait for it, or did */
        uid_t turn_uid; /* whose turn it takes in its issuer's queue, and in which round */
        uint64_t round;
        uint64_t queued_at_ms;
        uint64_t latest_ms; /* when the last of its callers gives up */
        unsigned int retries;
        enum reason failure;    /* of the last try */
        uint64_t secret_id;     /* which secret it was sent with last (see credentials.h) */
        unsigned int n_secrets; /* how many it was tried with; another each time */
        struct timer pause;     /* broker::pauses */
        struct application *application;   /* borrowed, and kept by it, like: */
        struct issuer *issuer;             /* where the token is fetched */
        struct subjecttoken subject_token; /* of an exchange; in the bytes of: */
        struct secret subject_token_bytes;
        struct grant_key key; /* of the bytes below */
        uint8_t key_bytes[];
};

struct flight_counters {
        uint64_t flights_full; /* callers turned away at each of the limits */
        uint64_t flight_full;
        uint64_t waiters_full;
        uint64_t detached; /* purged while they ran */
};

struct flights {
        struct table table;
        size_t n_flights;
        size_t n_waiters;
        size_t max_flights;
        size_t max_waiters;
        size_t max_waiters_per_flight;
        struct list all;             /* in the table or detached */
        struct shares flight_shares; /* of the flights, by who began them */
        struct shares waiter_shares; /* of the waiters */
        struct flight_counters counters;
};

/* 0 or -ENOMEM. */
int flights_init(struct flights *flights, size_t max_flights, size_t max_waiters,
                 size_t max_waiters_per_flight);

/* Gets ready for so many: the table grows by table_step(). 0 or -ENOMEM. */
int flights_reserve(struct flights *flights, size_t max_flights);

/* Other limits from now on; who is in stays in. */
void flights_set_limits(struct flights *flights, size_t max_flights, size_t max_waiters,
                        size_t max_waiters_per_flight);

/* No flight may be left. */
void flights_deinit(struct flights *flights);

/* The flight for this grant, or NULL. */
struct flight *flights_find(struct flights *flights, struct grant_key key);

/*
 * Whether one more caller may wait, in `flight` or (NULL) in a new one, and whether this uid's
 * share allows it, of which it takes a place in waiting, and in flights if need be. 0, or -ENOMEM,
 * REASON_WAITERS_FULL, REASON_FLIGHT_FULL, REASON_FLIGHTS_FULL, REASON_UID_WAITERS_FULL,
 * REASON_UID_FLIGHTS_FULL, which are counted.
 */
int flights_admit(struct flights *flights, const struct flight *flight, uid_t uid);

/* Gives back what flights_admit() took, where neither flight_join() nor flight_own() did. */
void flights_dismiss(struct flights *flights, const struct flight *flight, uid_t uid);

/* Whether a refresh may begin, which leaves a quarter of the places to callers. */
bool flights_admit_refresh(const struct flights *flights);

/* A new flight, in the table, for which there is a place. 0 or -ENOMEM. */
int flight_new(struct flight **ret, struct flights *flights, struct grant_key key);

/* Keeps a copy of the subject token that is to be exchanged. 0 or -ENOMEM. */
int flight_keep_subject_token(struct flight *flight, const struct subjecttoken *token);

/* Takes the flight out of the table and frees it, and wipes its subject token. It has no waiters
 * and is in no list. */
void flight_free(struct flights *flights, struct flight *flight);

/* A flight that was admitted for this uid, and began: its share goes back with the flight. */
void flight_own(struct flight *flight, uid_t uid);

/* Takes the flight out of the table, so that nobody finds it any more. It runs. */
void flight_detach(struct flights *flights, struct flight *flight);

/* The waiter, whose peer is set, was admitted. */
void flight_join(struct flights *flights, struct flight *flight, struct waiter *waiter);
void flight_leave(struct flights *flights, struct waiter *waiter);
