/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Counters that nobody else keeps: how requests ended, where tokens came from, and how fetches
 * ended and how long they took. Counting allocates nothing and never fails.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "exposition.h"
#include "reason.h"
#include "reply.h"
#include "settings.h"

/* Upper bounds of how long fetches took, and one count for what is above all of them. */
#define METRICS_BOUNDS 12

enum metrics_request {
        METRICS_TOKEN,      /* a caller asked for a token */
        METRICS_CREDENTIAL, /* systemd did, on behalf of a unit that it starts */
        METRICS_OTHER,      /* anything else, such as a wrong path or the request for metrics */
        _METRICS_REQUEST_N,
};

/* The fetches of one client application: [REASON_NONE] brought a token. */
struct metrics_client {
        char *name; /* owned */
        uint64_t fetches[_REASON_N];
};

struct metrics {
        uint64_t requests[_METRICS_REQUEST_N][_REASON_N]; /* [REASON_NONE] was answered as asked */
        uint64_t tokens[4][2];                            /* by cache status and collapsed */
        uint64_t old_tokens;                              /* handed out since no new one came */
        struct metrics_client *clients;                   /* owned; by name */
        size_t n_clients;
        uint64_t strangers; /* fetches of applications that are not configured (any more) */
        uint64_t durations[METRICS_BOUNDS + 1];
        uint64_t durations_us; /* in all */
};

/* All zeros is one without client applications. */
void metrics_deinit(struct metrics *metrics);

/* The client applications are those of `settings` from now on; one that was there before, by its
 * name, goes on counting. 0 or -ENOMEM, and nothing has changed. */
int metrics_set_clients(struct metrics *metrics, const struct settings *settings);

/* A request was answered: REASON_NONE, or with an error. */
void metrics_count_request(struct metrics *metrics, enum metrics_request kind, enum reason reason);

/* Its answer is the token of this reply. */
void metrics_count_token(struct metrics *metrics, const struct reply *reply);

/* A fetch of the client application of this name has ended, as broker_fetch_done() says. */
void metrics_count_fetch(struct metrics *metrics, const char *client, enum reason reason);

/* How long it took. */
void metrics_observe_fetch(struct metrics *metrics, uint64_t took_us);

/* The families of all of these. */
void metrics_render(const struct metrics *metrics, struct exposition *exposition);
