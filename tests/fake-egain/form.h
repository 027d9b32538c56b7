/* SPDX-License-Identifier: MIT */
#pragma once

/* An application/x-www-form-urlencoded body, or a query string, taken strictly. */

#include <stddef.h>

#define FORM_PARAMETERS_MAX 64

struct form {
        char *text; /* owned; the decoded names and values, each with its final NUL */
        struct {
                const char *name;  /* into text */
                const char *value; /* into text */
        } parameters[FORM_PARAMETERS_MAX];
        size_t n_parameters;
};

enum {
        FORM_E_MALFORMED = 1, /* no pairs of name and value, a bad escape, not UTF-8, a NUL */
        FORM_E_REPEATED,      /* a parameter is there twice (RFC 6749, section 3.2) */
        FORM_E_FULL,          /* more than FORM_PARAMETERS_MAX parameters */
};

/*
 * Borrows `bytes`. On any failure the form is empty. 0, -ENOMEM, FORM_E_MALFORMED, FORM_E_REPEATED
 * or FORM_E_FULL.
 */
int form_parse(struct form *form, const char *bytes, size_t size);

/* Takes a form of all zeroes, too. */
void form_deinit(struct form *form);

/* The value, or NULL when there is no such parameter. */
const char *form_get(const struct form *form, const char *name);
