/* SPDX-License-Identifier: MIT */

/*
 * A pattern that can match nothing gives nothing, so it would be safe to take it; but whoever wrote
 * it meant something. So each is held against what it will be compared with, and what cannot occur
 * there is refused with what was probably meant.
 */

#include "config-patterns.h"

#include <stdlib.h>
#include <string.h>

#include "../lib/error.h"
#include "../lib/policy.h"

#define PATTERNS_MAX   1000 /* of one kind, in one rule */
#define UNIT_MAX_BYTES 255  /* systemd's own limit */
#define UNIT_CHARACTERS                                                  \
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789" \
        ":-_.\\@*"

#define SUBJECT_EXAMPLE "\"username:*\""
#define SCOPE_EXAMPLE   "\"knowledge.portalmgr.*\""

/* Units */

static bool ends_with(const char *value, const char *end)
{
        size_t size = strlen(value), end_size = strlen(end);

        return size > end_size && strcmp(value + size - end_size, end) == 0;
}

/* A star elsewhere would let a unit in that somebody else may name. */
static bool has_stray_star(const char *value)
{
        const char *at = strchr(value, '@'), *dot = strrchr(value, '.');

        for (const char *star = strchr(value, '*'); star; star = strchr(star + 1, '*'))
                if (!at || star < at || star > dot)
                        return true;
        return false;
}

/* Words that follow "must be"; NULL: it is a good one. */
static const char *unit_expectation(const char *value)
{
        size_t size = strlen(value);

        if (size == 0 || size > UNIT_MAX_BYTES || strspn(value, UNIT_CHARACTERS) != size)
                return "the name of a systemd unit, such as \"crm-sync.service\", at most 255 "
                       "letters, digits, ':', '-', '_', '.', '\\' and '@'";
        if (!strchr(value, '.'))
                return "the full name of a systemd unit, with \".service\" at its end";
        if (!ends_with(value, ".service") && !ends_with(value, ".scope"))
                return "the name of a systemd unit that has processes, which ends in .service or "
                       ".scope";
        if (has_stray_star(value))
                return "the name of a systemd unit with '*' in the name of the instance only, "
                       "between the first '@' and the last '.', such as \"worker@*.service\"";
        if (strchr(value, '@') && strchr(value, '@') + 1 == strrchr(value, '.'))
                return "an instance or all instances of a template, such as \"worker@*.service\" "
                       "(the template itself never runs)";
        return NULL;
}

int config_patterns_read_unit(struct config_reader *reader, config_setting_t *setting, void *target)
{
        struct rule *rule = target;
        const char *value = config_setting_get_string(setting);
        const char *expected = unit_expectation(value ? value : "");

        if (expected)
                return config_reader_reject(reader, setting, false, expected);
        rule->unit = strdup(value);
        return rule->unit ? 0 : error_trace(-ENOMEM);
}

/* Subjects */

/* Splits "username:pa*"; _SUBJECT_KIND_N if it does not begin with a kind. */
static enum subject_kind split_subject(const char *value, const char **ret_pattern)
{
        const char *colon = strchr(value, ':');

        if (!colon)
                return _SUBJECT_KIND_N;
        *ret_pattern = colon + 1;
        for (int kind = 0; kind < _SUBJECT_KIND_N; kind++) {
                const char *name = subject_kind_name((enum subject_kind)kind);

                if (strlen(name) == (size_t)(colon - value) &&
                    strncmp(name, value, strlen(name)) == 0)
                        return (enum subject_kind)kind;
        }
        return _SUBJECT_KIND_N;
}

static const char *subject_expectation(const char *value)
{
        const char *pattern;
        const enum subject_kind kind = split_subject(value, &pattern);

        if (kind == _SUBJECT_KIND_N)
                return "a kind (username, userid, email, application, anonymous or exchange), a "
                       "colon and a pattern, such as " SUBJECT_EXAMPLE;
        if (!subject_kind_names(kind) && strcmp(pattern, "*") != 0)
                return kind == SUBJECT_APPLICATION
                               ? "\"application:*\": there is no subject that a pattern could "
                                 "tell from others"
                               : "\"anonymous:*\": there is no subject that a pattern could tell "
                                 "from others";
        if (*pattern == '\0')
                return "a kind, a colon and a pattern that is not empty (" SUBJECT_EXAMPLE
                       " is every username)";
        if (strlen(pattern) > REQUEST_SUBJECT_MAX_BYTES)
                return "a kind, a colon and a pattern of at most 256 bytes";
        if (strlen(pattern) > subject_kind_max_bytes(kind))
                return "\"exchange:\" and a pattern of registration_ids of at most 128 bytes";
        if (!text_is_plain_utf8(TEXT(pattern)))
                return "a kind, a colon and a pattern in UTF-8 without control characters";
        return NULL;
}

static int read_subject(struct config_reader *reader, config_setting_t *setting, struct rule *rule)
{
        const char *value = config_setting_get_string(setting), *pattern = value;
        const char *expected = value ? subject_expectation(value) : "a string";
        struct subject_pattern *subject = &rule->subjects[rule->n_subjects];

        if (expected)
                return config_reader_reject(reader, setting, false, expected);
        subject->kind = split_subject(value, &pattern);
        subject->pattern = strdup(pattern);
        if (!subject->pattern)
                return error_trace(-ENOMEM);
        rule->n_subjects++;
        return 0;
}

int config_patterns_read_subjects(struct config_reader *reader, config_setting_t *setting,
                                  void *target)
{
        struct rule *rule = target;
        size_t n;
        int r;

        r = config_reader_strings(reader, setting, PATTERNS_MAX, SUBJECT_EXAMPLE, &n);
        if (r || n == 0)
                return error_trace(r);
        rule->subjects = calloc(n, sizeof(*rule->subjects));
        if (!rule->subjects)
                return error_trace(-ENOMEM);
        for (size_t i = 0; !r && i < n; i++)
                r = read_subject(reader, config_setting_get_elem(setting, (unsigned int)i), rule);
        return error_trace(r);
}

/* Scopes */

/* RFC 6749, section 3.3; '*' is in that alphabet, and the wildcard here. */
static bool is_scope_character(unsigned char c)
{
        return c == 0x21 || (c >= 0x23 && c <= 0x5b) || (c >= 0x5d && c <= 0x7e);
}

static const char *scope_expectation(const char *value)
{
        size_t size = strlen(value);

        if (size == 0)
                return "a pattern that is not empty (\"*\" is every scope)";
        if (strchr(value, ' '))
                return "one scope value without spaces: write two values as two strings";
        if (size > REQUEST_SCOPE_MAX_BYTES)
                return "a pattern of at most 4096 bytes";
        for (size_t i = 0; i < size; i++)
                if (!is_scope_character((unsigned char)value[i]))
                        return "a scope value (RFC 6749, section 3.3: printable ASCII without "
                               "quotes and backslashes) in which '*' stands for any characters";
        return NULL;
}

static int read_scope(struct config_reader *reader, config_setting_t *setting, struct rule *rule)
{
        const char *value = config_setting_get_string(setting);
        const char *expected = value ? scope_expectation(value) : "a string";
        char *copy;

        if (expected)
                return config_reader_reject(reader, setting, false, expected);
        copy = strdup(value);
        if (!copy)
                return error_trace(-ENOMEM);
        rule->scopes[rule->n_scopes++] = copy;
        return 0;
}

int config_patterns_read_scopes(struct config_reader *reader, config_setting_t *setting,
                                void *target)
{
        struct rule *rule = target;
        size_t n;
        int r;

        r = config_reader_strings(reader, setting, PATTERNS_MAX, SCOPE_EXAMPLE, &n);
        if (r || n == 0)
                return error_trace(r);
        rule->scopes = calloc(n, sizeof(*rule->scopes));
        if (!rule->scopes)
                return error_trace(-ENOMEM);
        for (size_t i = 0; !r && i < n; i++)
                r = read_scope(reader, config_setting_get_elem(setting, (unsigned int)i), rule);
        return error_trace(r);
}
