/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Text on its way to people and programs. What came over the wire, or from the command line, could
 * hold what a terminal obeys; no such character gets through. Tokens go past stdio, whose buffers
 * nobody wipes.
 */

#include <json-c/json.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "buffer.h"

bool cli_is_utf8(const char *bytes, size_t size);

/* Whether there is a control character of ASCII in it. */
bool cli_has_controls(const char *bytes, size_t size);

/* One line, without its line feed, to standard output and to standard error. Whatever does not
 * belong into a line is shown as a question mark. */
__attribute__((format(printf, 1, 2))) void cli_line(const char *format, ...);
__attribute__((format(printf, 1, 2))) void cli_say(const char *format, ...);

/* JSON as text, on one line or on several, every character escaped that a terminal could obey. 0 or
 * -ENOMEM. */
int cli_json_text(json_object *object, bool pretty, struct buffer *out);

/* Members of an object; NULL, `otherwise` or false where there is none of this type. */
json_object *cli_json_get(json_object *object, const char *name, json_type type);
const char *cli_json_string(json_object *object, const char *name);
int64_t cli_json_number(json_object *object, const char *name, int64_t otherwise);
bool cli_json_true(json_object *object, const char *name);

/* A string, or "?" where there is none. */
const char *cli_or(const char *string);

/* Whether it is lines of printable ASCII. */
bool cli_is_plain(const char *bytes, size_t size);

/* Writes all of it, past stdio. 0 or -errno. */
int cli_write(int fd, const char *bytes, size_t size);

/* What was printed is written. CLI_EXIT_OK, or CLI_EXIT_OUTPUT having said so. */
int cli_flush(void);
int cli_output_failed(int error);

#define CLI_DURATION_MAX_BYTES 32

/* "40 s", "12 min", "3 h 20 min", "45 d". */
const char *cli_duration(char out[CLI_DURATION_MAX_BYTES], int64_t seconds);
