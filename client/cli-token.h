/* SPDX-License-Identifier: MIT */
#pragma once

/* A token, asked for as the options say, whatever the grant. */

#include "cli-call.h"

struct cli_token {
        struct broker_token said;
        struct buffer json; /* all of the answer, lines of printable ASCII */
};

/*
 * Reads what is to be read from standard input or files, and asks. CLI_EXIT_OK, or the exit status
 * of `trouble`. `ret` goes to cli_token_deinit(), also on failure.
 */
int cli_token_get(struct cli_link *link, struct cli_token *ret, struct cli_trouble *trouble);

/* The same for who asks once; trouble is said. */
int cli_token_get_once(const struct cli *cli, struct cli_token *ret);

void cli_token_deinit(struct cli_token *token);
