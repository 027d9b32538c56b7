/* SPDX-License-Identifier: MIT */
#pragma once

/* Secrets that come in: from standard input or a file, never from the command line, which everybody
 * on the host can read. */

#include <stddef.h>

#include "buffer.h"

/*
 * Reads a secret of 1 to `max` bytes, `what` in messages, without the white space around it. `path`
 * NULL: from standard input, which must not be a terminal: that would show what is typed.
 * CLI_EXIT_OK, or the exit status for what was said on standard error. `ret` goes to
 * buffer_deinit().
 */
int cli_read_secret(const char *path, const char *what, size_t max, struct buffer *ret);
