/* SPDX-License-Identifier: MIT */

/*
 * realloc() may leave the old block behind with its content, so growing is done by hand: allocate,
 * copy, wipe, free. Capacity doubles, which keeps appending byte by byte linear.
 */

#include "secret.h"

#include <stdlib.h>
#include <string.h>

#include "error.h"

#define SECRET_CAPACITY_MIN 64

void secret_wipe(void *bytes, size_t size)
{
        if (size > 0)
                explicit_bzero(bytes, size);
}

void secret_init(struct secret *secret, size_t size_limit)
{
        *secret = SECRET_INIT(size_limit);
}

void secret_deinit(struct secret *secret)
{
        if (!secret)
                return;
        if (secret->bytes) {
                secret_wipe(secret->bytes, secret->capacity);
                free(secret->bytes);
        }
        *secret = SECRET_INIT(secret->size_limit);
}

void secret_clear(struct secret *secret)
{
        if (secret->bytes)
                secret_wipe(secret->bytes, secret->size);
        secret->size = 0;
}

int secret_reserve(struct secret *secret, size_t capacity)
{
        size_t grown = secret->capacity ? secret->capacity : SECRET_CAPACITY_MIN;
        char *bytes;

        if (secret->size_limit && capacity > secret->size_limit)
                return SECRET_E_FULL;
        if (capacity >= (size_t)1 << (sizeof(size_t) * 8 - 2))
                return error_trace(-ENOMEM);
        if (capacity < secret->capacity) /* one byte is the final NUL's */
                return 0;

        while (grown <= capacity)
                grown *= 2;
        bytes = malloc(grown);
        if (!bytes)
                return error_trace(-ENOMEM);

        if (secret->bytes) {
                memcpy(bytes, secret->bytes, secret->size);
                secret_wipe(secret->bytes, secret->capacity);
                free(secret->bytes);
        }
        bytes[secret->size] = '\0';
        secret->bytes = bytes;
        secret->capacity = grown;
        return 0;
}

int secret_append(struct secret *secret, const void *bytes, size_t size)
{
        int r;

        if (size > (size_t)-1 - secret->size)
                return error_trace(-ENOMEM);
        r = secret_reserve(secret, secret->size + size);
        if (r)
                return error_trace(r);

        if (size > 0)
                memcpy(secret->bytes + secret->size, bytes, size);
        secret->size += size;
        secret->bytes[secret->size] = '\0';
        return 0;
}

int secret_append_str(struct secret *secret, const char *string)
{
        return secret_append(secret, string, strlen(string));
}

int secret_assign(struct secret *secret, const void *bytes, size_t size)
{
        int r;

        r = secret_reserve(secret, size);
        if (r)
                return error_trace(r);
        secret_clear(secret);
        return secret_append(secret, bytes, size);
}

void secret_move(struct secret *to, struct secret *from)
{
        secret_deinit(to);
        to->bytes = from->bytes;
        to->size = from->size;
        to->capacity = from->capacity;
        from->bytes = NULL;
        from->size = 0;
        from->capacity = 0;
}
