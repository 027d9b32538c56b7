/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * A configuration file's text before libconfig sees it: what libconfig reads wrongly (numbers), or
 * should not see at all (secrets, comments), is taken out of it and kept beside it.
 */

#include <libconfig.h>
#include <stdbool.h>

#include "../lib/secret.h"
#include "../lib/text.h"
#include "config-mistakes.h"

/* What was taken out. libconfig sees the number 0 in its place. */
struct config_word {
        bool is_secret;
        struct text spelling; /* of a number: as the file writes it; borrows from the file's text */
        struct secret secret; /* otherwise: the string that it means */
};

struct config_text {
        struct secret masked;      /* for config_read_string() */
        struct config_word *words; /* owned; in the order of the text */
        size_t n_words;
        size_t capacity;
};

enum {
        CONFIG_TEXT_E_MISMATCH = 1, /* libconfig has found other numbers than we: a bug of ours */
};

#define CONFIG_TEXT_INIT ((struct config_text){.words = NULL})

void config_text_deinit(struct config_text *text);

/*
 * Takes apart the `size` bytes of a file, which must outlive `text`. What makes the rest of a file
 * meaningless (an open string or comment, a NUL byte, @include) is noted as a mistake; then the
 * text is not to be used. 0 or -ENOMEM.
 */
int config_text_read(struct config_text *text, const char *bytes, size_t size,
                     struct config_mistakes *mistakes);

/* Hangs each word at its setting in the tree that libconfig has made of the masked text. 0 or
 * CONFIG_TEXT_E_MISMATCH. */
int config_text_attach(struct config_text *text, config_setting_t *root);

/* The word in place of which this setting stands; NULL if it stands for itself. */
struct config_word *config_text_word(const config_setting_t *setting);
