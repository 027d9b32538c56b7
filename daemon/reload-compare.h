/* SPDX-License-Identifier: MIT */
#pragma once

/* What is the same in two configurations. */

#include "config.h"

bool reload_same_listeners(const struct config *a, const struct config *b);
bool reload_same_audit(const struct audit_config *a, const struct audit_config *b);

/* A client application of `config` that was there before, by client_id, token URLs and client
 * certificate, gets the identity that it had. */
void reload_keep_identities(struct config *config, const struct config *before);

/* What has changed, as words for the log. */
#define RELOAD_CHANGES_MAX_BYTES 160
void reload_name_changes(char out[RELOAD_CHANGES_MAX_BYTES], const struct config *a,
                         const struct config *b);
