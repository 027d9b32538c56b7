/* SPDX-License-Identifier: MIT */
#pragma once

/* The client applications of each tenant, with the secrets they may use now. */

#include <stdbool.h>
#include <stddef.h>

#include "list.h"

#define CLIENTS_MAX         1024
#define CLIENTS_SECRETS_MAX 2 /* as at the issuer: an old and a new one */

struct clients {
        struct list entries;
        size_t n_entries;
};

enum {
        CLIENTS_E_FULL = 1,
};

void clients_init(struct clients *clients);
void clients_deinit(struct clients *clients);

/*
 * Adds a client application or replaces its secrets; copies every string. No secrets at all: the
 * application is known, and every attempt of it refused. 0, -ENOMEM or CLIENTS_E_FULL.
 */
int clients_put(struct clients *clients, const char *tenant, const char *client_id,
                const char *const *secrets, size_t n_secrets);

bool clients_know_tenant(const struct clients *clients, const char *tenant);

/* Whether the secret may be used now. The first secret of an application has the number 1, each one
 * that comes later the next; one that stays keeps its own. */
bool clients_accept(const struct clients *clients, const char *tenant, const char *client_id,
                    const char *secret, unsigned *ret_number);
