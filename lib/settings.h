/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * What the core needs to know of the configuration: client applications and limits. Filled once by
 * whoever reads the configuration (daemon/config), immutable afterwards, borrowed by the broker for
 * as long as it lives. Secrets are not in here: they come and go through broker_set_secrets().
 */

#include <stddef.h>
#include <stdint.h>

/* Whose token it is: eGain has a token URL for each. */
enum audience {
        AUDIENCE_USER, /* subjects by username or userid, the application itself, exchanged tokens
                        */
        AUDIENCE_CUSTOMER,  /* subjects by email */
        AUDIENCE_ANONYMOUS, /* customers whom nobody knows: then it is the only one */
        _AUDIENCE_N,
};

/* One client application registered at the issuer. */
struct client_settings {
        char *name; /* owned; unique; callers may name the client by it */
        /* Owned; unique; callers may name the client by it, too. NULL: an anonymous one has none.
         */
        char *client_id;
        /*
         * Stands for client_id and token URLs in every key. Given once per distinct identity in a
         * process and never reused, so that no entry can be hit across a change of tenant.
         */
        uint64_t identity;
        /* The same for another process: SHA-256 of client_id, token URLs and client certificate. */
        uint8_t identity_sha256[32];
        char *token_url[_AUDIENCE_N]; /* owned; NULL: this client has none for the audience */
        char *default_scope;          /* owned; canonical (see request.h); NULL: none */
        /* When the secrets die, seconds since 1970; 0: not known. [1] is the next secret's. */
        int64_t secret_expires_s[2];
};

struct settings {
        struct client_settings *clients; /* owned */
        size_t n_clients;

        size_t max_entries;        /* tokens in the cache */
        uint64_t max_memory_bytes; /* bytes in the cache, keys and book-keeping included */

        uint64_t request_timeout_ms; /* how long a caller waits for the issuer at most */
        uint64_t expiry_margin_ms;   /* below it a caller waits for a new token (see freshness.h) */
        uint64_t upstream_timeout_ms; /* how long a fetch may take */
        uint64_t default_lifetime_ms; /* of a token whose lifetime the issuer does not tell */

        size_t max_waiters;            /* requests waiting for a fetch, all together */
        size_t max_waiters_per_flight; /* requests waiting for one fetch */
        size_t max_flights;            /* keys being fetched or queued to be */
        size_t max_in_flight;          /* requests under way at one token URL */
        size_t max_in_flight_total;    /* requests under way at all of them */
        size_t max_memories;           /* grants of which a refusal or a failure is remembered */

        size_t max_token_bytes; /* a longer access_token is an answer that cannot be used */
};
