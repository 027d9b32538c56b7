/* SPDX-License-Identifier: MIT */
#pragma once

/* A line of the log as bytes: plain text, JSON, or a datagram for the journal. */

#include "line.h"
#include "log-event.h"

#define LOG_MESSAGE_MAX_BYTES 1024 /* a NUL included; what is longer is cut */
#define LOG_VALUES_MAX_BYTES  2048 /* of all fields of a line together, a NUL of each included */

#define LOG_RENDER_MAX_BYTES \
        (LINE_JSON_GROWTH * (LOG_MESSAGE_MAX_BYTES + LOG_VALUES_MAX_BYTES) + 1024)

struct log_record {
        enum log_level level;
        enum log_event event;
        int64_t wall_ms;
        const char *message;
        struct log_fields fields; /* as short as is said above */
        uint64_t others;          /* like it, that are not written */
};

/* All return how many bytes they wrote. */

/* Without fields. `prefixed`: with the priority in front, sd-daemon(3), in place of name and level.
 */
size_t log_render_text(char ret[static LOG_RENDER_MAX_BYTES], const struct log_record *record,
                       bool prefixed);
size_t log_render_json(char ret[static LOG_RENDER_MAX_BYTES], const struct log_record *record);
size_t log_render_journal(char ret[static LOG_RENDER_MAX_BYTES], const struct log_record *record);
