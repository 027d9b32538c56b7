/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Requests to issuers: one libcurl multi handle, driven by the loop, sharing connections and DNS
 * answers among all of them. Nothing here knows what a token is: a form goes out, bytes come in.
 */

#include <curl/curl.h>
#include <stdbool.h>

#include "../lib/answer.h"
#include "../lib/list.h"
#include "../lib/secret.h"
#include "config.h"
#include "loop.h"
#include "sockets.h"

/* Handles that are kept for requests to come: some kilobytes each. */
#define UPSTREAM_KEPT_MAX 32

struct upstream {
        const struct upstream_config *config; /* borrowed */
        struct loop *loop;                    /* borrowed */
        CURLM *multi;                         /* NULL: there was no memory for another */
        struct sockets sockets;
        bool any_lost; /* some transfer is, perhaps */
        long max_in_flight;
        struct curl_slist *headers;
        struct list transfers;
        struct list kept; /* ended ones whose handles are used again, last used first */
        size_t n_kept;
        unsigned int generation; /* counts configurations */
        uint64_t timer_ms;       /* when libcurl wants to be called; LOOP_NEVER: not at all */
};

/* How a request ended. The texts are borrowed from it until upstream_release(). */
struct upstream_end {
        struct transfer *transfer;
        struct flight *flight;
        const char *client;
        const char *url;
        const char *detail; /* what libcurl says of a failure; "" if nothing */
        uint64_t took_us;
        struct fetch_result result;
};

/* Once in a process, before any other of these and before threads. 0 or -ENOMEM. */
int upstream_global_init(void);

/* `max_in_flight` is how many requests there will be at most. 0 or -ENOMEM. */
int upstream_init(struct upstream *upstream, struct loop *loop,
                  const struct upstream_config *config, size_t max_in_flight);

/* Requests that begin from now on are made as this says; it is borrowed. */
void upstream_set_config(struct upstream *upstream, const struct upstream_config *config,
                         size_t max_in_flight);

/* Gives up what is under way. */
void upstream_deinit(struct upstream *upstream);

/* Posts `form`, whose content is taken, to `url`. `flight` names the request, and is
 * borrowed until the end. 0 or -ENOMEM. */
int upstream_start(struct upstream *upstream, struct flight *flight, const char *client,
                   const char *url, const struct client_tls *tls, struct secret *form);

/* Gives up a request; its end will not be told. */
void upstream_cancel(struct upstream *upstream, const struct flight *flight);

/* Lets libcurl do what the time is due for. */
void upstream_tick(struct upstream *upstream);

/* The next request that has ended, to be given to upstream_release(); false: none has. */
bool upstream_next(struct upstream *upstream, struct upstream_end *ret);
void upstream_release(struct upstream *upstream, struct upstream_end *ended);
