/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * What an answer of the broker says: a token, or why there is none. An answer that has not the
 * broker's form is neither, whatever its status: another server is there, or another version.
 */

#include "broker-http.h"

/* The strings are owned, and go to broker_token_deinit(). */
struct broker_token {
        char *value;           /* printable ASCII, not empty */
        char *scope;           /* what was granted; "" if the answer does not say */
        uint64_t expires_in_s; /* at least 1 */
};

#define BROKER_REFUSAL_ERROR_MAX_BYTES       64
#define BROKER_REFUSAL_DESCRIPTION_MAX_BYTES 512

/* The broker's own words, RFC 6749 §5.2: printable ASCII, since that is all §5.2 lets in. */
struct broker_refusal {
        unsigned int status;
        unsigned int retry_after_s; /* 0: it does not say */
        char error[BROKER_REFUSAL_ERROR_MAX_BYTES];
        char description[BROKER_REFUSAL_DESCRIPTION_MAX_BYTES]; /* cut if it is longer */
};

enum {
        BROKER_ANSWER_E_REFUSED = 1, /* `refusal` is filled in */
        BROKER_ANSWER_E_ODD,         /* not as the broker answers; `error` is filled in */
};

/* Of POST /oauth2/token. 0 and a token, or one of these (also where memory runs out). */
int broker_answer_token(const struct broker_answer *answer, struct broker_token *ret,
                        struct broker_refusal *refusal, struct broker_error *error);

/* Of any other request: 0 if its status is in the two hundreds; or one of these. */
int broker_answer_check(const struct broker_answer *answer, struct broker_refusal *refusal,
                        struct broker_error *error);

/* Wipes it. Takes one that is all zeros. */
void broker_token_deinit(struct broker_token *token);
