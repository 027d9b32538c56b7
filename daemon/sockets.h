/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * libcurl's sockets in the loop. Between two requests on a connection libcurl wants its socket
 * watched no more; it stays in the loop all the same until something happens to it or it is closed,
 * so that a request on a connection that was kept costs no change to what is watched.
 */

#include <curl/curl.h>
#include <stddef.h>

#include "loop.h"

struct watch;

struct sockets {
        struct loop *loop;    /* borrowed */
        CURLM *multi;         /* borrowed */
        struct watch **by_fd; /* owned */
        size_t n;             /* places there */
};

/* From now on what `multi` wants watched is. */
void sockets_init(struct sockets *sockets, struct loop *loop, CURLM *multi);

/* After the end of `multi`. */
void sockets_deinit(struct sockets *sockets);

/* Makes a handle of `multi` open and close its sockets here. CURLE_OK, or what went wrong. */
CURLcode sockets_serve(struct sockets *sockets, CURL *easy);
