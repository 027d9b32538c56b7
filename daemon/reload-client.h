/* SPDX-License-Identifier: MIT */
#pragma once

/* egain-tokend --reload: has a running daemon read its configuration again, and waits for the
 * outcome. */

#include <stdio.h>

#include "config.h"

enum {
        RELOAD_CLIENT_E_REFUSED = 1, /* the daemon did not take it over, or this caller may not */
        RELOAD_CLIENT_E_UNREACHABLE, /* there is no daemon, or no Unix socket to reach it by */
};

/* `config` tells which socket to ask on; what comes of it is said on `errors`. 0 or one of these.
 */
int reload_client(const struct config *config, FILE *errors);
