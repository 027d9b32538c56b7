/* SPDX-License-Identifier: MIT */
#pragma once

/* json-c, made strict enough for what the broker answers: one object, each name once, UTF-8, no NUL
 * in a string. */

#include <json-c/json.h>
#include <stddef.h>

/* An object, which goes to json_release(); NULL: it is none, or memory ran out. */
json_object *json_parse(const char *bytes, size_t size);

/* Wipes every string in it and lets go of it. Takes NULL. */
void json_release(json_object *object);
