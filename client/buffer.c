/* SPDX-License-Identifier: MIT */

/* realloc() may leave the old block behind with its content, so growing is done by hand. */

#include "buffer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define CAPACITY_MIN 256

void buffer_wipe_and_free(void *bytes, size_t size)
{
        if (!bytes)
                return;
        explicit_bzero(bytes, size);
        free(bytes);
}

void buffer_deinit(struct buffer *buffer)
{
        if (!buffer)
                return;
        buffer_wipe_and_free(buffer->bytes, buffer->capacity);
        *buffer = BUFFER_INIT(buffer->size_limit);
}

void buffer_clear(struct buffer *buffer)
{
        if (buffer->size > 0)
                explicit_bzero(buffer->bytes, buffer->size);
        buffer->size = 0;
}

/* Makes room for so many bytes and a NUL. */
static int reserve(struct buffer *buffer, size_t size)
{
        size_t grown = buffer->capacity ? buffer->capacity : CAPACITY_MIN;
        char *bytes;

        if (size > buffer->size_limit)
                return BUFFER_E_FULL;
        if (size < buffer->capacity)
                return 0;
        while (grown <= size)
                grown *= 2;
        bytes = malloc(grown);
        if (!bytes)
                return -ENOMEM;
        if (buffer->size > 0)
                memcpy(bytes, buffer->bytes, buffer->size);
        bytes[buffer->size] = '\0';
        buffer_wipe_and_free(buffer->bytes, buffer->capacity);
        buffer->bytes = bytes;
        buffer->capacity = grown;
        return 0;
}

int buffer_append(struct buffer *buffer, const void *bytes, size_t size)
{
        int r;

        if (size > buffer->size_limit - buffer->size)
                return BUFFER_E_FULL;
        r = reserve(buffer, buffer->size + size);
        if (r)
                return r;
        if (size > 0)
                memcpy(buffer->bytes + buffer->size, bytes, size);
        buffer->size += size;
        buffer->bytes[buffer->size] = '\0';
        return 0;
}

int buffer_append_str(struct buffer *buffer, const char *string)
{
        return buffer_append(buffer, string, strlen(string));
}

static int append_encoded(struct buffer *buffer, unsigned char c)
{
        static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
                                    "0123456789-._~";
        static const char hex[] = "0123456789ABCDEF";

        if (c && strchr(plain, c))
                return buffer_append(buffer, &c, 1);
        return buffer_append(buffer, (char[]){'%', hex[c >> 4], hex[c & 15]}, 3);
}

int buffer_append_field(struct buffer *buffer, const char *name, const void *value, size_t size)
{
        const size_t before = buffer->size;
        const unsigned char *bytes = value;
        int r = 0;

        if (before > 0)
                r = buffer_append_str(buffer, "&");
        if (r == 0)
                r = buffer_append_str(buffer, name);
        if (r == 0)
                r = buffer_append_str(buffer, "=");
        for (size_t i = 0; r == 0 && i < size; i++)
                r = append_encoded(buffer, bytes[i]);
        if (r && buffer->size > before) {
                explicit_bzero(buffer->bytes + before, buffer->size - before);
                buffer->bytes[before] = '\0';
                buffer->size = before;
        }
        return r;
}
