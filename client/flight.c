/* SPDX-License-Identifier: MIT */

#include "flight.h"

#include <stdlib.h>
#include <string.h>

#include "clock.h"

struct flight *flight_find(const struct flights *flights,
                           const unsigned char key[QUESTION_KEY_BYTES])
{
        struct flight *flight;

        for (flight = flights->first; flight; flight = flight->next)
                if (!flight->done && !flight->alone && !flight->barred &&
                    memcmp(flight->key, key, QUESTION_KEY_BYTES) == 0)
                        return flight;
        return NULL;
}

static bool is_reported(const struct flights *flights, const unsigned char *key)
{
        const struct flight *flight = flights->first;

        while (flight && (flight->done || !flight->rejects ||
                          memcmp(flight->key, key, QUESTION_KEY_BYTES) != 0))
                flight = flight->next;
        return flight;
}

struct flight *flight_begin(struct flights *flights, const unsigned char key[QUESTION_KEY_BYTES])
{
        struct flight *flight = calloc(1, sizeof(*flight));

        if (!flight || clock_init_cond(&flight->cond) != 0) {
                free(flight);
                return NULL;
        }
        memcpy(flight->key, key, sizeof(flight->key));
        flight->references = 1;
        flight->barred = is_reported(flights, key);
        flight->next = flights->first;
        flights->first = flight;
        return flight;
}

bool flight_wait(struct flight *flight, pthread_mutex_t *lock, uint64_t deadline_ms)
{
        bool in_time = true;

        flight->references++;
        while (!flight->done && in_time)
                in_time = clock_wait(&flight->cond, lock, deadline_ms);
        return flight->done;
}

void flight_end(struct flight *flight, struct egain_token *token,
                const struct egain_token_failure *failure)
{
        flight->token = egain_token_ref(token);
        flight->failure = *failure;
        flight->done = true;
        (void)pthread_cond_broadcast(&flight->cond);
}

void flight_leave(struct flights *flights, struct flight *flight)
{
        struct flight **at = &flights->first;

        if (--flight->references > 0)
                return;
        while (*at != flight)
                at = &(*at)->next;
        *at = flight->next;
        egain_token_unref(flight->token);
        (void)pthread_cond_destroy(&flight->cond);
        free(flight);
}

void flights_bar(struct flights *flights, const unsigned char *key)
{
        for (struct flight *flight = flights->first; flight; flight = flight->next)
                if (!key || memcmp(flight->key, key, QUESTION_KEY_BYTES) == 0)
                        flight->barred = true;
}

/* Their condition variables are not destroyed: that would wait for those who waited. */
void flights_abandon(struct flights *flights)
{
        while (flights->first) {
                struct flight *flight = flights->first;

                flights->first = flight->next;
                egain_token_unref(flight->token);
                free(flight);
        }
}
