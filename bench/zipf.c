/* SPDX-License-Identifier: MIT */

/*
 * zipf: how often the cache has what is asked for, where subjects are as popular as in life: by
 * Zipf's law with exponent 0.9, and one request in ten is for a subject that is never asked for
 * again. Beside it, on the same trace, a cache of the same size that drops what was not used for
 * longest (LRU). Tells both ratios as JSON; the trace is the same each time.
 */

#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cache.h"

#define SUBJECTS    100000U
#define ENTRIES     10000U
#define REQUESTS    2000000U
#define EXPONENT    0.9
#define SCAN_ONE_IN 10
#define LIFETIME_MS 3600000

static double popular[SUBJECTS]; /* the sum of what is more popular, and this one */
static uint64_t random_state = UINT64_C(88172645463325252);

static uint64_t next_random(void)
{
        random_state ^= random_state << 13;
        random_state ^= random_state >> 7;
        random_state ^= random_state << 17;
        return random_state;
}

/* The trace: a subject, from SUBJECTS on one that comes once. */
static uint32_t next_subject(void)
{
        static uint32_t n_scanned;
        size_t low = 0, high = SUBJECTS - 1;
        double wanted;

        if (next_random() % SCAN_ONE_IN == 0)
                return SUBJECTS + n_scanned++;
        wanted = (double)(next_random() >> 11) / (double)(UINT64_C(1) << 53) *
                 popular[SUBJECTS - 1];
        while (low < high) {
                const size_t middle = (low + high) / 2;

                if (popular[middle] < wanted)
                        low = middle + 1;
                else
                        high = middle;
        }
        return (uint32_t)low;
}

/* Whether the cache had it; it has it now. */
static bool ask_cache(struct cache *cache, uint32_t subject)
{
        static const uint8_t hash_key[SIPHASH_KEY_BYTES] = {1, 2, 3};
        uint8_t buffer[GRANT_KEY_MAX_BYTES];
        struct grant grant = {
                .identity = 1,
                .subject_kind = SUBJECT_USERNAME,
                .scope = TEXT("scope"),
        };
        struct token *token;
        struct grant_key key;
        char name[32];

        (void)snprintf(name, sizeof(name), "user-%u", subject);
        grant.subject = TEXT(name);
        key = grant_key_make(buffer, hash_key, &grant);
        if (cache_lookup(cache, key, 0))
                return true;
        if (token_new(&token, TEXT("token"), (struct text){}, 0, LIFETIME_MS) ||
            cache_store(cache, key, token))
                exit(1);
        token_unref(token);
        return false;
}

/* Last use first; both ends are in place 0. */
static struct {
        uint32_t newer, older;
        bool there;
} lru[SUBJECTS + REQUESTS + 1];
static size_t n_lru;

static void lru_take_out(uint32_t at)
{
        lru[lru[at].newer].older = lru[at].older;
        lru[lru[at].older].newer = lru[at].newer;
        lru[at].there = false;
        n_lru--;
}

static bool ask_lru(uint32_t subject)
{
        const uint32_t at = subject + 1;
        const bool hit = lru[at].there;

        if (hit)
                lru_take_out(at);
        else if (n_lru == ENTRIES)
                lru_take_out(lru[0].newer);
        lru[at].older = lru[0].older;
        lru[at].newer = 0;
        lru[lru[0].older].newer = at;
        lru[0].older = at;
        lru[at].there = true;
        n_lru++;
        return hit;
}

int main(void)
{
        uint64_t n_cache = 0, n_lru_hits = 0;
        struct cache cache;
        double sum = 0;

        for (size_t i = 0; i < SUBJECTS; i++) {
                sum += pow((double)(i + 1), -EXPONENT);
                popular[i] = sum;
        }
        if (cache_init(&cache, ENTRIES, UINT64_MAX / 2))
                return 1;
        for (uint32_t i = 0; i < REQUESTS; i++) {
                const uint32_t subject = next_subject();

                n_cache += ask_cache(&cache, subject);
                n_lru_hits += ask_lru(subject);
        }
        cache_deinit(&cache);
        printf("{\"cache\": %.4f, \"lru\": %.4f}\n", (double)n_cache / REQUESTS,
               (double)n_lru_hits / REQUESTS);
        return 0;
}
