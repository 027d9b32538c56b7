/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * JSON for people, written member by member, two blanks a level. What cannot be written for want of
 * memory is remembered, and nothing is written any more: nothing of that reaches anybody, where an
 * object with a member less would look whole.
 */

#include <stdbool.h>
#include <stdint.h>

#include "../lib/secret.h"
#include "../lib/text.h"

struct json_writer {
        struct secret *out; /* borrowed */
        unsigned int depth;
        bool any;  /* the object or array that is open has something in it */
        int error; /* 0 or -ENOMEM */
};

void json_writer_init(struct json_writer *writer, struct secret *out);

/* Objects and arrays; `name` is NULL in an array, and of the outermost. */
void json_writer_begin(struct json_writer *writer, const char *name, char bracket);
void json_writer_end(struct json_writer *writer, char bracket);

/* Members of the object that is open; a NULL string is null. Texts are UTF-8. */
void json_writer_text(struct json_writer *writer, const char *name, struct text text);
void json_writer_string(struct json_writer *writer, const char *name, const char *string);
void json_writer_int(struct json_writer *writer, const char *name, int64_t number);
void json_writer_uint(struct json_writer *writer, const char *name, uint64_t number);
void json_writer_bool(struct json_writer *writer, const char *name, bool value);
void json_writer_null(struct json_writer *writer, const char *name);

/* Ends the text with a line feed. 0 or -ENOMEM, whenever that was. */
int json_writer_finish(struct json_writer *writer);
