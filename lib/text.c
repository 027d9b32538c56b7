/* SPDX-License-Identifier: MIT */

#include "text.h"

#include <stdint.h>

int text_compare(struct text a, struct text b)
{
        const size_t common = a.size < b.size ? a.size : b.size;
        const int r = common ? memcmp(a.bytes, b.bytes, common) : 0;

        if (r)
                return r;
        return (a.size > b.size) - (a.size < b.size);
}

/* Bytes in the sequence that begins at `in`, 0 if it is none (Unicode 15, table 3-7). */
static size_t utf8_sequence(const uint8_t *in, size_t left)
{
        uint8_t low = 0x80, high = 0xbf; /* bounds of the second byte */
        size_t size;

        if (in[0] < 0x80)
                return 1;
        if (in[0] >= 0xc2 && in[0] <= 0xdf) {
                size = 2;
        } else if (in[0] >= 0xe0 && in[0] <= 0xef) {
                size = 3;
                if (in[0] == 0xe0)
                        low = 0xa0;
                if (in[0] == 0xed)
                        high = 0x9f;
        } else if (in[0] >= 0xf0 && in[0] <= 0xf4) {
                size = 4;
                if (in[0] == 0xf0)
                        low = 0x90;
                if (in[0] == 0xf4)
                        high = 0x8f;
        } else {
                return 0;
        }

        if (size > left || in[1] < low || in[1] > high)
                return 0;
        for (size_t i = 2; i < size; i++)
                if (in[i] < 0x80 || in[i] > 0xbf)
                        return 0;
        return size;
}

/* Bytes of ASCII at the beginning, by the eight, as far as it goes. */
static size_t ascii_size(const uint8_t *in, size_t left)
{
        size_t size = 0;
        uint64_t eight;

        for (; left - size >= sizeof(eight); size += sizeof(eight)) {
                memcpy(&eight, in + size, sizeof(eight));
                if (eight & UINT64_C(0x8080808080808080))
                        break;
        }
        return size;
}

bool text_is_utf8(struct text text)
{
        const uint8_t *in = (const uint8_t *)text.bytes;
        size_t size;

        for (size_t left = text.size; left > 0; left -= size, in += size) {
                size = ascii_size(in, left);
                if (size == 0)
                        size = utf8_sequence(in, left);
                if (size == 0)
                        return false;
        }
        return true;
}

bool text_is_plain_utf8(struct text text)
{
        const uint8_t *in = (const uint8_t *)text.bytes;
        size_t size;

        for (size_t left = text.size; left > 0; left -= size, in += size) {
                size = utf8_sequence(in, left);
                if (size == 0)
                        return false;
                if (in[0] < 0x20 || in[0] == 0x7f || (in[0] == 0xc2 && in[1] < 0xa0))
                        return false;
        }
        return true;
}
