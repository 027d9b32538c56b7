/* SPDX-License-Identifier: MIT */

/*
 * What clients read of the daemon's answers. Whatever is well-formed to it is to json-c, too, and
 * what it says of members is what json-c says.
 */

#include "fuzz.h"

#include <json-c/json.h>

#include "members.h"

static void check_text(const struct member *member, json_object *value)
{
        char *text = malloc(member->size + 1);

        must(text && json_object_is_type(value, json_type_string));
        if (member_text(member, text)) {
                must(strlen(text) == (size_t)json_object_get_string_len(value));
                must(strcmp(text, json_object_get_string(value)) == 0);
                for (const char *at = text; *at; at++)
                        must(*at >= ' ' && *at <= '~');
        }
        free(text);
}

static void check(const struct member *member, json_object *object)
{
        json_object *value = NULL;
        const bool there = json_object_object_get_ex(object, member->name, &value);

        switch (member->kind) {
        case MEMBER_ABSENT: return; /* its name may be there, written with escapes */
        case MEMBER_STRING:
                must(there);
                check_text(member, value);
                return;
        case MEMBER_NUMBER:
                must(there && json_object_is_type(value, json_type_int));
                must(json_object_get_uint64(value) == member->number);
                return;
        case MEMBER_OTHER: must(there); return;
        }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        struct member members[] = {{.name = "access_token"}, {.name = "expires_in"}};
        char *exact = copy_exactly(data, size);
        json_tokener *tokener = json_tokener_new_ex(32);
        json_object *object;

        must(tokener);
        if (members_read(exact, size, members, 2)) {
                object = json_tokener_parse_ex(tokener, exact, (int)size);
                must(json_object_is_type(object, json_type_object));
                /* A name with escapes in it may be one of these to json-c, and prevail. */
                if (!memchr(exact, '\\', size))
                        for (size_t i = 0; i < 2; i++)
                                check(&members[i], object);
                json_object_put(object);
        }
        json_tokener_free(tokener);
        free(exact);
        return 0;
}
