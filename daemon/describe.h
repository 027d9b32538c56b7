/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * What a refusal says beyond its reason: what was seen in the request, and which line of the
 * configuration would allow it, as far as the caller may know: its own rule, and what it asked for.
 * The words are what error_description may hold (RFC 6749 §5.2: printable ASCII without '"' and
 * '\\').
 */

#include "../lib/reply.h"
#include "api.h"

#define DESCRIBE_MAX_BYTES 512

/* About a request that the broker has not seen. NULL: what the reason says is all. */
const char *describe_refusal(char out[DESCRIBE_MAX_BYTES], const struct api_call *call,
                             enum reason reason);

/* About the broker's reply. NULL: the same. */
const char *describe_reply(char out[DESCRIBE_MAX_BYTES], const struct api_call *call,
                           const struct reply *reply);
