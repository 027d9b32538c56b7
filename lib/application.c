/* SPDX-License-Identifier: MIT */

#include "application.h"

#include <assert.h>
#include <stdlib.h>

#include "error.h"

int application_new(struct application **ret, struct issuers *issuers,
                    const struct client_settings *settings, size_t index)
{
        struct application *application = calloc(1, sizeof(*application));
        int r = 0;

        if (!application)
                return error_trace(-ENOMEM);
        application->settings = settings;
        application->index = index;
        list_init(&application->link);
        credentials_init(&application->credentials);
        for (int i = 0; r == 0 && i < _AUDIENCE_N; i++)
                if (settings->token_url[i])
                        r = issuer_ref(&application->issuers[i], issuers, settings->token_url[i]);
        if (r) {
                application_free(application, issuers);
                return error_trace(r);
        }
        *ret = application;
        return 0;
}

void application_free(struct application *application, struct issuers *issuers)
{
        if (!application)
                return;
        assert(application->n_flights == 0 && list_empty(&application->credentials.parked));
        list_unlink(&application->link);
        list_unlink(&application->credentials.link); /* its secrets were to be read again */
        for (int i = 0; i < _AUDIENCE_N; i++)
                if (application->issuers[i])
                        issuer_unref(issuers, application->issuers[i]);
        credentials_deinit(&application->credentials);
        free(application);
}
