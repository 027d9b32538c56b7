/* SPDX-License-Identifier: MIT */
#pragma once

/* An answer, and the ways of sending it badly. */

#include <microhttpd.h>
#include <stdbool.h>
#include <stdint.h>

#include "text.h"

struct json_object;
struct request;

enum reply_delivery {
        REPLY_WHOLE,
        REPLY_CUT,     /* headers and half of the body, then the end of the connection */
        REPLY_TRICKLE, /* the body byte by byte */
};

struct reply {
        unsigned status;
        struct text body;            /* owned until sent */
        uint64_t fill_bytes;         /* instead of `body`: so many 'x' */
        const char *content_type;    /* NULL: none */
        const char *allow;           /* NULL: none */
        struct json_object *headers; /* borrowed; prevail over ours; NULL: none */
        enum reply_delivery delivery;
        uint64_t trickle_ms;
};

/*
 * Queues the answer of `request`. Consumes the body in any case. MHD_NO makes libmicrohttpd close
 * the connection.
 */
enum MHD_Result reply_send(struct reply *reply, struct request *request);

/* {"error": …, "error_description": …}, the latter unless NULL. */
void reply_error(struct reply *reply, unsigned status, const char *error, const char *description);
