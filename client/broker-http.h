/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * One request to the broker and its answer: HTTP/1.1 over the Unix socket, or over loopback TCP.
 * The library and the command-line client stand on it. It knows no token: bytes out, bytes in.
 *
 * A struct broker_http is one connection, kept open between requests, for one thread at a time.
 */

#include <stdbool.h>
#include <stdint.h>

#include "broker-address.h"
#include "broker-fault.h"
#include "buffer.h"

#define BROKER_HTTP_ANSWER_MAX_BYTES ((size_t)1024 * 1024)

struct broker_request {
        const char *method;         /* "GET", "POST" or "DELETE" */
        const char *path;           /* with the query: "/v1/status" */
        const struct buffer *form;  /* the body of a POST; NULL: none */
        const char *const *headers; /* "Name: value" each, the last is NULL; NULL: none */
        uint64_t timeout_ms;        /* for all of it; at least 1 */

        /* For how long a broker that is not there is waited for: it may be restarting. Nothing was
         * sent while nobody listens, so this repeats nothing. 0: not at all. */
        uint64_t patience_ms;
};

struct broker_answer {
        unsigned int status;
        unsigned int retry_after_s; /* 0: none, or not understood */
        bool json;                  /* Content-Type says so */
        struct buffer body;         /* goes to broker_answer_deinit() */
};

struct broker_http;

/* Nothing is connected yet. 0; -ENOMEM; or a fault of the place, with `error` filled in. Goes to
 * broker_http_free(), which takes NULL. */
int broker_http_new(struct broker_http **ret, const struct broker_place *place,
                    struct broker_error *error);

/* The same for a place that was understood before; it is copied. 0 or -ENOMEM. */
int broker_http_new_at(struct broker_http **ret, const struct broker_address *address);
void broker_http_free(struct broker_http *http);

/* In a child after fork(2): closes the connection that a thread of the parent may have been using.
 * The rest of it may be in any state, so nothing else may be done with it. */
void broker_http_abandon(struct broker_http *http);

/*
 * Sends the request, and once again where the connection was closed before the first byte of an
 * answer (the broker may have been restarted); whatever the broker serves can be asked twice.
 * 0 and an answer of any status that is whole; -ENOMEM; -EINVAL: the request cannot be sent as it
 * is; or a fault, with `error` filled in.
 */
int broker_http_perform(struct broker_http *http, const struct broker_request *request,
                        struct broker_answer *ret, struct broker_error *error);

/* How many requests were sent again. */
uint64_t broker_http_retries(const struct broker_http *http);

/* Wipes it. Takes NULL. */
void broker_answer_deinit(struct broker_answer *answer);
