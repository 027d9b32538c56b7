/* SPDX-License-Identifier: MIT */
#pragma once

/* Requests that wait: suspended connections, each until a time, a word of ours or its client's end.
 */

#include <stdbool.h>
#include <stdint.h>

#include "list.h"

#define PAUSE_FOREVER UINT64_MAX

struct MHD_Connection;

struct pauses {
        struct list active;
        struct list timers; /* soonest first */
        int epoll_fd;       /* readable when the client of a paused request has left */
        bool closed;
};

/* Embedded in a request; all zeroes before its first pause. */
struct pause {
        struct pauses *pauses;             /* borrowed; NULL: not paused */
        struct MHD_Connection *connection; /* borrowed */
        struct list active;                /* pauses::active */
        struct list timer;                 /* pauses::timers; a ring of its own without a time */
        uint64_t due_ms;
        bool client_gone; /* why the pause has ended */
};

/* The monotonic clock. */
uint64_t pause_now_ms(void);

/* 0 or a negative errno. */
int pauses_init(struct pauses *pauses);
void pauses_deinit(struct pauses *pauses);

/* Ends all pauses; none begins any more. The server must turn once more before it may stop. */
void pauses_close(struct pauses *pauses);

/* Ends those whose time has come, and, if `readable` says so, those whose client has left. */
void pauses_run(struct pauses *pauses, uint64_t now_ms, bool readable);

/* For poll(): milliseconds until the next time comes, -1 for never. */
int pauses_timeout_ms(const struct pauses *pauses, uint64_t now_ms);

/*
 * Suspends the connection, which must be at a point where libmicrohttpd allows that, and resumes it
 * at `due_ms` (PAUSE_FOREVER: never) unless pause_end() comes first. False when closed: nothing was
 * done.
 */
bool pause_begin(struct pause *pause, struct pauses *pauses, struct MHD_Connection *connection,
                 uint64_t due_ms);

/* Whether the client of a paused request is still there. It may have left a moment ago, before that
 * was noticed. */
bool pause_is_awaited(const struct pause *pause);

/* Does nothing when not paused. */
void pause_end(struct pause *pause);
