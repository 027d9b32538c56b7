/* SPDX-License-Identifier: MIT */
#pragma once

/* Where lines of the log go; nothing here waits, but for a file on a disk that hangs. */

#include <stdbool.h>
#include <stddef.h>

#include "log-render.h"

struct log_sink {
        int fd; /* owned; standard error; -1: closed */
        bool is_socket;
        bool to_journal;                 /* standard error leads there */
        const char *journal;             /* borrowed; path of its socket */
        int journal_fd;                  /* owned; -1: not connected */
        char rest[LOG_RENDER_MAX_BYTES]; /* of a line whose beginning was written */
        size_t rest_size;
};

enum {
        LOG_SINK_E_FULL = 1, /* nobody reads just now */
        LOG_SINK_E_AWAY,     /* of the journal's socket: there is none */
};

/* `stream` is $JOURNAL_STREAM or NULL. 0 or -errno. */
int log_sink_open(struct log_sink *sink, const char *journal, const char *stream);
void log_sink_close(struct log_sink *sink);

/* Writes a line to standard error: whole, or what is left of it before the next. 0 or
 * LOG_SINK_E_FULL. */
int log_sink_write(struct log_sink *sink, const char *bytes, size_t size);

/* Sends a datagram to the journal. 0, LOG_SINK_E_FULL or LOG_SINK_E_AWAY. */
int log_sink_send(struct log_sink *sink, const char *bytes, size_t size);
