/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * What the parts of the broker share: broker.c (asking), broker-question.c (what is known about
 * what is asked), broker-fetch.c (flights and what to do next about them), broker-outcome.c (what
 * the end of a fetch means), broker-time.c (what the clock brings), broker-explain.c and
 * broker-status.c (looking on).
 *
 * A flight is in exactly one list, by its state: a queue of its issuer's, `starts` (may be sent,
 * command not fetched yet), `running`, `paused`, its client's `parked`, or `cancels`. A waiter is
 * in a flight, or in `replies` with its reply complete. The reply embedded in a waiter is put
 * together in two steps: what only the question knows (scope asked for, why memory did not do) when
 * it begins to wait, the rest when it ends.
 */

#include "application.h"
#include "broker.h"
#include "credentials.h"
#include "freshness.h"
#include "issuer.h"
#include "memory.h"

/* Notes that are not fetched yet; a further one is lost. */
#define NOTES_MAX 32

/* A note that was not fetched yet. */
struct pending_note {
        struct note note;
        const struct application *application; /* whose name it says, and whose URL */
};

struct broker {
        const struct settings *settings;
        const struct policy *policy;
        uint64_t generation; /* of both; from 1 */
        uint8_t hash_key[SIPHASH_KEY_BYTES];
        uint8_t token_key[SUBJECTTOKEN_KEY_BYTES]; /* of the digests of subject tokens */
        uint64_t random_state;
        struct application **applications; /* one per settings.clients, same order */
        struct list retired;               /* applications that still have flights */
        struct cache cache;
        struct memory memory;
        struct flights flights;
        struct issuers issuers;
        struct timerheap deadlines; /* waiters */
        struct timerheap pauses;    /* flights that will be tried again */
        struct list starts;
        struct list running;
        struct list paused;
        struct list cancels;
        struct list replies;
        struct list reads;  /* credentials whose sources are to be read again */
        struct list purges; /* under way */
        size_t n_purges;
        uint32_t n_purges_asked; /* since the start; may wrap */
        struct purge sweep;      /* of what retired applications have left; among `purges` or not */
        struct list purged;      /* done, their owners not told yet */
        struct quota *quotas;    /* one per rule */
        uint64_t due_since_ms;   /* tokens sent for before this are due at least */
        int64_t wall_ahead_ms;   /* of the clock that times are measured by, at the last tick */
        bool wall_known;
        bool overdue; /* there were more whose time is up than one tick may answer */
        bool draining;
        bool trimming;                        /* the cache is over caps that were lowered */
        struct pending_note notes[NOTES_MAX]; /* a ring */
        size_t first_note;
        size_t n_notes;
        struct broker_counters counters;
};

/* What there is to a request: the answer, a stopgap, or nothing. */
enum worth {
        WORTH_ANSWER,
        WORTH_STOPGAP,
        WORTH_NOTHING,
};

/* One request being judged. */
struct question {
        const struct token_request *request;
        const struct peer *peer;
        const struct rule *rule; /* that decides about the caller */
        enum subject_kind kind;  /* of its subject, as the client application settles it */
        uint8_t digest[SUBJECTTOKEN_DIGEST_BYTES]; /* of its subject token, if there is one */
        struct grant_key key;
        struct text scope;
        size_t client;
        const struct client_settings *client_settings; /* the same; NULL: none was found */
        struct application *application;               /* likewise */
        struct issuer *issuer;                         /* of its, for this kind of subject */
        uint64_t now_ms;
        struct cache_entry *entry; /* NULL: none */
        enum freshness freshness;  /* of its token; set by broker_entry_worth() */
        enum worth worth;
};

/* Client, rights, token URL and scope: what is settled before memory is looked at; then the key,
 * which borrows `buffer`. 0, -ENOMEM or a reason. */
int broker_judge_request(struct broker *broker, struct question *question,
                         uint8_t buffer[static GRANT_KEY_MAX_BYTES]);

/* The same, unless the request brings the verdict along, or then leaves it there. */
int broker_recall_request(struct broker *broker, struct question *question,
                          uint8_t buffer[static GRANT_KEY_MAX_BYTES]);

/* What the entry is worth to the request, and in *ret_status why it is no better. *ret_reported:
 * the request says that an API refused this very token. */
enum worth broker_entry_worth(const struct broker *broker, struct question *question,
                              enum cache_status *ret_status, bool *ret_reported);

/* Whether the request says that an API refused this very token. */
bool broker_is_rejected(const struct token *token, const struct token_request *request);

/* A remembered refusal of this grant, or of its scope for any subject; else REASON_NONE. */
enum reason broker_remembered_refusal(struct broker *broker, struct grant_key key, uint64_t now_ms,
                                      uint64_t *ret_left_ms);

/* When its caller, should he wait, stops waiting: at his own end, or earlier if he has something to
 * fall back on. */
uint64_t broker_deadline_ms(const struct broker *broker, const struct question *question);

/* Why an issuer is left alone, and for how long that will be so; REASON_NONE: it is not. */
enum reason broker_issuer_blocked(struct issuer *issuer, uint64_t now_ms, uint64_t *ret_left_ms);

/* Why nothing may be asked of the issuer for this request just now, nor `flight` (NULL: there is
 * none) joined, and for how long that will be so; REASON_NONE: it may. */
enum reason broker_blocked(struct broker *broker, const struct question *question,
                           const struct flight *flight, uint64_t *ret_left_ms);

/* The entry of a grant, as cache_lookup() and cache_peek(), unless it is being purged. */
struct cache_entry *broker_lookup(struct broker *broker, struct grant_key key, uint64_t now_ms);
const struct cache_entry *broker_peek(const struct broker *broker, struct grant_key key,
                                      uint64_t now_ms);

/* Whether the entry is to go by a purge that has not come to it yet. */
bool broker_is_purged(const struct broker *broker, const struct cache_entry *entry);

/* Whether a table still grows; and goes on with that: a bounded amount of work. */
bool broker_is_growing(const struct broker *broker);
void broker_tick_growth(struct broker *broker);

/* Goes on with purges: a bounded amount of work. */
void broker_tick_purges(struct broker *broker);

/* Begins to take out what belongs to clients that are not configured any more. */
void broker_sweep_retired(struct broker *broker);

/* Goes on with them to the end. */
void broker_finish_purges(struct broker *broker);

/* Evenly spread over all values; the same sequence for the same hash key. */
uint32_t broker_random(struct broker *broker);

struct freshness_limits broker_freshness_limits(const struct broker *broker);
enum freshness broker_freshness(const struct broker *broker, const struct token *token,
                                uint64_t now_ms);

/* A change of state for the operator to hear of; it is dropped if nobody fetches them. */
void broker_add_note(struct broker *broker, enum note_kind kind,
                     const struct application *application, const char *url, enum reason reason,
                     uint64_t for_ms);

/* The application with this identity; NULL: it is not configured any more. */
struct application *broker_application_of(const struct broker *broker, uint64_t identity);

/* Puts a token into a reply; `detail` as there. Where the token can do more than the reply's rule
 * gives, the reply is REASON_GRANTED_TOO_MUCH instead. */
void broker_reply_token(struct broker *broker, struct reply *reply, struct token *token,
                        enum reason detail, uint64_t now_ms);

/* The same with the token of an entry that is served since no new one came. */
void broker_reply_old_token(struct broker *broker, struct reply *reply, struct cache_entry *entry,
                            enum reason detail, uint64_t now_ms);

/* Puts a reason into a reply, with `left_ms` (0: as the reason has it) as Retry-After. */
void broker_reply_reason(struct reply *reply, enum reason reason, uint64_t left_ms);

/* The quota of a rule; NULL: it has none, as those that are not in the policy. */
struct quota *broker_quota_of(const struct broker *broker, const struct rule *rule);

/* Whether a rule has used up its fetches: REASON_FETCHES_SPENT, or REASON_NONE. */
enum reason broker_fetches_spent(const struct broker *broker, const struct rule *rule,
                                 uint64_t now_ms, uint64_t *ret_left_ms);

/* Takes the token out of a reply, which is then as it was before it was complete. */
void broker_take_back(struct reply *reply);

/* Whether a subject token has ended, as far as the time of day is known. */
bool broker_has_ended(const struct broker *broker, const struct subjecttoken *token,
                      uint64_t now_ms);

/* What a flight is begun for. */
struct errand {
        struct grant_key key;
        struct application *application;
        struct issuer *issuer;
        const struct subjecttoken *subject_token; /* NULL: its kind has none */
};

/* Begins a flight in the queue of its issuer, for `owner`, who was admitted; NULL: behind the
 * callers' backs. The client's hold and the limits were looked at before. 0 or -ENOMEM. */
int broker_begin_flight(struct flight **ret, struct broker *broker, const struct errand *errand,
                        const struct peer *owner, uint64_t now_ms);

/* Moves what may start from the queues to `starts`; nothing while some are overdue, since it may be
 * they alone who wait for it. */
void broker_start_flights(struct broker *broker, uint64_t now_ms);

/* Begins a refresh if none runs, and what is known of key, client and URL allows it. */
void broker_refresh(struct broker *broker, const struct errand *errand, uint64_t now_ms);

/* Ends the waiting of a waiter whose reply is complete. */
void broker_release_waiter(struct broker *broker, struct waiter *waiter);

/* The entry with the old token, if the waiter may have it, has not reported it, and it lives; else
 * NULL. */
struct cache_entry *broker_fallback(struct broker *broker, const struct waiter *waiter,
                                    uint64_t now_ms);

/* Answers every waiter of a flight to which no new token came: with the old one if the waiter may
 * have it and it lives, else with the reason. */
void broker_fail_waiters(struct broker *broker, struct flight *flight, enum reason reason,
                         uint64_t left_ms, uint64_t now_ms);

/* Frees a flight that is in no list and has no waiters. */
void broker_free_flight(struct broker *broker, struct flight *flight);

/* One flight less keeps an application, which goes with the last if it was retired. */
void broker_release_application(struct broker *broker, struct application *application);

/* Ends a flight that is in no list and has no waiters; `placed`: it holds a place at its issuer. */
void broker_end_flight(struct broker *broker, struct flight *flight, bool placed, uint64_t now_ms);

/* The fetch of a flight says nothing about its issuer: if it was the probe, its place is free. */
void broker_free_probe(struct broker *broker, const struct flight *flight);

/* Answers the waiters of a flight that is not under way who stop waiting before its issuer may be
 * asked again. */
void broker_answer_hopeless(struct broker *broker, struct flight *flight, uint64_t now_ms);

/* An issuer is left alone for longer from now on: nothing is sent to it, and the same for all of
 * its flights; those that nobody waits for any more end. */
void broker_leave_alone(struct broker *broker, struct issuer *issuer, uint64_t now_ms);

/* Answers and ends all flights of a client that are not under way. */
void broker_give_up_client(struct broker *broker, struct application *application,
                           enum reason reason, uint64_t left_ms, uint64_t now_ms);

/* Returns for how long callers who have no token are kept from asking again. */
uint64_t broker_remember_failure(struct broker *broker, struct grant_key key, enum reason reason,
                                 uint64_t now_ms);

/* Puts a flight that is in no list, and holds a place, off until its client's secrets were read. */
void broker_park_flight(struct broker *broker, struct flight *flight, uint64_t now_ms);

/* Drops the refreshes that queue. */
void broker_drop_refreshes(struct broker *broker, uint64_t now_ms);

/* Where ticks are behind with those whose time is up, ends the waits of such in this flight, so
 * that they get nothing else that comes first. */
void broker_time_out_overdue(struct broker *broker, struct flight *flight, uint64_t now_ms);

/* Some who waited for a flight have left: drops it if nobody waits for it any more, where it is not
 * under way. */
void broker_drop_if_unwanted(struct broker *broker, struct flight *flight, uint64_t now_ms);
