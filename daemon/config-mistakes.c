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

__attribute__((format(printf, 4, 0))) static int keep(struct config_mistakes *mistakes, int line,
                                                      bool warning, const char *format,
                                                      va_list arguments)
{
        size_t order = mistakes->n;
        char *text;
        int r;

        if (mistakes->n == mistakes->capacity) {
                r = grow(mistakes);
                if (r)
                        return error_trace(r);
        }
        if (vasprintf(&text, format, arguments) < 0)
                return error_trace(-ENOMEM);

        mistakes->list[mistakes->n++] = (struct config_mistake){
                .line = line, .order = order, .warning = warning, .text = text};
        return 0;
}

int config_mistakes_add(struct config_mistakes *mistakes, int line, const char *format, ...)
{
        va_list arguments;
        int r;

        if (mistakes->n_found++ >= CONFIG_MISTAKES_MAX)
                return 0;
        va_start(arguments, format);
        r = keep(mistakes, line, false, format, arguments);
        va_end(arguments);
        return error_trace(r);
}

int config_mistakes_warn(struct config_mistakes *mistakes, int line, const char *format, ...)
{
        va_list arguments;
        int r;

        if (mistakes->n_warned++ >= CONFIG_MISTAKES_MAX)
                return 0;
        va_start(arguments, format);
        r = keep(mistakes, line, true, format, arguments);
        va_end(arguments);
        return error_trace(r);
}

static int compare(const void *a, const void *b)
{
        const struct config_mistake *x = a, *y = b;

        if (x->line != y->line)
                return x->line < y->line ? -1 : 1;
        return x->order < y->order ? -1 : 1;
}

static void print_left_out(size_t n, const char *what, const char *path, FILE *errors)
{
        if (n > CONFIG_MISTAKES_MAX)
                fprintf(errors, "%s: %zu more %s are not shown\n", path, n - CONFIG_MISTAKES_MAX,
                        what);
}

void config_mistakes_print(struct config_mistakes *mistakes, const char *path, FILE *errors)
{
        if (mistakes->n > 0)
                qsort(mistakes->list, mistakes->n, sizeof(*mistakes->list), compare);

        for (size_t i = 0; i < mistakes->n; i++) {
                const struct config_mistake *mistake = &mistakes->list[i];

                fputs(path, errors);
                if (mistake->line > 0)
                        fprintf(errors, ":%d", mistake->line);
                fprintf(errors, ": %s%s\n", mistake->warning ? "warning: " : "", mistake->text);
        }
        print_left_out(mistakes->n_found, "mistakes", path, errors);
        print_left_out(mistakes->n_warned, "warnings", path, errors);
}
