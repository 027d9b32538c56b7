/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * One object of JSON, as RFC 8259 has it and no laxer, read for the members of its outermost level.
 * It allocates twice, before it reads, and either has all of an object or nothing: no text of it is
 * ever shorter than it was sent for want of memory.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "text.h"

/* Levels of values; the object itself is the first. */
#define JSON_DEPTH_MAX 8

/* Of the outermost object. */
#define JSON_MEMBERS_MAX 1024

struct json;

enum {
        JSON_E_INVALID = 1, /* not one well-formed object with distinct member names, all without a
                             * NUL, or over one of the bounds above */
};

/* Reads one object; space may be around it. 0, -ENOMEM or JSON_E_INVALID; *ret goes to
 * json_release(). */
int json_parse_object(struct json **ret, struct text text);

/* Wipes every string in it and lets go of it. Takes NULL. */
void json_release(struct json *json);

enum json_member {
        JSON_MEMBER_ABSENT,
        JSON_MEMBER_PRESENT,
        JSON_MEMBER_INVALID, /* of another type */
};

/* Whether there is a member of this name, of whatever type; whether it is there and null. */
bool json_has(const struct json *json, const char *name);
bool json_is_null(const struct json *json, const char *name);

/* *ret borrows from the object; a NUL follows it. */
enum json_member json_get_text(const struct json *json, const char *name, struct text *ret);

/* A JSON integer: no fraction, no exponent, no string. Saturates outside int64_t. */
enum json_member json_get_integer(const struct json *json, const char *name, int64_t *ret);

/* Any JSON number, rounded down. Saturates outside int64_t. */
enum json_member json_get_number(const struct json *json, const char *name, int64_t *ret);
