/* SPDX-License-Identifier: MIT */

#include "form.h"

#include "reason.h"

int form_hex_digit(char c)
{
        if (c >= '0' && c <= '9')
                return c - '0';
        if (c >= 'a' && c <= 'f')
                return c - 'a' + 10;
        if (c >= 'A' && c <= 'F')
                return c - 'A' + 10;
        return -1;
}

int form_decode(char *bytes, size_t size, struct text *ret)
{
        size_t out = 0;

        for (size_t in = 0; in < size; in++) {
                int high, low;

                if (bytes[in] == '+') {
                        bytes[out++] = ' ';
                        continue;
                }
                if (bytes[in] != '%') {
                        bytes[out++] = bytes[in];
                        continue;
                }
                if (size - in < 3)
                        return REASON_MALFORMED_ESCAPE;
                high = form_hex_digit(bytes[in + 1]);
                low = form_hex_digit(bytes[in + 2]);
                if (high < 0 || low < 0)
                        return REASON_MALFORMED_ESCAPE;
                bytes[out++] = (char)(high << 4 | low);
                in += 2;
        }
        *ret = (struct text){bytes, out};
        return 0;
}
