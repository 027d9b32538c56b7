/* SPDX-License-Identifier: MIT */

#include "digest.h"

#include <errno.h>
#include <openssl/evp.h>
#include <pthread.h>

static pthread_once_t once = PTHREAD_ONCE_INIT;
static EVP_MD *algorithm; /* of the process; never given back */

static void fetch(void)
{
        algorithm = EVP_MD_fetch(NULL, "SHA256", NULL);
}

bool digest_global_init(void)
{
        return pthread_once(&once, fetch) == 0 && algorithm;
}

int digest(const void *bytes, size_t size, unsigned char ret[DIGEST_BYTES])
{
        return EVP_Digest(bytes, size, ret, NULL, algorithm, NULL) == 1 ? 0 : -ENOMEM;
}
