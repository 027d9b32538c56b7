/* SPDX-License-Identifier: MIT */
#pragma once

/* Clears the registers that functions of the C library copy, compare and search bytes with. They
 * hold the last of what those handled, a token perhaps, until something else needs them, and a core
 * file has them. */
void registers_clear(void);
