/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * The configuration file, read by libconfig into an immutable structure. Every mistake is collected
 * as "file:line: what is wrong and what was expected"; a configuration with a mistake in it is
 * never used in part.
 */

#include <stdbool.h>
#include <stdio.h>
#include <sys/socket.h>

#include "../lib/policy.h"
#include "../lib/secret.h"
#include "../lib/settings.h"
#include "protect.h"

struct sources;

/* One socket to listen on. "tcp = localhost:PORT" makes two of them, 127.0.0.1 first. */
struct listener_config {
        struct sockaddr_storage address; /* AF_UNIX, AF_INET or AF_INET6; TCP is always loopback */
        socklen_t address_size;
        mode_t mode;      /* of a Unix socket, 0660 unless told */
        gid_t gid;        /* of a Unix socket; (gid_t)-1: leave it */
        bool credentials; /* a Unix socket, for systemd alone; mode 0600 unless told */
        int line;         /* where the file says so, for messages; 0: built-in default */
};

enum secret_kind {
        SECRET_KIND_NONE,       /* there is none, as mostly of next secrets */
        SECRET_KIND_INLINE,     /* client_secret, next_client_secret */
        SECRET_KIND_FILE,       /* client_secret_file, next_… */
        SECRET_KIND_CREDENTIAL, /* client_secret_credential, next_… */
};

/* Where one secret of a client comes from. */
struct secret_source {
        enum secret_kind kind;
        char *where;         /* owned; absolute path, or name of a systemd credential; else NULL */
        struct secret value; /* inline only */
        int line;            /* where the file says so, for messages; 0: there is none */
};

/* What a client proves itself with to a token URL that asks for a certificate: both or neither. */
struct client_tls {
        char *cert_file; /* owned; absolute path (PEM); NULL: none */
        char *key_file;  /* owned; absolute path (PEM) of a file that secrets_check_path() judges */
        int line;        /* where the file names the key, for messages */
};

struct upstream_config {
        uint64_t connect_timeout_ms;
        uint64_t timeout_ms; /* of a whole request to the issuer, connecting included */
        char *ca_file;       /* owned; NULL: the system's store */
        char *proxy;         /* owned; NULL: as the environment says; "": none */
        char *no_proxy;      /* owned; NULL: as the environment says; hosts that need no proxy */
        size_t max_response_bytes;
};

/* A token that systemd hands to a unit as a credential. */
struct credential_config {
        struct rule rule; /* what the entry gives: one client, one subject; `unit` is whom it is for
                           */
        char *id;         /* owned; what the credential is called */
        char *subject;    /* owned; without its kind, */
        enum subject_kind subject_kind; /* which is this */
        char *scope;                    /* owned; canonical */
};

enum audit_target {
        AUDIT_TO_JOURNAL,
        AUDIT_TO_STDERR, /* JSON lines */
        AUDIT_TO_FILE,   /* the same, appended */
};

enum audit_subjects {
        AUDIT_SUBJECTS_CLEAR,
        AUDIT_SUBJECTS_DIGEST, /* under audit.key_file */
};

struct audit_config {
        enum audit_target target;
        char *file; /* owned; absolute path; NULL: the target is not a file */
        int line;   /* where the file is named */
        enum audit_subjects subjects;
        char *key_file;     /* owned; absolute path; NULL: none */
        struct secret key;  /* what is in it; empty: none, take a random one */
        uint64_t fold_ms;   /* repeats within it are one record; 0: nothing is folded */
        bool required;      /* a token whose record cannot be queued is not handed out */
        size_t max_records; /* that wait to be written; of grants, and again of refusals */
};

enum log_level {
        LOG_LEVEL_ERROR,
        LOG_LEVEL_WARNING,
        LOG_LEVEL_INFO,
        LOG_LEVEL_DEBUG,
};

enum log_format {
        LOG_FORMAT_TEXT,
        LOG_FORMAT_JSON,
};

struct config {
        char *path; /* owned; the file it was read from */
        struct settings settings;
        /* Owned; two per settings.clients: [2 * i] is the current one of clients[i], [2 * i + 1]
         * the next one, or none. */
        struct secret_source *secrets;
        /* Owned; what they were when it was loaded, until the keeper takes that; NULL: they were
         * not read. See sources.h. */
        struct sources *sources;
        struct client_tls *tls;            /* owned; one per settings.clients, same order */
        struct listener_config *listeners; /* owned; at least one */
        size_t n_listeners;
        struct upstream_config upstream;
        struct policy policy; /* rules of `callers`; clients by index into settings.clients */
        struct credential_config *credentials; /* owned; in the order of the file */
        size_t n_credentials;
        struct audit_config audit;
        size_t max_connections;
        uint64_t header_timeout_ms; /* a request not complete by then is cut */
        uint64_t idle_timeout_ms;   /* a kept-alive connection without a request is closed */
        uint64_t drain_timeout_ms;
        enum log_level log_level;
        enum log_format log_format; /* where standard error is not the journal */
        enum protect_lock lock_memory;
};

enum {
        CONFIG_E_INVALID = 1,      /* mistakes in the file, or it cannot be read: exit 78 */
        CONFIG_E_NAME_SERVICE = 2, /* a name could not be looked up just now: exit 75 */
};

/*
 * Reads, checks and resolves the file at `path`. Mistakes are written to `errors`, one a line, all
 * that were found, and warnings beside them. 0, -ENOMEM, CONFIG_E_INVALID or CONFIG_E_NAME_SERVICE;
 * *ret is set on 0 only and is the caller's to free.
 */
int config_load(struct config **ret, const char *path, FILE *errors);

/* The same from memory: `text` is what the file at `path` holds. `text_private` says whether only
 * root and the daemon's user can read and change that file, so that it may hold a secret. */
int config_parse(struct config **ret, const char *path, const char *text, size_t text_size,
                 bool text_private, FILE *errors);

/* Takes NULL. Wipes inline secrets and the audit's key. */
void config_free(struct config *config);
