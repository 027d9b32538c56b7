/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * The secrets of one client application, and what to do when the issuer refuses them. A client has
 * one secret or, while it is being rotated, two. When one is refused the sources are read again,
 * then every secret that was not refused is tried once; the one that works stays first. Where none
 * works, the client is held: nothing is asked for with it for a while, since issuers lock out those
 * who insist.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "backoff.h"
#include "list.h"
#include "secret.h"

#define CREDENTIALS_MAX 2

/* How long a client is held: 30 s, doubling to 5 minutes. */
#define CREDENTIALS_HOLD_FIRST_MS 30000
#define CREDENTIALS_HOLD_MAX_MS   300000

struct credential {
        struct secret secret;
        uint64_t id; /* never given twice; 0: there is none */
        bool refused;
};

struct credentials {
        struct credential all[CREDENTIALS_MAX];
        size_t first; /* the one to use */
        uint64_t last_id;
        bool read_again;  /* since the first refusal in a row */
        bool reading;     /* the sources are to be read again, or are being so */
        struct list link; /* broker::reads */
        bool unwell;      /* was held, and no secret was accepted since */
        bool probing;     /* one was let pass at the end of a hold */
        struct backoff hold;
        struct list parked; /* flights that wait for the reading */
};

enum credentials_verdict {
        CREDENTIALS_TRY,  /* there is a secret that was not tried */
        CREDENTIALS_READ, /* the sources are to be read again */
        CREDENTIALS_HOLD, /* nothing is left to try */
};

void credentials_init(struct credentials *credentials);
void credentials_deinit(struct credentials *credentials);

/* The secrets are these from now on (their content is taken; an empty one is none, and so is one
 * that is there twice). A secret that was there before is still the same, refused or not. Returns
 * whether there is one that was not. */
bool credentials_set(struct credentials *credentials, struct secret secrets[CREDENTIALS_MAX]);

/* The one to use. */
const struct credential *credentials_first(const struct credentials *credentials);

/* The issuer accepted the secret with this id. */
void credentials_accepted(struct credentials *credentials, uint64_t id);

/* The issuer refused it. */
enum credentials_verdict credentials_refused(struct credentials *credentials, uint64_t id);

/* The sources were read again; whether that left something to try. */
enum credentials_verdict credentials_reread(struct credentials *credentials);

/* Holds the client. When that has passed, all secrets may be tried again. */
void credentials_hold(struct credentials *credentials, uint64_t now_ms);

/* Whether nothing may be asked for. When a hold has just ended it lets one caller pass and stays
 * until that one has brought an outcome, or the same time has passed again. */
bool credentials_are_held(const struct credentials *credentials, uint64_t now_ms);
bool credentials_pass(struct credentials *credentials, uint64_t now_ms);

/* The one that was let pass has brought no outcome: the next may. */
void credentials_unpass(struct credentials *credentials, uint64_t now_ms);
