/* SPDX-License-Identifier: MIT */
#pragma once

/* What has been in memory that others manage: libraries and the compiler. */

#include <stdbool.h>

/* Has libcurl wipe what it gives back. Before anything else uses libcurl. False: it cannot be used.
 */
bool cli_memory_init(void);

/* Wipes the part of the stack that functions which have returned may have used. */
void cli_memory_wipe_stack(void);
