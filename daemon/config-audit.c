/* SPDX-License-Identifier: MIT */

/*
 * The key makes digests of subjects comparable from one record to the next, and for whoever has it
 * with the subjects themselves. Without one, a random one serves for the tokens' fingerprints, as
 * long as the daemon lives; digests of subjects would be worth nothing then.
 */

#include "config-audit.h"

#include <stdlib.h>
#include <string.h>

#include "../lib/error.h"
#include "config-keys.h"
#include "secrets.h"

#define KEY_MIN_BYTES 32

#define FIELD(member) CONFIG_FIELD(struct config, audit.member)

static bool is_target(const char *value)
{
        return strcmp(value, "journal") == 0 || strcmp(value, "stderr") == 0 ||
               (config_reader_is_path(value) && value[strlen(value) - 1] != '/');
}

static int read_target(struct config_reader *reader, config_setting_t *setting, void *target)
{
        static const struct config_option option = {
                .check = is_target,
                .expected = "\"journal\", \"stderr\" or the absolute path of a file"};
        struct audit_config *audit = &((struct config *)target)->audit;
        const char *value;
        int r;

        r = config_reader_string(reader, setting, &option, &value);
        if (r || !value)
                return error_trace(r);
        if (value[0] != '/') {
                audit->target = value[0] == 'j' ? AUDIT_TO_JOURNAL : AUDIT_TO_STDERR;
                return 0;
        }
        audit->target = AUDIT_TO_FILE;
        audit->line = config_setting_source_line(setting);
        audit->file = strdup(value);
        return audit->file ? 0 : error_trace(-ENOMEM);
}

/* In the order of enum audit_subjects. */
static const char *const subjects[] = {"clear", "digest", NULL};

const struct config_option config_audit_options[] = {
        {"to", CONFIG_KIND_OTHER, .read = read_target},
        {"subjects", CONFIG_KIND_CHOICE, FIELD(subjects), .fallback = "clear", .choices = subjects},
        {"key_file", CONFIG_KIND_STRING, FIELD(key_file), .check = config_reader_is_path,
         .expected = "an absolute path", .quiet = true},
        {"fold", CONFIG_KIND_DURATION, FIELD(fold_ms), "0s", "1h", "1m"},
        {"required", CONFIG_KIND_BOOL, FIELD(required)},
        {"max_records", CONFIG_KIND_COUNT, FIELD(max_records), "16", "1000000", "4096"},
        {.name = NULL},
};

/* A record of its own for each decision is what 'required' is about. */
static int unfold(struct config_reader *reader, config_setting_t *setting,
                  struct audit_config *audit)
{
        bool said = config_setting_get_member(setting, "fold") && audit->fold_ms > 0;

        audit->fold_ms = 0;
        if (!said)
                return 0;
        return config_mistakes_warn(&reader->mistakes, config_reader_line(setting, "fold"),
                                    "'fold' means nothing beside 'required = true': nothing is "
                                    "folded then");
}

int config_audit_resolve(struct config_reader *reader, config_setting_t *setting,
                         struct config *config)
{
        struct audit_config *audit = &config->audit;
        int r = 0;

        if (!setting || !config_setting_is_group(setting))
                return 0;
        if (audit->required)
                r = unfold(reader, setting, audit);
        if (!r && audit->key_file)
                r = config_keys_read(reader, config_reader_line(setting, "key_file"),
                                     audit->key_file, KEY_MIN_BYTES, &audit->key);
        if (!r && audit->subjects == AUDIT_SUBJECTS_DIGEST &&
            !config_setting_get_member(setting, "key_file"))
                r = config_mistakes_add(&reader->mistakes, config_reader_line(setting, "subjects"),
                                        "'subjects = \"digest\"' needs 'key_file' beside it: "
                                        "digests under a key that is lost at the end could be "
                                        "compared with nothing");
        return error_trace(r);
}
