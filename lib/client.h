/* SPDX-License-Identifier: MIT */
#pragma once

/* Which of the configured client applications a request means. */

#include <stddef.h>

#include "request.h"
#include "settings.h"

/* The one of this name or client_id. 0 or REASON_UNKNOWN_CLIENT. */
int client_find(const struct settings *settings, struct text wanted, size_t *ret_index);

/*
 * By client_id or HTTP Basic, each a name or a client_id; where both are there they must mean the
 * same. With neither, the only client there is. 0, or REASON_UNKNOWN_CLIENT, REASON_MISSING_CLIENT
 * or REASON_AMBIGUOUS_CLIENT; *ret_index is into settings->clients.
 */
int client_select(const struct settings *settings, const struct token_request *request,
                  size_t *ret_index);
