/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * json-c, made strict enough for what the broker answers: one object, each name once, UTF-8, no NUL
 * in a string; and getters that convert nothing.
 */

#include <json-c/json.h>
#include <stddef.h>
#include <stdint.h>

/* An object, which goes to json_release(); NULL: it is none, or memory ran out. */
json_object *json_parse(const char *bytes, size_t size);

/* Wipes every string in it and lets go of it. Takes NULL. */
void json_release(json_object *object);

/* The string of this name, borrowed; NULL: there is none. */
const char *json_get_string(json_object *object, const char *name);

/* The integer of this name, which is not negative; -1: there is none, or it is out of range. */
int64_t json_get_number(json_object *object, const char *name);
