/* SPDX-License-Identifier: MIT */

/*
 * OpenSSL 3's SHA256() allocates what it works with, and where there is no memory for that it
 * leaves the digest as it was: two keys of the cache, or two client applications, would be one. The
 * functions below it, deprecated as they are, need no more than what they are given.
 */

#define OPENSSL_SUPPRESS_DEPRECATED

#include "sha256.h"

#include <openssl/sha.h>

#include "secret.h"

void sha256(const void *bytes, size_t size, uint8_t ret[SHA256_BYTES])
{
        SHA256_CTX context;

        SHA256_Init(&context);
        SHA256_Update(&context, bytes, size);
        SHA256_Final(ret, &context);
        secret_wipe(&context, sizeof(context));
}
