/* SPDX-License-Identifier: MIT */

/*
 * A connection that asks once costs nothing: memory is taken when it asks for the second time. A
 * form is kept twice, as it was sent, to know it again, and as reading has left it, which is where
 * the texts of the request lie. A form that holds a secret is not kept.
 */

#include "habit.h"

#include <stdlib.h>
#include <string.h>

#include "../lib/error.h"

void habit_deinit(struct habit *habit)
{
        free(habit->memory);
        *habit = (struct habit){};
}

/* Where this form may be kept; NULL: nowhere. */
static struct habit_memory *memory_for(struct habit *habit, size_t size)
{
        if (!habit->memory && habit->asked_before)
                habit->memory = calloc(1, sizeof(*habit->memory));
        habit->asked_before = true;
        return size > 0 && size <= HABIT_FORM_MAX_BYTES ? habit->memory : NULL;
}

/* Has a text of the form lie in our copy; one that lies elsewhere is empty. */
static void move(struct text *text, const char *form, const char *copy)
{
        if (text->size > 0)
                text->bytes = copy + (text->bytes - form);
}

static void keep(struct habit_memory *memory, struct token_request *request, const char *form,
                 size_t size)
{
        memory->size = size;
        memcpy(memory->read, form, size);
        move(&request->subject, form, memory->read);
        move(&request->scope, form, memory->read);
        move(&request->client, form, memory->read);
        memory->verdict.generation = 0;
        request->verdict = &memory->verdict;
        memory->request = *request;
}

int habit_read(struct habit *habit, struct token_request *request, char *form, size_t size)
{
        struct habit_memory *memory = memory_for(habit, size);
        int r;

        if (memory && memory->size == size && memcmp(memory->sent, form, size) == 0) {
                *request = memory->request;
                return 0;
        }
        if (memory) {
                memory->size = 0;
                memcpy(memory->sent, form, size);
        }
        r = request_parse(request, form, size, REQUEST_BODY);
        if (memory && r == 0 && !request->held_secret)
                keep(memory, request, form, size);
        else if (memory)
                secret_wipe(memory->sent, size);
        return error_trace(r);
}
