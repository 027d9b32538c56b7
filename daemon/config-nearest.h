/* SPDX-License-Identifier: MIT */
#pragma once

/* What a misspelt name was probably meant to be. */

#include <stddef.h>

/* { .wanted = name } before the first candidate. */
struct config_nearest {
        const char *wanted;
        const char *name; /* the best of the candidates so far, borrowed; NULL: none is near */
        size_t distance;  /* of it */
};

/* Keeps the candidate if it is nearer than those before it: at most two letters off, and not most
 * of a short name. */
void config_nearest_consider(struct config_nearest *nearest, const char *candidate);
