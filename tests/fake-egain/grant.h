/* SPDX-License-Identifier: MIT */
#pragma once

/* What a request at a token endpoint asks for, and whether the issuer grants it. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "form.h"
#include "options.h"

#define GRANT_TENANT_MAX 128
#define GRANT_BODY_MAX   (64 << 10)

enum grant_endpoint {
        GRANT_ENDPOINT_USER,      /* /system/auth/TENANT-U/oauth2/token */
        GRANT_ENDPOINT_CUSTOMER,  /* the same with -C */
        GRANT_ENDPOINT_ANONYMOUS, /* …/anonymous/token?user_type=customer&domain_hint=TENANT */
};

enum grant_type {
        GRANT_TYPE_OTHER, /* or none */
        GRANT_TYPE_PASSWORD,
        GRANT_TYPE_CLIENT_CREDENTIALS,
        GRANT_TYPE_TOKEN_EXCHANGE,
        _GRANT_TYPE_N,
};

#define GRANT_DIGEST_DIGITS 64

struct grant {
        char tenant[GRANT_TENANT_MAX + 1];
        enum grant_endpoint endpoint;
        bool query_malformed; /* of the anonymous endpoint */
        enum grant_type type;
        struct form form;
        const char *client_id; /* this and the next three: into form; NULL while unknown */
        const char *scope;     /* verbatim */
        const char *subject;
        const char *kind; /* "username", "userid", "email", "application", "anonymous" or
                           * "exchange"; static */
        char *label;      /* owned; "kind:subject" as soon as exactly one was given */
        char exchanged[GRANT_DIGEST_DIGITS + 1]; /* SHA-256 of the subject token; "": none */
        unsigned secret_number; /* of the client_secret, see clients.h; 0: a placeholder, or none */

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

/* Whether `path` is that of a token endpoint; if so, fills in tenant and endpoint. `query` may be
 * NULL. 0, -ENOMEM or GRANT_E_OTHER_PATH. */
enum {
        GRANT_E_OTHER_PATH = 1,
};
int grant_parse_path(struct grant *grant, const char *path, const char *query);

/* Fills in the rest; `now_s` is the wall clock. 0 (see grant->status) or -ENOMEM. */
int grant_judge(struct grant *grant, const struct grant_request *request,
                const struct options *options, const struct clients *clients, int64_t now_s);

/* Takes a grant of all zeroes, too. */
void grant_deinit(struct grant *grant);
