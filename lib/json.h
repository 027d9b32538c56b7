/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * json-c, made strict: what it lets through against RFC 8259 and what its getters would quietly
 * convert is refused, and nothing it allocated for a secret is left behind unwiped.
 */

#include <json-c/json.h>
#include <stdint.h>

#include "text.h"

#define JSON_DEPTH_MAX 8

enum {
        JSON_E_INVALID = 1, /* not one well-formed object with distinct member names */
};

/* Parses one object, nested JSON_DEPTH_MAX deep at most. 0, -ENOMEM or JSON_E_INVALID; *ret goes to
 * json_release(). */
int json_parse_object(json_object **ret, struct text text);

/* Wipes every string in it and lets go of it. Takes NULL. */
void json_release(json_object *object);

enum json_member {
        JSON_MEMBER_ABSENT,
        JSON_MEMBER_PRESENT,
        JSON_MEMBER_INVALID, /* of another type, or holds a NUL */
};

/* *ret borrows from the object. */
enum json_member json_get_text(json_object *object, const char *name, struct text *ret);

/* A JSON integer: no fraction, no exponent, no string. Saturates outside int64_t. */
enum json_member json_get_integer(json_object *object, const char *name, int64_t *ret);

/* Any JSON number, rounded down. Saturates outside int64_t. */
enum json_member json_get_number(json_object *object, const char *name, int64_t *ret);
