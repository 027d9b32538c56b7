/* SPDX-License-Identifier: MIT */

/*
 * Written by hand into one buffer that holds the worst case, so that the writer allocates nothing
 * and a record cannot fail to be written for want of memory.
 */

#include "audit-render.h"

#include <inttypes.h>

#include "line.h"

/* Syslog's, as the journal wants them. */
#define PRIORITY_WARNING 4
#define PRIORITY_NOTICE  5
#define PRIORITY_INFO    6

static const char *const action_names[] = {
        [AUDIT_ACTION_TOKEN] = "token",
        [AUDIT_ACTION_LIST] = "list",
        [AUDIT_ACTION_PURGE] = "purge",
        [AUDIT_ACTION_RELOAD] = "reload",
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
        line_put_json_name(line, "action", action_names[record->action]);
        line_put_json_name(line, "outcome", outcome_names[record->outcome]);
        line_put_json_name(line, "reason", reason_name(record));
        line_put_json_text(line, "rule", record->rule);
        line_put_json_number(line, "uid", record->has_uid, record->uid);
        line_put_json_number(line, "pid", record->pid > 0, (uint64_t)record->pid);
        line_put_json_text(line, "unit", record->unit);
        line_put_json_text(line, "client", record->client);
        line_put_json_name(line, "subject_kind", kind_name(record));
        if (record->subject_digest[0])
                line_put_json_name(line, "subject_digest", record->subject_digest);
        else
                line_put_json_text(line, "subject", record->subject);
        line_put_json_text(line, "scope", record->scope);
        line_put_json_name(line, "cache", cache_name(record));
        line_put_string(line, record->collapsed ? ",\"collapsed\":true" : ",\"collapsed\":false");
        if (record->fingerprint)
                line_put_format(line, ",\"token\":\"%016" PRIx64 "\"", record->fingerprint);
        else
                line_put_json_name(line, "token", NULL);
        if (record->cut)
                line_put_string(line, ",\"cut\":true");
}

size_t audit_render_json(char ret[static AUDIT_RENDER_MAX_BYTES], const struct audit_record *record)
{
        struct line line = {.bytes = ret, .max_bytes = AUDIT_RENDER_MAX_BYTES};

        line_put_string(&line, "{\"time\":\"");
        line_put_time(&line, record->wall_ms);
        line_put_string(&line, "\"");
        if (record->outcome == AUDIT_DROPPED) {
                line_put_json_name(&line, "outcome", outcome_names[record->outcome]);
                line_put_json_name(&line, "queue", lane_names[record->lane]);
        } else {
                put_json_decision(&line, record);
        }
        line_put_json_number(&line, "count", true, record->count);
        if (record->since_wall_ms) {
                line_put_string(&line, ",\"since\":\"");
                line_put_time(&line, record->since_wall_ms);
                line_put_string(&line, "\"");
        }
        line_put_string(&line, "}\n");
        return line.size;
}

/* " to uid 1001 (crm-sync.service) by rule crm at portal" */
static void put_whom(struct line *line, const struct audit_record *record)
{
        if (record->has_uid)
                line_put_format(line, " to uid %u", (unsigned int)record->uid);
        else
                line_put_string(line, " to an unknown peer");
        if (record->unit.bytes) {
                line_put_string(line, " (");
                line_put_text(line, record->unit, false);
                line_put_string(line, ")");
        }
        if (record->rule.bytes) {
                line_put_string(line, " by rule ");
                line_put_text(line, record->rule, false);
        }
        if (record->client.bytes) {
                line_put_string(line, " at ");
                line_put_text(line, record->client, false);
        }
}

/* What journalctl shows when nobody asks for fields. What the caller chose comes last, so that
 * whatever it says cannot pass for the rest of the sentence. */
static void put_message(struct line *line, const struct audit_record *record)
{
        if (record->outcome == AUDIT_DROPPED) {
                line_put_format(line, "MESSAGE=%" PRIu64 " records of %s were dropped\n",
                                record->count, lane_names[record->lane]);
                return;
        }
        line_put_format(line, "MESSAGE=%s %s", action_names[record->action],
                        outcome_names[record->outcome]);
        put_whom(line, record);
        if (record->has_cache_status)
                line_put_format(line, ", %s", cache_name(record));
        if (record->reason)
                line_put_format(line, ", %s", reason_name(record));
        if (record->since_wall_ms)
                line_put_format(line, ", %" PRIu64 " times", record->count);
        if (record->outcome == AUDIT_GRANTED &&
            (record->action == AUDIT_ACTION_LIST || record->action == AUDIT_ACTION_PURGE))
                line_put_format(line, ", %" PRIu64 " entries", record->count);
        if (record->has_subject) {
                line_put_format(line, ": %s:", kind_name(record));
                if (record->subject_digest[0])
                        line_put_format(line, "<%s>", record->subject_digest);
                else
                        line_put_text(line, record->subject, false);
        }
        line_put_string(line, "\n");
}

static void put_field_decision(struct line *line, const struct audit_record *record)
{
        line_put_field(line, "EGAIN_ACTION", action_names[record->action]);
        line_put_field(line, "EGAIN_REASON", reason_name(record));
        line_put_field_text(line, "EGAIN_RULE", record->rule);
        line_put_field_number(line, "EGAIN_UID", record->has_uid, record->uid);
        line_put_field_number(line, "EGAIN_PID", record->pid > 0, (uint64_t)record->pid);
        line_put_field_text(line, "EGAIN_UNIT", record->unit);
        line_put_field_text(line, "EGAIN_CLIENT", record->client);
        line_put_field(line, "EGAIN_SUBJECT_KIND", kind_name(record));
        if (record->subject_digest[0])
                line_put_field(line, "EGAIN_SUBJECT_DIGEST", record->subject_digest);
        else
                line_put_field_text(line, "EGAIN_SUBJECT", record->subject);
        line_put_field_text(line, "EGAIN_SCOPE", record->scope);
        line_put_field(line, "EGAIN_CACHE", cache_name(record));
        if (record->has_cache_status)
                line_put_field_number(line, "EGAIN_COLLAPSED", true, record->collapsed);
        if (record->fingerprint)
                line_put_format(line, "EGAIN_TOKEN=%016" PRIx64 "\n", record->fingerprint);
        if (record->cut)
                line_put_field(line, "EGAIN_CUT", "1");
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
        struct line line = {.bytes = ret, .max_bytes = AUDIT_RENDER_MAX_BYTES};

        put_message(&line, record);
        line_put_field_number(&line, "PRIORITY", true, priority_of(record));
        line_put_field(&line, "SYSLOG_IDENTIFIER", "egain-tokend");
        line_put_field(&line, "MESSAGE_ID",
                       record->lane == AUDIT_LANE_GRANTS ? AUDIT_MESSAGE_ID_GRANT
                                                         : AUDIT_MESSAGE_ID_REFUSAL);
        line_put_field_time(&line, "EGAIN_TIME", record->wall_ms);
        line_put_field(&line, "EGAIN_OUTCOME", outcome_names[record->outcome]);
        if (record->outcome == AUDIT_DROPPED)
                line_put_field(&line, "EGAIN_QUEUE", lane_names[record->lane]);
        else
                put_field_decision(&line, record);
        line_put_field_number(&line, "EGAIN_COUNT", true, record->count);
        if (record->since_wall_ms)
                line_put_field_time(&line, "EGAIN_SINCE", record->since_wall_ms);
        return line.size;
}
