/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Reads groups of options into a structure, as a table of the options tells: an option is a row, a
 * group is a table. What is unknown, of the wrong type or out of range is noted as a mistake with
 * its line; a function here fails for want of memory only.
 */

#include <libconfig.h>
#include <stdbool.h>
#include <stddef.h>

#include "config-mistakes.h"

enum config_kind {
        CONFIG_KIND_COUNT = 1, /* a whole number without quotes; into size_t or uint64_t */
        CONFIG_KIND_SIZE,      /* a string, "256M"; the same, in bytes */
        CONFIG_KIND_DURATION,  /* a string, "30s"; the same, in milliseconds */
        CONFIG_KIND_DATE,   /* a string, "2027-11-01"; its beginning in UTC, into int64_t: seconds
                               since 1970 */
        CONFIG_KIND_CHOICE, /* a string of `choices`; its index, into an enum */
        CONFIG_KIND_BOOL,   /* true or false, without quotes; into a bool */
        CONFIG_KIND_STRING, /* a string that `check` accepts; into a char *, on the heap */
        CONFIG_KIND_GROUP,  /* the options of `options`, into the same target */
        CONFIG_KIND_OTHER,  /* whatever `read` makes of it */
};

struct config_reader;

struct config_option {
        const char *name; /* NULL ends a table */
        enum config_kind kind;
        bool quiet;    /* never show the value in a message: it may be, or hold, a secret */
        size_t offset; /* where in the target */
        size_t width;

        /* Numbers: written as the file would write them. */
        const char *min;
        const char *max;
        const char *fallback; /* the default; of a choice, too */
        /* Another number of the same group, which this one may not exceed. A default is lowered
         * to it silently. Both have a `min` over 0. */
        const char *at_most;

        const char *const *choices; /* ends with NULL */

        /* Strings: what is accepted, as a function, and as words that follow "must be". */
        bool (*check)(const char *value);
        const char *expected;

        const struct config_option *options;
        int (*read)(struct config_reader *reader, config_setting_t *setting, void *target);
};

#define CONFIG_FIELD(type, member) \
        .offset = offsetof(type, member), .width = sizeof(((type *)NULL)->member)

struct config_reader {
        struct config_mistakes mistakes;
        size_t n_name_service; /* of the mistakes: names that could not be looked up just now */
        const char *path;      /* borrowed; for messages */
        bool text_private;     /* see config_parse() */
};

/* Sets what has a default. */
void config_reader_defaults(const struct config_option *options, void *target);

/* Reads a group, or an entry of a list of groups. Strings already in `target` are replaced. */
int config_reader_group(struct config_reader *reader, config_setting_t *setting,
                        const struct config_option *options, void *target);

/* Checks that this is a list of 1 to `max` entries: *ret_n is their number, 0 if it is not. */
int config_reader_list(struct config_reader *reader, config_setting_t *setting, size_t max,
                       size_t *ret_n);

/* Checks that this is an array, or a list, of 1 to `max` entries: *ret_n is their number, 0 if it
 * is not. That they are strings is left to config_reader_string(). `example` is one, with quotes.
 */
int config_reader_strings(struct config_reader *reader, config_setting_t *setting, size_t max,
                          const char *example, size_t *ret_n);

/* The value of a string (borrowed from libconfig); NULL: it is none, or `option` (its check) does
 * not accept it, and a mistake was noted. */
int config_reader_string(struct config_reader *reader, config_setting_t *setting,
                         const struct config_option *option, const char **ret_value);

/* Notes that this setting "must be `expected`", and what it is instead. */
int config_reader_reject(struct config_reader *reader, config_setting_t *setting, bool quiet,
                         const char *expected);

/* The line of an option of a group, that of the group itself if it is not there. */
int config_reader_line(config_setting_t *group, const char *name);

/* Fit for CONFIG_KIND_STRING's check, like those below: what clients and callers are called. */
#define CONFIG_NAME_MAX_BYTES 64
#define CONFIG_NAME_EXPECTED  "1 to 64 letters, digits, '.', '_' or '-'"

bool config_reader_is_name(const char *value);

/* Absolute, and nothing in it but printable characters. */
bool config_reader_is_path(const char *value);

/* Printable ASCII, spaces included. */
bool config_reader_is_printable(const char *value);
