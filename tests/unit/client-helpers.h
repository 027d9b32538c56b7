/* SPDX-License-Identifier: MIT */
#pragma once

/* What unit tests of client/ share: cmocka with the headers it wants, tokens, and a look into what
 * client/ frees (see tests/unit/meson.build). */

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "token-object.h"

#define N_OF(array) (sizeof(array) / sizeof((array)[0]))

/* A token that was asked for at `asked_ms` of the boot clock. */
struct egain_token *make_token(const char *value, uint64_t asked_ms, uint64_t expires_in_s);

/* From now on every freed block is searched for `needle` (borrowed; NULL: none is). */
void client_frees_watch(const char *needle);

/* How many blocks were freed with the needle still in them. */
size_t client_frees_dirty(void);
