/* SPDX-License-Identifier: MIT */
#pragma once

/* What is wrong between a caller and a token: at which link of the chain, and what to do about it.
 */

#include "cli-call.h"

enum cli_step {
        CLI_STEP_SOCKET,  /* this process reaches the daemon */
        CLI_STEP_DAEMON,  /* it serves */
        CLI_STEP_POLICY,  /* this caller may have this token */
        CLI_STEP_ISSUER,  /* the daemon reaches the issuer, and the issuer answers */
        CLI_STEP_SECRET,  /* the issuer takes the client credentials */
        CLI_STEP_SUBJECT, /* the issuer knows the subject */
        CLI_STEP_SCOPE,   /* the issuer grants the scope */
        CLI_STEP_TOKEN,   /* a token has come */
        _CLI_STEP_N,
};

struct cli_fault {
        enum cli_step step;
        const char *advice; /* a sentence; static */
};

/* Of a request that did not reach the daemon, or was not answered as it answers. */
struct cli_fault cli_fault_of_transport(const struct cli_trouble *trouble);

/* Of one of the daemon's reasons, as /v1/explain names them; false: none that is known here. */
bool cli_fault_of_reason(const char *reason, struct cli_fault *ret);

/* Of an answer to a request that policy permits, by status and error alone: all that a caller
 * without the right to monitor knows. */
struct cli_fault cli_fault_of_refusal(const struct cli_trouble *trouble);

const char *cli_step_name(enum cli_step step);
