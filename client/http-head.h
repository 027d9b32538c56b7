/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * The head of an answer (RFC 9112), read strictly: the broker's answers say how long they are with
 * one Content-Length, and what does not is none of its.
 */

#include <stdbool.h>
#include <stddef.h>

#define HTTP_HEAD_MAX_BYTES ((size_t)16 * 1024)

struct http_head {
        size_t size; /* with the empty line */
        unsigned int status;
        size_t content_length;      /* 0 where the status allows no body */
        unsigned int retry_after_s; /* 0: none, or not understood */
        bool json;                  /* Content-Type says so */
        bool close;                 /* the connection is not to be used again */
};

enum {
        HTTP_HEAD_E_MORE = 1, /* these bytes may be the beginning of one */
        HTTP_HEAD_E_INVALID,
};

/* 0 or one of these. */
int http_head_parse(struct http_head *ret, const char *bytes, size_t size);
