/* SPDX-License-Identifier: MIT */
#pragma once

/* The encoding of forms and queries (WHATWG URL §5.1), decoded strictly. */

#include "text.h"

/* The value of a hexadecimal digit, or -1. */
int form_hex_digit(char c);

/* Decodes a name or a value where it stands: it never gets longer. 0 or REASON_MALFORMED_ESCAPE. */
int form_decode(char *bytes, size_t size, struct text *ret);
