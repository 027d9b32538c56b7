/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * What a connection asked last. A service that keeps its connection mostly asks the same again, in
 * the same words, and these need neither be read nor judged once more: the request that was made of
 * them is kept, and the broker's verdict on it.
 */

#include <stdbool.h>
#include <stddef.h>

#include "../lib/request.h"
#include "../lib/verdict.h"

/* A longer form is read each time. */
#define HABIT_FORM_MAX_BYTES 512

#define HABIT_CACHE_LINE_BYTES 64

struct habit_memory {
        size_t size; /* of the form; 0: there is none */
        struct token_request request;
        struct verdict verdict;
        char sent[HABIT_FORM_MAX_BYTES];
        char read[HABIT_FORM_MAX_BYTES];
};

struct habit {
        struct habit_memory *memory; /* owned; NULL: nothing is known yet */
        bool asked_before;
};

/* Takes one that is all zeros. */
void habit_deinit(struct habit *habit);

/* Has the processor fetch what habit_read() will look at, which other connections have pushed out
 * of its caches; meanwhile the header of the request is read. */
static inline void habit_fetch_ahead(const struct habit *habit)
{
        const char *memory = (const char *)habit->memory;

        for (size_t at = 0; memory && at < sizeof(*habit->memory); at += HABIT_CACHE_LINE_BYTES)
                __builtin_prefetch(memory + at);
}

/* As request_parse() of a body, for a request that is made of its form alone: it may borrow from
 * the habit rather than from the form, until the next one is read. */
int habit_read(struct habit *habit, struct token_request *request, char *form, size_t size);
