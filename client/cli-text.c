/* SPDX-License-Identifier: MIT */

#include "cli-text.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"

/* Takes one character off the front: its bytes, 0 at the end or where there is no valid one. */
static size_t take_character(const char *bytes, size_t size, uint32_t *ret)
{
        static const struct {
                unsigned char mask, lead;
                uint32_t min;
        } forms[] = {
                {0x80, 0x00, 0}, {0xe0, 0xc0, 0x80}, {0xf0, 0xe0, 0x800}, {0xf8, 0xf0, 0x10000}};
        const unsigned char *at = (const unsigned char *)bytes;

        for (size_t n = 1; n <= 4 && n <= size; n++) {
                uint32_t character;

                if ((at[0] & forms[n - 1].mask) != forms[n - 1].lead)
                        continue;
                character = at[0] & (unsigned char)~forms[n - 1].mask;
                for (size_t i = 1; i < n; i++) {
                        if ((at[i] & 0xc0) != 0x80)
                                return 0;
                        character = character << 6 | (at[i] & 0x3f);
                }
                if (character < forms[n - 1].min || character > 0x10ffff ||
                    (character >= 0xd800 && character <= 0xdfff))
                        return 0;
                *ret = character;
                return n;
        }
        return 0;
}

bool cli_is_utf8(const char *bytes, size_t size)
{
        uint32_t character;

        for (size_t at = 0, n; at < size; at += n) {
                n = take_character(bytes + at, size - at, &character);
                if (n == 0)
                        return false;
        }
        return true;
}

bool cli_has_controls(const char *bytes, size_t size)
{
        for (size_t i = 0; i < size; i++)
                if ((unsigned char)bytes[i] < 0x20 || bytes[i] == 0x7f)
                        return true;
        return false;
}

/* Controls of ASCII and of Latin-1; what is invisible, or turns the order of a line around. */
static bool is_unfit(uint32_t character)
{
        return character < 0x20 || (character >= 0x7f && character <= 0x9f) ||
               (character >= 0x200b && character <= 0x200f) ||
               (character >= 0x2028 && character <= 0x202e) ||
               (character >= 0x2060 && character <= 0x206f) || character == 0xfeff;
}

/* In place; the text only gets shorter. */
static void make_fit(char *text)
{
        size_t size = strlen(text), to = 0;
        uint32_t character;

        for (size_t at = 0, n; at < size; at += n) {
                n = take_character(text + at, size - at, &character);
                if (n == 0 || is_unfit(character)) {
                        text[to++] = '?';
                        n = n ? n : 1;
                        continue;
                }
                memmove(text + to, text + at, n);
                to += n;
        }
        text[to] = '\0';
}

__attribute__((format(printf, 2, 0))) static void put_line(FILE *out, const char *format,
                                                           va_list arguments)
{
        char *text;

        if (vasprintf(&text, format, arguments) < 0)
                return;
        make_fit(text);
        fprintf(out, "%s\n", text);
        free(text);
}

void cli_line(const char *format, ...)
{
        va_list arguments;

        va_start(arguments, format);
        put_line(stdout, format, arguments);
        va_end(arguments);
}

void cli_say(const char *format, ...)
{
        va_list arguments;

        va_start(arguments, format);
        put_line(stderr, format, arguments);
        va_end(arguments);
}

/* What json-c leaves as it is, and a terminal does not. All of it is inside strings, where an
 * escape means the same. */
static int append_escaped(struct buffer *out, const char *text)
{
        const size_t size = strlen(text);
        uint32_t character;
        char escape[8];
        int r = 0;

        for (size_t at = 0, n; r == 0 && at < size; at += n) {
                n = take_character(text + at, size - at, &character);
                if (n == 0)
                        return -EINVAL;
                if (character == '\n' || !is_unfit(character)) {
                        r = buffer_append(out, text + at, n);
                        continue;
                }
                (void)snprintf(escape, sizeof(escape), "\\u%04x", (unsigned int)character);
                r = buffer_append_str(out, escape);
        }
        return r;
}

int cli_json_text(json_object *object, bool pretty, struct buffer *out)
{
        const int flags = pretty ? JSON_C_TO_STRING_PRETTY : JSON_C_TO_STRING_PLAIN;
        const char *text = json_object_to_json_string_ext(object,
                                                          flags | JSON_C_TO_STRING_NOSLASHESCAPE);

        return text && append_escaped(out, text) == 0 ? 0 : -ENOMEM;
}

json_object *cli_json_get(json_object *object, const char *name, json_type type)
{
        json_object *member;

        if (!json_object_is_type(object, json_type_object) ||
            !json_object_object_get_ex(object, name, &member) || !json_object_is_type(member, type))
                return NULL;
        return member;
}

const char *cli_json_string(json_object *object, const char *name)
{
        json_object *member = cli_json_get(object, name, json_type_string);
        const char *string = member ? json_object_get_string(member) : NULL;

        /* One with a NUL in it is nothing that the daemon says. */
        return string && strlen(string) == (size_t)json_object_get_string_len(member) ? string
                                                                                      : NULL;
}

int64_t cli_json_number(json_object *object, const char *name, int64_t otherwise)
{
        json_object *member = cli_json_get(object, name, json_type_int);

        return member ? json_object_get_int64(member) : otherwise;
}

bool cli_json_true(json_object *object, const char *name)
{
        json_object *member = cli_json_get(object, name, json_type_boolean);

        return member && json_object_get_boolean(member);
}

const char *cli_or(const char *string)
{
        return string ? string : "?";
}

bool cli_is_plain(const char *bytes, size_t size)
{
        for (size_t i = 0; i < size; i++)
                if (bytes[i] != '\n' && (bytes[i] < 0x20 || bytes[i] > 0x7e))
                        return false;
        return true;
}

int cli_write(int fd, const char *bytes, size_t size)
{
        while (size > 0) {
                const ssize_t n = write(fd, bytes, size);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return -errno;
                bytes += n;
                size -= (size_t)n;
        }
        return 0;
}

int cli_output_failed(int error)
{
        cli_say("egain-token: the output cannot be written: %s", strerror(error));
        return CLI_EXIT_OUTPUT;
}

int cli_flush(void)
{
        errno = 0;
        if (fflush(stdout) == 0 && !ferror(stdout))
                return CLI_EXIT_OK;
        return cli_output_failed(errno ? errno : EIO);
}

const char *cli_duration(char out[CLI_DURATION_MAX_BYTES], int64_t seconds)
{
        const int64_t minutes = seconds / 60, hours = minutes / 60;

        if (seconds < 120)
                (void)snprintf(out, CLI_DURATION_MAX_BYTES, "%" PRId64 " s", seconds);
        else if (hours < 2)
                (void)snprintf(out, CLI_DURATION_MAX_BYTES, "%" PRId64 " min", minutes);
        else if (hours < 48)
                (void)snprintf(out, CLI_DURATION_MAX_BYTES, "%" PRId64 " h %" PRId64 " min", hours,
                               minutes % 60);
        else
                (void)snprintf(out, CLI_DURATION_MAX_BYTES, "%" PRId64 " d", hours / 24);
        return out;
}
