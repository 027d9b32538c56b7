/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * A record as bytes: a line of JSON, or a datagram of the journal's native protocol
 * (systemd.io/JOURNAL_NATIVE_PROTOCOL). Whatever bytes a caller sent, the line is valid JSON in
 * valid UTF-8 and a field of the datagram ends where it should: bytes that are no UTF-8 become
 * U+FFFD, and control characters are escaped in the one and become U+FFFD in the other.
 */

#include <stddef.h>

#include "audit-record.h"

/* The larger of the two forms: of JSON, where one byte becomes six at most ("\u0001"), and of the
 * journal, where it becomes three, but subject, client, unit and rule are in MESSAGE once more. */
#define AUDIT_RENDER_MAX_BYTES (6 * AUDIT_RECORD_MAX_BYTES + 4096)

/* MESSAGE_ID of records of grants (and of what an administrator did), and of refusals. */
#define AUDIT_MESSAGE_ID_GRANT   "8640cafda39942f38f3ec4f7dd634576"
#define AUDIT_MESSAGE_ID_REFUSAL "6ba6e10c829042e5b418fc6f834d8603"

/* Both return how many bytes they wrote. */
size_t audit_render_json(char ret[static AUDIT_RENDER_MAX_BYTES],
                         const struct audit_record *record);
size_t audit_render_journal(char ret[static AUDIT_RENDER_MAX_BYTES],
                            const struct audit_record *record);
