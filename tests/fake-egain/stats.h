/* SPDX-License-Identifier: MIT */
#pragma once

/* What was asked and answered, for tests to look at. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "secret.h"

#define STATS_SUBJECTS_MAX 100000 /* subjects counted apart; later ones fall under "(others)" */
#define STATS_STATUS_MAX   599

struct json_object;

/* A request as it came; everything borrowed, NULL where there was none. */
struct stats_request {
        const char *method;
        const char *path;
        const char *query;
        const char *http_version;
        const char *content_type;
        const char *user_agent;
        const char *body;
        size_t body_bytes;
};

/* Of requests at token endpoints, refused ones included. */
enum stats_grant {
        STATS_GRANT_OTHER, /* or none */
        STATS_GRANT_PASSWORD,
        STATS_GRANT_APPLICATION, /* client_credentials */
        STATS_GRANT_ANONYMOUS,   /* the same at the endpoint of anonymous customers */
        STATS_GRANT_EXCHANGE,
        _STATS_GRANT_N,
};

struct stats {
        uint64_t epoch; /* one more at every reset; tells requests of before from those after */

        uint64_t requests;      /* complete ones at token endpoints, refused ones included */
        uint64_t tokens;        /* normal answers with status 200 */
        uint64_t in_flight;     /* complete and not yet answered to the last byte */
        uint64_t max_in_flight; /* the most there ever were */
        uint64_t held;          /* waiting for a release */
        uint64_t cut;           /* connections cut instead of an answer */
        uint64_t twins;         /* requests that came while another one for the same token waited */
        uint64_t abandoned;     /* requests whose client left before the answer was ready */

        /* Open now, and opened since the reset; the control path's own are among them. */
        uint64_t connections;
        uint64_t connections_total;
        /* Those that carried a request to a token endpoint, counted at the first one. */
        uint64_t token_connections;
        uint64_t token_connections_total;

        uint64_t by_status[STATS_STATUS_MAX + 1];
        uint64_t by_grant[_STATS_GRANT_N];
        struct json_object *by_subject; /* owned; label → number */

        struct {
                bool seen;
                struct secret texts[6]; /* in the order of struct stats_request */
                bool given[6];
                struct secret body;
        } last;
};

/* 0 or -ENOMEM. */
int stats_init(struct stats *stats);
void stats_deinit(struct stats *stats);

/* Starts a new epoch. What is still open (connections) goes on counting. 0 or -ENOMEM. */
int stats_reset(struct stats *stats);

/* A request is complete; `label` is "kind:subject" or NULL. 0 or -ENOMEM. */
int stats_receive(struct stats *stats, const struct stats_request *request, enum stats_grant grant,
                  const char *label);

/* The next three are for requests of the current epoch only. */
void stats_answer(struct stats *stats, unsigned status);
void stats_finish(struct stats *stats);
void stats_mint(struct stats *stats);

/* The counter of that name, or NULL. */
const uint64_t *stats_counter(const struct stats *stats, const char *name);

/* The numbers alone, as JSON, without what was asked by whom; NULL when out of memory. The caller
 * owns it. */
struct json_object *stats_render_counters(const struct stats *stats);

/* Everything as JSON; NULL when out of memory. The caller owns it. */
struct json_object *stats_render(const struct stats *stats);
