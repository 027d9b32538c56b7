/* SPDX-License-Identifier: MIT */
#pragma once

/* What the fuzz targets share. */

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* libFuzzer's entry: one input. Defined by each target; called by libFuzzer or by replay.c. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Says what did not hold, and stops. Unlike assert() it is there in every build. */
#define must(condition)                                                                       \
        do {                                                                                  \
                if (!(condition)) {                                                           \
                        (void)fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition); \
                        abort();                                                              \
                }                                                                             \
        } while (0)

/* A copy in a block of just its size, so that AddressSanitizer sees a read or write beside it. */
static inline char *copy_exactly(const void *bytes, size_t size)
{
        char *copy = malloc(size > 0 ? size : 1);

        must(copy);
        if (size > 0)
                memcpy(copy, bytes, size);
        return copy;
}
