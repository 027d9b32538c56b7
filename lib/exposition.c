/* SPDX-License-Identifier: MIT */

#include "exposition.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* A number with a sign, up to six decimals and a NUL. */
#define NUMBER_MAX_BYTES 32

void exposition_init(struct exposition *exposition, struct secret *out)
{
        *exposition = (struct exposition){.out = out};
}

static void put_bytes(struct exposition *exposition, const char *bytes, size_t size)
{
        if (exposition->r == 0)
                exposition->r = secret_append(exposition->out, bytes, size);
}

static void put(struct exposition *exposition, const char *string)
{
        put_bytes(exposition, string, strlen(string));
}

static void put_escaped(struct exposition *exposition, const char *value)
{
        while (*value) {
                const size_t plain = strcspn(value, "\\\"\n");

                put_bytes(exposition, value, plain);
                value += plain;
                if (!*value)
                        break;
                put(exposition, *value == '\n' ? "\\n" : *value == '"' ? "\\\"" : "\\\\");
                value++;
        }
}

static void put_labels(struct exposition *exposition, const struct exposition_label *labels)
{
        const char *before = "{";

        if (!labels || !labels->name)
                return;
        for (; labels->name; labels++) {
                put(exposition, before);
                put(exposition, labels->name);
                put(exposition, "=\"");
                put_escaped(exposition, labels->value);
                put(exposition, "\"");
                before = ",";
        }
        put(exposition, "}");
}

/* As few decimals as say all. */
static const char *format_us(char number[NUMBER_MAX_BYTES], int64_t us)
{
        const uint64_t size = us < 0 ? -(uint64_t)us : (uint64_t)us;
        size_t n;

        n = (size_t)snprintf(number, NUMBER_MAX_BYTES, "%s%" PRIu64 ".%06" PRIu64,
                             us < 0 ? "-" : "", size / 1000000, size % 1000000);
        while (number[n - 1] == '0')
                number[--n] = '\0';
        if (number[n - 1] == '.')
                number[--n] = '\0';
        return number;
}

/* One line; `suffix` is part of the sample's name. */
static void put_line(struct exposition *exposition, const char *suffix,
                     const struct exposition_label *labels, const char *number)
{
        put(exposition, exposition->name);
        put(exposition, suffix);
        put_labels(exposition, labels);
        put(exposition, " ");
        put(exposition, number);
        put(exposition, "\n");
}

static void put_count(struct exposition *exposition, const char *suffix,
                      const struct exposition_label *labels, uint64_t value)
{
        char number[NUMBER_MAX_BYTES];

        (void)snprintf(number, sizeof(number), "%" PRIu64, value);
        put_line(exposition, suffix, labels, number);
}

void exposition_family(struct exposition *exposition, const char *name, enum exposition_type type,
                       const char *help)
{
        static const char *const types[] = {
                [EXPOSITION_COUNTER] = "counter",
                [EXPOSITION_GAUGE] = "gauge",
                [EXPOSITION_HISTOGRAM] = "histogram",
        };
        const char *const parts[] = {
                "# HELP ", name, " ", help, "\n# TYPE ", name, " ", types[type], "\n",
        };

        exposition->name = name;
        for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++)
                put(exposition, parts[i]);
}

void exposition_sample(struct exposition *exposition, const struct exposition_label *labels,
                       uint64_t value)
{
        put_count(exposition, "", labels, value);
}

void exposition_sample_us(struct exposition *exposition, const struct exposition_label *labels,
                          int64_t value_us)
{
        char number[NUMBER_MAX_BYTES];

        put_line(exposition, "", labels, format_us(number, value_us));
}

void exposition_counter(struct exposition *exposition, const char *name, const char *help,
                        uint64_t value)
{
        exposition_family(exposition, name, EXPOSITION_COUNTER, help);
        exposition_sample(exposition, NULL, value);
}

void exposition_gauge(struct exposition *exposition, const char *name, const char *help,
                      uint64_t value)
{
        exposition_family(exposition, name, EXPOSITION_GAUGE, help);
        exposition_sample(exposition, NULL, value);
}

void exposition_gauge_us(struct exposition *exposition, const char *name, const char *help,
                         int64_t value_us)
{
        exposition_family(exposition, name, EXPOSITION_GAUGE, help);
        exposition_sample_us(exposition, NULL, value_us);
}

void exposition_histogram_us(struct exposition *exposition, const char *name, const char *help,
                             const uint64_t *bounds_us, const uint64_t *counts, size_t n_bounds,
                             uint64_t sum_us)
{
        char number[NUMBER_MAX_BYTES];
        uint64_t n = 0;

        exposition_family(exposition, name, EXPOSITION_HISTOGRAM, help);
        for (size_t i = 0; i <= n_bounds; i++) {
                const char *bound = i < n_bounds ? format_us(number, (int64_t)bounds_us[i])
                                                 : "+Inf";

                n += counts[i];
                put_count(exposition, "_bucket", LABELS({"le", bound}), n);
        }
        put_line(exposition, "_sum", NULL, format_us(number, (int64_t)sum_us));
        put_count(exposition, "_count", NULL, n);
}
