/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * One request to an issuer: a form that goes out, an answer that comes in, and libcurl's handle for
 * them, which can be used again for another form. Belongs to upstream.h.
 */

#include <curl/curl.h>
#include <stdbool.h>

#include "../lib/answer.h"
#include "../lib/list.h"
#include "../lib/secret.h"
#include "config.h"
#include "sockets.h"

/* The longest header field value that can mean anything to us; a longer one is cut, and means
 * nothing. */
#define TRANSFER_FIELD_MAX_BYTES 64

struct transfer {
        struct list link; /* upstream::transfers or ::kept */
        CURL *easy;
        struct socket_user user;
        unsigned int generation;      /* upstream::generation, when it was made */
        const struct client_tls *tls; /* borrowed of that; not looked into after the making */
        struct flight *flight;        /* borrowed; NULL while it is kept */
        char *client;                 /* owned, since a reload may free what they were taken from */
        char *url;
        CURLU *parts; /* owned; of the URL */
        struct secret form;
        struct secret answer;
        char retry_after[TRANSFER_FIELD_MAX_BYTES]; /* header fields; "": not there */
        char ratelimit_reset[TRANSFER_FIELD_MAX_BYTES];
        bool too_large;
        bool out_of_memory;
        uint64_t timeout_ms;    /* of the configuration that it was made with */
        uint64_t n_starvations; /* starvation_count(), when it began */
        int local_port;         /* of the connection that it was sent on last; 0: it was not sent */
        uint64_t sent_ms;       /* when that was, by the clock of the loop */
        unsigned int n_sent;    /* how often it was: once more where a kept connection broke */
        curl_off_t lost_us;     /* until it was sent once more because we said so */
        bool lost;              /* its socket cannot be watched: libcurl will not end it */
        char detail[CURL_ERROR_SIZE];
};

/* One whose handle is set up as the configuration says, in no list. `headers` and what `sockets` is
 * of must outlive it. NULL: memory is out. */
struct transfer *transfer_new(struct sockets *sockets, const struct upstream_config *config,
                              struct curl_slist *headers, const char *client, const char *url,
                              const struct client_tls *tls);

/* It is in no multi handle. */
void transfer_free(struct transfer *transfer);

/* Gives it a form, whose content is taken, for the first time or again. 0 or -ENOMEM. */
int transfer_load(struct transfer *transfer, struct secret *form, size_t max_answer_bytes);

/* Wipes form and answer. */
void transfer_unload(struct transfer *transfer);

/* The one that a handle is of; NULL: it is libcurl's own. */
struct transfer *transfer_of(CURL *easy);

/* Whether it is to be sent once more: libcurl ended it with this code since the connection broke,
 * one that was kept, and before anything came of it. It is ready for that, on a new connection and
 * within the time that it has left, once it is in a multi handle again. */
bool transfer_send_again(struct transfer *transfer, CURLcode code);

/* What became of it, by the code that libcurl ended it with. Borrows its texts. */
void transfer_result(struct transfer *transfer, CURLcode code, struct fetch_result *ret,
                     uint64_t *ret_took_us);
