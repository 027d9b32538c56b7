/* SPDX-License-Identifier: MIT */

#include "client.h"

#include <stdbool.h>
#include <string.h>

#include "sha256.h"

static uint8_t *digest_of(uint8_t *out, const char *string)
{
        const size_t size = string ? strlen(string) : 0;

        memset(out, 0, SHA256_BYTES);
        if (string)
                sha256(string, size, out);
        return out + SHA256_BYTES;
}

/* A digest of digests: where one string ends and the next begins is never in doubt. */
void client_digest(uint8_t ret[static SNAPSHOT_DIGEST_BYTES], const struct client_settings *client,
                   const char *cert_file)
{
        uint8_t parts[(2 + _AUDIENCE_N) * SHA256_BYTES], *out = parts;

        out = digest_of(out, client->client_id);
        for (size_t i = 0; i < _AUDIENCE_N; i++)
                out = digest_of(out, client->token_url[i]);
        (void)digest_of(out, cert_file);
        sha256(parts, sizeof(parts), ret);
}

const char *client_sent_id(const struct client_settings *client)
{
        return client->client_id ? client->client_id : CLIENT_PLACEHOLDER_ID;
}

enum subject_kind client_kind(const struct client_settings *client,
                              const struct token_request *request)
{
        switch (request->subject_kind) {
        case SUBJECT_APPLICATION:
        case SUBJECT_ANONYMOUS:
                return client_is_anonymous(client) ? SUBJECT_ANONYMOUS : SUBJECT_APPLICATION;
        default: return request->subject_kind;
        }
}

/* The only one that has no client_id. */
static int find_nameless(const struct settings *settings, size_t *ret_index)
{
        size_t n = 0;

        for (size_t i = 0; i < settings->n_clients; i++) {
                if (settings->clients[i].client_id)
                        continue;
                *ret_index = i;
                n++;
        }
        return n == 1 ? 0 : REASON_UNKNOWN_CLIENT;
}

int client_find(const struct settings *settings, struct text wanted, size_t *ret_index)
{
        for (size_t i = 0; i < settings->n_clients; i++) {
                const struct client_settings *client = &settings->clients[i];

                if (text_equal(wanted, TEXT(client->name)) ||
                    (client->client_id && text_equal(wanted, TEXT(client->client_id)))) {
                        *ret_index = i;
                        return 0;
                }
        }
        if (text_equal(wanted, TEXT(CLIENT_PLACEHOLDER_ID)))
                return find_nameless(settings, ret_index);
        return REASON_UNKNOWN_CLIENT;
}

static bool find(const struct settings *settings, struct text wanted, size_t *ret_index)
{
        return wanted.size > 0 && client_find(settings, wanted, ret_index) == 0;
}

int client_select(const struct settings *settings, const struct token_request *request,
                  size_t *ret_index)
{
        const bool by_basic = request->basic_client_raw.size > 0, by_id = request->client.size > 0;
        size_t basic = 0, id = 0;
        bool basic_found, id_found;

        if (!by_basic && !by_id) {
                if (settings->n_clients != 1)
                        return REASON_MISSING_CLIENT;
                *ret_index = 0;
                return 0;
        }

        /* The encoded form is the standard's; libraries that skip the encoding come second. */
        basic_found = find(settings, request->basic_client, &basic) ||
                      find(settings, request->basic_client_raw, &basic);
        id_found = find(settings, request->client, &id);
        if (by_basic && by_id && (basic_found != id_found || basic != id))
                return REASON_AMBIGUOUS_CLIENT;
        if (!basic_found && !id_found)
                return REASON_UNKNOWN_CLIENT;
        *ret_index = by_id ? id : basic;
        return 0;
}
