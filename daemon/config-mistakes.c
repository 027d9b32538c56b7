/* SPDX-License-Identifier: MIT */

/*
 * Readers go through the file by its structure (a client's name is compared with those before it, a
 * limit with its neighbour once both are known), so mistakes are not found in the order of lines.
 * Those of one line stay in the order they were found in.
 */

#include "config-mistakes.h"

#include <stdarg.h>
#include <stdlib.h>

#include "../lib/error.h"

#define MISTAKES_CAPACITY_MIN 16

void config_mistakes_deinit(struct config_mistakes *mistakes)
{
        for (size_t i = 0; i < mistakes->n; i++)
                free(mistakes->list[i].text);
        free(mistakes->list);
        *mistakes = CONFIG_MISTAKES_INIT;
}

static int grow(struct config_mistakes *mistakes)
{
        size_t capacity = mistakes->capacity ? mistakes->capacity * 2 : MISTAKES_CAPACITY_MIN;
        struct config_mistake *list;

        list = reallocarray(mistakes->list, capacity, sizeof(*list));
        if (!list)
                return error_trace(-ENOMEM);
        mistakes->list = list;
        mistakes->capacity = capacity;
        return 0;
}

int config_mistakes_add(struct config_mistakes *mistakes, int line, const char *format, ...)
{
        size_t order = mistakes->n_found++;
        va_list arguments;
        char *text;
        int r;

        if (mistakes->n == CONFIG_MISTAKES_MAX)
                return 0;
        if (mistakes->n == mistakes->capacity) {
                r = grow(mistakes);
                if (r)
                        return error_trace(r);
        }

        va_start(arguments, format);
        r = vasprintf(&text, format, arguments);
        va_end(arguments);
        if (r < 0)
                return error_trace(-ENOMEM);

        mistakes->list[mistakes->n++] = (struct config_mistake){
                .line = line, .order = order, .text = text};
        return 0;
}

static int compare(const void *a, const void *b)
{
        const struct config_mistake *x = a, *y = b;

        if (x->line != y->line)
                return x->line < y->line ? -1 : 1;
        return x->order < y->order ? -1 : 1;
}

void config_mistakes_print(struct config_mistakes *mistakes, const char *path, FILE *errors)
{
        if (mistakes->n > 0)
                qsort(mistakes->list, mistakes->n, sizeof(*mistakes->list), compare);

        for (size_t i = 0; i < mistakes->n; i++) {
                const struct config_mistake *mistake = &mistakes->list[i];

                if (mistake->line > 0)
                        fprintf(errors, "%s:%d: %s\n", path, mistake->line, mistake->text);
                else
                        fprintf(errors, "%s: %s\n", path, mistake->text);
        }
        if (mistakes->n_found > mistakes->n)
                fprintf(errors, "%s: %zu more mistakes are not shown\n", path,
                        mistakes->n_found - mistakes->n);
}
