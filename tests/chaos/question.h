/* SPDX-License-Identifier: MIT */
#pragma once

/* What a service asks for: drawn at random, spelled in one of the many ways that mean the same, and
 * kept, so that the answer can be held against it. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "dice.h"
#include "reason.h"

#define QUESTION_CLIENTS_MAX   16
#define QUESTION_SUBJECT_BYTES 96
#define QUESTION_REQUEST_BYTES 4096
#define QUESTION_SHA256_HEX    65
#define QUESTION_SCOPES        3
#define QUESTION_POPULAR       2000 /* subjects of each kind that are asked for again */

enum kind {
        KIND_USERNAME,
        KIND_USERID,
        KIND_EMAIL,
        KIND_APPLICATION,
        KIND_ANONYMOUS,
        KIND_EXCHANGE,
        _KIND_N,
};

extern const char *const kind_names[_KIND_N];
extern const char *const scope_names[QUESTION_SCOPES];

/* A client application, as the daemon's configuration has it; strings are borrowed. */
struct client {
        const char *name;
        const char *client_id;
        const char *tenant;
        bool users, customers, anonymous; /* for which it has a token URL */
        bool default_scope;               /* that is the first of scope_names */
};

struct questions {
        struct client clients[QUESTION_CLIENTS_MAX];
        size_t n_clients;
        double popularity[QUESTION_POPULAR]; /* of this subject and all that are more popular */
        uint64_t n_once;                     /* subjects that were asked for once */
        unsigned int process;                /* goes into their names */
        bool limited; /* the rule for this uid gives no subjects that begin with "other" */
};

struct question {
        const struct client *client;
        enum kind kind;
        char subject[QUESTION_SUBJECT_BYTES]; /* as the token must name it */
        char exchanged[QUESTION_SHA256_HEX];  /* of the token that is exchanged; else "" */
        unsigned int scopes;                  /* a bit for each of scope_names */
        uint32_t popular;                   /* which of the popular ones; QUESTION_POPULAR: none */
        uint32_t min_ttl_s;                 /* 0: none */
        char rejected[QUESTION_SHA256_HEX]; /* "": none */
        enum reason wanted;                 /* why it must be refused; REASON_NONE: it is good */
        bool counted;                       /* among the requests for tokens */
        bool bare;                          /* answered with nothing but the token */

        char bytes[QUESTION_REQUEST_BYTES]; /* the request */
        size_t size;
        size_t head_size; /* of it; what is left is the body */
};

void questions_init(struct questions *questions, unsigned int process);

/* "NAME:CLIENT_ID:TENANT:LETTERS", of u(sers), c(ustomers), a(nonymous), d(efault scope); changes
 * the text and keeps it. False: it is none, or there is no room. */
bool questions_add_client(struct questions *questions, char *text);

/* `rejected` is the digest of a token to report, for the same as `again` asked for (NULL: none). */
void question_draw(struct question *question, struct questions *questions, struct dice *dice,
                   const struct question *again, const char *rejected);

/* A name for what is asked for, the same for all that get the same token. */
uint64_t question_key(const struct question *question);
