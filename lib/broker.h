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
#include "cache.h"
#include "flight.h"
#include "policy.h"
#include "reply.h"
#include "request.h"
#include "secret.h"
#include "settings.h"

struct broker;

struct broker_counters {
        uint64_t requests;  /* broker_ask() */
        uint64_t hits;      /* answered from memory */
        uint64_t misses;    /* began a fetch */
        uint64_t coalesced; /* joined a fetch */
        uint64_t refused;   /* by what was asked, by whom, or by a limit */
        uint64_t timed_out; /* callers whose time ran out */
        uint64_t fetches;   /* requests to issuers, begun */
        uint64_t tokens;    /* of these: brought a token */
        uint64_t refusals;  /* the issuer refused the subject or the scope */
        uint64_t failures;  /* all other ends */
        uint64_t dropped;   /* queued, and given up since nobody waited any more */
        struct cache_counters cache;
        struct flight_counters limits;
        /* now */
        size_t entries;
        uint64_t memory_bytes;
        size_t flights;
        size_t waiters;
        size_t in_flight;
};

enum {
        BROKER_E_WAIT =
                _REASON_N, /* the waiter was taken; a COMMAND_REPLY will name it, exactly once */
};

enum command_kind {
        COMMAND_FETCH,  /* send a request; broker_fetch_done() must follow, once */
        COMMAND_CANCEL, /* give up a request; broker_fetch_done() must not follow any more */
        COMMAND_REPLY,  /* answer a waiter with its `reply`, whose token reference is handed over */
};

struct command {
        enum command_kind kind;
        struct flight *flight; /* FETCH, CANCEL: the name of the fetch */
        const char *url;       /* FETCH: borrowed from the settings */
        const char *client;    /* FETCH: the client application's name, for messages */
        struct secret form;    /* FETCH: the body, handed over */
        struct waiter *waiter; /* REPLY */
};

/* `settings` is borrowed. `hash_key` should be random. 0 or -ENOMEM. */
int broker_new(struct broker **ret, const struct settings *settings,
               const uint8_t hash_key[static SIPHASH_KEY_BYTES]);

/* Every waiter must have been answered (broker_abort()). Takes NULL; wipes all. */
void broker_free(struct broker *broker);

/* The secret of settings.clients[client] is `secret` from now on, whose content is taken. */
void broker_set_secret(struct broker *broker, size_t client, struct secret *secret);

/*
 * Asks for a token on behalf of the request's subject. 0: *ret says the answer, a token or a
 * reason. BROKER_E_WAIT: `waiter` and `request` are borrowed until its reply comes.
 */
int broker_ask(struct broker *broker, const struct token_request *request, const struct peer *peer,
               uint64_t now_ms, struct waiter *waiter, struct reply *ret);

/* What is to be done next, or false. Call until false: work to be done waits for nothing else. */
bool broker_next(struct broker *broker, uint64_t now_ms, struct command *ret);

/* A fetch has ended; `result` is borrowed. */
void broker_fetch_done(struct broker *broker, struct flight *flight,
                       const struct fetch_result *result, uint64_t now_ms);

/* Time has passed: answers waiters whose time is up, drops tokens past their end. Does a bounded
 * amount of work; broker_next_tick_ms() tells when it wants to go on. */
void broker_tick(struct broker *broker, uint64_t now_ms);
uint64_t broker_next_tick_ms(const struct broker *broker);

/* From now on no fetch is begun; hits are served, and what is in flight may end. */
void broker_drain(struct broker *broker);

/* Whether any fetch or waiter is left. */
bool broker_is_idle(const struct broker *broker);

/* Gives up every fetch and answers every waiter with SHUTTING_DOWN. */
void broker_abort(struct broker *broker, uint64_t now_ms);

void broker_get_counters(const struct broker *broker, struct broker_counters *ret);
