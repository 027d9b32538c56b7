/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * The mistakes found in a configuration file: collected in the order they are found in, printed in
 * the order of their lines. Warnings stand among them, but a file is good with them, too.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

/* More than these are counted, not kept: nobody reads on. Of warnings, as many again. */
#define CONFIG_MISTAKES_MAX 1000

struct config_mistake {
        int line;     /* 0: of the file as a whole */
        size_t order; /* among those found */
        bool warning; /* the file is good nevertheless */
        char *text;   /* owned */
};

struct config_mistakes {
        struct config_mistake *list; /* owned */
        size_t n;                    /* kept */
        size_t capacity;
        size_t n_found;  /* mistakes, kept or not */
        size_t n_warned; /* warnings, the same */
};

#define CONFIG_MISTAKES_INIT ((struct config_mistakes){.list = NULL})

void config_mistakes_deinit(struct config_mistakes *mistakes);

/*
 * Notes a mistake: what is wrong and what was expected, without the file's name and the line. 0 or
 * -ENOMEM; so a reader that has found one ends with `return config_mistakes_add(…)`.
 */
int config_mistakes_add(struct config_mistakes *mistakes, int line, const char *format, ...)
        __attribute__((format(printf, 3, 4)));

/* Notes something that is no mistake, but hardly what was meant: what, and what would mend it. The
 * same outcomes. */
int config_mistakes_warn(struct config_mistakes *mistakes, int line, const char *format, ...)
        __attribute__((format(printf, 3, 4)));

/* Prints all of them, one a line, sorted by line; warnings say that they are. */
void config_mistakes_print(struct config_mistakes *mistakes, const char *path, FILE *errors);
