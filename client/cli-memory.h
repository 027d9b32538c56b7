/* SPDX-License-Identifier: MIT */
#pragma once

/* What has been in memory that others manage: libraries and the compiler. */

/* Wipes the part of the stack that functions which have returned may have used. */
void cli_memory_wipe_stack(void);
