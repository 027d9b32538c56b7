/* SPDX-License-Identifier: MIT */

/* What follows a star is looked for as early as it can be found; where the rest does not fit, the
 * last star takes one byte more. Stars before the last need not be tried again: what lies between
 * two of them was found at its earliest place. */

#include "pattern.h"

#include <string.h>

bool pattern_matches(const char *pattern, struct text text)
{
        const char *after_star = NULL;
        size_t at = 0, taken = 0; /* by the last star, up to here */

        /* What most patterns are, too: the very text. */
        if (strlen(pattern) == text.size && text.size > 0 &&
            memcmp(pattern, text.bytes, text.size) == 0)
                return true;
        while (at < text.size) {
                if (*pattern == '*') {
                        after_star = ++pattern;
                        taken = at;
                        if (!*pattern)
                                return true; /* it takes all that is left */
                } else if (*pattern && *pattern == text.bytes[at]) {
                        pattern++;
                        at++;
                } else if (after_star) {
                        pattern = after_star;
                        at = ++taken;
                } else {
                        return false;
                }
        }
        while (*pattern == '*')
                pattern++;
        return *pattern == '\0';
}
