/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * The scripted issuer: reads what was sent to it, and ends a fetch the way the test says. The
 * tokens it mints name what they are for (client application, subject, scope) and how long they
 * live, so that whoever holds one can tell whether it is the right one.
 */

#include <stdbool.h>
#include <stdint.h>

#include "answer.h"
#include "list.h"
#include "request.h"
#include "secret.h"

struct flight;

enum ending {
        ENDING_TOKEN,
        ENDING_TOKEN_WITH_SCOPE, /* a token, and the scope it was granted for */
        ENDING_SUBJECT_REFUSED,
        ENDING_SCOPE_REFUSED,
        ENDING_CREDENTIALS_REFUSED,
        ENDING_CLIENT_UNAUTHORIZED,
        ENDING_THROTTLED,   /* 429 */
        ENDING_UNAVAILABLE, /* 503 with Retry-After */
        ENDING_ERROR,
        ENDING_GARBAGE, /* 200, and a page of HTML */
        ENDING_UNREACHABLE,
        ENDING_TIMEOUT,
        ENDING_CUT,
        ENDING_REDIRECT,
        ENDING_TOO_LARGE,
        ENDING_CERTIFICATE,
        _ENDING_N,
};

/* What a fetch asked for, or what a token was minted for. */
struct subject_matter {
        struct text client_id;
        enum subject_kind kind;
        struct text subject;
        struct text subject_token; /* of an exchange */
        enum subjecttoken_type subject_token_type;
        struct text scope;
};

/* One request to the issuer, under way. */
struct fetch {
        struct list link; /* world::fetches */
        struct flight *flight;
        char url[64];
        struct secret form; /* what `matter` and `client_secret` borrow from */
        struct subject_matter matter;
        struct text client_secret;
        uint64_t sent_at_ms;
        uint64_t ends_at_ms; /* TIMERHEAP_NEVER: when the test says so */
        enum ending ending;
        uint64_t lifetime_s;
        const char *granted; /* what a token with a scope is for; NULL: what was asked for */
        /* Not zero: the token has been given before, with this number and this end. */
        uint64_t repeated_serial, repeated_expires_at_ms;
        const char *retry_after; /* header fields; NULL: not there */
        const char *ratelimit_reset;
};

/* Whether a token comes of this ending. */
bool ending_is_token(enum ending ending);

/* Whether the issuer takes back what it may have granted before. */
bool ending_is_refusal(enum ending ending);

/* Whether the issuer asks for fewer requests. */
bool ending_is_hold(enum ending ending);

/* Whether the same will be tried again, where there is somebody to wait for it. */
bool ending_is_retried(enum ending ending);

/* What a caller is told of this ending if there is no token for it. */
enum reason ending_reason(enum ending ending);

/* Takes the form of a fetch apart; fails the test if it is not just what the issuer wants. */
void script_read_form(struct fetch *fetch);

bool script_same_matter(const struct subject_matter *a, const struct subject_matter *b);

#define SCRIPT_BODY_MAX_BYTES 20000

/* The issuer's answer, whose body is put into `body`; a token in it gets this serial number. */
struct fetch_result script_answer(char body[static SCRIPT_BODY_MAX_BYTES],
                                  const struct fetch *fetch, uint64_t serial);

/* Reads a token that script_answer() minted, and fails the test if it is for anything but this. */
void script_read_token(struct text token, const struct subject_matter *wanted, uint64_t *ret_serial,
                       uint64_t *ret_expires_at_ms);
