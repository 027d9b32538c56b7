/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * What the broker settled about a request before it looked into memory: who asks for what of which
 * client application, and that the rules permit it. It holds for the very same request of the very
 * same peer until the configuration is another, so that a peer that asks again need not be judged
 * again.
 */

#include <stddef.h>
#include <stdint.h>

#include "request.h"
#include "text.h"

/* A grant with a longer key is judged each time. */
#define VERDICT_KEY_MAX_BYTES 256

struct rule;

struct verdict {
        uint64_t generation;     /* of the broker's configuration; 0: there is none */
        const struct rule *rule; /* of that configuration; borrowed */
        size_t client;           /* index of its settings */
        enum subject_kind kind;
        struct text scope; /* of that configuration or of the request; borrowed */
        uint64_t key_hash;
        size_t key_size;
        uint8_t key[VERDICT_KEY_MAX_BYTES];
};
