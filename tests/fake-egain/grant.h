/* SPDX-License-Identifier: MIT */
#pragma once

/* What a request at a token endpoint asks for, and whether the issuer grants it. */

#include <stdbool.h>
#include <stddef.h>

#include "form.h"
#include "options.h"

#define GRANT_TENANT_MAX 128
#define GRANT_BODY_MAX   (64 << 10)

struct grant {
        char tenant[GRANT_TENANT_MAX + 1];
        bool customer; /* the endpoint of customers (-C) rather than users (-U) */
        struct form form;
        const char *client_id; /* this and the next three: into form; NULL while unknown */
        const char *scope;     /* verbatim */
        const char *subject;
        const char *kind; /* "username", "userid" or "email"; static */
        char *label;      /* owned; "kind:subject" as soon as exactly one was given */

        unsigned status;         /* 200: granted */
        const char *error;       /* static; RFC 6749, section 5.2; NULL when granted */
        const char *description; /* static */
};

/* The parts of a HTTP request that decide; all borrowed. */
struct grant_request {
        const char *method;
        const char *content_type;  /* NULL: none */
        const char *authorization; /* NULL: none */
        const char *body;
        size_t body_bytes;
        bool body_too_long; /* more than GRANT_BODY_MAX came; `body` holds nothing */
};

/* Whether `path` is that of a token endpoint; if so, fills in tenant and audience. */
bool grant_parse_path(struct grant *grant, const char *path);

/* Fills in the rest. 0 (see grant->status) or -ENOMEM. */
int grant_judge(struct grant *grant, const struct grant_request *request,
                const struct options *options, const struct clients *clients);

/* Takes a grant of all zeroes, too. */
void grant_deinit(struct grant *grant);
