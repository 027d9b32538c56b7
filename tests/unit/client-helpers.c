/* SPDX-License-Identifier: MIT */

#include "client-helpers.h"

#include <malloc.h>

void __real_free(void *block);
void __wrap_free(void *block);

static const char *needle;
static size_t dirty;

void __wrap_free(void *block)
{
        if (block && needle && memmem(block, malloc_usable_size(block), needle, strlen(needle)))
                dirty++;
        __real_free(block);
}

void client_frees_watch(const char *needle_)
{
        needle = needle_;
        dirty = 0;
}

size_t client_frees_dirty(void)
{
        return dirty;
}

struct egain_token *make_token(const char *value, uint64_t asked_ms, uint64_t expires_in_s)
{
        struct broker_token answer = {
                .value = strdup(value),
                .scope = strdup("s"),
                .expires_in_s = expires_in_s,
        };
        struct egain_token *token = token_object_new(&answer, asked_ms);

        assert_non_null(token);
        return token;
}
