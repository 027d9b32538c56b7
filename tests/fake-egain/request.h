/* SPDX-License-Identifier: MIT */
#pragma once

/* One HTTP request, from its first line until its answer has been sent. */

#include <microhttpd.h>
#include <stdbool.h>
#include <stdint.h>

#include "grant.h"
#include "pause.h"
#include "rule.h"
#include "server.h"

enum request_state {
        REQUEST_NEW,       /* the first line is known */
        REQUEST_RECEIVING, /* the headers are known */
        REQUEST_WAITING,   /* complete, and paused at least once */
        REQUEST_ANSWERED,
};

enum request_wait {
        REQUEST_WAIT_NONE,
        REQUEST_WAIT_HELD,    /* for a release */
        REQUEST_WAIT_STALLED, /* for a reset */
        REQUEST_WAIT_DELAYED, /* for a time */
        REQUEST_WAIT_COUNTER, /* control: for a counter or a time */
};

struct request {
        struct server *server;             /* borrowed */
        struct MHD_Connection *connection; /* borrowed; NULL while new */
        enum request_state state;
        struct pause pause;

        char *path;          /* owned; as it came, not decoded */
        const char *query;   /* into path's memory; NULL: none */
        const char *method;  /* borrowed */
        const char *version; /* borrowed */
        struct secret body;  /* capped */
        bool body_too_long;  /* `body` is empty then */
        bool control;        /* the path is one of the control path's */

        enum request_wait wait;
        struct list waiting; /* server::waiting or server::watchers; by request_wait() only */

        /* of requests at a token endpoint */
        bool counted; /* in stats::in_flight of the epoch below */
        uint64_t epoch;
        struct grant grant;
        struct rule *rule; /* a reference; NULL: answered normally */

        /* of requests that wait for a counter */
        const uint64_t *counter; /* into stats */
        uint64_t at_least;
        uint64_t at_most;
        struct json_object *outcome; /* owned; the statistics when the counter was there */
};

/* `uri` is the raw target of the request line. NULL when out of memory. */
struct request *request_new(struct server *server, const char *uri);

/* Takes NULL. */
void request_free(struct request *request);

/* Once the headers are known. */
void request_start(struct request *request, struct MHD_Connection *connection, const char *method,
                   const char *version);

/* Appends to the body; what is more than its cap is dropped and remembered. 0 or -ENOMEM. */
int request_receive(struct request *request, const void *bytes, size_t size);

/* The value of a header, or NULL. */
const char *request_header(const struct request *request, const char *name);

/* Pauses the request; false when the server is about to stop. */
bool request_wait(struct request *request, enum request_wait wait, uint64_t due_ms);

/* Ends the wait, if there is one: the request will come up again and can be answered. */
void request_wake(struct request *request);
