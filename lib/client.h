/* SPDX-License-Identifier: MIT */
#pragma once

/* Which of the configured client applications a request means. */

#include <stddef.h>

#include "request.h"
#include "settings.h"
#include "snapshot.h"

/* What tells one client application from another, in this process and the next: its client_id, its
 * token URLs, and the file of its client certificate (NULL: none), not its name nor its secrets. */
void client_digest(uint8_t ret[static SNAPSHOT_DIGEST_BYTES], const struct client_settings *client,
                   const char *cert_file);

/* What the issuer documents for clients that have neither. */
#define CLIENT_PLACEHOLDER_ID     "clientId"
#define CLIENT_PLACEHOLDER_SECRET "clientSecret"

/* The client_id that the issuer is sent. */
const char *client_sent_id(const struct client_settings *client);

static inline bool client_is_anonymous(const struct client_settings *client)
{
        return client->token_url[AUDIENCE_ANONYMOUS];
}

/* What a request means at this client application: a token of the application's own is one of an
 * anonymous customer where it is an anonymous one, and the other way round. No request has a say in
 * that. */
enum subject_kind client_kind(const struct client_settings *client,
                              const struct token_request *request);

/* The one of this name or client_id; the placeholder means the only one without. 0 or
 * REASON_UNKNOWN_CLIENT. */
int client_find(const struct settings *settings, struct text wanted, size_t *ret_index);

/*
 * By client_id or HTTP Basic, each a name or a client_id; where both are there they must mean the
 * same. With neither, the only client there is. 0, or REASON_UNKNOWN_CLIENT, REASON_MISSING_CLIENT
 * or REASON_AMBIGUOUS_CLIENT; *ret_index is into settings->clients.
 */
int client_select(const struct settings *settings, const struct token_request *request,
                  size_t *ret_index);
