/* SPDX-License-Identifier: MIT */
#ifndef EGAIN_TOKEN_H
#define EGAIN_TOKEN_H

/*
 * libegaintoken: access tokens for eGain's APIs, from egain-tokend on this host. See
 * egain_token(3).
 *
 * Every function may be called by any thread at any time, but for egain_token_broker_free(), which
 * wants to be the last. Nothing is printed, no signal is used, errno is left as it was, and a child
 * made by fork(2) may go on using what its parent had.
 */

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* What a function that can fail returns. The numbers stay. */
enum egain_token_error {
        EGAIN_TOKEN_OK = 0,
        EGAIN_TOKEN_E_INVALID = 1,   /* an argument is not as it must be */
        EGAIN_TOKEN_E_NO_MEMORY = 2, /* memory, or what else a process is given, ran out */

        /* there is no way to the daemon; nothing was sent */
        EGAIN_TOKEN_E_PATH_TOO_LONG = 10, /* the socket's path has more than 107 bytes */
        EGAIN_TOKEN_E_NO_SOCKET = 11,     /* there is no such file */
        EGAIN_TOKEN_E_NOT_A_SOCKET = 12,  /* there is a file, but it is none */
        EGAIN_TOKEN_E_PERMISSION = 13,    /* this process may not connect */
        EGAIN_TOKEN_E_NOT_RUNNING = 14,   /* nobody listens */
        EGAIN_TOKEN_E_FOREIGN = 15,       /* who listens is not the daemon's user */
        EGAIN_TOKEN_E_UNREACHABLE = 16,   /* any other failure to connect */

        /* there is no answer, or none that can be understood */
        EGAIN_TOKEN_E_TIMEOUT = 20,    /* timeout_ms ran out */
        EGAIN_TOKEN_E_CLOSED = 21,     /* the connection was closed without an answer */
        EGAIN_TOKEN_E_CUT = 22,        /* the answer was cut short */
        EGAIN_TOKEN_E_NOT_BROKER = 23, /* what answers is not egain-tokend, or another version */

        /* the daemon refuses, or has no token; its own words are in the failure */
        EGAIN_TOKEN_E_REQUEST = 30,     /* the request is off: invalid_request */
        EGAIN_TOKEN_E_SCOPE = 31,       /* the scope is off, or refused: invalid_scope */
        EGAIN_TOKEN_E_CLIENT = 32,      /* the client application is unknown, or not for this */
        EGAIN_TOKEN_E_SUBJECT = 33,     /* the issuer refuses the subject: invalid_grant */
        EGAIN_TOKEN_E_DENIED = 34,      /* no rule of the daemon gives it: access_denied */
        EGAIN_TOKEN_E_TOO_MANY = 35,    /* this caller asks too much (429) */
        EGAIN_TOKEN_E_ISSUER = 36,      /* the issuer refuses the daemon, or answers nonsense */
        EGAIN_TOKEN_E_UNAVAILABLE = 37, /* the issuer or the daemon cannot for now; retry_after_s */
        EGAIN_TOKEN_E_ISSUER_TIMEOUT = 38, /* the issuer did not answer the daemon in time */
};

/* One sentence for a number of these; never NULL. */
const char *egain_token_strerror(int error);

/* The version of the library that is running: "0.1.0". */
const char *egain_token_version(void);

/*
 * A way to the daemon: opaque, shared by all threads. One is enough for a process.
 */
struct egain_token_broker;

struct egain_token_options {
        size_t size; /* of this structure, so that it can grow */

        /* One of these, or neither, which means /run/egain-tokend/token.sock. */
        const char *socket_path;
        const char *url; /* http://HOST[:PORT], HOST one of localhost, 127.0.0.1 and [::1] */

        /* Who may listen on the socket beside root and this process's own user: a name or a number;
         * NULL: egain-tokend. */
        const char *server_user;

        uint32_t timeout_ms;      /* for a whole call; 1 to 600000 */
        uint32_t patience_ms;     /* how long a daemon that restarts is waited for; 0: not at all */
        uint32_t keep_ms;         /* how long a token is kept in this process; 0 to 60000 */
        uint32_t max_kept;        /* tokens kept at most; 8 to 65536 */
        uint32_t max_connections; /* to the daemon at once; 1 to 256 */
};

#define EGAIN_TOKEN_OPTIONS_INIT                                                                   \
        {                                                                                          \
                sizeof(struct egain_token_options), NULL, NULL, NULL, 30000, 3000, 10000, 1024, 64 \
        }

/* Connects to nothing yet. `options` NULL: the defaults; nothing of them is kept by reference.
 * EGAIN_TOKEN_OK; EGAIN_TOKEN_E_INVALID, _NO_MEMORY or _PATH_TOO_LONG. */
int egain_token_broker_new(struct egain_token_broker **ret,
                           const struct egain_token_options *options);

/* No other thread may be using it any more; tokens that were had from it stay. Takes NULL. */
void egain_token_broker_free(struct egain_token_broker *broker);

/* Drops and wipes what is kept in the process, whoever may be using the broker. Takes NULL. */
void egain_token_broker_forget(struct egain_token_broker *broker);

/* Whom a token is for. */
enum egain_token_kind {
        EGAIN_TOKEN_USERNAME = 1, /* a user, by name */
        EGAIN_TOKEN_USERID = 2,
        EGAIN_TOKEN_EMAIL = 3,       /* a customer */
        EGAIN_TOKEN_APPLICATION = 4, /* nobody but the client application itself */
        EGAIN_TOKEN_EXCHANGE = 5,    /* whom another issuer's token is for (RFC 8693) */
};

/* All strings are borrowed for the call. */
struct egain_token_request {
        size_t size; /* of this structure, so that it can grow */

        int kind;            /* enum egain_token_kind */
        const char *client;  /* the client application; NULL: the daemon has only one */
        const char *subject; /* name, id or e-mail address, verbatim; else NULL */
        const char *scope;   /* with spaces between; NULL: the client's default_scope */
        uint32_t min_ttl_s;  /* seconds it must still live; 0: whatever is live */
        const char *key;     /* where the daemon's rule has a key_file; else NULL */

        /* of an exchange; else NULL */
        const char *subject_token;
        const char *subject_token_type; /* NULL: urn:ietf:params:oauth:token-type:access_token */
        const char *registration_id;
};

#define EGAIN_TOKEN_REQUEST_INIT                                                                   \
        {                                                                                          \
                sizeof(struct egain_token_request), 0, NULL, NULL, NULL, 0, NULL, NULL, NULL, NULL \
        }

/* What went wrong, for a log; it holds no token. */
struct egain_token_failure {
        size_t size; /* of this structure, so that it can grow */

        int error;              /* what was returned */
        uint32_t http_status;   /* of the daemon's answer; 0: there was none */
        uint32_t retry_after_s; /* when to try again, as the daemon says; 0: it does not */
        char code[64];          /* the daemon's error: "access_denied"; "": it gave none */
        char message[512];      /* one line of printable ASCII that says what to do */
};

#define EGAIN_TOKEN_FAILURE_INIT                                    \
        {                                                           \
                sizeof(struct egain_token_failure), 0, 0, 0, "", "" \
        }

/* A token: never changes, is shared by counting references, and is wiped with the last. */
struct egain_token;

/*
 * Gives a token away, to be given to egain_token_unref(). It blocks for timeout_ms at most.
 * EGAIN_TOKEN_OK, or an error with `failure` filled in, which may be NULL.
 */
int egain_token_get(struct egain_token_broker *broker, const struct egain_token_request *request,
                    struct egain_token **ret, struct egain_token_failure *failure);

/*
 * The same, after an API has refused `rejected` (a 401, not a 403): gives another one. The daemon
 * fetches at most once for that, however many report it. `rejected` stays the caller's.
 */
int egain_token_reject(struct egain_token_broker *broker, const struct egain_token_request *request,
                       const struct egain_token *rejected, struct egain_token **ret,
                       struct egain_token_failure *failure);

/* Returns its argument. */
struct egain_token *egain_token_ref(struct egain_token *token);

/* Takes NULL. */
void egain_token_unref(struct egain_token *token);

/* What stands behind "Bearer ", and the scope that was granted. Borrowed from the token; both are
 * strings of printable ASCII. NULL for NULL. */
const char *egain_token_value(const struct egain_token *token);
const char *egain_token_scope(const struct egain_token *token);

/* How many whole seconds it still lives, as of now; 0: none. */
uint32_t egain_token_expires_in(const struct egain_token *token);

/* Counts since egain_token_broker_new(). */
struct egain_token_counters {
        size_t size; /* of this structure, so that it can grow */

        uint64_t calls;   /* egain_token_get() and egain_token_reject() */
        uint64_t kept;    /* answered with a token that was kept in the process */
        uint64_t joined;  /* answered with what another thread was asking for */
        uint64_t asked;   /* answered by the daemon, one way or the other */
        uint64_t failed;  /* ended with an error */
        uint64_t retried; /* requests that were sent again, or later */
        uint64_t evicted; /* kept tokens that gave way to others */
};

#define EGAIN_TOKEN_COUNTERS_INIT                                        \
        {                                                                \
                sizeof(struct egain_token_counters), 0, 0, 0, 0, 0, 0, 0 \
        }

/* EGAIN_TOKEN_OK or EGAIN_TOKEN_E_INVALID. */
int egain_token_broker_counters(struct egain_token_broker *broker,
                                struct egain_token_counters *ret);

#ifdef __cplusplus
}
#endif

#endif
