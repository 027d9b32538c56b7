/* SPDX-License-Identifier: MIT */
#pragma once

/* SHA-256 (FIPS 180-4), which cannot fail. */

#include <stddef.h>
#include <stdint.h>

#define SHA256_BYTES 32

void sha256(const void *bytes, size_t size, uint8_t ret[SHA256_BYTES]);
