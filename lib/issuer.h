/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * One token URL: which flights wait for a place there, and how many requests are under way. Whether
 * a fetch may start is decided here and nowhere else.
 */

#include <stdbool.h>
#include <stddef.h>

#include "flight.h"
#include "list.h"

struct issuer {
        const char *url;   /* borrowed from the settings */
        struct list queue; /* flights in state FLIGHT_QUEUED, longest waiting first */
        struct list turn;  /* issuers::ready */
        size_t n_in_flight;
        size_t max_in_flight;
};

/* All of them, taking turns for the places there are in all. */
struct issuers {
        struct issuer *all; /* owned */
        size_t n;
        struct list ready; /* issuers that have a flight to start and a place for it */
        size_t n_in_flight;
        size_t max_in_flight;
};

/* One issuer for each distinct token URL in the settings, which are borrowed. 0 or -ENOMEM. */
int issuers_init(struct issuers *issuers, const struct settings *settings);
void issuers_deinit(struct issuers *issuers);

/* The issuer for a token URL of the settings; never NULL for one of them. */
struct issuer *issuers_find(struct issuers *issuers, const char *url);

void issuer_enqueue(struct issuers *issuers, struct issuer *issuer, struct flight *flight);

/* Takes a queued flight back. */
void issuer_dequeue(struct issuer *issuer, struct flight *flight);

/* The flight that may start now, taken out of its queue, its place taken; NULL: none may. */
struct flight *issuers_start(struct issuers *issuers);

/* Gives back the place of a flight that issuers_start() returned. */
void issuer_finish(struct issuers *issuers, struct issuer *issuer);
