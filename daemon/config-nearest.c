/* SPDX-License-Identifier: MIT */

#include "config-nearest.h"

#include <string.h>

#define NAME_MAX_BYTES 64 /* a longer name is no misspelt one of ours */
#define DISTANCE_MAX   2

/* Levenshtein's, in one row. `b` is at most NAME_MAX_BYTES long. */
static size_t distance(const char *a, const char *b)
{
        size_t row[NAME_MAX_BYTES + 1], size = strlen(b);

        for (size_t j = 0; j <= size; j++)
                row[j] = j;
        for (size_t i = 0; a[i]; i++) {
                size_t diagonal = row[0];

                row[0] = i + 1;
                for (size_t j = 0; j < size; j++) {
                        size_t best = diagonal + (a[i] != b[j]);

                        diagonal = row[j + 1];
                        if (diagonal + 1 < best)
                                best = diagonal + 1;
                        if (row[j] + 1 < best)
                                best = row[j] + 1;
                        row[j + 1] = best;
                }
        }
        return row[size];
}

void config_nearest_consider(struct config_nearest *nearest, const char *candidate)
{
        size_t least = nearest->name ? nearest->distance : DISTANCE_MAX + 1, d;

        if (strlen(nearest->wanted) > NAME_MAX_BYTES || strlen(candidate) > NAME_MAX_BYTES)
                return;
        d = distance(nearest->wanted, candidate);
        if (d >= least || d * 2 >= strlen(candidate))
                return;
        nearest->name = candidate;
        nearest->distance = d;
}
