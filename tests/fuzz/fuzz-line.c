/* SPDX-License-Identifier: MIT */

/*
 * Bytes of others in what we write. However they are, a line of JSON stays one that json-c reads,
 * in UTF-8 without control characters, and a field of the journal ends where it should. Text that
 * has nothing to escape comes back as it was.
 */

#include "fuzz.h"

#include <json-c/json.h>

#include "../../daemon/line.h"

static size_t count_control(struct text text)
{
        size_t n = 0;

        for (size_t i = 0; i < text.size; i++) {
                const unsigned char c = (unsigned char)text.bytes[i];

                n += c < 0x20 || c == 0x7f;
                /* U+0080 to U+009F */
                n += c == 0xc2 && i + 1 < text.size && (unsigned char)text.bytes[i + 1] < 0xa0;
        }
        return n;
}

static void check_json(struct text text)
{
        struct line line = {.max_bytes = text.size * LINE_JSON_GROWTH + 32};
        struct json_tokener *const tokener = json_tokener_new_ex(4);
        json_object *object, *value;

        line.bytes = malloc(line.max_bytes);
        must(line.bytes && tokener);
        line_put_string(&line, "{\"n\":1");
        line_put_json_text(&line, "v", text);
        line_put_string(&line, "}");
        must(text_is_utf8((struct text){line.bytes, line.size}));
        must(count_control((struct text){line.bytes, line.size}) == 0);

        json_tokener_set_flags(tokener, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
        object = json_tokener_parse_ex(tokener, line.bytes, (int)line.size);
        must(json_object_is_type(object, json_type_object));
        must(json_tokener_get_parse_end(tokener) == line.size);
        must(json_object_object_length(object) == 2);
        must(json_object_object_get_ex(object, "v", &value));
        if (text_is_utf8(text))
                must(text_equal(text, (struct text){json_object_get_string(value),
                                                    (size_t)json_object_get_string_len(value)}));
        json_object_put(object);
        json_tokener_free(tokener);
        free(line.bytes);
}

static void check_field(struct text text)
{
        struct line line = {.max_bytes = text.size * LINE_PLAIN_GROWTH + 8};

        line.bytes = malloc(line.max_bytes);
        must(line.bytes);
        line_put_field_text(&line, "NAME", text);
        must(line.size >= 6 && memcmp(line.bytes, "NAME=", 5) == 0);
        must(line.bytes[line.size - 1] == '\n');
        must(text_is_utf8((struct text){line.bytes, line.size}));
        must(count_control((struct text){line.bytes, line.size}) == 1);
        if (text_is_plain_utf8(text))
                must(text_equal(text, (struct text){line.bytes + 5, line.size - 6}));
        free(line.bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        char *exact = copy_exactly(data, size);

        check_json((struct text){exact, size});
        check_field((struct text){exact, size});
        free(exact);
        return 0;
}
