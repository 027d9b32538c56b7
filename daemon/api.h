/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * The HTTP interface: which path takes what, what a request is refused for before the broker sees
 * it, and what the broker's reply looks like. Knows neither sockets nor the server library.
 */

#include <stdbool.h>
#include <stdint.h>

#include "../lib/broker.h"
#include "../lib/request-fields.h"
#include "loop.h"
#include "reload.h"
#include "render.h"

/* A larger body is answered 413. */
#define API_BODY_MAX_BYTES 32768

/* A longer token goes out in a body only: the head of an answer shares memory with that of its
 * request, and few clients take longer ones. */
#define API_HEADER_TOKEN_MAX_BYTES 8192

struct hot_answer;
struct hot_answers;
struct audit;
struct monitor;

/* A request target that is longer has memory of its own. */
#define API_TARGET_BYTES 64

/* A body that was shorter leaves its memory to the next call. */
#define API_BODY_KEPT_BYTES 1024

/* What a call waits for. */
enum api_wait {
        API_WAIT_TOKEN,  /* call->waiter */
        API_WAIT_PURGE,  /* call->purge */
        API_WAIT_RELOAD, /* call->reload_wait */
};

struct api {
        struct broker *broker;       /* borrowed, like these two */
        struct audit *audit;         /* where decisions are recorded */
        struct monitor *monitor;     /* borrowed; where answers are counted */
        struct hot_answers *answers; /* borrowed; those of hits that were made before */
        const struct loop *loop;     /* what time it is */
        struct reload *reload;       /* what reads the configuration again */
        bool draining;               /* said by /readyz */
        bool names_units;            /* the policy does, so peers are asked for theirs */
        bool secret_named;           /* the log has said once that callers need no client_secret */
        uint64_t secrets_sent;       /* requests that came with one */
};

struct api_header {
        const char *name; /* NULL: not there */
        const char *value;
};

/* The header fields that matter; NULL: not there. Borrowed. */
struct api_headers {
        const char *accept;
        const char *authorization;
        const char *content_type;
        const char *host;
        const char *metadata;
        bool host_repeated;
        bool unclear_end;               /* of the request, see framing.h */
        bool plain;                     /* nothing in the head was forgiven, see head.h */
        struct api_header of_browser;   /* Origin or Sec-Fetch-Site */
        struct api_header of_forwarder; /* X-Forwarded-For, Forwarded or Via */
        struct request_fields fields;   /* what is asked for, where the path wants it in headers */
};

/* One request on its way. The server fills in the first part. */
struct api_call {
        const char *method;
        char *path;  /* the request target up to the question mark; in `target`, or owned */
        char *query; /* what comes behind it, in the same memory; "" if nothing; rewritten */
        size_t query_size;
        char target[API_TARGET_BYTES]; /* where it is short */
        struct secret body;
        bool body_too_large;
        struct habit *habit;     /* borrowed; of the connection */
        const struct peer *peer; /* borrowed */
        struct api_headers headers;
        size_t header_room_bytes; /* how long a token the head of the answer has room for */

        const struct api_route *route;
        struct token_request request;
        struct waiter waiter;
        struct reload_era *era; /* that what waits borrows from; NULL: it did not wait */
        struct purge purge;
        struct reload_wait reload_wait;
        const struct rule *reload_rule; /* that permits it; of `era`, or static */
        enum api_wait waits_for;
        bool bare;
        enum reason reason;        /* of the answer, when API_ANSWER was returned */
        struct response response;  /* complete when API_ANSWER was returned, unless the answer is */
        struct hot_answer *answer; /* one that is kept, or to be kept; NULL: neither. Borrowed */
};

enum {
        API_ANSWER = 1, /* call->response is complete */
        API_WAIT,       /* then api_resume(), once call->waits_for is there */
};

/* To be called after broker_reconfigure(), too. */
void api_policy_changed(struct api *api);

/* Takes `target`, the raw request target, apart into a copy. The call is all zeros, or another has
 * ended in it. 0 or -ENOMEM. */
int api_call_init(struct api_call *call, const char *target);

/* Wipes and frees what the call holds, so that another can begin. It is not waiting. */
void api_call_end(struct api_call *call);

/* Frees what is kept for another call. */
void api_call_deinit(struct api_call *call);

/* The header fields are in. 0: go on with the body; API_ANSWER; -ENOMEM. */
int api_begin(struct api *api, struct api_call *call);

/* The body is in, too. API_ANSWER, API_WAIT or -ENOMEM. */
int api_finish(struct api *api, struct api_call *call);

/* What the call waits for is there. API_ANSWER or -ENOMEM. */
int api_resume(struct api *api, struct api_call *call);
