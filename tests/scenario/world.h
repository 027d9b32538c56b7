/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * The core in a world of its own: a clock that moves when told, callers, and the scripted issuer.
 * After every step the world checks what must hold whatever happens: counters add up, each waiter
 * is answered exactly once and in time (who could have the old token, within 2 s), no token goes to
 * anybody it was not fetched for, or whom the rules of that moment do not give all that it can do,
 * past its end, or back to whoever reported it, no grant is fetched twice at the same time (but for
 * what was purged), no limit is exceeded, and nothing that may start waits.
 *
 * Whatever fails, fails the cmocka test that runs. Nothing here allocates, so that a test can make
 * allocations of the core fail.
 */

#include <stdbool.h>
#include <stdint.h>

#include "broker.h"
#include "caller.h"
#include "script.h"

#define WORLD_CLIENTS       4
#define WORLD_CLIENTS_USUAL 3 /* configured, unless the test says otherwise */
#define WORLD_FETCHES_MAX   128
#define WORLD_MINTED        1024

#define SECONDS UINT64_C(1000)
#define MINUTES (60 * SECONDS)
#define HOURS   (60 * MINUTES)
#define DAYS    (24 * HOURS)

/* Clients of settings.clients[]. */
enum {
        CLIENT_PORTAL, /* for users and customers, with a default scope */
        CLIENT_MOBILE, /* for users, with no default scope */
        CLIENT_DESK,   /* for users, at the token URL of the portal */
        CLIENT_LOBBY,  /* for anonymous customers, with no client_id */
};

#define DEFAULT_SCOPE "knowledge.read"

/* How many kinds of notes there are. */
#define WORLD_NOTES (NOTE_CLIENT_WELL + 1)

struct world {
        uint64_t number; /* no two have the same */
        uint64_t now_ms;
        int64_t wall_ahead_ms; /* the time of day less now_ms */
        /* To be changed before world_start(), or followed by world_reconfigure(). */
        struct client_settings clients[WORLD_CLIENTS]; /* texts must outlive the world */
        struct settings settings;
        struct policy policy; /* without rules, for the daemon's own user 990 */
        struct given *given;  /* what the broker has: a copy of them */
        bool lowered;         /* a limit is lower than it was */
        uint64_t n_reconfigured;
        struct peer peer; /* who asks next */
        struct broker *broker;
        bool tick_first; /* where a timer and an answer come in the same millisecond */
        bool late;       /* the machine slept: deadlines may have been overrun */
        bool busy;       /* the loop is elsewhere: what the broker wants done waits */
        bool aborted;
        bool starved;    /* the core is short of memory: counters of fetches need not add up */
        bool slow_files; /* what the broker wants read is read when the test says so */

        /* What is in the files of each client's secrets; NULL: nothing. Read at the start, and when
         * the broker wants it. */
        const char *secrets[WORLD_CLIENTS][CREDENTIALS_MAX];
        uint64_t n_reads;
        bool reading[WORLD_CLIENTS];

        uint64_t n_notes[WORLD_NOTES];
        struct note last_note;

        struct list fetches; /* under way, oldest first */
        struct list unused;  /* the rest of `fetch` */
        struct fetch fetch[WORLD_FETCHES_MAX];
        size_t n_fetches;
        uint64_t n_cancelled;
        uint64_t n_unsent;                /* given up since their callers had hung up */
        uint64_t n_secret_ends;           /* fetches that ended with our secret being refused */
        uint64_t n_old_at_once;           /* callers who got the old token without waiting */
        uint64_t serial;                  /* of the last token minted */
        uint64_t minted_at[WORLD_MINTED]; /* hashes of the URLs that the last ones came from */
        /* How far what there was when a limit was lowered is still over it. */
        struct {
                uint64_t waiters, flights, in_flight, entries, memory_bytes, memories;
        } peak;
        size_t n_waiting;
        size_t n_purging;               /* purges that the broker holds */
        const struct purge *last_purge; /* the one that was done last */

        /* Called for each new fetch, to set its end; by default it is held, and brings a token
         * that lives an hour. */
        void (*script)(struct world *world, struct fetch *fetch);
        void *script_data;
};

/* A world with generous limits, to be started once the test has changed what it cares for. */
void world_init(struct world *world);
void world_start(struct world *world);

/* The time of day in milliseconds since 1970. */
int64_t world_wall_ms(const struct world *world);

/* Gives up all that is left, checks that nothing stays behind, and frees it. */
void world_end(struct world *world);

/* Frees the broker as it is. */
void world_drop(struct world *world);

/* Asks; the answer is in the caller, or it waits. */
void world_ask(struct world *world, struct caller *caller, struct wish wish);

/* The portal asks on behalf of a user with the default scope. */
void world_ask_user(struct world *world, struct caller *caller, const char *username);

/* From now on these rules decide, which must outlive the world or the next such call. */
void world_set_policy(struct world *world, const struct policy *policy);

/* The clients, settings and policy of the world, as the test has changed them, hold from now on.
 * The broker is given copies, which are freed as soon as it may not look at them any more. The
 * rules of the policy must outlive the world. */
void world_reconfigure(struct world *world);

/* Whether the broker still takes out what belongs to clients that are gone. */
bool world_sweeps(const struct world *world);

/* Purges what matches; whether it goes on for some turns. `purge` is the world's meanwhile. */
bool world_purge(struct world *world, const struct filter *filter, struct purge *purge);

/* Lets time pass, doing what comes due when it comes due. */
void world_advance(struct world *world, uint64_t ms);

/* Reads a client's secrets from its files, because they were changed or since the broker wants to
 * know. Returns whether one of them is new. */
bool world_read_secrets(struct world *world, size_t client);

/* Lets time pass with the machine asleep: nothing is done, and nobody is told. */
void world_suspend(struct world *world, uint64_t ms);

/* One turn of the loop: a tick if one is due, and (unless busy) all that the broker wants done. */
void world_turn(struct world *world);

/* Ends a fetch. NULL: the oldest. */
void world_finish(struct world *world, struct fetch *fetch, enum ending ending);

/* The same for a user's fetch, as often as the broker tries it again. */
void world_finish_for_good(struct world *world, const char *username, enum ending ending);

/* The oldest fetch, or NULL. */
struct fetch *world_oldest(struct world *world);

/* The fetch under way for this user of the portal, or NULL. */
struct fetch *world_fetch_of(struct world *world, const char *username);

void world_abort(struct world *world);

/* Puts a token for the user into the cache; its lifetime counts from now. Returns its serial. */
uint64_t world_prime(struct world *world, const char *username, uint64_t lifetime_s);

/* In watch.c: fails the test unless all that must always hold does. Looks at the broker from
 * inside, too: every flight is where its state says that it is, and nothing that may start waits.
 */
void world_check(struct world *world);

struct broker_counters world_counters(const struct world *world);

/* What a request of a user of the portal would meet. */
struct explanation world_explain(struct world *world, const char *username);
