/* SPDX-License-Identifier: MIT */

/*
 * A scope is a set: "a b", "b a" and "a b a" ask for the same, so all of them become the same bytes
 * before anything is looked up. Most callers send one value, or several in order: those are left as
 * they are after one pass over them.
 */

#include <stdlib.h>
#include <string.h>

#include "request.h"

/* All of it is looked at whatever is found, in bytes alone: so the compiler looks at many at once.
 */
static bool is_value(const char *bytes, size_t size)
{
        uint8_t bad = 0;

        for (size_t i = 0; i < size; i++) {
                const uint8_t c = (uint8_t)bytes[i], above_space = (uint8_t)(c - 0x21);

                bad |= (uint8_t)(above_space > 0x7e - 0x21) | (uint8_t)(c == '"') |
                       (uint8_t)(c == '\\');
        }
        return !bad;
}

static int compare_values(const void *a, const void *b)
{
        return text_compare(*(const struct text *)a, *(const struct text *)b);
}

/* Splits at single spaces. The number of values, 0 if it is no scope. */
static size_t split(struct text values[REQUEST_SCOPE_MAX_VALUES], const char *scope, size_t size)
{
        size_t n = 0, begin = 0;

        for (size_t i = 0; i <= size; i++) {
                if (i < size && scope[i] != ' ')
                        continue;
                if (i == begin || n == REQUEST_SCOPE_MAX_VALUES ||
                    !is_value(scope + begin, i - begin))
                        return 0;
                values[n++] = (struct text){scope + begin, i - begin};
                begin = i + 1;
        }
        return n;
}

static bool in_order(const struct text *values, size_t n)
{
        for (size_t i = 1; i < n; i++)
                if (text_compare(values[i - 1], values[i]) >= 0)
                        return false;
        return true;
}

struct text scope_next(struct text scope, size_t *at)
{
        size_t begin, end;

        for (begin = *at; begin < scope.size && scope.bytes[begin] == ' '; begin++)
                ;
        end = scope.size;
        if (begin < end) {
                const char *space = memchr(scope.bytes + begin, ' ', end - begin);

                if (space)
                        end = (size_t)(space - scope.bytes);
        }
        *at = end;
        return (struct text){scope.bytes + begin, end - begin};
}

static bool has_value(struct text scope, struct text wanted)
{
        struct text value;
        size_t at = 0;

        while ((value = scope_next(scope, &at)).size > 0)
                if (text_equal(value, wanted))
                        return true;
        return false;
}

bool scope_includes(struct text whole, struct text part)
{
        struct text value;
        size_t at = 0;

        if (text_equal(whole, part))
                return true;
        while ((value = scope_next(part, &at)).size > 0)
                if (!has_value(whole, value))
                        return false;
        return true;
}

static int canonicalise_values(char *scope, size_t *size)
{
        struct text values[REQUEST_SCOPE_MAX_VALUES];
        char sorted[REQUEST_SCOPE_MAX_BYTES];
        size_t n, out = 0;

        n = split(values, scope, *size);
        if (n == 0)
                return REASON_BAD_SCOPE;
        if (in_order(values, n))
                return 0;

        qsort(values, n, sizeof(values[0]), compare_values);
        for (size_t i = 0; i < n; i++) {
                if (i > 0 && text_equal(values[i - 1], values[i]))
                        continue;
                if (out > 0)
                        sorted[out++] = ' ';
                memcpy(sorted + out, values[i].bytes, values[i].size);
                out += values[i].size;
        }
        memcpy(scope, sorted, out);
        *size = out;
        return 0;
}

int scope_canonicalise(char *scope, size_t *size)
{
        if (*size == 0 || *size > REQUEST_SCOPE_MAX_BYTES)
                return REASON_BAD_SCOPE;
        if (!memchr(scope, ' ', *size))
                return is_value(scope, *size) ? 0 : REASON_BAD_SCOPE;
        return canonicalise_values(scope, size);
}
