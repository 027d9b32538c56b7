/* SPDX-License-Identifier: MIT */

#include "log-render.h"

#include <inttypes.h>

static const struct {
        unsigned int priority; /* syslog(3) */
        const char *name;
} levels[] = {
        [LOG_LEVEL_ERROR] = {3, "error"},
        [LOG_LEVEL_WARNING] = {4, "warning"},
        [LOG_LEVEL_INFO] = {6, "info"},
        [LOG_LEVEL_DEBUG] = {7, "debug"},
};

static void put_message(struct line *line, const struct log_record *record, bool json)
{
        line_put_text(line, TEXT(record->message), json);
        if (record->others > 0)
                line_put_format(line, " (and %" PRIu64 " other%s like it)", record->others,
                                record->others == 1 ? "" : "s");
}

size_t log_render_text(char ret[static LOG_RENDER_MAX_BYTES], const struct log_record *record,
                       bool prefixed)
{
        struct line line = {.bytes = ret, .max_bytes = LOG_RENDER_MAX_BYTES};

        if (prefixed)
                line_put_format(&line, "<%u>", levels[record->level].priority);
        else
                line_put_format(&line, "egain-tokend: %s: ", levels[record->level].name);
        put_message(&line, record, false);
        line_put_string(&line, "\n");
        return line.size;
}

size_t log_render_json(char ret[static LOG_RENDER_MAX_BYTES], const struct log_record *record)
{
        const struct log_event_info *event = log_event_info(record->event);
        struct line line = {.bytes = ret, .max_bytes = LOG_RENDER_MAX_BYTES};

        line_put_string(&line, "{\"time\":\"");
        line_put_time(&line, record->wall_ms);
        line_put_format(&line, "\",\"level\":\"%s\",\"message\":\"", levels[record->level].name);
        put_message(&line, record, true);
        line_put_string(&line, "\"");
        if (event)
                line_put_json_name(&line, "event", event->name);
        for (size_t i = 0; i < LOG_FIELD_N; i++) {
                const struct log_field_info *info = &log_field_infos[i];

                if (info->is_number && log_field_number(&record->fields, i) > 0)
                        line_put_json_number(&line, info->json, true,
                                             log_field_number(&record->fields, i));
                else if (!info->is_number && log_field_string(&record->fields, i))
                        line_put_json_name(&line, info->json, log_field_string(&record->fields, i));
        }
        if (record->others > 0)
                line_put_json_number(&line, "others", true, record->others);
        line_put_string(&line, "}\n");
        return line.size;
}

size_t log_render_journal(char ret[static LOG_RENDER_MAX_BYTES], const struct log_record *record)
{
        const struct log_event_info *event = log_event_info(record->event);
        struct line line = {.bytes = ret, .max_bytes = LOG_RENDER_MAX_BYTES};

        line_put_string(&line, "MESSAGE=");
        put_message(&line, record, false);
        line_put_string(&line, "\n");
        line_put_field_number(&line, "PRIORITY", true, levels[record->level].priority);
        line_put_field(&line, "SYSLOG_IDENTIFIER", "egain-tokend");
        if (event) {
                line_put_field(&line, "MESSAGE_ID", event->message_id);
                line_put_field(&line, "EGAIN_EVENT", event->name);
        }
        for (size_t i = 0; i < LOG_FIELD_N; i++) {
                const struct log_field_info *info = &log_field_infos[i];

                if (info->is_number)
                        line_put_field_number(&line, info->journal,
                                              log_field_number(&record->fields, i) > 0,
                                              log_field_number(&record->fields, i));
                else
                        line_put_field(&line, info->journal, log_field_string(&record->fields, i));
        }
        line_put_field_number(&line, "EGAIN_OTHERS", record->others > 0, record->others);
        return line.size;
}
