/* SPDX-License-Identifier: MIT */
#pragma once

/* egain-tokend --explain: which rule decides about a caller, and what it gives. Asks nobody:
 * neither the daemon nor the kernel, only the configuration and the user database. */

#include <stdio.h>

#include "config.h"

/* What a caller could ask with, for --help. */
#define EXPLAIN_WORDS \
        "user= group= unit= over=unix|tcp key_file= daemon= client= subject=KIND:VALUE scope="

enum {
        EXPLAIN_E_REFUSED = 1, /* said on `out`, with what would allow it */
        EXPLAIN_E_USAGE,       /* said on `errors` */
};

/* `words` are NAME=VALUE. 0: such a request is permitted; EXPLAIN_E_REFUSED, EXPLAIN_E_USAGE or
 * -ENOMEM. */
int explain(const struct config *config, char *const words[], int n_words, FILE *out, FILE *errors);
