/* SPDX-License-Identifier: MIT */

/*
 * A struct secret with a sticky error. Tokens are made here by the ten thousand a second, so JSON
 * and base64 are written straight into the buffer instead of through a tree of objects; anything
 * that only tests look at is left to json-c.
 */

#include "text.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/evp.h>

#include "error.h"

void text_deinit(struct text *text)
{
        secret_deinit(&text->bytes);
        text->error = 0;
}

void text_append(struct text *text, const void *bytes, size_t size)
{
        if (!text->error)
                text->error = secret_append(&text->bytes, bytes, size);
}

void text_append_str(struct text *text, const char *string)
{
        text_append(text, string, strlen(string));
}

void text_append_number(struct text *text, int64_t number)
{
        char digits[24];

        (void)snprintf(digits, sizeof(digits), "%" PRId64, number);
        text_append_str(text, digits);
}

void text_append_json(struct text *text, const char *string)
{
        const char *plain = string;

        text_append(text, "\"", 1);
        for (;; string++) {
                char escape[8];

                if ((unsigned char)*string >= 0x20 && *string != '"' && *string != '\\')
                        continue;
                text_append(text, plain, (size_t)(string - plain));
                if (!*string)
                        break;
                (void)snprintf(escape, sizeof(escape), "\\u%04x", (unsigned char)*string);
                text_append_str(text, escape);
                plain = string + 1;
        }
        text_append(text, "\"", 1);
}

void text_append_base64url(struct text *text, const void *bytes, size_t size)
{
        static const char alphabet[] =
                "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        const unsigned char *in = bytes;

        for (size_t i = 0; i < size; i += 3) {
                size_t n = size - i < 3 ? size - i : 3;
                uint32_t bits = (uint32_t)in[i] << 16;
                char out[4];

                if (n > 1)
                        bits |= (uint32_t)in[i + 1] << 8;
                if (n > 2)
                        bits |= in[i + 2];
                for (size_t k = 0; k < sizeof(out); k++)
                        out[k] = alphabet[(bits >> (18 - 6 * k)) & 0x3f];
                text_append(text, out, n + 1);
        }
}

int text_decode_base64(struct text *text, const char *base64, size_t size)
{
        size_t padding = 0;
        unsigned char *bytes;
        int n;

        if (size == 0)
                return 0;
        if (size % 4 != 0 || size > INT32_MAX)
                return TEXT_E_MALFORMED;
        while (padding < 2 && base64[size - padding - 1] == '=')
                padding++;
        if (memchr(base64, '=', size - padding))
                return TEXT_E_MALFORMED;

        bytes = malloc(size / 4 * 3);
        if (!bytes)
                return error_trace(-ENOMEM);
        n = EVP_DecodeBlock(bytes, (const unsigned char *)base64, (int)size);
        /* OpenSSL skips white space, which shows as fewer bytes. */
        if (n < 0 || (size_t)n != size / 4 * 3) {
                free(bytes);
                return TEXT_E_MALFORMED;
        }
        text_append(text, bytes, (size_t)n - padding);
        free(bytes);
        return error_trace(text->error);
}

char *text_take(struct text *text, size_t *ret_size)
{
        char *bytes = text->bytes.bytes;

        *ret_size = text->bytes.size;
        if (*ret_size == 0) {
                secret_deinit(&text->bytes);
                return NULL;
        }
        text->bytes = SECRET_INIT(0);
        return bytes;
}

/* The length of the UTF-8 sequence at `s` (RFC 3629: no surrogates, nothing overlong); 0: none. */
static size_t utf8_sequence(const unsigned char *s)
{
        static const uint32_t lowest[] = {0, 0, 0x80, 0x800, 0x10000};
        uint32_t code;
        size_t n;

        if (s[0] < 0x80)
                return 1;
        if (s[0] < 0xc2 || s[0] > 0xf4)
                return 0;
        n = s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : 4;
        code = s[0] & (0x7fU >> n);
        for (size_t i = 1; i < n; i++) {
                if ((s[i] & 0xc0) != 0x80)
                        return 0;
                code = code << 6 | (s[i] & 0x3f);
        }
        if (code < lowest[n] || code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff))
                return 0;
        return n;
}

bool text_is_utf8(const char *string)
{
        const unsigned char *s = (const unsigned char *)string;

        while (*s) {
                size_t n = utf8_sequence(s);

                if (n == 0)
                        return false;
                s += n;
        }
        return true;
}
