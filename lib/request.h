/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * What a caller asks for: a form (a body, or a query) and an Authorization header, decoded strictly
 * into a request for a token (RFC 6749 §2.3.1, §3.2; WHATWG URL §5.1 for the encoding). Nothing is
 * copied but HTTP Basic: a request borrows from the bytes it was parsed from, which are rewritten.
 */

#include <stdbool.h>
#include <stdint.h>

#include "reason.h"
#include "secret.h"
#include "subjecttoken.h"
#include "text.h"

#define REQUEST_SUBJECT_MAX_BYTES      256
#define REQUEST_REGISTRATION_MAX_BYTES 128
#define REQUEST_SCOPE_MAX_BYTES        4096
#define REQUEST_SCOPE_MAX_VALUES       128
#define REQUEST_SHA256_BYTES           32

/* Whose token it is; this tells the grant, too. */
enum subject_kind {
        SUBJECT_USERNAME,
        SUBJECT_USERID,
        SUBJECT_EMAIL,
        SUBJECT_APPLICATION, /* the client application's own; there is no subject beside it */
        SUBJECT_ANONYMOUS,   /* a customer's whom nobody knows; likewise (see client_kind()) */
        SUBJECT_EXCHANGE,    /* of whom a subject token is; the subject is its registration_id */
        _SUBJECT_KIND_N,
};

/* More secrets than these cannot be sent: one in the form, and that of HTTP Basic, form-decoded and
 * raw. */
#define REQUEST_KEYS_MAX 3

/* What was sent as a secret, as digests; the secrets themselves are wiped. */
struct request_keys {
        size_t n;
        uint8_t sha256[REQUEST_KEYS_MAX][REQUEST_SHA256_BYTES];
};

struct verdict;

struct token_request {
        bool has_subject; /* the kind is known; but for REQUEST_FILTER, a request that is good has
                             it */
        enum subject_kind subject_kind; /* never SUBJECT_ANONYMOUS: that is the client's to say */
        struct text subject;
        struct subjecttoken subject_token; /* with SUBJECT_EXCHANGE, and only then */
        struct text scope;                 /* canonical; empty: the client's default is asked for */
        struct text client;                /* name or client_id; empty: not said */

        /* The user of HTTP Basic: form-decoded, as RFC 6749 has it, and raw, as half of the
         * libraries send it; both empty: no such header. They live in `basic`. */
        struct text basic_client;
        struct text basic_client_raw;
        struct secret basic;

        struct secret own_scope; /* of request_take_pairs(): what `scope` lies in */

        uint64_t min_ttl_ms; /* 0: not said */
        bool rejects;        /* an API refused the token with this SHA-256: */
        uint8_t rejected_sha256[REQUEST_SHA256_BYTES];
        bool held_secret; /* in what it was read from, which is not to be kept, wiped or not */
        struct request_keys keys; /* a client_secret means something only where a rule has a key */

        /* Borrowed; where the broker keeps its verdict on this very request of this very peer for
         * the next time; NULL: nowhere. */
        struct verdict *verdict;

        /* REQUEST_FILTER only: */
        uint64_t limit; /* entries on a page; 0: not said */
        uint64_t after; /* where the page before ended; 0: at the beginning */
};

enum request_source {
        REQUEST_BODY,   /* grant_type is required */
        REQUEST_QUERY,  /* grant_type may be left out */
        REQUEST_FILTER, /* names tokens rather than asking for one: all may be left out */
};

/* Adds the digest of a secret; an empty one is none, and one too many is dropped. */
void request_add_key(struct request_keys *keys, struct text secret);

/* Makes an empty request. */
void request_init(struct token_request *request);

/* Wipes what it owns; the borrowed bytes are their owner's. */
void request_deinit(struct token_request *request);

/*
 * Reads a form. `form` is rewritten in place and must live as long as the request; what was in
 * client_secret, username, password and actor_token is wiped from it, whatever the outcome, and
 * from a query subject_token is, too. 0, -ENOMEM, or a reason: MALFORMED_ESCAPE,
 * REPEATED_PARAMETER, SUBJECT_TOKEN_IN_QUERY, MISSING_GRANT_TYPE, UNSUPPORTED_GRANT_TYPE,
 * MISSING_SUBJECT, AMBIGUOUS_SUBJECT, UNWANTED_SUBJECT, EMPTY_SUBJECT, LONG_SUBJECT, BAD_SUBJECT,
 * EXCHANGE_IN_QUERY, EXCHANGE_PARAMETER, BAD_REQUESTED_TOKEN_TYPE, MISSING_REGISTRATION_ID,
 * BAD_REGISTRATION_ID, what subjecttoken_read() says, BAD_SCOPE, BAD_MIN_TTL, BAD_REJECTED_TOKEN,
 * BAD_LIMIT, BAD_AFTER.
 */
int request_parse(struct token_request *request, char *form, size_t size,
                  enum request_source source);

/* A parameter that was not encoded. */
struct request_pair {
        struct text name;
        struct text value;
};

/*
 * Reads parameters that are not in a form, as request_parse() reads those of a query. The bytes
 * stay as they are and must live as long as the request. 0, -ENOMEM or a reason as there, but
 * MALFORMED_ESCAPE.
 */
int request_take_pairs(struct token_request *request, const struct request_pair *pairs, size_t n);

/* Looks through the query of a request whose parameters are in its body, and wipes the same from
 * it. 0 or REASON_SUBJECT_TOKEN_IN_QUERY. */
int request_check_query(char *query, size_t size);

/*
 * Reads an Authorization header. Any scheme but Basic is ignored. Of the password only digests
 * stay. 0, -ENOMEM or REASON_BAD_AUTHORIZATION.
 */
int request_authorization(struct token_request *request, const char *header);

/* "username", "userid", "email", "application", "anonymous" or "exchange". */
const char *subject_kind_name(enum subject_kind kind);

/* Whether there is a subject to a kind, or the kind says all. */
bool subject_kind_names(enum subject_kind kind);

/* How long a subject of this kind may be. */
size_t subject_kind_max_bytes(enum subject_kind kind);

/* The form parameter that carries a subject of this kind; NULL: none does. */
const char *subject_kind_parameter(enum subject_kind kind);

/* The grant_type that asks for a token of this kind. */
const char *subject_kind_grant_type(enum subject_kind kind);

/*
 * Brings a scope (RFC 6749 §3.3) into its canonical form, in place: values sorted bytewise, each
 * once, single spaces between them. 0, or REASON_BAD_SCOPE with the bytes untouched: a character
 * that may not be in a scope, a space too many, over REQUEST_SCOPE_MAX_BYTES or _VALUES.
 */
int scope_canonicalise(char *scope, size_t *size);

/* The value of a scope behind `*at`, which moves on, whatever the order and the spaces; an empty
 * text: none is left. */
struct text scope_next(struct text scope, size_t *at);

/* Whether every value of `part` is one of `whole`. */
bool scope_includes(struct text whole, struct text part);
