/* SPDX-License-Identifier: MIT */

/*
 * An issuer stands in the list of those that are ready exactly while it has both a queued flight
 * and a free place. Starting takes from the front and puts the issuer at the back, so that one slow
 * URL with a long queue cannot keep the places of all.
 */

#include "issuer.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "error.h"

int issuers_init(struct issuers *issuers, const struct settings *settings)
{
        *issuers = (struct issuers){.max_in_flight = settings->max_in_flight_total};
        list_init(&issuers->ready);
        issuers->all = calloc(settings->n_clients * _AUDIENCE_N, sizeof(*issuers->all));
        if (!issuers->all)
                return error_trace(-ENOMEM);

        for (size_t i = 0; i < settings->n_clients * _AUDIENCE_N; i++) {
                const char *url = settings->clients[i / _AUDIENCE_N].token_url[i % _AUDIENCE_N];
                struct issuer *issuer = &issuers->all[issuers->n];

                if (!url || issuers_find(issuers, url))
                        continue;
                *issuer = (struct issuer){
                        .url = url,
                        .queue = LIST_INIT(issuer->queue),
                        .turn = LIST_INIT(issuer->turn),
                        .max_in_flight = settings->max_in_flight,
                };
                issuers->n++;
        }
        return 0;
}

void issuers_deinit(struct issuers *issuers)
{
        free(issuers->all);
        *issuers = (struct issuers){};
}

struct issuer *issuers_find(struct issuers *issuers, const char *url)
{
        for (size_t i = 0; i < issuers->n; i++)
                if (issuers->all[i].url && strcmp(issuers->all[i].url, url) == 0)
                        return &issuers->all[i];
        return NULL;
}

/* Puts the issuer into the list of those that are ready, or takes it out, as it should be. */
static void settle(struct issuers *issuers, struct issuer *issuer)
{
        const bool ready = !list_empty(&issuer->queue) &&
                           issuer->n_in_flight < issuer->max_in_flight;

        if (ready && list_empty(&issuer->turn))
                list_push_back(&issuers->ready, &issuer->turn);
        else if (!ready)
                list_unlink(&issuer->turn);
}

void issuer_enqueue(struct issuers *issuers, struct issuer *issuer, struct flight *flight)
{
        flight->state = FLIGHT_QUEUED;
        list_push_back(&issuer->queue, &flight->link);
        settle(issuers, issuer);
}

void issuer_dequeue(struct issuer *issuer, struct flight *flight)
{
        assert(flight->state == FLIGHT_QUEUED);
        list_unlink(&flight->link);
        if (list_empty(&issuer->queue))
                list_unlink(&issuer->turn);
}

struct flight *issuers_start(struct issuers *issuers)
{
        struct list *turn = list_first(&issuers->ready);
        struct issuer *issuer;
        struct flight *flight;

        if (!turn || issuers->n_in_flight >= issuers->max_in_flight)
                return NULL;
        issuer = list_entry(turn, struct issuer, turn);
        flight = list_entry(list_first(&issuer->queue), struct flight, link);
        list_unlink(&flight->link);
        issuer->n_in_flight++;
        issuers->n_in_flight++;
        list_unlink(&issuer->turn);
        settle(issuers, issuer);
        return flight;
}

void issuer_finish(struct issuers *issuers, struct issuer *issuer)
{
        assert(issuer->n_in_flight > 0 && issuers->n_in_flight > 0);
        issuer->n_in_flight--;
        issuers->n_in_flight--;
        settle(issuers, issuer);
}
