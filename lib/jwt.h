/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * The one thing a token is ever looked into for: how long a JWT (RFC 7519) says that it lives. A
 * token is opaque otherwise, and nothing here verifies anything.
 */

#include <stdbool.h>
#include <stdint.h>

#include "text.h"

enum {
        JWT_E_NO_LIFETIME = 1, /* not a JWT, or one without numeric exp and iat */
};

/* exp − iat, which may be zero or negative. 0, -ENOMEM or JWT_E_NO_LIFETIME. */
int jwt_lifetime_s(struct text token, int64_t *ret);
