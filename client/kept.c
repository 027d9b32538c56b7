/* SPDX-License-Identifier: MIT */

/* A table of sets: a key has KEPT_WAYS places, and nothing is ever moved or allocated. */

#include "kept.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define SWEEP_MS 1000

int kept_init(struct kept *kept, size_t capacity)
{
        *kept = (struct kept){.capacity = capacity / KEPT_WAYS * KEPT_WAYS};
        kept->entries = calloc(kept->capacity, sizeof(*kept->entries));
        return kept->entries ? 0 : -ENOMEM;
}

void kept_deinit(struct kept *kept)
{
        if (!kept->entries)
                return;
        kept_clear(kept);
        free(kept->entries);
        *kept = (struct kept){};
}

uint64_t kept_until_ms(uint64_t now_ms, uint64_t left_ms, uint64_t keep_ms)
{
        uint64_t span_ms = keep_ms < KEPT_MAX_MS ? keep_ms : KEPT_MAX_MS;

        if (left_ms <= KEPT_MARGIN_MS)
                return now_ms;
        if (span_ms > left_ms / 2)
                span_ms = left_ms / 2;
        if (span_ms > left_ms - KEPT_MARGIN_MS)
                span_ms = left_ms - KEPT_MARGIN_MS;
        return now_ms + span_ms;
}

static void drop(struct kept *kept, struct kept_entry *entry)
{
        egain_token_unref(entry->token);
        *entry = (struct kept_entry){};
        kept->n--;
}

/* The first of the places that a key has. */
static struct kept_entry *set_of(const struct kept *kept, const unsigned char *key)
{
        uint64_t number;

        memcpy(&number, key, sizeof(number));
        return kept->entries + number % (kept->capacity / KEPT_WAYS) * KEPT_WAYS;
}

static struct kept_entry *find(const struct kept *kept, const unsigned char *key)
{
        struct kept_entry *set = set_of(kept, key);

        for (size_t i = 0; i < KEPT_WAYS; i++)
                if (set[i].token && memcmp(set[i].key, key, QUESTION_KEY_BYTES) == 0)
                        return &set[i];
        return NULL;
}

struct egain_token *kept_find(struct kept *kept, const unsigned char key[QUESTION_KEY_BYTES],
                              uint64_t now_ms)
{
        struct kept_entry *entry = find(kept, key);

        if (!entry)
                return NULL;
        if (now_ms < entry->until_ms)
                return entry->token;
        drop(kept, entry);
        return NULL;
}

/* A free place, or the one that would be free first. */
static struct kept_entry *make_room(struct kept *kept, const unsigned char *key, uint64_t now_ms)
{
        struct kept_entry *set = set_of(kept, key), *first = set;

        for (size_t i = 0; i < KEPT_WAYS; i++) {
                if (!set[i].token)
                        return &set[i];
                if (set[i].until_ms < first->until_ms)
                        first = &set[i];
        }
        if (now_ms < first->until_ms)
                kept->evicted++;
        drop(kept, first);
        return first;
}

void kept_put(struct kept *kept, const unsigned char key[QUESTION_KEY_BYTES],
              struct egain_token *token, uint64_t until_ms, uint64_t now_ms)
{
        struct kept_entry *entry = find(kept, key);

        if (entry)
                drop(kept, entry);
        if (until_ms <= now_ms)
                return;
        entry = make_room(kept, key, now_ms);
        memcpy(entry->key, key, sizeof(entry->key));
        entry->token = egain_token_ref(token);
        entry->until_ms = until_ms;
        kept->n++;
}

void kept_reject(struct kept *kept, const unsigned char key[QUESTION_KEY_BYTES],
                 const struct egain_token *token)
{
        struct kept_entry *entry = find(kept, key);

        if (entry && token_object_equal(entry->token, token))
                drop(kept, entry);
}

void kept_sweep(struct kept *kept, uint64_t now_ms)
{
        if (now_ms - kept->swept_ms < SWEEP_MS)
                return;
        kept->swept_ms = now_ms;
        for (size_t i = 0; kept->n > 0 && i < kept->capacity; i++)
                if (kept->entries[i].token && now_ms >= kept->entries[i].until_ms)
                        drop(kept, &kept->entries[i]);
}

void kept_clear(struct kept *kept)
{
        for (size_t i = 0; kept->n > 0 && i < kept->capacity; i++)
                if (kept->entries[i].token)
                        drop(kept, &kept->entries[i]);
}
