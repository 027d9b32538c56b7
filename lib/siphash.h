/* SPDX-License-Identifier: MIT */
#pragma once

/* SipHash-2-4 (Aumasson, Bernstein: SipHash: a fast short-input PRF, 2012): under a random key,
 * nobody who chooses subjects can choose which of them share a bucket. */

#include <stddef.h>
#include <stdint.h>

#define SIPHASH_KEY_BYTES 16

uint64_t siphash(const uint8_t key[static SIPHASH_KEY_BYTES], const void *bytes, size_t size);
