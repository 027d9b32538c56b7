/* SPDX-License-Identifier: MIT */

#include "status.h"

#include <stdio.h>

/* Client applications that are named; of more, only those that are not well. */
#define CLIENTS_MAX 4

static const char *const conditions[] = {
        [CONDITION_WELL] = "issuer well",
        [CONDITION_ISSUER_HOLDS] = "issuer asks for fewer requests",
        [CONDITION_ISSUER_FAILS] = "issuer fails",
        [CONDITION_SECRET_REFUSED] = "client secret refused",
};

static void put(FILE *stream, const struct broker *broker, uint64_t now_ms)
{
        struct broker_counters counters;
        struct client_status client;
        size_t n, n_unwell = 0;

        broker_get_counters(broker, &counters);
        fprintf(stream, "%zu token%s, %zu in flight", counters.entries,
                counters.entries == 1 ? "" : "s", counters.in_flight);
        for (n = 0; broker_client_status(broker, n, now_ms, &client); n++)
                n_unwell += client.condition != CONDITION_WELL;
        if (n > CLIENTS_MAX)
                fprintf(stream, "; %zu of %zu client applications well", n - n_unwell, n);
        for (size_t i = 0; broker_client_status(broker, i, now_ms, &client); i++)
                if (n <= CLIENTS_MAX || client.condition != CONDITION_WELL)
                        fprintf(stream, "; %s: %s", client.client, conditions[client.condition]);
}

void status_line(char *line, size_t size, const char *doing, const struct broker *broker,
                 uint64_t now_ms)
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
