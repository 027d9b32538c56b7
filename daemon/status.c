/* SPDX-License-Identifier: MIT */

#include "status.h"

#include <stdbool.h>
#include <stdio.h>

/* Client applications that are named; of more, only those that fare badly. */
#define CLIENTS_MAX 4

static const char *const conditions[] = {
        [CONDITION_WELL] = "issuer well",
        [CONDITION_ISSUER_HOLDS] = "issuer asks for fewer requests",
        [CONDITION_ISSUER_FAILS] = "issuer fails",
        [CONDITION_SECRET_REFUSED] = "client secret refused",
};
static const char not_asked[] = "issuer not asked yet";

/* Of one that nothing keeps from being asked: no issuer is well before it has shown that. */
static const char *judge(const struct client_health *health)
{
        bool failed = false;

        for (enum audience audience = 0; audience < _AUDIENCE_N; audience++) {
                if (health->issuers[audience].last_success_known)
                        return conditions[CONDITION_WELL];
                failed = failed || health->issuers[audience].last_failure;
        }
        return failed ? conditions[CONDITION_ISSUER_FAILS] : not_asked;
}

/* How a client application does; false behind the last. */
static bool look_at(struct broker *broker, size_t i, uint64_t now_ms, const char **ret_name,
                    const char **ret_condition)
{
        struct client_status client;
        struct client_health health;

        if (!broker_client_status(broker, i, now_ms, &client))
                return false;
        *ret_name = client.client;
        *ret_condition = conditions[client.condition];
        if (client.condition != CONDITION_WELL)
                return true;
        broker_look_at_client(broker, i, now_ms, &health);
        *ret_condition = judge(&health);
        return true;
}

static void put(FILE *stream, struct broker *broker, uint64_t now_ms)
{
        const char *name, *condition, *const well = conditions[CONDITION_WELL];
        struct broker_counters counters;
        size_t n, n_well = 0, n_not_asked = 0;

        broker_get_counters(broker, &counters);
        fprintf(stream, "%zu token%s, %zu in flight", counters.entries,
                counters.entries == 1 ? "" : "s", counters.in_flight);
        for (n = 0; look_at(broker, n, now_ms, &name, &condition); n++) {
                n_well += condition == well;
                n_not_asked += condition == not_asked;
        }
        if (n > CLIENTS_MAX)
                fprintf(stream, "; %zu of %zu client applications well", n_well, n);
        if (n > CLIENTS_MAX && n_not_asked > 0)
                fprintf(stream, ", %zu not asked yet", n_not_asked);
        for (size_t i = 0; look_at(broker, i, now_ms, &name, &condition); i++)
                if (n <= CLIENTS_MAX || (condition != well && condition != not_asked))
                        fprintf(stream, "; %s: %s", name, condition);
}

void status_line(char *line, size_t size, const char *doing, struct broker *broker, uint64_t now_ms)
{
        FILE *stream = fmemopen(line, size, "w");

        (void)snprintf(line, size, "%s", doing);
        if (!stream)
                return;
        fprintf(stream, "%s; ", doing);
        put(stream, broker, now_ms);
        fclose(stream);
        line[size - 1] = '\0';
}
