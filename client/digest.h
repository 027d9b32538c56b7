/* SPDX-License-Identifier: MIT */
#pragma once

/* SHA-256. */

#include <stdbool.h>
#include <stddef.h>

#define DIGEST_BYTES 32

/* Once before any other, and before forks: fetching an algorithm takes locks of libcrypto's, which
 * a child may find held; using one that was fetched does not. False: libcrypto cannot be used. */
bool digest_global_init(void);

/* 0 or -ENOMEM. */
int digest(const void *bytes, size_t size, unsigned char ret[DIGEST_BYTES]);
