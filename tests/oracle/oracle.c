/* SPDX-License-Identifier: MIT */

/*
 * Says what our parsers make of each line of standard input, so that another implementation can be
 * held against them: oracle MODE, see `modes` below. A line has the fields that
 * are asked for in hexadecimal digits, "." if empty, and a space between two; so has what is said.
 */

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../client/members.h"
#include "../../daemon/config-units.h"
#include "answer.h"
#include "form.h"
#include "jwt.h"
#include "parameters.h"
#include "pattern.h"
#include "request.h"
#include "retryafter.h"

#define FIELDS_MAX      2
#define MAX_TOKEN_BYTES 200

static void die(const char *what)
{
        (void)fprintf(stderr, "oracle: %s\n", what);
        exit(2);
}

/* A field in a block of just its size, so that AddressSanitizer sees a read beside it. It ends with
 * a NUL if it is a string. */
static char *decode(const char *hex, bool string, size_t *ret_size)
{
        const size_t size = strcmp(hex, ".") == 0 ? 0 : strlen(hex) / 2;
        char *const bytes = malloc(size + string > 0 ? size + string : 1);

        if (!bytes)
                die("out of memory");
        for (size_t i = 0; i < size; i++) {
                const int high = form_hex_digit(hex[2 * i]), low = form_hex_digit(hex[2 * i + 1]);

                if (high < 0 || low < 0)
                        die("no hexadecimal digits");
                bytes[i] = (char)(high << 4 | low);
        }
        if (string)
                bytes[size] = '\0';
        *ret_size = size;
        return bytes;
}

static void put(struct text text)
{
        if (text.size == 0)
                (void)putchar('.');
        for (size_t i = 0; i < text.size; i++)
                printf("%02x", (unsigned int)(unsigned char)text.bytes[i]);
}

/* The code of a reason, and every parameter that is there, with its value. */
static void form(char *const fields[])
{
        struct request_keys keys = {};
        struct parameters parameters = {.source = REQUEST_BODY, .keys = &keys};
        size_t size;
        char *bytes;
        int r;

        if (strcmp(fields[0], "71") == 0)
                parameters.source = REQUEST_QUERY;
        bytes = decode(fields[1], false, &size);
        r = parameters_parse(&parameters, bytes, size);
        printf("%s", r ? reason_info((enum reason)r)->code : "ok");
        for (int i = 0; i < _PARAMETER_N; i++) {
                if (!parameters.seen[i])
                        continue;
                printf(" %s=", parameter_name((enum parameter)i));
                put(parameters.values[i]);
        }
        free(bytes);
}

/* A pattern and a text: 0 or 1. */
static void pattern(char *const fields[])
{
        size_t size;
        char *const string = decode(fields[0], true, &size);
        char *const bytes = decode(fields[1], false, &size);

        printf("%d", pattern_matches(string, (struct text){bytes, size}));
        free(bytes);
        free(string);
}

/* A value and the time of day in decimal digits: milliseconds, 0 if there is nothing to wait for.
 */
static void date(char *const fields[])
{
        size_t size, wall_size;
        char *const bytes = decode(fields[0], false, &size);
        char *const wall = decode(fields[1], true, &wall_size);
        uint64_t ms;

        if (retryafter_parse((struct text){bytes, size}, strtoll(wall, NULL, 10), &ms))
                ms = 0;
        printf("%llu", (unsigned long long)ms);
        free(wall);
        free(bytes);
}

/* A status in decimal digits and a body: a token, its scope and its life in seconds, or the code of
 * a reason. */
static void answer(char *const fields[])
{
        const struct settings settings = {
                .max_token_bytes = MAX_TOKEN_BYTES,
                .default_lifetime_ms = 300000,
        };
        const struct grant grant = {.subject_kind = SUBJECT_USERNAME, .scope = TEXT("asked")};
        size_t size, body_size;
        char *const status = decode(fields[0], true, &size);
        char *const body = decode(fields[1], false, &body_size);
        const struct fetch_result result = {
                .status = (unsigned int)strtoul(status, NULL, 10),
                .body = {body, body_size},
        };
        struct answer understood = {};

        if (answer_understand(&understood, &result, &settings, &grant, 0, 0))
                die("out of memory");
        if (understood.token) {
                put(token_value(understood.token));
                (void)putchar(' ');
                put(token_scope(understood.token));
                printf(" %llu", (unsigned long long)understood.token->expires_at_ms / 1000);
        } else {
                printf("%s", reason_info(understood.reason)->code);
        }
        token_unref(understood.token);
        free(body);
        free(status);
}

/* A text: "access_token" and "expires_in" of it as clients read them. */
static void members(char *const fields[])
{
        struct member wanted[] = {{.name = "access_token"}, {.name = "expires_in"}};
        size_t size;
        char *const bytes = decode(fields[0], false, &size), *text;

        if (!members_read(bytes, size, wanted, 2)) {
                printf("no");
                free(bytes);
                return;
        }
        text = malloc(wanted[0].size + 1);
        if (!text)
                die("out of memory");
        if (member_text(&wanted[0], text))
                put(TEXT(text));
        else
                printf("%s", wanted[0].kind == MEMBER_ABSENT ? "absent" : "other");
        if (wanted[1].kind == MEMBER_NUMBER)
                printf(" %llu", (unsigned long long)wanted[1].number);
        else
                printf(" %s", wanted[1].kind == MEMBER_ABSENT ? "absent" : "other");
        free(text);
        free(bytes);
}

/* A text: whether it is UTF-8, and without control characters. */
static void utf8(char *const fields[])
{
        size_t size;
        char *const bytes = decode(fields[0], false, &size);
        const struct text text = {bytes, size};

        printf("%d %d", text_is_utf8(text), text_is_plain_utf8(text));
        free(bytes);
}

/* A scope: its canonical form, or "no". */
static void scope(char *const fields[])
{
        size_t size;
        char *const bytes = decode(fields[0], false, &size);

        if (scope_canonicalise(bytes, &size))
                printf("no");
        else
                put((struct text){bytes, size});
        free(bytes);
}

/* A token: its `exp` rounded down, and what lies between `iat` and that. */
static void jwt(char *const fields[])
{
        size_t size;
        char *const bytes = decode(fields[0], false, &size);
        int64_t expiry, lifetime;
        int r;

        r = jwt_expiry_s((struct text){bytes, size}, &expiry);
        if (r == 0)
                printf("%lld", (long long)expiry);
        else
                printf("%s", r == JWT_E_NO_EXPIRY    ? "absent"
                             : r == JWT_E_BAD_EXPIRY ? "bad"
                                                     : "no");
        if (jwt_lifetime_s((struct text){bytes, size}, &lifetime) == 0)
                printf(" %lld", (long long)lifetime);
        else
                printf(" no");
        free(bytes);
}

/* A number as the configuration writes it: as a count, a size, a duration and a date. */
static void units(char *const fields[])
{
        size_t size;
        char *const string = decode(fields[0], true, &size);
        uint64_t value;

        for (int unit = CONFIG_UNIT_COUNT; unit <= CONFIG_UNIT_DATE; unit++) {
                const int r = config_units_parse((enum config_unit)unit, string, &value);

                printf("%s", unit == CONFIG_UNIT_COUNT ? "" : " ");
                if (r == 0)
                        printf("%llu", (unsigned long long)value);
                else
                        printf("%s", r == CONFIG_UNITS_E_OVERFLOW ? "overflow" : "no");
        }
        free(string);
}

static const struct mode {
        const char *name;
        int n_fields;
        void (*say)(char *const fields[]);
} modes[] = {
        {"answer", 2, answer}, {"date", 2, date},       {"form", 2, form},
        {"jwt", 1, jwt},       {"members", 1, members}, {"pattern", 2, pattern},
        {"scope", 1, scope},   {"units", 1, units},     {"utf8", 1, utf8},
};

static void run(const struct mode *mode)
{
        char *line = NULL, *fields[FIELDS_MAX], *saved;
        size_t capacity = 0;

        while (getline(&line, &capacity, stdin) > 0) {
                for (int i = 0; i < mode->n_fields; i++) {
                        fields[i] = strtok_r(i ? NULL : line, " \n", &saved);
                        if (!fields[i])
                                die("a field is missing");
                }
                mode->say(fields);
                (void)putchar('\n');
        }
        free(line);
}

int main(int argc, char **argv)
{
        for (size_t i = 0; argc == 2 && i < sizeof(modes) / sizeof(modes[0]); i++) {
                if (strcmp(argv[1], modes[i].name) == 0) {
                        run(&modes[i]);
                        return 0;
                }
        }
        die("which parser?");
}
