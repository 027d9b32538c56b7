/* SPDX-License-Identifier: MIT */
#pragma once

/* What --explain is asked, as words, and as the structures that a request would be judged by. */

#include <stdio.h>

#include "config.h"

#define EXPLAIN_GROUPS_MAX 1024

/* Who asks, and for what. */
struct explain_question {
        const char *user; /* as given; NULL: whoever runs this */
        const char *unit;
        const char *client_name;
        struct peer peer;
        gid_t groups[EXPLAIN_GROUPS_MAX];
        struct request_keys keys;
        struct token_request request;
        char scope[REQUEST_SCOPE_MAX_BYTES + 1];
        size_t scope_size;
        size_t client;
        struct policy policy; /* the configuration's, borrowed, for a daemon that runs as: */
        const char *daemon;   /* as given; NULL: whoever runs this */
        struct text asked;    /* the scope, or the client's default */
};

/* Reads NAME=VALUE words. What `ret` points to lives as long as the words, `config` and itself,
 * which must not move. 0, or EXPLAIN_E_USAGE, said on `errors`. */
int explain_question_read(struct explain_question *ret, const struct config *config,
                          char *const words[], int n_words, FILE *errors);
