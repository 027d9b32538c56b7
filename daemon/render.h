/* SPDX-License-Identifier: MIT */
#pragma once

/* Answers as bytes and header fields. Knows nothing of the server that sends them. */

#include <stdbool.h>

#include "../lib/broker.h"
#include "../lib/reply.h"
#include "../lib/secret.h"

#define RENDER_CACHE_STATUS_MAX_BYTES 128

struct response {
        unsigned int status;
        const char *content_type; /* NULL: no body */
        struct secret body;
        const char *allow;           /* NULL: no such header, here and below */
        const char *authenticate;    /* WWW-Authenticate */
        struct secret authorization; /* empty: no such header */
        unsigned int retry_after_s;  /* 0: no Retry-After */
        bool no_store;               /* Cache-Control: no-store, Pragma: no-cache */
        char cache_status[RENDER_CACHE_STATUS_MAX_BYTES]; /* "": none */
};

/* Takes back what a rendering allocated; wiped. */
void response_deinit(struct response *response);

/* A token: as JSON (RFC 6749 §5.1, RFC 8693 §2.2.1), or bare; written into the memory that the
 * empty body may have already. 0 or -ENOMEM. */
int render_token(struct response *ret, const struct reply *reply, bool bare);

/* A token as the header field Authorization, and no body. 0 or -ENOMEM. */
int render_authorization(struct response *ret, const struct reply *reply);

/* An error (RFC 6749 §5.2). `description` says more than the reason's own (NULL: that one);
 * `retry_after_s` and `allow` may be 0 and NULL. 0 or -ENOMEM. */
int render_error(struct response *ret, enum reason reason, const char *description,
                 unsigned int retry_after_s, const char *allow);

/* What broker_explain() found, as JSON; without `state`, only what concerns the caller. 0 or
 * -ENOMEM. */
int render_explanation(struct response *ret, const struct explanation *explanation, bool state);

/* A page of entries, and how many were purged, as JSON. 0 or -ENOMEM. */
int render_page(struct response *ret, const struct page *page);
int render_purged(struct response *ret, uint64_t n);

/* What came of reading the configuration again: whether it holds, the number of the one that does,
 * and what was said, lines of which each is a string of a list. 409 if it does not. 0 or -ENOMEM.
 */
int render_reload(struct response *ret, bool good, uint64_t generation, const char *messages);

/* A JSON string with its quotes; `text` is plain UTF-8. 0 or -ENOMEM. */
int render_string(struct secret *out, struct text text);

/* {"status": …}. 0 or -ENOMEM. */
int render_health(struct response *ret, unsigned int status, const char *text);

/* The metadata of RFC 8414 for the base URL "http://" and `host`, which is safe to repeat. 0 or
 * -ENOMEM. */
int render_metadata(struct response *ret, const char *host);
