/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * The one thing a token is ever looked into for: how long a JWT (RFC 7519) says that it lives, or
 * until when. A token is opaque otherwise, and nothing here verifies anything.
 */

#include <stdbool.h>
#include <stdint.h>

#include "text.h"

enum {
        JWT_E_NO_LIFETIME = 1, /* not a JWT, or one without numeric exp and iat */
        JWT_E_MALFORMED,       /* not a JWT whose claims can be read */
        JWT_E_NO_EXPIRY,       /* it has no exp, */
        JWT_E_BAD_EXPIRY,      /* or one that is no number */
};

/* exp − iat, which may be zero or negative. 0, -ENOMEM or JWT_E_NO_LIFETIME. */
int jwt_lifetime_s(struct text token, int64_t *ret);

/* exp, in seconds since 1970, rounded down where it has a fraction. 0, -ENOMEM, JWT_E_MALFORMED,
 * JWT_E_NO_EXPIRY or JWT_E_BAD_EXPIRY. */
int jwt_expiry_s(struct text token, int64_t *ret);
