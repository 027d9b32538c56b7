/* SPDX-License-Identifier: MIT */

/*
 * A plain list, walked: a test has a handful of applications. A tenant exists as long as it has
 * one. Each entry owns its strings. Secrets are invented ones, so nothing here is wiped or compared
 * in constant time.
 */

#include "clients.h"

#include <stdlib.h>
#include <string.h>

#include "error.h"

struct client {
        struct list link; /* clients::entries */
        char *tenant;
        char *client_id;
        char *secrets[CLIENTS_SECRETS_MAX];
        unsigned numbers[CLIENTS_SECRETS_MAX]; /* of the secrets */
        unsigned last_number;                  /* of all there ever were */
        size_t n_secrets;
};

static void client_free(struct client *client)
{
        if (!client)
                return;
        list_unlink(&client->link);
        for (size_t i = 0; i < client->n_secrets; i++)
                free(client->secrets[i]);
        free(client->client_id);
        free(client->tenant);
        free(client);
}

static int client_new(const char *tenant, const char *client_id, const char *const *secrets,
                      size_t n_secrets, struct client **ret_client)
{
        struct client *client = calloc(1, sizeof(*client));

        if (!client)
                return error_trace(-ENOMEM);
        list_init(&client->link);
        client->tenant = strdup(tenant);
        client->client_id = strdup(client_id);
        if (!client->tenant || !client->client_id)
                goto fail;
        for (size_t i = 0; i < n_secrets && i < CLIENTS_SECRETS_MAX; i++) {
                client->secrets[i] = strdup(secrets[i]);
                if (!client->secrets[i])
                        goto fail;
                client->n_secrets++;
        }
        *ret_client = client;
        return 0;

fail:
        client_free(client);
        return error_trace(-ENOMEM);
}

static struct client *find(const struct clients *clients, const char *tenant, const char *client_id)
{
        list_for_each (it, &clients->entries) {
                struct client *client = list_entry(it, struct client, link);

                if (strcmp(client->tenant, tenant) == 0 &&
                    (!client_id || strcmp(client->client_id, client_id) == 0))
                        return client;
        }
        return NULL;
}

/* The number that a secret has among those of `old`, which may be NULL; 0: it is new. */
static unsigned number_in(const struct client *old, const char *secret)
{
        for (size_t i = 0; old && i < old->n_secrets; i++) {
                if (strcmp(old->secrets[i], secret) == 0)
                        return old->numbers[i];
        }
        return 0;
}

static void number_secrets(struct client *client, const struct client *old)
{
        client->last_number = old ? old->last_number : 0;
        for (size_t i = 0; i < client->n_secrets; i++) {
                client->numbers[i] = number_in(old, client->secrets[i]);
                if (client->numbers[i] == 0)
                        client->numbers[i] = ++client->last_number;
        }
}

void clients_init(struct clients *clients)
{
        list_init(&clients->entries);
        clients->n_entries = 0;
}

void clients_deinit(struct clients *clients)
{
        list_for_each_safe (it, &clients->entries) {
                client_free(list_entry(it, struct client, link));
        }
        clients->n_entries = 0;
}

int clients_put(struct clients *clients, const char *tenant, const char *client_id,
                const char *const *secrets, size_t n_secrets)
{
        struct client *old = find(clients, tenant, client_id);
        struct client *client;
        int r;

        if (!old && clients->n_entries == CLIENTS_MAX)
                return CLIENTS_E_FULL;
        r = client_new(tenant, client_id, secrets, n_secrets, &client);
        if (r)
                return error_trace(r);

        number_secrets(client, old);
        list_push_back(&clients->entries, &client->link);
        if (old)
                client_free(old);
        else
                clients->n_entries++;
        return 0;
}

bool clients_know_tenant(const struct clients *clients, const char *tenant)
{
        return find(clients, tenant, NULL) != NULL;
}

bool clients_accept(const struct clients *clients, const char *tenant, const char *client_id,
                    const char *secret, unsigned *ret_number)
{
        *ret_number = number_in(find(clients, tenant, client_id), secret);
        return *ret_number != 0;
}
