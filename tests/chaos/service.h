/* SPDX-License-Identifier: MIT */
#pragma once

/* One service: a connection on which one question follows the other, with manners good and bad. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "check.h"
#include "question.h"

#define SERVICE_ANSWER_MAX_BYTES 65536

enum service_state {
        SERVICE_FREE,    /* asks nothing */
        SERVICE_SENDING, /* connecting, too */
        SERVICE_WAITING, /* for the answer, or more of it */
};

/* How a request goes. */
enum service_manner {
        SERVICE_GOOD,
        SERVICE_SLOW_SENDING, /* in pieces */
        SERVICE_SLOW_READING, /* the answer waits */
        SERVICE_HALF,         /* hangs up before all of the request is sent */
        SERVICE_HANGING_UP,   /* does not wait for the answer */
        SERVICE_HALF_CLOSING, /* sends no more, but waits */
        _SERVICE_MANNER_N,
};

/* What all services of a process share. */
struct town {
        struct check *check;
        struct questions *questions;
        struct dice dice;
        struct sockaddr_storage addresses[3]; /* where the daemon listens */
        socklen_t address_sizes[3];
        size_t n_addresses;
        int epoll;
        uint64_t answer_max_ms; /* a request without an answer for so long is lost */
        bool down;              /* connections may end, and none begins */
        bool manners;           /* whether there are bad ones */
        size_t n_busy;
};

struct service {
        int fd; /* −1: none */
        enum service_state state;
        enum service_manner manner;
        bool registered_out; /* epoll tells when more can be sent */
        bool used;           /* an answer has come over this connection */
        bool lives;          /* the connection is to be kept */
        struct question question;
        size_t sent;
        uint64_t sent_ms, pause_until_ms, free_since_ms;
        unsigned int excuses;
        bool may_reject;
        char rejectable[QUESTION_SHA256_HEX]; /* the token of the last answer; "": none */
        size_t size;
        char bytes[SERVICE_ANSWER_MAX_BYTES];
};

void service_init(struct service *service);

/* A question begins; false: not now. */
bool service_ask(struct service *service, struct town *town, uint64_t now_ms);

/* Epoll says that there is something to be done. */
void service_handle(struct service *service, struct town *town, uint32_t events, uint64_t now_ms);

/* Time has passed. */
void service_tick(struct service *service, struct town *town, uint64_t now_ms);

/* Ends the connection; what was asked over it counts as unseen if it had been sent whole. */
void service_drop(struct service *service, struct town *town);
