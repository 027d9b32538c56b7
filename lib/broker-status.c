/* SPDX-License-Identifier: MIT */

/* Looking on: how each client application fares, in one word. */

#include "broker.h"

#include "broker-private.h"

bool broker_client_status(const struct broker *broker, size_t client, uint64_t now_ms,
                          struct client_status *ret)
{
        if (client >= broker->settings->n_clients)
                return false;
        *ret = (struct client_status){.client = broker->settings->clients[client].name};
        for (int audience = 0; audience < _AUDIENCE_N; audience++) {
                const struct issuer *issuer = broker->applications[client]->issuers[audience];

                if (!issuer || issuer->breaker.state == BREAKER_CLOSED)
                        continue;
                if (!issuer->breaker.held)
                        ret->condition = CONDITION_ISSUER_FAILS;
                else if (ret->condition == CONDITION_WELL)
                        ret->condition = CONDITION_ISSUER_HOLDS;
        }
        if (backoff_left_ms(&broker->applications[client]->credentials.hold, now_ms) > 0)
                ret->condition = CONDITION_SECRET_REFUSED;
        return true;
}
