/* SPDX-License-Identifier: MIT */
#pragma once

/* What the log and the audit record both write to, opened so that nothing waits for a reader. */

#include <stdbool.h>

#define OUTLET_JOURNAL "/run/systemd/journal/socket"

/* A descriptor of our own for standard error; *ret_is_socket says that it takes send() with
 * MSG_DONTWAIT, rather than write(). The descriptor, or -errno. */
int outlet_open_stderr(bool *ret_is_socket);

/* A socket that is connected to the journal's, which speaks the native protocol at `path`. The
 * descriptor, or -errno. */
int outlet_connect_journal(const char *path);

/* Whether standard error leads to the journal: `stream` is $JOURNAL_STREAM (NULL: not set), the
 * device and inode of what systemd gave us, which it may have been before somebody redirected it
 * (systemd.exec(5)). */
bool outlet_stderr_is_journal(const char *stream);
