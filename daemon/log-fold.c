/* SPDX-License-Identifier: MIT */

/*
 * A window that is over and has nothing to tell is free. It ends by itself, whether or not the
 * lines go on: a line that repeats for hours is told of once in a window.
 */

#include "log-fold.h"

#include <stdio.h>
#include <string.h>

void log_copy_init(struct log_copy *copy, const struct log_record *record)
{
        size_t used = 0;

        copy->record = *record;
        (void)snprintf(copy->message, sizeof(copy->message), "%s", record->message);
        copy->record.message = copy->message;
        for (size_t i = 0; i < LOG_FIELD_N; i++) {
                char *at = copy->values + used, **member;
                const size_t left = sizeof(copy->values) - used;
                const char *string;

                if (log_field_infos[i].is_number)
                        continue;
                member = (void *)((char *)&copy->record.fields + log_field_infos[i].offset);
                string = log_field_string(&record->fields, i);
                *member = NULL;
                if (!string || left == 0)
                        continue;
                (void)snprintf(at, left, "%s", string);
                used += strlen(at) + 1;
                *member = at;
        }
}

void log_fold_init(struct log_fold *fold)
{
        memset(fold->windows, 0, sizeof(fold->windows)); /* `kept` stays untouched: it is large */
        fold->n_kept = 0;
}

static bool is_free(const struct log_fold_window *window, uint64_t now_ms)
{
        return window->until_ms <= now_ms && window->n <= LOG_FOLD_LINES;
}

/* The window of a key, begun if it has none. */
static struct log_fold_window *find(struct log_fold *fold, uint64_t key, uint64_t now_ms)
{
        struct log_fold_window *window = NULL;

        for (size_t i = 0; i < LOG_FOLD_KEYS; i++) {
                struct log_fold_window *it = &fold->windows[i];

                if (is_free(it, now_ms))
                        window = window ? window : it;
                else if (it->key == key)
                        return it;
        }
        if (!window)
                window = &fold->windows[LOG_FOLD_KEYS];
        if (is_free(window, now_ms)) {
                window->key = key;
                window->until_ms = now_ms + LOG_FOLD_WINDOW_MS;
                window->n = 0;
        }
        return window;
}

bool log_fold_passes(struct log_fold *fold, uint64_t key, const struct log_record *record,
                     uint64_t now_ms)
{
        struct log_fold_window *window = find(fold, key, now_ms);

        window->n++;
        if (window->n <= LOG_FOLD_LINES)
                return true;
        if (window->n == LOG_FOLD_LINES + 1) {
                log_copy_init(&fold->kept[window - fold->windows], record);
                fold->n_kept++;
        }
        return false;
}

const struct log_record *log_fold_take(struct log_fold *fold, uint64_t now_ms)
{
        for (size_t i = 0; i <= LOG_FOLD_KEYS && fold->n_kept > 0; i++) {
                struct log_fold_window *window = &fold->windows[i];

                if (window->until_ms > now_ms || window->n <= LOG_FOLD_LINES)
                        continue;
                fold->kept[i].record.others = window->n - LOG_FOLD_LINES - 1;
                fold->n_kept--;
                window->n = 0;
                window->until_ms = 0;
                return &fold->kept[i].record;
        }
        return NULL;
}

uint64_t log_fold_next_ms(const struct log_fold *fold)
{
        uint64_t next_ms = UINT64_MAX;

        for (size_t i = 0; i <= LOG_FOLD_KEYS && fold->n_kept > 0; i++) {
                const struct log_fold_window *window = &fold->windows[i];

                if (window->n > LOG_FOLD_LINES && window->until_ms < next_ms)
                        next_ms = window->until_ms;
        }
        return next_ms;
}
