/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * What is behind struct egain_token_broker, and how it goes through fork(2): one lock guards all of
 * it, nothing blocks while it is held, and whoever forks holds the locks of all handles meanwhile.
 * So a child finds everything whole, and begins anew: connections, kept tokens and flights were its
 * parent's.
 */

#include <pthread.h>

#include "flight.h"
#include "kept.h"
#include "pool.h"

struct egain_token_broker {
        struct egain_token_broker *next, *previous; /* of all handles in this process */

        /* set once */
        struct egain_token_options options; /* without its strings */
        struct broker_address address;

        pthread_mutex_t lock;
        pthread_cond_t connection_free;
        struct kept kept;
        struct pool pool;
        struct flights flights;
        struct egain_token_counters counters;
};

/* Reads a structure of a caller that may be newer than this library, or wrong: what this library
 * does not know must be zero. False: `from` cannot be used. */
bool handle_read_struct(void *ret, size_t known, const void *from);

/* Writes a structure to a caller who may have room for more. */
void handle_write_struct(void *to, const void *from, size_t known);
