/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * libcurl's sockets in the loop. Between two requests on a connection libcurl wants its socket
 * watched no more; it stays in the loop all the same until something happens to it or it is closed,
 * so that a request on a connection that was kept costs no change to what is watched.
 */

#include <curl/curl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../lib/list.h"
#include "loop.h"

struct watch;

struct sockets {
        struct loop *loop;    /* borrowed */
        CURLM *multi;         /* borrowed */
        struct watch **by_fd; /* owned */
        size_t n;             /* places there */
        struct list idle;     /* watches of connections on which nothing may come just now */
        bool disordered;      /* libcurl has run out of memory: nothing is left to it any more */
        void (*lose)(void *data, CURL *easy);
        void (*starve)(void *data, curl_socket_t fd);
        void *data;
};

/* Whoever has a handle that opens sockets. */
struct socket_user {
        struct sockets *sockets; /* borrowed */
        bool starved;            /* there was no memory or no descriptor for a socket */
};

/* From now on what `multi` wants watched is. `lose` is told of a handle one of whose sockets cannot
 * be, for want of memory: nothing will come of it any more. `starve` is told of a socket, or of
 * CURL_SOCKET_TIMEOUT, that libcurl lacked memory at: what came of it, nobody knows. */
void sockets_init(struct sockets *sockets, struct loop *loop, CURLM *multi,
                  void (*lose)(void *data, CURL *easy),
                  void (*starve)(void *data, curl_socket_t fd), void *data);

/* After the end of `multi`. */
void sockets_deinit(struct sockets *sockets);

/* libcurl is about to send from this local port. If that is on a connection that was kept, and
 * something came on it in the meantime, the connection is ended, and libcurl takes another. */
void sockets_begin_send(struct sockets *sockets, int local_port);

/* Lets libcurl work, unless it is known to be in disorder. As curl_multi_socket_action(). */
void sockets_act(struct sockets *sockets, curl_socket_t fd, int flags);

/* What tells a connection from others, also where libcurl does not say which socket a handle that
 * is under way has. 0: it is not known, or `fd` is CURL_SOCKET_TIMEOUT. */
int sockets_local_port(curl_socket_t fd);

/* Whether there is still a connection from this port, as far as is known here. */
bool sockets_has(struct sockets *sockets, int local_port);

/* Ends the connection from this port, for all that use it; 0: none. */
void sockets_end(struct sockets *sockets, int local_port);

/* The same, unless something came on it after `since_ms`, by the clock of the loop. */
void sockets_end_unheard(struct sockets *sockets, int local_port, uint64_t since_ms);

/* Makes a handle of `multi` open and close its sockets here. CURLE_OK, or what went wrong. */
CURLcode sockets_serve(struct socket_user *user, CURL *easy);
