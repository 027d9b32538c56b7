/* SPDX-License-Identifier: MIT */

/*
 * Decoding never grows a text, and every name and value is followed by at least one byte in the
 * encoded form ('=', '&' or the end), so one allocation of the size of the body holds it all.
 *
 * Strict means: pairs of a non-empty name and a value with exactly one '=' before the value, no
 * empty pairs, every '%' followed by two hexadecimal digits, no white space or control characters
 * that are not encoded, no NUL even when encoded, valid UTF-8 after decoding, no name twice. An
 * empty body is a form without parameters.
 */

#include "form.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "error.h"
#include "text.h"

static int hex_digit(char c)
{
        if (c >= '0' && c <= '9')
                return c - '0';
        if (c >= 'A' && c <= 'F')
                return c - 'A' + 10;
        if (c >= 'a' && c <= 'f')
                return c - 'a' + 10;
        return -1;
}

/* Decodes up to `end` to `*out`, which it moves behind the final NUL. */
static bool decode(const char *in, const char *end, char **out)
{
        char *start = *out;

        while (in < end) {
                char c = *in++;

                if (c == '+') {
                        c = ' ';
                } else if (c == '%') {
                        int high = in < end ? hex_digit(in[0]) : -1;
                        int low = in + 1 < end ? hex_digit(in[1]) : -1;

                        if (high < 0 || low < 0 || (high == 0 && low == 0))
                                return false;
                        c = (char)(high << 4 | low);
                        in += 2;
                } else if (c <= ' ' || c > '~' || c == '=') {
                        return false;
                }
                *(*out)++ = c;
        }
        *(*out)++ = '\0';
        return text_is_utf8(start);
}

static int parse_pair(struct form *form, const char *pair, const char *end, char **out)
{
        const char *equals = memchr(pair, '=', (size_t)(end - pair));
        const char *name = *out;
        const char *value;

        if (!equals || equals == pair)
                return FORM_E_MALFORMED;
        if (!decode(pair, equals, out))
                return FORM_E_MALFORMED;
        value = *out;
        if (!decode(equals + 1, end, out))
                return FORM_E_MALFORMED;

        if (form_get(form, name))
                return FORM_E_REPEATED;
        if (form->n_parameters == FORM_PARAMETERS_MAX)
                return FORM_E_FULL;
        form->parameters[form->n_parameters].name = name;
        form->parameters[form->n_parameters].value = value;
        form->n_parameters++;
        return 0;
}

int form_parse(struct form *form, const char *bytes, size_t size)
{
        const char *pair = bytes;
        const char *end;
        char *out;

        form->n_parameters = 0;
        form->text = NULL;
        if (size == 0)
                return 0;
        form->text = malloc(size + 1);
        if (!form->text)
                return error_trace(-ENOMEM);
        out = form->text;
        end = bytes + size;

        for (;;) {
                const char *ampersand = memchr(pair, '&', (size_t)(end - pair));
                int r = parse_pair(form, pair, ampersand ? ampersand : end, &out);

                if (r) {
                        form_deinit(form);
                        return r;
                }
                if (!ampersand)
                        return 0;
                pair = ampersand + 1;
        }
}

void form_deinit(struct form *form)
{
        free(form->text);
        form->text = NULL;
        form->n_parameters = 0;
}

const char *form_get(const struct form *form, const char *name)
{
        for (size_t i = 0; i < form->n_parameters; i++) {
                if (strcmp(form->parameters[i].name, name) == 0)
                        return form->parameters[i].value;
        }
        return NULL;
}
