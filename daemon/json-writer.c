/* SPDX-License-Identifier: MIT */

#include "json-writer.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "../lib/error.h"

void json_writer_init(struct json_writer *writer, struct secret *out)
{
        *writer = (struct json_writer){.out = out};
}

static void put(struct json_writer *writer, const char *bytes, size_t size)
{
        if (writer->error == 0)
                writer->error = secret_append(writer->out, bytes, size);
}

static void put_line(struct json_writer *writer)
{
        put(writer, "\n", 1);
        for (unsigned int i = 0; i < writer->depth; i++)
                put(writer, "  ", 2);
}

static void put_string(struct json_writer *writer, struct text text)
{
        put(writer, "\"", 1);
        for (size_t i = 0, plain; i < text.size; i += plain + 1) {
                const char *at = text.bytes + i;
                char escape[8];
                int size;

                for (plain = 0; i + plain < text.size; plain++)
                        if (at[plain] == '"' || at[plain] == '\\' || (uint8_t)at[plain] < 0x20)
                                break;
                put(writer, at, plain);
                if (i + plain == text.size)
                        break;
                size = (uint8_t)at[plain] < 0x20
                               ? snprintf(escape, sizeof(escape), "\\u%04x", (uint8_t)at[plain])
                               : snprintf(escape, sizeof(escape), "\\%c", at[plain]);
                put(writer, escape, (size_t)size);
        }
        put(writer, "\"", 1);
}

/* What is before a value. */
static void put_name(struct json_writer *writer, const char *name)
{
        if (writer->any)
                put(writer, ",", 1);
        if (writer->depth > 0)
                put_line(writer);
        writer->any = true;
        if (!name)
                return;
        put_string(writer, TEXT(name));
        put(writer, ":", 1);
}

void json_writer_begin(struct json_writer *writer, const char *name, char bracket)
{
        put_name(writer, name);
        put(writer, &bracket, 1);
        writer->depth++;
        writer->any = false;
}

void json_writer_end(struct json_writer *writer, char bracket)
{
        writer->depth--;
        if (writer->any)
                put_line(writer);
        put(writer, &bracket, 1);
        writer->any = true;
}

static void put_word(struct json_writer *writer, const char *name, const char *word)
{
        put_name(writer, name);
        put(writer, word, strlen(word));
}

void json_writer_text(struct json_writer *writer, const char *name, struct text text)
{
        put_name(writer, name);
        put_string(writer, text);
}

void json_writer_string(struct json_writer *writer, const char *name, const char *string)
{
        if (string)
                json_writer_text(writer, name, TEXT(string));
        else
                json_writer_null(writer, name);
}

void json_writer_int(struct json_writer *writer, const char *name, int64_t number)
{
        char digits[24];

        (void)snprintf(digits, sizeof(digits), "%" PRId64, number);
        put_word(writer, name, digits);
}

void json_writer_uint(struct json_writer *writer, const char *name, uint64_t number)
{
        char digits[24];

        (void)snprintf(digits, sizeof(digits), "%" PRIu64, number);
        put_word(writer, name, digits);
}

void json_writer_bool(struct json_writer *writer, const char *name, bool value)
{
        put_word(writer, name, value ? "true" : "false");
}

void json_writer_null(struct json_writer *writer, const char *name)
{
        put_word(writer, name, "null");
}

int json_writer_finish(struct json_writer *writer)
{
        put(writer, "\n", 1);
        return error_trace(writer->error);
}
