/* SPDX-License-Identifier: MIT */

/* Entries of the cache without their tokens. A page holds hundreds, so it is put together by hand
 * rather than from as many objects of a library. */

#include <inttypes.h>
#include <stdio.h>

#include "../lib/error.h"
#include "render.h"

/* Room for what is not text in an entry. */
#define NUMBERS_MAX_BYTES 192

static int append_member(struct secret *out, const char *name, struct text value)
{
        int r;

        r = secret_append_str(out, name);
        if (r == 0)
                r = render_string(out, value);
        return error_trace(r);
}

static int append_entry(struct secret *out, const struct listed *entry)
{
        char numbers[NUMBERS_MAX_BYTES];
        int r;

        r = append_member(out, "{\"client\":", TEXT(entry->client));
        if (r == 0)
                r = append_member(out, ",\"subject\":{\"kind\":",
                                  TEXT(subject_kind_name(entry->subject_kind)));
        if (r == 0 && subject_kind_names(entry->subject_kind))
                r = append_member(out, ",\"value\":", entry->subject);
        else if (r == 0)
                r = secret_append_str(out, ",\"value\":null");
        if (r == 0)
                r = append_member(out, "},\"scope\":", entry->scope);
        if (r == 0 && entry->granted.size > 0)
                r = append_member(out, ",\"granted\":", entry->granted);
        if (r == 0)
                r = append_member(out, ",\"state\":", TEXT(freshness_name(entry->freshness)));
        (void)snprintf(numbers, sizeof(numbers),
                       ",\"age\":%" PRIu64 ",\"expires_in\":%" PRIu64 ",\"refresh_in\":%" PRIu64
                       ",\"used\":%s,\"rejected\":%s}",
                       entry->age_ms / 1000, entry->left_ms / 1000, entry->refresh_in_ms / 1000,
                       entry->used ? "true" : "false", entry->rejected ? "true" : "false");
        if (r == 0)
                r = secret_append_str(out, numbers);
        return error_trace(r);
}

int render_page(struct response *ret, const struct page *page)
{
        char next[48] = "]}\n";
        int r;

        *ret = (struct response){
                .status = 200, .content_type = "application/json", .no_store = true};
        r = secret_append_str(&ret->body, "{\"tokens\":[");
        for (size_t i = 0; r == 0 && i < page->n; i++) {
                if (i > 0)
                        r = secret_append(&ret->body, ",", 1);
                if (r == 0)
                        r = append_entry(&ret->body, &page->entries[i]);
        }
        if (page->next > 0)
                (void)snprintf(next, sizeof(next), "],\"next\":\"%" PRIu64 "\"}\n", page->next);
        if (r == 0)
                r = secret_append_str(&ret->body, next);
        if (r)
                response_deinit(ret);
        return error_trace(r);
}

int render_purged(struct response *ret, uint64_t n)
{
        char body[48];
        int r;

        *ret = (struct response){
                .status = 200, .content_type = "application/json", .no_store = true};
        (void)snprintf(body, sizeof(body), "{\"purged\":%" PRIu64 "}\n", n);
        r = secret_append_str(&ret->body, body);
        if (r)
                response_deinit(ret);
        return error_trace(r);
}
