/* SPDX-License-Identifier: MIT */

#include "jwt.h"

#include <stdlib.h>
#include <string.h>

#include <json-c/json.h>

/* Base64url without padding (RFC 4648, section 5), taken strictly; NULL: it is none. */
static char *decode(const char *in, size_t size)
{
        static const char alphabet[] =
                "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        char *out = malloc(size + 1);
        size_t n = 0;
        unsigned bits = 0, n_bits = 0;

        if (!out)
                return NULL;
        for (size_t i = 0; i < size; i++) {
                const char *at = memchr(alphabet, in[i], sizeof(alphabet) - 1);

                if (!at) {
                        free(out);
                        return NULL;
                }
                bits = bits << 6 | (unsigned)(at - alphabet);
                n_bits += 6;
                if (n_bits >= 8) {
                        n_bits -= 8;
                        out[n++] = (char)(bits >> n_bits);
                }
        }
        out[n] = '\0';
        return out;
}

/* NULL: it is no object. */
static struct json_object *parse_part(const char *part, size_t size)
{
        struct json_object *object = NULL;
        char *text = decode(part, size);

        if (text)
                object = json_tokener_parse(text);
        free(text);
        if (object && !json_object_is_type(object, json_type_object)) {
                json_object_put(object);
                object = NULL;
        }
        return object;
}

bool jwt_is_live(const char *token, int64_t now_s)
{
        const char *first = strchr(token, '.'), *second = first ? strchr(first + 1, '.') : NULL;
        struct json_object *header, *claims, *exp;
        bool live = false;

        if (!second || strchr(second + 1, '.'))
                return false;
        header = parse_part(token, (size_t)(first - token));
        claims = parse_part(first + 1, (size_t)(second - first - 1));
        if (header && claims && json_object_object_get_ex(claims, "exp", &exp) &&
            (json_object_is_type(exp, json_type_int) || json_object_is_type(exp, json_type_double)))
                live = json_object_get_double(exp) > (double)now_s;
        json_object_put(header);
        json_object_put(claims);
        return live;
}
