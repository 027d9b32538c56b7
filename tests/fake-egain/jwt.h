/* SPDX-License-Identifier: MIT */
#pragma once

/* What an external identity provider would have to have issued. */

#include <stdbool.h>
#include <stdint.h>

/* Whether it is a JWT in its compact form, whose header and claims are JSON objects, and whose exp
 * is a number that is still to come. Nobody's signature is verified. */
bool jwt_is_live(const char *token, int64_t now_s);
