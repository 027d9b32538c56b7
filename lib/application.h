/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * One client application at run time: its secrets, and where its tokens are fetched. It outlives
 * its configuration where requests of it are under way: then it is retired, and goes with the last
 * of them.
 */

#include <stdbool.h>
#include <stddef.h>

#include "credentials.h"
#include "issuer.h"
#include "list.h"
#include "settings.h"

struct application {
        const struct client_settings *settings; /* borrowed; NULL: it is retired */
        size_t index;                           /* into settings.clients, while it is configured */
        struct list link;                       /* broker::retired */
        bool retired;                           /* it is not configured any more */
        size_t n_flights;
        struct credentials credentials;
        struct issuer *issuers[_AUDIENCE_N]; /* NULL: it has no token URL for the audience */
};

/* With a reference to each of its issuers, which are made where need be. 0 or -ENOMEM. */
int application_new(struct application **ret, struct issuers *issuers,
                    const struct client_settings *settings, size_t index);

/* It has no flights. Wipes its secrets; issuers that nobody else refers to are retired. Takes NULL.
 */
void application_free(struct application *application, struct issuers *issuers);

static inline struct application *application_of(struct credentials *credentials)
{
        return list_entry(credentials, struct application, credentials);
}
