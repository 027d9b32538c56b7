/* SPDX-License-Identifier: MIT */

/*
 * Told to be strict, json-c still takes what RFC 8259 does not have: of a name that occurs twice it
 * keeps the last value, of a name with a NUL in it what is before; NaN, Infinity, 00, -.5 and 1.
 * are numbers to it; and it lets control characters and bad UTF-8 through. One pass over the text,
 * once json-c has found it well-formed, settles it: the members of the outermost object must be as
 * many as json-c kept, and the rest is looked for where it can be.
 */

#include "json.h"

#include <json-c/printbuf.h>
#include <stdbool.h>

#include "error.h"
#include "secret.h"

static bool is_digit(char c)
{
        return c >= '0' && c <= '9';
}

/* Whether what stands here, outside of a string, is of no number and no word that JSON has. An
 * object's text has something before and behind all that this looks at. */
static bool is_lax(const char *at)
{
        if (*at == '0') /* but in an exponent zeros may lead */
                return is_digit(at[1]) && strchr("-:[, \t\r\n", at[-1]) &&
                       !(at[-1] == '-' && (at[-2] == 'e' || at[-2] == 'E'));
        if (*at == '.')
                return !is_digit(at[-1]) || !is_digit(at[1]);
        return *at >= 'A' && *at <= 'Z' && *at != 'E';
}

/* To the end whatever is found, in bytes: so the compiler looks at many at once. */
static bool has_control(const char *bytes, size_t size)
{
        uint8_t found = 0;

        for (size_t i = 0; i < size; i++)
                found |= (uint8_t)((uint8_t)bytes[i] < 0x20);
        return found;
}

/* Where the string ends whose first byte is `at`, by its closing quote; NULL: there is something in
 * it that JSON has not, or no end. */
static const char *end_of_string(const char *at, const char *end)
{
        static const char nul[] = "\\u0000";
        const char *quote = NULL, *escape;

        for (;;) {
                if (!quote || quote < at) /* looked for once, however many escapes there are */
                        quote = memchr(at, '"', (size_t)(end - at));
                if (!quote)
                        return NULL;
                escape = memchr(at, '\\', (size_t)(quote - at));
                if (has_control(at, (size_t)((escape ? escape : quote) - at)))
                        return NULL;
                if (!escape)
                        return quote;
                if ((size_t)(end - escape) >= sizeof(nul) - 1 &&
                    memcmp(escape, nul, sizeof(nul) - 1) == 0)
                        return NULL;
                at = escape + 2; /* a quote that is escaped is stepped over */
        }
}

/* Members of the outermost object of what json-c takes for well-formed; SIZE_MAX if it is not. */
static size_t count_members(struct text text)
{
        const char *const end = text.bytes + text.size;
        size_t depth = 0, commas = 0;
        bool any = false;

        for (const char *at = text.bytes; at < end; at++) {
                if (*at == '"') {
                        at = end_of_string(at + 1, end);
                        if (!at)
                                return SIZE_MAX;
                        any = true;
                } else if (*at == '{' || *at == '[') {
                        depth++;
                } else if (*at == '}' || *at == ']') {
                        depth--;
                } else if (*at == ',' && depth == 1) {
                        commas++;
                } else if (is_lax(at)) {
                        return SIZE_MAX;
                }
        }
        return any ? commas + 1 : 0;
}

static void free_tokener(struct json_tokener *tokener)
{
        if (tokener->pb->buf && tokener->pb->size > 0)
                secret_wipe(tokener->pb->buf, (size_t)tokener->pb->size);
        json_tokener_free(tokener);
}

int json_parse_object(json_object **ret, struct text text)
{
        struct json_tokener *tokener;
        enum json_tokener_error error;
        json_object *object;
        bool whole;

        if (text.size == 0 || text.size > INT32_MAX || !text_is_utf8(text))
                return JSON_E_INVALID;
        tokener = json_tokener_new_ex(JSON_DEPTH_MAX);
        if (!tokener)
                return error_trace(-ENOMEM);
        json_tokener_set_flags(tokener, JSON_TOKENER_STRICT); /* UTF-8 is looked at before */

        object = json_tokener_parse_ex(tokener, text.bytes, (int)text.size);
        error = json_tokener_get_error(tokener);
        whole = json_tokener_get_parse_end(tokener) == text.size;
        free_tokener(tokener);
        if (error != json_tokener_success || !whole ||
            !json_object_is_type(object, json_type_object) ||
            count_members(text) != (size_t)json_object_object_length(object)) {
                json_release(object);
                return JSON_E_INVALID;
        }
        *ret = object;
        return 0;
}

static void wipe_strings(json_object *value)
{
        switch (json_object_get_type(value)) {
        case json_type_string:
                secret_wipe((char *)json_object_get_string(value),
                            (size_t)json_object_get_string_len(value));
                break;
        case json_type_object: {
                json_object_object_foreach(value, name, member)
                {
                        (void)name;
                        wipe_strings(member);
                }
                break;
        }
        case json_type_array:
                for (size_t i = 0; i < json_object_array_length(value); i++)
                        wipe_strings(json_object_array_get_idx(value, i));
                break;
        default: break;
        }
}

void json_release(json_object *object)
{
        if (!object)
                return;
        wipe_strings(object);
        json_object_put(object);
}

enum json_member json_get_text(json_object *object, const char *name, struct text *ret)
{
        json_object *value;

        if (!json_object_object_get_ex(object, name, &value))
                return JSON_MEMBER_ABSENT;
        if (!json_object_is_type(value, json_type_string))
                return JSON_MEMBER_INVALID;
        *ret = (struct text){json_object_get_string(value),
                             (size_t)json_object_get_string_len(value)};
        if (strlen(ret->bytes) != ret->size)
                return JSON_MEMBER_INVALID;
        return JSON_MEMBER_PRESENT;
}

enum json_member json_get_integer(json_object *object, const char *name, int64_t *ret)
{
        json_object *value;

        if (!json_object_object_get_ex(object, name, &value))
                return JSON_MEMBER_ABSENT;
        if (!json_object_is_type(value, json_type_int))
                return JSON_MEMBER_INVALID;
        *ret = json_object_get_int64(value);
        return JSON_MEMBER_PRESENT;
}

/* The largest power of two is the first double that is too large. */
static int64_t round_down(double number)
{
        int64_t whole;

        if (number >= 0x1p63)
                return INT64_MAX;
        if (number < -0x1p63)
                return INT64_MIN;
        whole = (int64_t)number;
        return (double)whole > number ? whole - 1 : whole;
}

enum json_member json_get_number(json_object *object, const char *name, int64_t *ret)
{
        json_object *value;
        double number;

        if (!json_object_object_get_ex(object, name, &value) ||
            !json_object_is_type(value, json_type_double))
                return json_get_integer(object, name, ret);
        number = json_object_get_double(value);
        if (number != number)
                return JSON_MEMBER_INVALID;
        *ret = round_down(number);
        return JSON_MEMBER_PRESENT;
}
