/* SPDX-License-Identifier: MIT */

/* Of a name that occurs twice json-c keeps the last value: members are counted in the text, too. */

#include "json.h"

#include <json-c/printbuf.h>
#include <stdbool.h>
#include <string.h>

#define DEPTH_MAX 8

/* Members of the outermost object of what json-c takes for well-formed; SIZE_MAX: a NUL is hidden
 * in it. */
static size_t count_members(const char *bytes, size_t size)
{
        size_t depth = 0, commas = 0;
        bool in_string = false, any = false;

        for (size_t i = 0; i < size; i++) {
                const char c = bytes[i];

                if (in_string && c == '\\') {
                        if (size - i >= 6 && memcmp(bytes + i, "\\u0000", 6) == 0)
                                return SIZE_MAX;
                        i++;
                } else if (c == '"') {
                        in_string = !in_string;
                        any = true;
                } else if (in_string) {
                        continue;
                } else if (c == '{' || c == '[') {
                        depth++;
                } else if (c == '}' || c == ']') {
                        depth--;
                } else if (c == ',' && depth == 1) {
                        commas++;
                }
        }
        return any ? commas + 1 : 0;
}

json_object *json_parse(const char *bytes, size_t size)
{
        struct json_tokener *tokener = json_tokener_new_ex(DEPTH_MAX);
        json_object *object;
        bool whole;

        if (!tokener || size == 0 || size > INT32_MAX) {
                if (tokener)
                        json_tokener_free(tokener);
                return NULL;
        }
        json_tokener_set_flags(tokener, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
        object = json_tokener_parse_ex(tokener, bytes, (int)size);
        whole = json_tokener_get_error(tokener) == json_tokener_success &&
                json_tokener_get_parse_end(tokener) == size;
        if (tokener->pb->buf && tokener->pb->size > 0)
                explicit_bzero(tokener->pb->buf, (size_t)tokener->pb->size);
        json_tokener_free(tokener);
        if (!whole || !json_object_is_type(object, json_type_object) ||
            count_members(bytes, size) != (size_t)json_object_object_length(object)) {
                json_release(object);
                return NULL;
        }
        return object;
}

static void wipe_strings(json_object *value)
{
        switch (json_object_get_type(value)) {
        case json_type_string:
                explicit_bzero((char *)json_object_get_string(value),
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
        wipe_strings(object);
        json_object_put(object);
}
