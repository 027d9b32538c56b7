/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * The parameters of a request as they were sent: which of those that we read are there, and what
 * they hold. What they mean is judged by request.c.
 */

#include <stdbool.h>

#include "request.h"
#include "text.h"

enum parameter {
        PARAMETER_GRANT_TYPE,
        PARAMETER_SUBJECT_USERNAME,
        PARAMETER_SUBJECT_USERID,
        PARAMETER_SUBJECT_EMAIL,
        PARAMETER_SCOPE,
        PARAMETER_CLIENT_ID,
        PARAMETER_CLIENT_SECRET,
        PARAMETER_MIN_TTL,
        PARAMETER_REJECTED_TOKEN_SHA256,
        PARAMETER_LIMIT,
        PARAMETER_AFTER,
        PARAMETER_PASSWORD, /* some libraries insist on sending these two */
        PARAMETER_USERNAME,
        PARAMETER_SUBJECT_TOKEN, /* from here on: of token exchange */
        PARAMETER_SUBJECT_TOKEN_TYPE,
        PARAMETER_REGISTRATION_ID,
        PARAMETER_REQUESTED_TOKEN_TYPE,
        PARAMETER_ACTOR_TOKEN, /* these would change whose token it is, or for what, */
        PARAMETER_ACTOR_TOKEN_TYPE,
        PARAMETER_RESOURCE, /* and RFC 8693 §2.1 lets these two occur more than once */
        PARAMETER_AUDIENCE,
        _PARAMETER_N,
};

/* All of them, decoded. Texts are borrowed from the bytes they came in. */
struct parameters {
        enum request_source source;
        struct request_keys *keys; /* borrowed; where secrets leave their digests */
        bool held_secret;          /* or somebody's token, or what may be either */
        bool token_in_query;       /* somebody's token is where tokens never are */
        bool names_subject;        /* one begins with subject_, whether we know it or not */
        bool seen[_PARAMETER_N];
        struct text values[_PARAMETER_N];
};

/* As it stands in a form. */
const char *parameter_name(enum parameter parameter);

/*
 * Takes a form apart, which is rewritten in place; secrets in it are wiped, whatever the outcome.
 * Source and keys are set. 0, or REASON_MALFORMED_ESCAPE, REASON_REPEATED_PARAMETER,
 * REASON_SUBJECT_TOKEN_IN_QUERY.
 */
int parameters_parse(struct parameters *parameters, char *bytes, size_t size);

/* Takes one that was not encoded. 0 or REASON_REPEATED_PARAMETER. */
int parameters_put(struct parameters *parameters, struct text name, struct text value);
