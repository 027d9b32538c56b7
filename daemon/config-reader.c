/* SPDX-License-Identifier: MIT */

/*
 * The tables are walked by what the file holds, not by what they hold, so that nothing in the file
 * passes unnoticed. Defaults are in place before; an option that is not there leaves them.
 *
 * A number that is rejected is left as 0, which no number that others depend on (`at_most`) can be:
 * so one mistake does not bring about a second one about the same option.
 */

#include "config-reader.h"

#include <assert.h>
#include <limits.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "../lib/error.h"
#include "config-nearest.h"
#include "config-text.h"
#include "config-units.h"

#define SHOWN_MAX  ((size_t)60) /* bytes of a value that a message shows */
#define SHOWN_SIZE (SHOWN_MAX * 4 + sizeof("\"...\""))

static const enum config_unit units[] = {
        [CONFIG_KIND_COUNT] = CONFIG_UNIT_COUNT,
        [CONFIG_KIND_SIZE] = CONFIG_UNIT_SIZE,
        [CONFIG_KIND_DURATION] = CONFIG_UNIT_DURATION,
        [CONFIG_KIND_DATE] = CONFIG_UNIT_DATE,
};

static bool is_number(const struct config_option *option)
{
        return option->kind == CONFIG_KIND_COUNT || option->kind == CONFIG_KIND_SIZE ||
               option->kind == CONFIG_KIND_DURATION || option->kind == CONFIG_KIND_DATE;
}

static int line_of(const config_setting_t *setting)
{
        return (int)config_setting_source_line(setting);
}

int config_reader_line(config_setting_t *group, const char *name)
{
        config_setting_t *member = config_setting_get_member(group, name);

        return line_of(member ? member : group);
}

bool config_reader_is_printable(const char *value)
{
        for (const char *c = value; *c; c++)
                if (*c < 0x20 || *c > 0x7e)
                        return false;
        return true;
}

bool config_reader_is_name(const char *value)
{
        size_t size = strlen(value);

        return size >= 1 && size <= CONFIG_NAME_MAX_BYTES &&
               strspn(value, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-") ==
                       size;
}

bool config_reader_is_path(const char *value)
{
        if (value[0] != '/' || strlen(value) >= PATH_MAX)
                return false;
        for (const unsigned char *c = (const unsigned char *)value; *c; c++)
                if (*c < 0x20 || *c == 0x7f)
                        return false;
        return true;
}

/* A number into whichever integer the target has, and out of it. */

static void store(void *target, const struct config_option *option, uint64_t value)
{
        char *at = (char *)target + option->offset;
        uint32_t narrow = (uint32_t)value;

        if (option->width == sizeof(uint64_t)) {
                memcpy(at, &value, sizeof(value));
                return;
        }
        assert(option->width == sizeof(narrow) && narrow == value);
        memcpy(at, &narrow, sizeof(narrow));
}

static uint64_t stored(const void *target, const struct config_option *option)
{
        const char *at = (const char *)target + option->offset;
        uint64_t value;
        uint32_t narrow;

        if (option->width == sizeof(value)) {
                memcpy(&value, at, sizeof(value));
                return value;
        }
        memcpy(&narrow, at, sizeof(narrow));
        return narrow;
}

/* What a message says of a value. */

static void show_string(char shown[SHOWN_SIZE], const char *value)
{
        size_t size = 0;

        shown[size++] = '"';
        for (size_t i = 0; value[i] && i < SHOWN_MAX; i++) {
                unsigned char c = (unsigned char)value[i];

                if (c < 0x20 || c > 0x7e || c == '"' || c == '\\')
                        size += (size_t)snprintf(shown + size, SHOWN_SIZE - size, "\\x%02x", c);
                else
                        shown[size++] = value[i];
        }
        (void)snprintf(shown + size, SHOWN_SIZE - size, "%s",
                       strlen(value) > SHOWN_MAX ? "...\"" : "\"");
}

static void show(char shown[SHOWN_SIZE], const config_setting_t *setting, bool quiet)
{
        const struct config_word *word = config_text_word(setting);
        const char *what = "nothing";

        switch (config_setting_type(setting)) {
        case CONFIG_TYPE_GROUP: what = "a group"; break;
        case CONFIG_TYPE_LIST: what = "a list"; break;
        case CONFIG_TYPE_ARRAY: what = "an array"; break;
        case CONFIG_TYPE_BOOL: what = config_setting_get_bool(setting) ? "true" : "false"; break;
        case CONFIG_TYPE_STRING:
                if (!quiet) {
                        show_string(shown, config_setting_get_string(setting));
                        return;
                }
                what = "a string";
                break;
        case CONFIG_TYPE_INT:
                if (word && !word->is_secret && !quiet) {
                        size_t size = word->spelling.size;

                        (void)snprintf(shown, SHOWN_SIZE, "%.*s%s",
                                       (int)(size > SHOWN_MAX ? SHOWN_MAX : size),
                                       word->spelling.bytes, size > SHOWN_MAX ? "..." : "");
                        return;
                }
                what = word && word->is_secret ? "a string" : "a number without quotes";
                break;
        default: break;
        }
        (void)snprintf(shown, SHOWN_SIZE, "%s", what);
}

static const char *list_name(const config_setting_t *entry)
{
        const config_setting_t *list = config_setting_parent(entry);

        return list && config_setting_name(list) ? config_setting_name(list) : "a list";
}

int config_reader_reject(struct config_reader *reader, config_setting_t *setting, bool quiet,
                         const char *expected)
{
        const char *name = config_setting_name(setting);
        const char *prefix = name ? "" : "an entry of ";
        char shown[SHOWN_SIZE];

        if (!name)
                name = list_name(setting);
        if (quiet && config_setting_type(setting) == CONFIG_TYPE_STRING)
                return config_mistakes_add(&reader->mistakes, line_of(setting), "%s'%s' must be %s",
                                           prefix, name, expected);
        show(shown, setting, quiet);
        return config_mistakes_add(&reader->mistakes, line_of(setting), "%s'%s' must be %s, not %s",
                                   prefix, name, expected, shown);
}

int config_reader_string(struct config_reader *reader, config_setting_t *setting,
                         const struct config_option *option, const char **ret_value)
{
        const char *value = config_setting_get_string(setting);

        *ret_value = NULL;
        if (!value || !option->check(value))
                return config_reader_reject(reader, setting, option->quiet, option->expected);
        *ret_value = value;
        return 0;
}

static int read_string(struct config_reader *reader, config_setting_t *setting,
                       const struct config_option *option, void *target)
{
        char **at = (void *)((char *)target + option->offset);
        const char *value;
        int r;

        r = config_reader_string(reader, setting, option, &value);
        if (r || !value)
                return error_trace(r);
        free(*at);
        *at = strdup(value);
        return *at ? 0 : error_trace(-ENOMEM);
}

/* `words` lists the choices for the message. */
static int read_choice(struct config_reader *reader, config_setting_t *setting,
                       const struct config_option *option, void *target)
{
        const char *value = config_setting_get_string(setting);
        char words[128] = "";
        size_t size = 0;

        for (size_t i = 0; option->choices[i]; i++) {
                const char *between = i == 0 ? "" : option->choices[i + 1] ? ", " : " or ";

                if (value && strcmp(value, option->choices[i]) == 0) {
                        store(target, option, i);
                        return 0;
                }
                size += (size_t)snprintf(words + size, sizeof(words) - size, "%s\"%s\"", between,
                                         option->choices[i]);
                assert(size < sizeof(words));
        }
        return config_reader_reject(reader, setting, option->quiet, words);
}

static int reject_number(struct config_reader *reader, config_setting_t *setting,
                         const struct config_option *option)
{
        char expected[160];

        if (option->kind == CONFIG_KIND_COUNT)
                (void)snprintf(expected, sizeof(expected), "a whole number from %s to %s",
                               option->min, option->max);
        else if (option->kind == CONFIG_KIND_DATE)
                (void)snprintf(expected, sizeof(expected),
                               "a date in quotes, \"YYYY-MM-DD\", from \"%s\" to \"%s\"",
                               option->min, option->max);
        else
                (void)snprintf(expected, sizeof(expected),
                               "a %s in quotes from \"%s\" to \"%s\", such as \"%s\"",
                               option->kind == CONFIG_KIND_SIZE ? "size" : "duration", option->min,
                               option->max, option->fallback);
        return config_reader_reject(reader, setting, option->quiet, expected);
}

/* A constant of a table. */
static uint64_t constant(const struct config_option *option, const char *string)
{
        uint64_t value = 0;
        int r;

        r = config_units_parse(units[option->kind], string, &value);
        assert(r == 0);
        (void)r;
        return value;
}

static int read_number(struct config_reader *reader, config_setting_t *setting,
                       const struct config_option *option, void *target)
{
        const struct config_word *word = config_text_word(setting);
        const char *string = NULL;
        char digits[24]; /* more than 2^64 has */
        uint64_t value = 0;

        if (option->kind != CONFIG_KIND_COUNT) {
                string = config_setting_get_string(setting);
        } else if (word && !word->is_secret && word->spelling.size < sizeof(digits)) {
                memcpy(digits, word->spelling.bytes, word->spelling.size);
                digits[word->spelling.size] = '\0';
                string = digits;
        }

        if (!string || config_units_parse(units[option->kind], string, &value) != 0 ||
            value < constant(option, option->min) || value > constant(option, option->max)) {
                store(target, option, 0);
                return reject_number(reader, setting, option);
        }
        store(target, option, value);
        return 0;
}

static int read_bool(struct config_reader *reader, config_setting_t *setting,
                     const struct config_option *option, void *target)
{
        bool value;

        if (config_setting_type(setting) != CONFIG_TYPE_BOOL)
                return config_reader_reject(reader, setting, option->quiet,
                                            "true or false, without quotes");
        assert(option->width == sizeof(value));
        value = config_setting_get_bool(setting);
        memcpy((char *)target + option->offset, &value, sizeof(value));
        return 0;
}

static int read_option(struct config_reader *reader, config_setting_t *setting,
                       const struct config_option *option, void *target)
{
        switch (option->kind) {
        case CONFIG_KIND_COUNT:
        case CONFIG_KIND_SIZE:
        case CONFIG_KIND_DURATION:
        case CONFIG_KIND_DATE: return read_number(reader, setting, option, target);
        case CONFIG_KIND_CHOICE: return read_choice(reader, setting, option, target);
        case CONFIG_KIND_BOOL: return read_bool(reader, setting, option, target);
        case CONFIG_KIND_STRING: return read_string(reader, setting, option, target);
        case CONFIG_KIND_GROUP:
                return config_reader_group(reader, setting, option->options, target);
        case CONFIG_KIND_OTHER: return option->read(reader, setting, target);
        }
        return 0;
}

static const struct config_option *find(const struct config_option *options, const char *name)
{
        for (; options->name; options++)
                if (strcmp(options->name, name) == 0)
                        return options;
        return NULL;
}

/* The option that was probably meant. */
static const char *suggest(const struct config_option *options, const char *name)
{
        struct config_nearest nearest = {.wanted = name};

        for (; options->name; options++)
                config_nearest_consider(&nearest, options->name);
        return nearest.name;
}

static int reject_unknown(struct config_reader *reader, config_setting_t *group,
                          config_setting_t *member, const struct config_option *options)
{
        const char *name = config_setting_name(member), *nearest = suggest(options, name);
        const char *where = config_setting_name(group);

        if (!where && !config_setting_is_root(group))
                where = list_name(group);
        return config_mistakes_add(
                &reader->mistakes, line_of(member), "unknown option '%.*s%s'%s%s%s%s%s%s",
                (int)SHOWN_MAX, name, strlen(name) > SHOWN_MAX ? "..." : "", where ? " in '" : "",
                where ? where : "", where ? "'" : "", nearest ? "; did you mean '" : "",
                nearest ? nearest : "", nearest ? "'?" : "");
}

/* Options that may not exceed another one. */
static int bound(struct config_reader *reader, config_setting_t *group,
                 const struct config_option *options, void *target)
{
        for (const struct config_option *option = options; option->name; option++) {
                const struct config_option *other;
                config_setting_t *setting, *limit;
                char expected[96 + SHOWN_SIZE], shown[SHOWN_SIZE];
                uint64_t value, at_most;
                int r;

                if (!option->at_most)
                        continue;
                other = find(options, option->at_most);
                assert(other && is_number(other));
                value = stored(target, option);
                at_most = stored(target, other);
                if (value <= at_most || at_most == 0)
                        continue;

                setting = config_setting_get_member(group, option->name);
                if (!setting) {
                        store(target, option, at_most);
                        continue;
                }
                limit = config_setting_get_member(group, other->name);
                if (limit)
                        show(shown, limit, other->quiet);
                (void)snprintf(expected, sizeof(expected), "at most '%s' (%s%s)", other->name,
                               limit ? shown : other->fallback, limit ? "" : ", the default");
                r = config_reader_reject(reader, setting, option->quiet, expected);
                if (r)
                        return error_trace(r);
        }
        return 0;
}

int config_reader_group(struct config_reader *reader, config_setting_t *setting,
                        const struct config_option *options, void *target)
{
        int r;

        if (!config_setting_is_group(setting))
                return config_reader_reject(reader, setting, false, "a group, { name = value; }");

        for (int i = 0; i < config_setting_length(setting); i++) {
                config_setting_t *member = config_setting_get_elem(setting, (unsigned int)i);
                const struct config_option *option = find(options, config_setting_name(member));

                r = option ? read_option(reader, member, option, target)
                           : reject_unknown(reader, setting, member, options);
                if (r)
                        return error_trace(r);
        }
        return bound(reader, setting, options, target);
}

int config_reader_list(struct config_reader *reader, config_setting_t *setting, size_t max,
                       size_t *ret_n)
{
        size_t n;

        *ret_n = 0;
        if (!config_setting_is_list(setting))
                return config_reader_reject(reader, setting, false,
                                            "a list of groups, ( { name = value; } )");
        n = (size_t)config_setting_length(setting);
        if (n == 0 || n > max)
                return config_mistakes_add(
                        &reader->mistakes, line_of(setting),
                        "'%s' must have 1 to %zu entries, ( { name = value; } ), not %zu",
                        config_setting_name(setting), max, n);
        *ret_n = n;
        return 0;
}

int config_reader_strings(struct config_reader *reader, config_setting_t *setting, size_t max,
                          const char *example, size_t *ret_n)
{
        size_t n;

        *ret_n = 0;
        if (!config_setting_is_array(setting) && !config_setting_is_list(setting)) {
                char expected[128];

                (void)snprintf(expected, sizeof(expected), "an array of strings, such as [ %s ]",
                               example);
                return config_reader_reject(reader, setting, false, expected);
        }
        n = (size_t)config_setting_length(setting);
        if (n == 0)
                return config_mistakes_add(&reader->mistakes, line_of(setting),
                                           "'%s' is empty: strings were expected, such as "
                                           "[ %s ]; without the option there are none",
                                           config_setting_name(setting), example);
        if (n > max)
                return config_mistakes_add(&reader->mistakes, line_of(setting),
                                           "'%s' must have at most %zu entries, not %zu",
                                           config_setting_name(setting), max, n);
        *ret_n = n;
        return 0;
}

void config_reader_defaults(const struct config_option *options, void *target)
{
        for (const struct config_option *option = options; option->name; option++) {
                if (option->kind == CONFIG_KIND_GROUP)
                        config_reader_defaults(option->options, target);
                if (!option->fallback)
                        continue;
                if (is_number(option))
                        store(target, option, constant(option, option->fallback));
                for (size_t i = 0; option->kind == CONFIG_KIND_CHOICE && option->choices[i]; i++)
                        if (strcmp(option->choices[i], option->fallback) == 0)
                                store(target, option, i);
        }
}
