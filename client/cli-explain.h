/* SPDX-License-Identifier: MIT */
#pragma once

#include "cli-call.h"

/* Asks what would become of the request that the options make. CLI_EXIT_OK and an explanation of a
 * request that is permitted, which goes to json_release(); or the exit status of `trouble`. */
int cli_explain(struct cli_link *link, json_object **ret, struct cli_trouble *trouble);
