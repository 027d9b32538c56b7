/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Where records go: the journal's socket, a file, or standard error. Used by the writer's thread
 * alone, but for audit_sink_open(). Nothing here waits, but for a file on a disk that hangs; on
 * Linux nobody can write to a regular file without that.
 */

#include <stdbool.h>
#include <stddef.h>

#include "config.h"

struct audit_sink {
        enum audit_target target;
        int fd;         /* owned; -1: not open just now */
        char *path;     /* owned; of the file, or of the journal's socket; NULL: standard error */
        bool is_socket; /* send() knows how not to wait, whatever the descriptor is set to */
        int error;      /* why the last write failed, or a file could not be opened again; an errno
                         */
};

enum {
        AUDIT_SINK_E_FULL = 1,   /* audit_sink_poll() tells when to go on */
        AUDIT_SINK_E_BROKEN,     /* try again after a while */
        AUDIT_SINK_E_UNWRITABLE, /* this record will never be taken */
};

/* Takes as many bytes of the `size` at `bytes` as it can, and moves *at, which is 0 at first, past
 * them. 0: all are written; otherwise as above, with sink->error set. */
typedef int audit_sink_write_fn(struct audit_sink *sink, const void *bytes, size_t size,
                                size_t *at);

/* Whether a file that the configuration names could be opened now, without making or changing any.
 * What audit_sink_open() says. */
int audit_sink_try(const struct audit_config *config);

/* `journal` is the path of the journal's socket; it need not be there yet. 0, -ENOMEM, or -errno:
 * the file cannot be opened (-ENOTSUP: it is not a regular file; -EPERM: others could write to it).
 */
int audit_sink_open(struct audit_sink *sink, const struct audit_config *config,
                    const char *journal);
void audit_sink_close(struct audit_sink *sink);

audit_sink_write_fn audit_sink_write;

/* After AUDIT_SINK_E_FULL: waits until there may be room, `timeout_ms` at most. */
void audit_sink_poll(const struct audit_sink *sink, int timeout_ms);
