/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * The error model of this code base. A function that can fail returns an int:
 *
 * - 0: success.
 * - Negative, an errno: unexpected (out of memory, mostly). It travels up unchanged, traced at
 *   every return that passes it on.
 * - Positive: an outcome that the function's header lists by name and its caller handles.
 *
 * Tracing costs nothing where nothing fails; the daemon's error_observer writes at log level debug.
 */

#include <errno.h>

typedef void error_observer_fn(int error, const char *file, int line, const char *function);

extern error_observer_fn *error_observer;

static inline int error_trace_at(int r, const char *file, int line, const char *function)
{
        if (r < 0 && error_observer)
                error_observer(r, file, line, function);
        return r;
}

#define error_trace(r) error_trace_at((r), __FILE__, __LINE__, __func__)
