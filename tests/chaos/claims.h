/* SPDX-License-Identifier: MIT */
#pragma once

/* What a token of fake-egain says of itself. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CLAIMS_TEXT_BYTES 512

struct claims {
        char subject[CLAIMS_TEXT_BYTES];
        char kind[CLAIMS_TEXT_BYTES];
        char scope[CLAIMS_TEXT_BYTES];
        char client_id[CLAIMS_TEXT_BYTES];
        char tenant[CLAIMS_TEXT_BYTES];
        char exchanged[CLAIMS_TEXT_BYTES]; /* "": nothing was */
        uint64_t serial;
        uint64_t minted_ms; /* CLOCK_MONOTONIC of this host */
        uint64_t life_ms;   /* what the issuer gave it, from then on */
};

/* False: it is no token of fake-egain, or one of its bytes has changed since. */
bool claims_read(struct claims *claims, const char *token, size_t size);
