/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * What can go wrong between a client and the broker, before the broker's own refusals come in. Each
 * fault has a name of its own, so that whoever reads the message knows what to do.
 */

#include <stddef.h>

enum broker_fault {
        BROKER_FAULT_NONE = 0,
        BROKER_FAULT_BAD_ADDRESS, /* a URL that is not http://, or of another host than this one */
        BROKER_FAULT_PATH_TOO_LONG, /* the socket's path does not fit in a sockaddr_un */
        BROKER_FAULT_NO_SOCKET,     /* there is no such file */
        BROKER_FAULT_NOT_A_SOCKET,  /* there is a file, but it is none */
        BROKER_FAULT_PERMISSION,    /* this process may not connect */
        BROKER_FAULT_REFUSED,       /* nobody listens */
        BROKER_FAULT_BUSY,          /* who listens has not accepted the connection */
        BROKER_FAULT_FOREIGN,       /* who listens is nobody we trust; nothing was sent */
        BROKER_FAULT_UNREACHABLE,   /* any other failure to connect */
        BROKER_FAULT_TIMEOUT,       /* the time for the request ran out */
        BROKER_FAULT_CLOSED,        /* the connection was closed without an answer, twice */
        BROKER_FAULT_CUT,           /* the answer was cut short */
        BROKER_FAULT_TOO_LARGE,     /* the answer is over BROKER_HTTP_ANSWER_MAX_BYTES */
        BROKER_FAULT_NOT_BROKER,    /* what answers does not answer as the broker does */
};

#define BROKER_ERROR_MAX_BYTES 400

struct broker_error {
        enum broker_fault fault;
        char text[BROKER_ERROR_MAX_BYTES]; /* one line in printable ASCII that says what to do */
};

/* Fills it in, and returns the fault. Bytes that are not printable ASCII become question marks. */
__attribute__((format(printf, 3, 4))) int
broker_error_set(struct broker_error *error, enum broker_fault fault, const char *format, ...);
