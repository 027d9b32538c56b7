/* SPDX-License-Identifier: MIT */

/*
 * A name that was misspelt, or has a space before its colon, must not pass for a field that is not
 * there: without a scope the default one is asked for.
 */

#include "request-fields.h"

#include <strings.h>

#include "error.h"

#define FIELD_SCOPE 3

static const struct {
        const char *name;
        const char *parameter;
} names[REQUEST_FIELDS_MAX] = {
        {"X-Egain-Subject-Username", "subject_username"},
        {"X-Egain-Subject-Userid", "subject_userid"},
        {"X-Egain-Subject-Email", "subject_email"},
        [FIELD_SCOPE] = {"X-Egain-Scope", "scope"},
        {"X-Egain-Client", "client_id"},
        {"X-Egain-Min-Ttl", "min_ttl"},
};

/* What names that count begin with. */
static const char *const stems[] = {
        "X-Egain-Subject",
        "X-Egain-Scope",
        "X-Egain-Client",
        "X-Egain-Min-Ttl",
};

static bool begins_like_one(const char *name)
{
        if (*name != 'X' && *name != 'x')
                return false; /* as most fields */
        for (size_t i = 0; i < sizeof(stems) / sizeof(stems[0]); i++)
                if (strncasecmp(name, stems[i], strlen(stems[i])) == 0)
                        return true;
        return false;
}

void request_fields_take(struct request_fields *fields, const char *name, const char *value)
{
        if (!begins_like_one(name))
                return;
        for (size_t i = 0; i < REQUEST_FIELDS_MAX; i++) {
                if (strcasecmp(name, names[i].name) != 0)
                        continue;
                if (fields->seen[i])
                        fields->repeated = name;
                fields->seen[i] = true;
                fields->values[i] = TEXT(value);
                return;
        }
        fields->unknown = name;
}

static bool is_blank(char c)
{
        return c == ' ' || c == '\t';
}

static bool has_blank_edge(struct text text)
{
        return text.size > 0 && (is_blank(text.bytes[0]) || is_blank(text.bytes[text.size - 1]));
}

int request_fields_parse(struct token_request *request, const struct request_fields *fields)
{
        struct request_pair pairs[REQUEST_FIELDS_MAX];
        size_t n = 0;

        if (fields->unknown)
                return REASON_UNKNOWN_FIELD;
        if (fields->repeated)
                return REASON_REPEATED_PARAMETER;
        for (size_t i = 0; i < REQUEST_FIELDS_MAX; i++) {
                struct text value = fields->values[i];

                if (!fields->seen[i])
                        continue;
                if (i < FIELD_SCOPE && has_blank_edge(value))
                        return REASON_SPACED_SUBJECT;
                pairs[n++] = (struct request_pair){TEXT(names[i].parameter), value};
        }
        return error_trace(request_take_pairs(request, pairs, n));
}
