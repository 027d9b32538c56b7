/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Lines that repeat: of those with the same key the first LOG_FOLD_LINES within a window are
 * written; of the others the first is kept, and written with their number when the window is over.
 * Keys beyond LOG_FOLD_KEYS at a time share one window, so that whatever happens no more than
 * (LOG_FOLD_KEYS + 1) * (LOG_FOLD_LINES + 1) lines are written in LOG_FOLD_WINDOW_MS.
 */

#include "log-render.h"

#define LOG_FOLD_KEYS      32
#define LOG_FOLD_LINES     10
#define LOG_FOLD_WINDOW_MS 10000

/* A record whose strings are in here. */
struct log_copy {
        struct log_record record;
        char message[LOG_MESSAGE_MAX_BYTES];
        char values[LOG_VALUES_MAX_BYTES];
};

/* Makes a copy of a record; strings that are too long are cut, or left out. */
void log_copy_init(struct log_copy *copy, const struct log_record *record);

struct log_fold_window {
        uint64_t key;
        uint64_t until_ms;
        uint64_t n; /* lines so far */
};

struct log_fold {
        struct log_fold_window windows[LOG_FOLD_KEYS + 1]; /* the last is that of all other keys */
        struct log_copy kept[LOG_FOLD_KEYS + 1]; /* of each the first line that was not written */
        size_t n_kept;
};

/* Forgets everything. */
void log_fold_init(struct log_fold *fold);

/* Whether a line is to be written; otherwise it is counted, and kept if it is the first. */
bool log_fold_passes(struct log_fold *fold, uint64_t key, const struct log_record *record,
                     uint64_t now_ms);

/* The line that tells of a window that is over, if any lines were counted in it; NULL if there is
 * none (more). Good until the next call of anything here. */
const struct log_record *log_fold_take(struct log_fold *fold, uint64_t now_ms);

/* When there will be one; UINT64_MAX: never. */
uint64_t log_fold_next_ms(const struct log_fold *fold);
