/* SPDX-License-Identifier: MIT */

/*
 * Written by hand into one buffer that holds the worst case, so that the writer allocates nothing
 * and a record cannot fail to be written for want of memory.
 */

#include "audit-render.h"

#include <assert.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define REPLACEMENT "\xef\xbf\xbd" /* U+FFFD */

/* Syslog's, as the journal wants them. */
#define PRIORITY_WARNING 4
#define PRIORITY_NOTICE  5
#define PRIORITY_INFO    6

/* "2026-11-22T14:50:55.123Z", or a year of five digits and more */
#define TIME_MAX_BYTES 48

#define NO_CONTROL 0x100

struct line {
        char *bytes;
        size_t size;
};

static const char *const action_names[] = {
        [AUDIT_ACTION_TOKEN] = "token",
        [AUDIT_ACTION_LIST] = "list",
        [AUDIT_ACTION_PURGE] = "purge",
};

static const char *const outcome_names[] = {
        [AUDIT_GRANTED] = "granted",
        [AUDIT_REFUSED] = "refused",
        [AUDIT_FAILED] = "failed",
        [AUDIT_DROPPED] = "dropped",
};

static const char *const lane_names[_AUDIT_LANE_N] = {
        [AUDIT_LANE_GRANTS] = "grants",
        [AUDIT_LANE_REFUSALS] = "refusals",
};

static const char *const cache_names[] = {
        [CACHE_STATUS_HIT] = "hit",
        [CACHE_STATUS_FWD_MISS] = "miss",
        [CACHE_STATUS_FWD_STALE] = "stale",
        [CACHE_STATUS_FWD_REQUEST] = "request",
};

static void put(struct line *line, const void *bytes, size_t size)
{
        assert(size <= AUDIT_RENDER_MAX_BYTES - line->size);
        memcpy(line->bytes + line->size, bytes, size);
        line->size += size;
}

static void put_string(struct line *line, const char *string)
{
        put(line, string, strlen(string));
}

/* For numbers and names of ours: short, and nothing in them to escape. */
static void __attribute__((format(printf, 2, 3)))
put_format(struct line *line, const char *format, ...)
{
        char bytes[192];
        va_list args;
        int size;

        va_start(args, format);
        size = vsnprintf(bytes, sizeof(bytes), format, args);
        va_end(args);
        assert(size >= 0 && (size_t)size < sizeof(bytes));
        put(line, bytes, (size_t)size);
}

static void put_time(struct line *line, int64_t wall_ms)
{
        const time_t seconds = (time_t)(wall_ms / 1000);
        char bytes[TIME_MAX_BYTES];
        struct tm tm;

        if (wall_ms < 0 || !gmtime_r(&seconds, &tm))
                tm = (struct tm){.tm_year = 70, .tm_mday = 1};
        (void)strftime(bytes, sizeof(bytes), "%Y-%m-%dT%H:%M:%S", &tm);
        put_format(line, "%s.%03dZ", bytes, wall_ms < 0 ? 0 : (int)(wall_ms % 1000));
}

/* How many bytes the character at the front of `text` has, 0 if none is there; *ret_control tells
 * which control character it is (C0, DEL, C1), NO_CONTROL if none. */
static size_t next_character(struct text text, unsigned int *ret_control)
{
        const uint8_t *in = (const uint8_t *)text.bytes;
        const size_t size = in[0] < 0x80 ? 1 : in[0] < 0xe0 ? 2 : in[0] < 0xf0 ? 3 : 4;

        *ret_control = NO_CONTROL;
        if (size > text.size || !text_is_utf8((struct text){text.bytes, size}))
                return 0;
        if (size == 1 && (in[0] < 0x20 || in[0] == 0x7f))
                *ret_control = in[0];
        if (size == 2 && in[0] == 0xc2 && in[1] < 0xa0)
                *ret_control = in[1];
        return size;
}

/* What a caller sent, made fit for a reader. */
static void put_text(struct line *line, struct text text, bool json)
{
        while (text.size > 0) {
                unsigned int control;
                size_t size = next_character(text, &control);

                if (size == 0) {
                        put_string(line, REPLACEMENT);
                        size = 1;
                } else if (control != NO_CONTROL && json) {
                        put_format(line, "\\u%04x", control);
                } else if (control != NO_CONTROL) {
                        put_string(line, REPLACEMENT);
                } else {
                        if (json && (*text.bytes == '"' || *text.bytes == '\\'))
                                put_string(line, "\\");
                        put(line, text.bytes, size);
                }
                text.bytes += size;
                text.size -= size;
        }
}

/* ',"name":', null included where there is no text. */
static void put_json_text(struct line *line, const char *name, struct text text)
{
        put_format(line, ",\"%s\":", name);
        if (!text.bytes) {
                put_string(line, "null");
                return;
        }
        put_string(line, "\"");
        put_text(line, text, true);
        put_string(line, "\"");
}

/* The same with one of our own names, NULL included. */
static void put_json_name(struct line *line, const char *name, const char *value)
{
        put_json_text(line, name, value ? TEXT(value) : (struct text){});
}

static void put_json_number(struct line *line, const char *name, bool known, uint64_t value)
{
        if (known)
                put_format(line, ",\"%s\":%" PRIu64, name, value);
        else
                put_format(line, ",\"%s\":null", name);
}

static const char *reason_name(const struct audit_record *record)
{
        return record->reason ? reason_info(record->reason)->code : NULL;
}

static const char *cache_name(const struct audit_record *record)
{
        return record->has_cache_status ? cache_names[record->cache_status] : NULL;
}

static const char *kind_name(const struct audit_record *record)
{
        return record->has_subject ? subject_kind_name(record->subject_kind) : NULL;
}

static void put_json_decision(struct line *line, const struct audit_record *record)
{
        put_json_name(line, "action", action_names[record->action]);
        put_json_name(line, "outcome", outcome_names[record->outcome]);
        put_json_name(line, "reason", reason_name(record));
        put_json_text(line, "rule", record->rule);
        put_json_number(line, "uid", record->has_uid, record->uid);
        put_json_number(line, "pid", record->pid > 0, (uint64_t)record->pid);
        put_json_text(line, "unit", record->unit);
        put_json_text(line, "client", record->client);
        put_json_name(line, "subject_kind", kind_name(record));
        if (record->subject_digest[0])
                put_json_name(line, "subject_digest", record->subject_digest);
        else
                put_json_text(line, "subject", record->subject);
        put_json_text(line, "scope", record->scope);
        put_json_name(line, "cache", cache_name(record));
        put_format(line, ",\"collapsed\":%s", record->collapsed ? "true" : "false");
        if (record->fingerprint)
                put_format(line, ",\"token\":\"%016" PRIx64 "\"", record->fingerprint);
        else
                put_json_name(line, "token", NULL);
        if (record->cut)
                put_string(line, ",\"cut\":true");
}

size_t audit_render_json(char ret[static AUDIT_RENDER_MAX_BYTES], const struct audit_record *record)
{
        struct line line = {.bytes = ret};

        put_string(&line, "{\"time\":\"");
        put_time(&line, record->wall_ms);
        put_string(&line, "\"");
        if (record->outcome == AUDIT_DROPPED) {
                put_json_name(&line, "outcome", outcome_names[record->outcome]);
                put_json_name(&line, "queue", lane_names[record->lane]);
        } else {
                put_json_decision(&line, record);
        }
        put_json_number(&line, "count", true, record->count);
        if (record->since_wall_ms) {
                put_string(&line, ",\"since\":\"");
                put_time(&line, record->since_wall_ms);
                put_string(&line, "\"");
        }
        put_string(&line, "}\n");
        return line.size;
}

static void put_field_text(struct line *line, const char *name, struct text text)
{
        if (!text.bytes)
                return;
        put_format(line, "%s=", name);
        put_text(line, text, false);
        put_string(line, "\n");
}

static void put_field(struct line *line, const char *name, const char *value)
{
        if (value)
                put_field_text(line, name, TEXT(value));
}

static void put_field_number(struct line *line, const char *name, bool known, uint64_t value)
{
        if (known)
                put_format(line, "%s=%" PRIu64 "\n", name, value);
}

static void put_field_time(struct line *line, const char *name, int64_t wall_ms)
{
        put_format(line, "%s=", name);
        put_time(line, wall_ms);
        put_string(line, "\n");
}

/* " to uid 1001 (crm-sync.service) by rule crm at portal" */
static void put_whom(struct line *line, const struct audit_record *record)
{
        if (record->has_uid)
                put_format(line, " to uid %u", (unsigned int)record->uid);
        else
                put_string(line, " to an unknown peer");
        if (record->unit.bytes) {
                put_string(line, " (");
                put_text(line, record->unit, false);
                put_string(line, ")");
        }
        if (record->rule.bytes) {
                put_string(line, " by rule ");
                put_text(line, record->rule, false);
        }
        if (record->client.bytes) {
                put_string(line, " at ");
                put_text(line, record->client, false);
        }
}

/* What journalctl shows when nobody asks for fields. What the caller chose comes last, so that
 * whatever it says cannot pass for the rest of the sentence. */
static void put_message(struct line *line, const struct audit_record *record)
{
        if (record->outcome == AUDIT_DROPPED) {
                put_format(line, "MESSAGE=%" PRIu64 " records of %s were dropped\n", record->count,
                           lane_names[record->lane]);
                return;
        }
        put_format(line, "MESSAGE=%s %s", action_names[record->action],
                   outcome_names[record->outcome]);
        put_whom(line, record);
        if (record->has_cache_status)
                put_format(line, ", %s", cache_name(record));
        if (record->reason)
                put_format(line, ", %s", reason_name(record));
        if (record->since_wall_ms)
                put_format(line, ", %" PRIu64 " times", record->count);
        if (record->action != AUDIT_ACTION_TOKEN && record->outcome == AUDIT_GRANTED)
                put_format(line, ", %" PRIu64 " entries", record->count);
        if (record->has_subject) {
                put_format(line, ": %s:", kind_name(record));
                if (record->subject_digest[0])
                        put_format(line, "<%s>", record->subject_digest);
                else
                        put_text(line, record->subject, false);
        }
        put_string(line, "\n");
}

static void put_field_decision(struct line *line, const struct audit_record *record)
{
        put_field(line, "EGAIN_ACTION", action_names[record->action]);
        put_field(line, "EGAIN_REASON", reason_name(record));
        put_field_text(line, "EGAIN_RULE", record->rule);
        put_field_number(line, "EGAIN_UID", record->has_uid, record->uid);
        put_field_number(line, "EGAIN_PID", record->pid > 0, (uint64_t)record->pid);
        put_field_text(line, "EGAIN_UNIT", record->unit);
        put_field_text(line, "EGAIN_CLIENT", record->client);
        put_field(line, "EGAIN_SUBJECT_KIND", kind_name(record));
        if (record->subject_digest[0])
                put_field(line, "EGAIN_SUBJECT_DIGEST", record->subject_digest);
        else
                put_field_text(line, "EGAIN_SUBJECT", record->subject);
        put_field_text(line, "EGAIN_SCOPE", record->scope);
        put_field(line, "EGAIN_CACHE", cache_name(record));
        if (record->has_cache_status)
                put_field_number(line, "EGAIN_COLLAPSED", true, record->collapsed);
        if (record->fingerprint)
                put_format(line, "EGAIN_TOKEN=%016" PRIx64 "\n", record->fingerprint);
        if (record->cut)
                put_field(line, "EGAIN_CUT", "1");
}

static unsigned int priority_of(const struct audit_record *record)
{
        if (record->outcome == AUDIT_DROPPED)
                return PRIORITY_WARNING;
        return record->outcome == AUDIT_GRANTED ? PRIORITY_INFO : PRIORITY_NOTICE;
}

size_t audit_render_journal(char ret[static AUDIT_RENDER_MAX_BYTES],
                            const struct audit_record *record)
{
        struct line line = {.bytes = ret};

        put_message(&line, record);
        put_field_number(&line, "PRIORITY", true, priority_of(record));
        put_field(&line, "SYSLOG_IDENTIFIER", "egain-tokend");
        put_field(&line, "MESSAGE_ID",
                  record->lane == AUDIT_LANE_GRANTS ? AUDIT_MESSAGE_ID_GRANT
                                                    : AUDIT_MESSAGE_ID_REFUSAL);
        put_field_time(&line, "EGAIN_TIME", record->wall_ms);
        put_field(&line, "EGAIN_OUTCOME", outcome_names[record->outcome]);
        if (record->outcome == AUDIT_DROPPED)
                put_field(&line, "EGAIN_QUEUE", lane_names[record->lane]);
        else
                put_field_decision(&line, record);
        put_field_number(&line, "EGAIN_COUNT", true, record->count);
        if (record->since_wall_ms)
                put_field_time(&line, "EGAIN_SINCE", record->since_wall_ms);
        return line.size;
}
