/* SPDX-License-Identifier: MIT */
#pragma once

/* Holds every answer against what was asked for and what has been told, and counts them. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "answer.h"
#include "claims.h"
#include "question.h"

#define CHECK_TAKEN_MAX  8192
#define CHECK_LATEST_MAX 65536 /* a power of two */

/* What the upheavals under way make possible; see check_excuse(). */
enum excuse {
        EXCUSE_REFUSE = 1 << 0,   /* the issuer refuses subjects, scopes or clients */
        EXCUSE_SECRET = 1 << 1,   /* the issuer refuses our secret */
        EXCUSE_FAIL = 1 << 2,     /* the issuer fails, or the way to it */
        EXCUSE_THROTTLE = 1 << 3, /* the issuer asks for fewer requests */
        EXCUSE_GRANT = 1 << 4,    /* the issuer grants another scope than was asked for */
        EXCUSE_LIMIT = 1 << 5,    /* limits of the daemon, or of rules, are reached */
        EXCUSE_CHANGE = 1 << 6,   /* client applications change */
        EXCUSE_RIGHTS = 1 << 7,   /* rights of callers change */
        EXCUSE_STOP = 1 << 8,     /* the daemon shuts down */
};

/* What was asked, and when, on this host's CLOCK_MONOTONIC. */
struct exchange {
        const struct question *question;
        uint64_t sent_ms;     /* before the first byte went out */
        uint64_t received_ms; /* when the answer was whole */
        unsigned int excuses; /* that held when it was sent */
        bool half_closed;     /* our side was shut down behind the request */
        const char *bytes;    /* what came, whatever it is */
        size_t size;
};

/* Tokens that must not be seen again. */
struct taken {
        char client[64];                      /* "*": of any */
        int kind;                             /* −1: of any */
        char subject[QUESTION_SUBJECT_BYTES]; /* "*": of any */
        char scope[QUESTION_SUBJECT_BYTES];   /* that they have; "*": whatever they have */
        uint64_t at_ms;                       /* those that were minted before */
        uint64_t told_ms;                     /* in answers to what is sent from then on */
};

struct tally {
        uint64_t answers[_REASON_N]; /* to requests for tokens */
        uint64_t others[_REASON_N];  /* to other requests */
        uint64_t tokens[_ANSWER_CACHE_N][2];
        uint64_t old;    /* tokens that were handed out since no new one came */
        uint64_t unseen; /* requests that were sent whole, and whose answer nobody has seen */
};

struct check {
        struct tally tally;
        uint64_t n_checked; /* answers, in all lives of the daemon */
        uint64_t n_failures;
        bool keep_going;
        unsigned int excuses; /* that hold now */
        uint64_t fetch_max_ms;
        uint64_t token_life_max_ms;

        bool repeats; /* the issuer may hand out a token that it has handed out before */
        uint64_t repeated_at_ms;

        struct taken taken[CHECK_TAKEN_MAX];
        size_t n_taken;
        struct latest {
                uint64_t key, serial, received_ms;
        } latest[CHECK_LATEST_MAX];
};

uint64_t check_now_ms(void);

/* "refuse fail …", the excuses that hold from now on. False: one is unknown. */
bool check_excuse(struct check *check, const char *names);

/* "CLIENT KIND SUBJECT SCOPE AT_MS", the subject percent-encoded. False: it is not in this form. */
bool check_take(struct check *check, const char *text);

void check_repeat(struct check *check, bool repeats);

/* Judges and counts. `rejectable` becomes the digest of the token that came, or "". */
void check_answer(struct check *check, const struct exchange *exchange, const struct answer *answer,
                  char rejectable[static QUESTION_SHA256_HEX]);

/* Says all there is to say; ends the process unless it is to keep going. */
void check_fail(struct check *check, const struct exchange *exchange, const char *what);
