/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * The core's single way in. Requests, the issuer's answers and the time go in; replies and commands
 * come out. The broker does no I/O, knows no clock and never calls back: what it wants done waits
 * until it is fetched with broker_next(), which its owner does once a turn of its loop, until
 * nothing is left.
 *
 * Times are milliseconds of CLOCK_BOOTTIME and never run backwards.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "answer.h"
#include "breaker.h"
#include "cache.h"
#include "credentials.h"
#include "flight.h"
#include "freshness.h"
#include "policy.h"
#include "reply.h"
#include "request.h"
#include "secret.h"
#include "settings.h"
#include "snapshot.h"

struct broker;

struct broker_counters {
        uint64_t requests;   /* broker_ask() */
        uint64_t hits;       /* answered from memory */
        uint64_t misses;     /* began a fetch */
        uint64_t coalesced;  /* joined a fetch */
        uint64_t served_old; /* got the old token, because no new one came */
        uint64_t blocked;    /* met a reason not to ask the issuer just now */
        uint64_t rejections; /* reported the token that was current */
        uint64_t refused;    /* by what was asked, by whom, by a limit, or by what is known of the
                                issuer */
        uint64_t timed_out;  /* waited until their time ran out */
        uint64_t fetches_spent;    /* were kept from a fetch by their rule's quota */
        uint64_t granted_too_much; /* would have got more scope than their rule gives */
        uint64_t rights_lost;      /* waited, and had lost their right when their turn came */

        uint64_t fetches;   /* requests to issuers, begun */
        uint64_t refreshes; /* flights that were begun behind the callers' backs */
        uint64_t retries;   /* flights that were tried once more */
        uint64_t tokens;    /* fetches that brought a token, */
        uint64_t refusals;  /* the issuer's refusal of the subject or the scope, */
        uint64_t holds;     /* its wish for fewer requests, */
        uint64_t failures;  /* or anything else */
        uint64_t dropped;   /* flights that were given up before they were sent */

        struct cache_counters cache;
        struct flight_counters limits;
        uint64_t uid_flights_full; /* callers turned away at the share of their uid */
        uint64_t uid_waiters_full;
        uint64_t restored; /* tokens that broker_restore() brought back */
        uint64_t purged;   /* entries taken out by broker_purge(), or with their client */
        uint64_t purges_full;
        uint64_t notes_lost; /* for which there was no room */
        /* now */
        size_t entries;
        uint64_t memory_bytes;
        size_t flights;
        size_t waiters;
        size_t in_flight;
        size_t memories;
        uint64_t memories_evicted; /* made room at the cap on memories */
};

enum {
        BROKER_E_WAIT =
                _REASON_N, /* the waiter was taken; a COMMAND_REPLY will name it, exactly once */
};

/* A change of state that an operator wants to know of. */
enum note_kind {
        NOTE_BREAKER_OPENED, /* for `reason`, for `for_ms` */
        NOTE_ISSUER_HOLDS,   /* the issuer asked for fewer requests, for `for_ms` */
        NOTE_ISSUER_PROBED,  /* one request finds out whether it is well again */
        NOTE_ISSUER_WELL,    /* after either */
        NOTE_CLIENT_HELD,    /* its secrets are refused; for `for_ms` */
        NOTE_CLIENT_WELL,
};

struct note {
        enum note_kind kind;
        const char *client; /* name; borrowed until broker_reconfigure(), like: */
        const char *url;
        enum reason reason;
        uint64_t for_ms;
};

enum command_kind {
        COMMAND_FETCH, /* send a request; broker_fetch_done() or _dropped() must follow, once */
        COMMAND_READ_SECRETS, /* read a client's secrets again; broker_secrets_read() must follow */
        COMMAND_CANCEL,       /* give up a request; broker_fetch_done() must not follow any more */
        COMMAND_NOTE,         /* tell the operator */
        COMMAND_REPLY,  /* answer a waiter with its `reply`, whose token reference is handed over */
        COMMAND_PURGED, /* a purge is done; its owner has it back */
};

struct command {
        enum command_kind kind;
        struct flight *flight; /* FETCH, CANCEL: the name of the fetch */
        bool waited;           /* FETCH: it had to queue, and its callers may have hung up */
        size_t client_index;   /* FETCH, READ_SECRETS: into settings.clients */
        const char *url;       /* FETCH: borrowed until the next call of the broker's */
        const char *client;    /* FETCH: the same; the application's name, for messages */
        struct secret form;    /* FETCH: the body, handed over */
        struct waiter *waiter; /* REPLY */
        struct purge *purge;   /* PURGED */
        struct note note;      /* NOTE */
};

/* `settings` and `policy` are borrowed. `hash_key` should be random. 0 or -ENOMEM. */
int broker_new(struct broker **ret, const struct settings *settings, const struct policy *policy,
               const uint8_t hash_key[static SIPHASH_KEY_BYTES]);

/* Every waiter must have been answered (broker_abort()). Takes NULL; wipes all. */
void broker_free(struct broker *broker);

/* The secrets of settings.clients[client] are these from now on; their content is taken, and an
 * empty one is none. Returns whether one of them is new. */
bool broker_set_secrets(struct broker *broker, size_t client,
                        struct secret secrets[CREDENTIALS_MAX]);

/* One of a client's secrets as it was set last; empty if there is none. Borrowed. */
const struct secret *broker_secret(const struct broker *broker, size_t client, size_t i);

/* COMMAND_READ_SECRETS was carried out, successfully (broker_set_secrets() came before) or not. */
void broker_secrets_read(struct broker *broker, size_t client, uint64_t now_ms);

const struct policy *broker_policy(const struct broker *broker);

/*
 * Another configuration from now on. A client whose identity was there before keeps what is known
 * of it; of the others nothing is kept, and requests of theirs that are under way end as those of a
 * purged grant do. The secrets of new clients are to be set next. The rules decide at once, also
 * about those who wait; what a rule has used of its fetches is kept for the rule of the same name
 * and rate. Both are borrowed. Those before are named by the replies of callers who asked under
 * them, until those are written, and by nothing else. 0 or -ENOMEM, and nothing has changed.
 */
int broker_reconfigure(struct broker *broker, const struct settings *settings,
                       const struct policy *policy, uint64_t now_ms);

/*
 * Asks for a token on behalf of the request's subject. 0: *ret says the answer, a token or a
 * reason. BROKER_E_WAIT: `waiter`, `request` and `peer` are borrowed until its reply comes.
 */
int broker_ask(struct broker *broker, const struct token_request *request, const struct peer *peer,
               uint64_t now_ms, struct waiter *waiter, struct reply *ret);

/* What is to be done next, or false. Call until false: work to be done waits for nothing else. */
bool broker_next(struct broker *broker, uint64_t now_ms, struct command *ret);

/* A fetch has ended; `result` is borrowed. `wall_ms` is the time of day since 1970. Returns why it
 * brought no token, REASON_NONE if it did. */
enum reason broker_fetch_done(struct broker *broker, struct flight *flight,
                              const struct fetch_result *result, uint64_t now_ms, int64_t wall_ms);

/* A fetch was not begun, because everybody who waits for it has hung up. */
void broker_fetch_dropped(struct broker *broker, struct flight *flight, uint64_t now_ms);

/* The waiters of a flight, one after the other: `waiter` NULL for the first, NULL behind the last.
 */
struct waiter *broker_next_waiter(struct flight *flight, struct waiter *waiter);

/* Time has passed: answers waiters whose time is up, drops tokens past their end, begins refreshes.
 * Does a bounded amount of work; broker_next_tick_ms() tells when it wants to go on. `wall_ms` is
 * the time of day in milliseconds: a leap of it says that a virtual machine was paused. */
void broker_tick(struct broker *broker, uint64_t now_ms, int64_t wall_ms);
uint64_t broker_next_tick_ms(const struct broker *broker);

/* From now on no flight is begun. Hits are served, and the flights of callers may go on: those that
 * queue still start, but none is tried again after a failure. Queued refreshes are dropped. */
void broker_drain(struct broker *broker, uint64_t now_ms);

/* Whether any fetch or waiter is left. */
bool broker_is_idle(const struct broker *broker);

/* Gives up every fetch and answers every waiter with SHUTTING_DOWN. */
void broker_abort(struct broker *broker, uint64_t now_ms);

/*
 * Writes down what the next process should know: tokens, refusals, and the holds that issuers asked
 * for. Returns how many bytes that takes, and writes them where `bytes`, which has room for just as
 * many, is not NULL; 0: there is nothing worth it. To be called when idle, twice in one
 * millisecond.
 */
size_t broker_save(const struct broker *broker, const struct snapshot_stamp *stamp, uint64_t now_ms,
                   void *bytes);

/* What became of a snapshot. */
struct restored {
        size_t tokens;
        size_t ended;    /* tokens that have run out meanwhile, */
        size_t gone;     /* are of client applications that are not configured any more, */
        size_t no_room;  /* or are beyond the limits of the configuration */
        size_t refusals; /* that still hold */
        size_t holds;
};

/* Takes a snapshot over, which is borrowed for the call, into a broker that has not been asked
 * anything. 0, or -ENOMEM or SNAPSHOT_E_MALFORMED, _TIME or _DUPLICATE, and nothing was taken. */
int broker_restore(struct broker *broker, const struct snapshot *snapshot, uint64_t now_ms,
                   struct restored *ret);

/* Which entries are meant: those that match all that is said. */
struct filter {
        bool retired; /* those of clients that are not configured any more; nothing else counts */
        bool by_client;
        uint64_t identity;  /* of the client application */
        const char *client; /* its name, for messages; borrowed */
        bool by_subject;
        enum subject_kind subject_kind;
        struct text subject; /* borrowed, like the scope */
        struct text scope;   /* canonical: all of its values must be in the entry's; empty: any */
};

/* What a request with REQUEST_FILTER means. 0 or REASON_UNKNOWN_CLIENT. */
int broker_filter(const struct broker *broker, const struct token_request *request,
                  struct filter *ret);

/* A purge under way, embedded in its owner's request. */
struct purge {
        struct list link; /* broker::purges or ::purged */
        struct filter filter;
        uint32_t number;   /* which it is of all */
        uint64_t next;     /* position in the cache's table, then behind that in the memory's */
        uint64_t n_purged; /* entries taken out */
};

/*
 * Takes out the entries that match, and forgets what is remembered against such grants. At once, no
 * such token is handed out any more, and fetches that run for one are detached: those who wait for
 * them are answered, and nothing is kept. The rest takes some turns: BROKER_E_WAIT, and `purge` and
 * what its filter borrows are the broker's until COMMAND_PURGED. Else REASON_PURGES_FULL or
 * REASON_SHUTTING_DOWN.
 */
int broker_purge(struct broker *broker, const struct filter *filter, uint64_t now_ms,
                 struct purge *purge);

/* How many entries a page has at most. */
#define BROKER_PAGE_MAX 256

/* One entry as it is shown; texts are borrowed until the next call of the broker's. */
struct listed {
        const char *client; /* name */
        enum subject_kind subject_kind;
        struct text subject;
        struct text scope;   /* asked for */
        struct text granted; /* empty: the issuer did not say, or granted what was asked */
        enum freshness freshness;
        uint64_t age_ms;
        uint64_t left_ms;
        uint64_t refresh_in_ms;
        bool used;
        bool rejected;
};

struct page {
        size_t n;
        struct listed entries[BROKER_PAGE_MAX];
        uint64_t next; /* where the next page begins; 0: this is the last */
};

/* A page of the entries that match, from where the page before ended (0: the beginning), `limit`
 * at most (0: BROKER_PAGE_MAX), but for the few that share a position, which are on one page. A
 * bounded part of the table is looked at, so a page may be short, or empty, and not be the last. An
 * entry that is there all the time is on one page exactly, also where the table grows meanwhile. */
void broker_list(struct broker *broker, const struct filter *filter, uint64_t after, uint64_t limit,
                 uint64_t now_ms, struct page *ret);

void broker_get_counters(const struct broker *broker, struct broker_counters *ret);

enum client_condition {
        CONDITION_WELL,
        CONDITION_ISSUER_HOLDS,   /* asked for fewer requests */
        CONDITION_ISSUER_FAILS,   /* too often to be asked just now, or not tried since */
        CONDITION_SECRET_REFUSED, /* the client is held */
};

struct client_status {
        const char *client;              /* name; borrowed from the settings */
        enum client_condition condition; /* the worst of what is so */
};

/* How a client application fares, by its index in the settings; false behind the last. */
bool broker_client_status(const struct broker *broker, size_t client, uint64_t now_ms,
                          struct client_status *ret);

/* What a request would meet, and why. Times in milliseconds; 0: not so. */
struct explanation {
        enum reason refused; /* what the request would be refused for before memory is looked at */
        struct grant grant;  /* canonical; borrows from the request and the settings. With a refusal
                              * there are its kind and its scope only, as far as they were read;
                              * never a digest */
        const struct rule *rule; /* that decides about the caller; NULL: none */
        const struct client_settings *client_settings; /* that is meant; NULL: none was found */
        const char *client;                            /* name */
        const char *url;

        enum cache_status cache_status; /* what the answer would say of it */
        bool would_wait;                /* for a fetch */
        bool would_serve_old;           /* the old token, because no fetch may begin */
        enum reason blocked; /* why no fetch would be waited for; REASON_NONE: one would be, if need
                                be */
        uint64_t blocked_ms;

        bool present; /* there is an entry; the rest of this part says more */
        enum freshness freshness;
        uint64_t age_ms;
        uint64_t left_ms;
        uint64_t refresh_in_ms;
        bool used;
        bool rejected;
        bool exceeds; /* it can do more than the caller's rule gives, who does not get it */

        bool in_flight;
        size_t waiters;

        enum reason remembered; /* the last refusal or failure */
        uint64_t refusal_left_ms;
        uint64_t failure_left_ms;
        uint64_t refresh_held_ms;
        uint64_t rejection_held_ms;

        enum breaker_state breaker;
        bool held; /* open because the issuer asked for it */
        uint64_t breaker_left_ms;
        unsigned int failures; /* in a row */
        enum reason last_failure;
        uint64_t last_failure_ago_ms;
        bool last_success_known;
        uint64_t last_success_ago_ms;
        uint64_t client_held_ms;         /* since the issuer refuses its secrets */
        const int64_t *secret_expires_s; /* two; 0: not known */
};

void broker_explain(struct broker *broker, const struct token_request *request,
                    const struct peer *peer, uint64_t now_ms, struct explanation *ret);

/* How a token URL is doing. Times in milliseconds; 0: not so. */
struct issuer_health {
        const char *url;
        enum breaker_state breaker;
        bool held;             /* open because the issuer asked for it */
        uint64_t left_ms;      /* that nothing is asked for */
        unsigned int failures; /* in a row, */
        uint64_t failing_ms;   /* for so long */
        enum reason last_failure;
        uint64_t last_failure_ago_ms;
        bool last_success_known;
        uint64_t last_success_ago_ms;
        uint64_t opened; /* counters */
        uint64_t holds;
        size_t n_in_flight; /* requests under way */
        size_t n_queued;    /* tokens to be fetched after them */
};

/* How a client application is doing. */
struct client_health {
        const char *name;
        uint64_t held_ms;                /* nothing is asked for with it, since its secrets are */
        bool unwell;                     /* refused, and none was accepted since */
        const int64_t *secret_expires_s; /* two; 0: not known */
        bool has_issuer[_AUDIENCE_N];    /* for such subjects, and then: */
        struct issuer_health issuers[_AUDIENCE_N];
};

/* What is borrowed from either holds until the configuration changes. `client` is an index into
 * settings.clients. */
size_t broker_n_clients(const struct broker *broker);
void broker_look_at_client(struct broker *broker, size_t client, uint64_t now_ms,
                           struct client_health *ret);

/* The token URLs, each once: `last` NULL for the first, NULL behind the last, where *ret is not
 * set. What is returned means nothing but the next one's place. */
const void *broker_look_at_issuer(struct broker *broker, const void *last, uint64_t now_ms,
                                  struct issuer_health *ret);

/* What there may be at most of what the counters count. */
struct broker_limits {
        size_t entries;
        uint64_t memory_bytes;
        size_t flights;
        size_t waiters;
        size_t in_flight;
        size_t memories;
};

void broker_get_limits(const struct broker *broker, struct broker_limits *ret);
