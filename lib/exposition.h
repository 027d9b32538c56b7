/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Metrics as text, in the exposition format 0.0.4 of Prometheus: families one after the other, each
 * with its help and type, then its samples. A failure sticks, so that it is looked at once, at the
 * end. Numbers are whole, or have as many decimals as their unit needs: no locale can change them.
 */

#include <stdint.h>

#include "secret.h"

#define EXPOSITION_CONTENT_TYPE "text/plain; version=0.0.4; charset=utf-8"

enum exposition_type {
        EXPOSITION_COUNTER,
        EXPOSITION_GAUGE,
        EXPOSITION_HISTOGRAM,
};

struct exposition {
        struct secret *out; /* borrowed */
        const char *name;   /* of the family that was begun last; borrowed */
        int r;              /* 0, or the first failure: -ENOMEM, SECRET_E_FULL */
};

/* The label's value may hold any bytes; what the format needs escaped, is. */
struct exposition_label {
        const char *name;
        const char *value;
};

/* The labels of one sample, up to one without a name. */
#define LABELS(...) ((const struct exposition_label[]){__VA_ARGS__, {}})

void exposition_init(struct exposition *exposition, struct secret *out);

/* Begins a family. `help` is one sentence without backslashes. */
void exposition_family(struct exposition *exposition, const char *name, enum exposition_type type,
                       const char *help);

/* A sample of the family; `labels` NULL: none. */
void exposition_sample(struct exposition *exposition, const struct exposition_label *labels,
                       uint64_t value);

/* The same in seconds. */
void exposition_sample_us(struct exposition *exposition, const struct exposition_label *labels,
                          int64_t value_us);

/* Families of one sample without labels. */
void exposition_counter(struct exposition *exposition, const char *name, const char *help,
                        uint64_t value);
void exposition_gauge(struct exposition *exposition, const char *name, const char *help,
                      uint64_t value);
void exposition_gauge_us(struct exposition *exposition, const char *name, const char *help,
                         int64_t value_us);

/* A family that is a histogram of times: `counts` has one more than `bounds_us`, what is above all
 * of them, and no count includes another. */
void exposition_histogram_us(struct exposition *exposition, const char *name, const char *help,
                             const uint64_t *bounds_us, const uint64_t *counts, size_t n_bounds,
                             uint64_t sum_us);
