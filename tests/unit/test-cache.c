/* SPDX-License-Identifier: MIT */

#include "cache.h"

#include <errno.h>
#include <stdio.h>

#include "helpers.h"

#define NEEDLE "the-token-that-must-not-stay-behind"
#define NO_CAP UINT64_MAX

static struct token *new_token(const char *value, uint64_t sent_at_ms, uint64_t lifetime_ms)
{
        struct token *token = NULL;

        assert_int_equal(token_new(&token, TEXT(value), TEXT("scope"), sent_at_ms, lifetime_ms), 0);
        return token;
}

/* Stores a token that the cache alone holds afterwards. */
static int store_until(struct cache *cache, unsigned int number, const char *value,
                       uint64_t expires_at_ms)
{
        struct token *token = new_token(value, 0, expires_at_ms);
        struct key_buffer key;
        int r;

        r = cache_store(cache, key_of_number(&key, number), token);
        token_unref(token);
        return r;
}

static void store(struct cache *cache, unsigned int number, const char *value)
{
        assert_int_equal(store_until(cache, number, value, 1000000), 0);
}

static struct token *lookup(struct cache *cache, unsigned int number)
{
        struct key_buffer key;

        return cache_lookup(cache, key_of_number(&key, number), 0);
}

static void remove_number(struct cache *cache, unsigned int number)
{
        struct key_buffer key;

        cache_remove(cache, key_of_number(&key, number));
}

static void assert_holds(struct cache *cache, unsigned int number, const char *value)
{
        struct token *token = lookup(cache, number);

        assert_non_null(token);
        assert_true(text_equal(token_value(token), TEXT(value)));
}

static unsigned int number_of(const struct list *link)
{
        const struct cache_entry *entry = list_entry(link, struct cache_entry, link);
        const struct grant grant = grant_of_key((struct grant_key){
                .hash = entry->hash, .size = entry->key_size, .bytes = entry->key_bytes});
        unsigned int number = 0;

        for (size_t i = 0; i < grant.subject.size; i++)
                number = number * 10 + (unsigned int)(grant.subject.bytes[i] - '0');
        return number;
}

static bool is_visited(const struct list *link)
{
        return list_entry(link, struct cache_entry, link)->visited;
}

/* Bytes that an entry costs whose number has two digits, its token aside. */
static uint64_t entry_cost(void)
{
        struct cache cache;
        uint64_t cost;

        assert_int_equal(cache_init(&cache, 1, NO_CAP), 0);
        store(&cache, 10, "x");
        cost = cache.memory_bytes - token_memory(lookup(&cache, 10));
        cache_deinit(&cache);
        return cost;
}

static void the_table_is_as_large_as_the_cap_and_evenly_filled(void **state)
{
        static const struct {
                size_t cap;
                uint64_t mask;
        } sizes[] = {{1, 0}, {2, 1}, {3, 3}, {4, 3}, {5, 7}, {64, 63}, {65, 127}, {1000, 1023}};
        struct cache cache;

        (void)state;
        for (size_t i = 0; i < N_OF(sizes); i++) {
                assert_int_equal(cache_init(&cache, sizes[i].cap, NO_CAP), 0);
                assert_int_equal(cache.mask, sizes[i].mask);
                cache_deinit(&cache);
        }
        assert_int_equal(cache_init(&cache, 1000, NO_CAP), 0);
        for (unsigned int i = 0; i < 1000; i++)
                store(&cache, i, "t");
        for (uint64_t i = 0; i <= cache.mask; i++) {
                size_t n = 0;

                for (const struct cache_entry *entry = cache.buckets[i]; entry; entry = entry->next)
                        n++;
                assert_in_range(n, 0, 10);
        }
        cache_deinit(&cache);
}

/* What is counted covers what is allocated: entry, key, token, and its slots in table and heap. */
static void every_byte_of_key_and_token_is_counted(void **state)
{
        const struct token_request request = {.subject = BYTES("a subject of 24 letters.")};
        static const uint8_t hash_key[SIPHASH_KEY_BYTES] = "";
        struct token *token = new_token("value", 0, 100000);
        uint8_t buffer[GRANT_KEY_MAX_BYTES];
        struct grant_key key;
        uint64_t least, before = 0;
        struct cache cache;

        (void)state;
        assert_int_equal(cache_init(&cache, 4, NO_CAP), 0);
        for (size_t size = 1; size <= 24; size += 23) {
                struct token_request shorter = request;

                shorter.subject.size = size;
                key = grant_key_make(buffer, hash_key, 1, &shorter, TEXT("scope"));
                assert_int_equal(cache_store(&cache, key, token), 0);
                least = sizeof(struct cache_entry) + key.size + token_memory(token) +
                        sizeof(struct cache_entry *) + sizeof(struct timerheap_slot);
                assert_in_range(cache.memory_bytes - before, least, least + 64);
                assert_true(before == 0 || cache.memory_bytes - before == before + 23);
                before = cache.memory_bytes;
        }
        cache_deinit(&cache);
        token_unref(token);
}

static void what_was_stored_is_found_under_its_key_only(void **state)
{
        struct cache cache;
        struct token *token = new_token("value", 0, 100000);
        struct key_buffer key;

        (void)state;
        assert_int_equal(cache_init(&cache, 4, NO_CAP), 0);
        assert_null(lookup(&cache, 1));
        assert_int_equal(cache_store(&cache, key_of_number(&key, 1), token), 0);
        memset(&key, 0, sizeof(key)); /* the cache has a copy */
        assert_int_equal(token->refs, 2);
        assert_ptr_equal(lookup(&cache, 1), token);
        assert_int_equal(token->refs, 2);
        assert_null(lookup(&cache, 2));
        assert_int_equal(cache.counters.stored, 1);
        cache_deinit(&cache);
        assert_int_equal(token->refs, 1);
        token_unref(token);
}

static void keys_of_equal_hash_are_told_apart_by_their_bytes(void **state)
{
        enum { N = 6 };
        struct key_buffer keys[N];
        struct token *tokens[N];
        struct cache cache;

        (void)state;
        assert_int_equal(cache_init(&cache, N, NO_CAP), 0);
        for (unsigned int i = 0; i < N; i++) {
                key_of_number(&keys[i], i);
                keys[i].key.hash = 7;
                tokens[i] = new_token("t", 0, 100000);
                assert_int_equal(cache_store(&cache, keys[i].key, tokens[i]), 0);
        }
        for (int i = 0; i < N; i++)
                assert_ptr_equal(cache_lookup(&cache, keys[i].key, 0), tokens[i]);
        /* Out of the middle, the front and the end of the chain. */
        for (int i = 1; i < N; i += 2)
                cache_remove(&cache, keys[i].key);
        for (int i = 0; i < N; i++)
                assert_ptr_equal(cache_lookup(&cache, keys[i].key, 0), i % 2 ? NULL : tokens[i]);
        cache_deinit(&cache);
        for (int i = 0; i < N; i++) {
                assert_int_equal(tokens[i]->refs, 1);
                token_unref(tokens[i]);
        }
}

static void replacing_drops_the_old_token_and_keeps_the_entry(void **state)
{
        struct cache cache;

        (void)state;
        frees_watch(NEEDLE);
        assert_int_equal(cache_init(&cache, 4, NO_CAP), 0);
        store(&cache, 1, NEEDLE);
        store(&cache, 1, "new");
        assert_int_equal(frees_dirty(), 0);
        frees_watch(NULL);
        assert_holds(&cache, 1, "new");
        assert_int_equal(cache.n_entries, 1);
        assert_int_equal(cache.counters.stored, 1);
        assert_int_equal(cache.counters.replaced, 1);
        cache_deinit(&cache);
}

static void replacing_moves_the_expiry_both_ways(void **state)
{
        struct cache cache;

        (void)state;
        assert_int_equal(cache_init(&cache, 4, NO_CAP), 0);
        assert_int_equal(store_until(&cache, 1, "a", 5000), 0);
        assert_int_equal(cache_next_expiry_ms(&cache), 5000);
        assert_int_equal(store_until(&cache, 1, "b", 9000), 0);
        assert_int_equal(cache_next_expiry_ms(&cache), 9000);
        assert_int_equal(store_until(&cache, 1, "c", 3000), 0);
        assert_int_equal(cache_next_expiry_ms(&cache), 3000);
        cache_deinit(&cache);
}

/* The token that is there may come back from the issuer, or be stored again by who looked it up. */
static void a_token_can_be_stored_in_its_own_place(void **state)
{
        struct key_buffer key;
        struct cache cache;
        struct token *token;

        (void)state;
        assert_int_equal(cache_init(&cache, 4, NO_CAP), 0);
        store(&cache, 1, "value");
        token = lookup(&cache, 1);
        assert_int_equal(cache_store(&cache, key_of_number(&key, 1), token), 0);
        assert_ptr_equal(lookup(&cache, 1), token);
        assert_int_equal(token->refs, 1);
        assert_holds(&cache, 1, "value");
        cache_deinit(&cache);
}

static void one_token_may_be_under_several_keys(void **state)
{
        struct token *token = new_token("value", 0, 100000);
        struct key_buffer key;
        struct cache cache;

        (void)state;
        assert_int_equal(cache_init(&cache, 4, NO_CAP), 0);
        for (unsigned int i = 0; i < 3; i++)
                assert_int_equal(cache_store(&cache, key_of_number(&key, i), token), 0);
        assert_int_equal(token->refs, 4);
        remove_number(&cache, 1);
        assert_int_equal(token->refs, 3);
        cache_deinit(&cache);
        token_unref(token);
}

static void removing_wipes_and_what_is_not_there_is_not_counted(void **state)
{
        struct cache cache;

        (void)state;
        frees_watch(NEEDLE);
        assert_int_equal(cache_init(&cache, 4, NO_CAP), 0);
        store(&cache, 1, NEEDLE);
        remove_number(&cache, 2);
        assert_int_equal(cache.counters.removed, 0);
        remove_number(&cache, 1);
        remove_number(&cache, 1);
        assert_int_equal(cache.counters.removed, 1);
        assert_int_equal(frees_dirty(), 0);
        frees_watch(NULL);
        assert_null(lookup(&cache, 1));
        assert_int_equal(cache.n_entries, 0);
        assert_int_equal(cache.memory_bytes, 0);
        assert_int_equal(cache_next_expiry_ms(&cache), TIMERHEAP_NEVER);
        cache_deinit(&cache);
}

static void evicted_and_remaining_tokens_are_wiped(void **state)
{
        struct cache cache;

        (void)state;
        frees_watch(NEEDLE);
        assert_int_equal(cache_init(&cache, 3, NO_CAP), 0);
        for (unsigned int i = 0; i < 20; i++)
                store(&cache, i, NEEDLE);
        assert_int_equal(cache.counters.evicted_entries, 17);
        assert_int_equal(frees_dirty(), 0);
        cache_deinit(&cache);
        assert_int_equal(frees_dirty(), 0);
        frees_watch(NULL);
        cache_deinit(&cache); /* harmless twice */
}

static void a_token_that_somebody_holds_outlives_its_entry(void **state)
{
        struct cache cache;
        struct token *token;

        (void)state;
        assert_int_equal(cache_init(&cache, 1, NO_CAP), 0);
        store(&cache, 1, "held");
        token = token_ref(lookup(&cache, 1));
        store(&cache, 2, "other");
        assert_null(lookup(&cache, 1));
        cache_deinit(&cache);
        assert_int_equal(token->refs, 1);
        assert_true(text_equal(token_value(token), BYTES("held")));
        token_unref(token);
}

static void the_cap_on_entries_is_reached_and_never_passed(void **state)
{
        static const size_t caps[] = {1, 2, 3, 64, 65, 100};

        (void)state;
        for (size_t i = 0; i < N_OF(caps); i++) {
                struct cache cache;

                assert_int_equal(cache_init(&cache, caps[i], NO_CAP), 0);
                for (unsigned int number = 0; number < 3 * caps[i]; number++) {
                        store(&cache, number, "t");
                        assert_int_equal(cache.n_entries, number < caps[i] ? number + 1 : caps[i]);
                        assert_holds(&cache, number, "t");
                }
                assert_int_equal(cache.counters.evicted_entries, 2 * caps[i]);
                assert_int_equal(cache.counters.evicted_memory, 0);
                cache_deinit(&cache);
        }
}

static void the_cap_on_bytes_is_reached_and_never_passed(void **state)
{
        enum { N = 5 };
        const uint64_t each = entry_cost() + sizeof(struct token) + strlen("value") + 5;

        (void)state;
        for (int slack = -1; slack <= 1; slack++) {
                struct cache cache;

                assert_int_equal(cache_init(&cache, 100, N * each + (uint64_t)slack), 0);
                for (unsigned int number = 10; number < 30; number++) {
                        store(&cache, number, "value");
                        assert_holds(&cache, number, "value");
                        assert_true(cache.memory_bytes <= cache.max_memory_bytes);
                }
                assert_int_equal(cache.n_entries, slack < 0 ? N - 1 : N);
                assert_int_equal(cache.memory_bytes, cache.n_entries * each);
                assert_int_equal(cache.counters.evicted_memory, 20 - cache.n_entries);
                assert_int_equal(cache.counters.evicted_entries, 0);
                cache_deinit(&cache);
        }
}

static void a_token_larger_than_the_whole_cache_is_refused_and_changes_nothing(void **state)
{
        const uint64_t cost = entry_cost() + sizeof(struct token) + 5;
        char value[1001] = "";
        struct cache cache;

        (void)state;
        memset(value, 'x', 1000);
        assert_int_equal(cache_init(&cache, 10, cost + 999), 0);
        store(&cache, 10, "small");
        store(&cache, 11, "small");
        assert_int_equal(store_until(&cache, 10, value, 5000), CACHE_E_TOO_LARGE);
        assert_int_equal(store_until(&cache, 12, value, 5000), CACHE_E_TOO_LARGE);
        assert_int_equal(cache.counters.refused_too_large, 2);
        assert_int_equal(cache.n_entries, 2);
        assert_holds(&cache, 10, "small");
        assert_holds(&cache, 11, "small");
        value[999] = '\0';
        store(&cache, 12, value); /* all of it, to the byte */
        assert_int_equal(cache.n_entries, 1);
        assert_int_equal(cache.memory_bytes, cache.max_memory_bytes);
        cache_deinit(&cache);
}

static void a_replacement_that_fits_to_the_byte_evicts_nobody(void **state)
{
        const uint64_t cost = entry_cost() + sizeof(struct token) + 5 + 5;
        struct cache cache;

        (void)state;
        assert_int_equal(cache_init(&cache, 10, 2 * cost + 3), 0);
        store(&cache, 10, "small");
        store(&cache, 11, "small");
        store(&cache, 10, "larger.."); /* by three bytes */
        assert_int_equal(cache.memory_bytes, cache.max_memory_bytes);
        assert_holds(&cache, 11, "small");
        store(&cache, 10, "larger..!");
        assert_null(lookup(&cache, 11));
        cache_deinit(&cache);
}

/* Others make room for a token that replaces a smaller one, wherever the hand stands. */
static void a_larger_replacement_is_never_its_own_victim(void **state)
{
        const uint64_t cost = entry_cost() + sizeof(struct token) + 5;
        char value[301] = "";

        (void)state;
        memset(value, 'x', 300);
        for (unsigned int number = 10; number < 14; number++) {
                struct cache cache;

                assert_int_equal(cache_init(&cache, 10, 4 * cost + 300), 0);
                for (unsigned int i = 10; i < 14; i++)
                        store(&cache, i, "small");
                store(&cache, number, value);
                assert_holds(&cache, number, value);
                assert_int_equal(cache.n_entries, 3);
                assert_int_equal(cache.counters.evicted_memory, 1);

                store(&cache, 20, "small"); /* and the hand still stands where it can go on */
                store(&cache, 21, value);
                assert_holds(&cache, 21, value);
                cache_deinit(&cache);
        }
}

static void expired_entries_go_at_their_time_and_no_more_than_asked(void **state)
{
        struct cache cache;

        (void)state;
        frees_watch(NEEDLE);
        assert_int_equal(cache_init(&cache, 100, NO_CAP), 0);
        for (unsigned int i = 0; i < 10; i++)
                assert_int_equal(store_until(&cache, i, NEEDLE, 5000 + i), 0);
        assert_int_equal(cache_next_expiry_ms(&cache), 5000);
        assert_int_equal(cache_expire(&cache, 4999, 100), 0);
        assert_int_equal(cache_expire(&cache, 5000, 100), 1);
        assert_int_equal(cache_next_expiry_ms(&cache), 5001);
        assert_int_equal(cache_expire(&cache, 9000, 4), 4);
        assert_int_equal(cache_expire(&cache, 9000, 0), 0);
        assert_int_equal(cache_expire(&cache, 9000, 100), 5);
        assert_int_equal(cache_expire(&cache, 9000, 100), 0);
        assert_int_equal(cache_next_expiry_ms(&cache), TIMERHEAP_NEVER);
        assert_int_equal(cache.counters.expired, 10);
        assert_int_equal(cache.n_entries, 0);
        assert_int_equal(cache.memory_bytes, 0);
        assert_int_equal(frees_dirty(), 0);
        frees_watch(NULL);
        cache_deinit(&cache);
}

static void a_lookup_finds_a_token_until_a_second_before_its_end(void **state)
{
        struct key_buffer key;
        struct cache cache;

        (void)state;
        assert_int_equal(cache_init(&cache, 1, NO_CAP), 0);
        key_of_number(&key, 1);
        assert_int_equal(store_until(&cache, 1, "t", 60000), 0);
        assert_null(cache_lookup(&cache, key.key, 59001));
        assert_null(cache_lookup(&cache, key.key, 60000));
        assert_null(cache_lookup(&cache, key.key, 70000));
        assert_false(is_visited(list_first(&cache.queue))); /* that was no use of it */
        assert_non_null(cache_lookup(&cache, key.key, 59000));
        assert_true(is_visited(list_first(&cache.queue)));
        cache_deinit(&cache);
}

static void assert_freshness(uint64_t lifetime_ms, uint64_t margin_ms, uint64_t left_ms,
                             enum freshness expected)
{
        struct token *token = new_token("t", 1000000, lifetime_ms);

        if (token_freshness(token, margin_ms, 1000000 + lifetime_ms - left_ms) != expected)
                fail_msg("life %d, margin %d, left %d", (int)lifetime_ms, (int)margin_ms,
                         (int)left_ms);
        token_unref(token);
}

static void freshness_changes_at_the_exact_millisecond(void **state)
{
        (void)state;
        /* An hour: the margin of 30 s counts. */
        assert_freshness(3600000, 30000, 3600000, FRESHNESS_FRESH);
        assert_freshness(3600000, 30000, 30000, FRESHNESS_FRESH);
        assert_freshness(3600000, 30000, 29999, FRESHNESS_SPENT);
        assert_freshness(3600000, 30000, 1000, FRESHNESS_SPENT);
        assert_freshness(3600000, 30000, 999, FRESHNESS_ENDED);
        assert_freshness(3600000, 30000, 0, FRESHNESS_ENDED);
        /* A minute: a tenth of it counts. */
        assert_freshness(60000, 30000, 6000, FRESHNESS_FRESH);
        assert_freshness(60000, 30000, 5999, FRESHNESS_SPENT);
        /* Five minutes: both are the same. */
        assert_freshness(300000, 30000, 30000, FRESHNESS_FRESH);
        assert_freshness(300000, 30000, 29999, FRESHNESS_SPENT);
        /* A little more than that: the margin counts, not the tenth. */
        assert_freshness(310000, 30000, 30000, FRESHNESS_FRESH);
        assert_freshness(310000, 30000, 29999, FRESHNESS_SPENT);
        /* No margin: fresh as long as it lives. */
        assert_freshness(3600000, 0, 1000, FRESHNESS_FRESH);
        assert_freshness(3600000, 0, 999, FRESHNESS_ENDED);
        /* A second: only at once. */
        assert_freshness(1000, 30000, 1000, FRESHNESS_FRESH);
        assert_freshness(1000, 30000, 999, FRESHNESS_ENDED);
        assert_freshness(1, 30000, 1, FRESHNESS_ENDED);
}

static void a_token_long_past_its_end_has_ended(void **state)
{
        struct token *token = new_token("t", 5000, 10000);

        (void)state;
        assert_int_equal(token_freshness(token, 0, UINT64_C(1) << 40), FRESHNESS_ENDED);
        token_unref(token);
}

static void the_hand_looks_at_a_bounded_number_of_entries(void **state)
{
        enum { N = 5 * CACHE_HAND_MAX };
        struct cache cache;
        unsigned int n_cleared = 0, number = 0;

        (void)state;
        assert_int_equal(cache_init(&cache, N, NO_CAP), 0);
        for (unsigned int i = 0; i < N; i++)
                store(&cache, i, "t");
        for (unsigned int i = 0; i < N; i++)
                assert_non_null(lookup(&cache, i));
        store(&cache, N, "t");
        list_for_each (link, &cache.queue)
                n_cleared += !is_visited(link) && number_of(link) != N;
        assert_int_equal(n_cleared, CACHE_HAND_MAX);
        /* The oldest were spared once, and the one after them went. */
        for (struct list *link = cache.queue.prev; number < CACHE_HAND_MAX; link = link->prev)
                assert_int_equal(number_of(link), number++);
        assert_null(lookup(&cache, CACHE_HAND_MAX));
        assert_int_equal(number_of(cache.hand), CACHE_HAND_MAX + 1);
        cache_deinit(&cache);
}

/* The hand stops at its bound, which may be just where the replaced entry stands. */
static void the_hand_steps_over_a_replacement_at_its_bound_too(void **state)
{
        enum { FIRST = 10, N = 90, AT = FIRST + CACHE_HAND_MAX };
        const uint64_t cost = entry_cost() + sizeof(struct token) + 1 + 5;
        struct cache cache;

        (void)state;
        assert_int_equal(cache_init(&cache, N, N * cost), 0);
        for (unsigned int i = FIRST; i < FIRST + N; i++)
                store(&cache, i, "t");
        for (unsigned int i = FIRST; i < FIRST + N; i++)
                assert_non_null(lookup(&cache, i));
        store(&cache, AT, "tt");
        assert_int_equal(cache.n_entries, N - 1);
        assert_null(lookup(&cache, AT + 1));
        assert_holds(&cache, AT, "tt");
        cache_deinit(&cache);
}

static void a_hot_set_survives_a_scan_of_one_off_keys(void **state)
{
        enum { N_HOT = 50, CAP = 100, SCAN = 50000 };
        struct cache cache;

        (void)state;
        assert_int_equal(cache_init(&cache, CAP, NO_CAP), 0);
        for (unsigned int i = 0; i < N_HOT; i++) {
                store(&cache, i, "hot");
                assert_non_null(lookup(&cache, i));
        }
        for (unsigned int i = 0; i < SCAN; i++) {
                store(&cache, 1000 + i, "cold");
                /* Every hot key about once while the hand goes round. */
                if (!lookup(&cache, i % N_HOT))
                        fail_msg("hot key %u was lost after %u cold ones", i % N_HOT, i);
        }
        assert_int_equal(cache.counters.evicted_entries, N_HOT + SCAN - CAP);
        cache_deinit(&cache);
}

/* The paper's algorithm over an array, with our bound and what stands by a replacement. */
#define MODEL_NUMBERS 90
#define MODEL_FIRST   10
#define NO_HAND       (-1)

struct model {
        struct {
                unsigned int number;
                bool visited;
                uint64_t memory_bytes;
                uint64_t expires_at_ms;
        } entries[MODEL_NUMBERS]; /* newest first */
        int n;
        int hand; /* index into entries */
        uint64_t memory_bytes;
        size_t max_entries;
        uint64_t max_memory_bytes;
};

static int model_find(const struct model *model, unsigned int number)
{
        for (int i = 0; i < model->n; i++)
                if (model->entries[i].number == number)
                        return i;
        return -1;
}

static void model_remove(struct model *model, int at)
{
        model->memory_bytes -= model->entries[at].memory_bytes;
        if (model->hand >= at) /* at the removed one: on to the next newer, none: start over */
                model->hand--;
        memmove(&model->entries[at], &model->entries[at + 1],
                (size_t)(model->n - at - 1) * sizeof(model->entries[0]));
        model->n--;
}

static void model_evict(struct model *model, int spared)
{
        int at = model->hand == NO_HAND ? model->n - 1 : model->hand;
        int seen = 0;

        while (seen++ < CACHE_HAND_MAX && (model->entries[at].visited || at == spared)) {
                model->entries[at].visited = false;
                at = at == 0 ? model->n - 1 : at - 1;
        }
        if (at == spared)
                at = at == 0 ? model->n - 1 : at - 1;
        model->hand = at;
        model_remove(model, at);
}

static void model_store(struct model *model, unsigned int number, uint64_t memory_bytes,
                        uint64_t expires_at_ms)
{
        int at = model_find(model, number);

        if (at >= 0) {
                model->memory_bytes += memory_bytes - model->entries[at].memory_bytes;
                model->entries[at].memory_bytes = memory_bytes;
                model->entries[at].expires_at_ms = expires_at_ms;
                while (model->memory_bytes > model->max_memory_bytes)
                        model_evict(model, model_find(model, number));
                return;
        }
        while ((size_t)model->n >= model->max_entries ||
               model->memory_bytes + memory_bytes > model->max_memory_bytes)
                model_evict(model, -1);
        memmove(&model->entries[1], &model->entries[0],
                (size_t)model->n * sizeof(model->entries[0]));
        model->entries[0].number = number;
        model->entries[0].visited = false;
        model->entries[0].memory_bytes = memory_bytes;
        model->entries[0].expires_at_ms = expires_at_ms;
        model->memory_bytes += memory_bytes;
        model->n++;
        if (model->hand != NO_HAND)
                model->hand++;
}

static void model_expire(struct model *model, uint64_t now_ms)
{
        for (int i = model->n - 1; i >= 0; i--)
                if (model->entries[i].expires_at_ms <= now_ms)
                        model_remove(model, i);
}

static void assert_same(const struct cache *cache, const struct model *model)
{
        uint64_t next_ms = TIMERHEAP_NEVER;
        int i = 0;

        assert_int_equal(cache->n_entries, model->n);
        assert_int_equal(cache->memory_bytes, model->memory_bytes);
        list_for_each (link, &cache->queue) {
                assert_int_equal(number_of(link), model->entries[i].number);
                assert_int_equal(is_visited(link), model->entries[i].visited);
                assert_int_equal(cache->hand == link, model->hand == i);
                if (model->entries[i].expires_at_ms < next_ms)
                        next_ms = model->entries[i].expires_at_ms;
                i++;
        }
        assert_int_equal(i, model->n);
        assert_int_equal(cache->hand == NULL, model->hand == NO_HAND);
        assert_int_equal(cache_next_expiry_ms(cache), next_ms);
}

static void random_step(struct cache *cache, struct model *model, uint64_t cost, uint64_t now_ms,
                        unsigned int n_lookups, uint64_t *seed)
{
        const unsigned int number = MODEL_FIRST + (unsigned int)(random_next(seed) % MODEL_NUMBERS);
        const uint64_t expires_at_ms = now_ms + 5000 + random_next(seed) % 20000;
        const size_t size = 1 + random_next(seed) % 300;
        const int at = model_find(model, number);
        char value[301] = "";
        bool found;

        switch (random_next(seed) % (5 + n_lookups)) {
        case 0:
        case 1:
        case 2:
                memset(value, 'v', size);
                assert_int_equal(store_until(cache, number, value, expires_at_ms), 0);
                model_store(model, number, cost + sizeof(struct token) + size + 5, expires_at_ms);
                assert_true(model_find(model, number) >= 0);
                break;
        case 3:
                remove_number(cache, number);
                if (at >= 0)
                        model_remove(model, at);
                break;
        case 4:
                cache_expire(cache, now_ms, SIZE_MAX);
                model_expire(model, now_ms);
                break;
        default:
                found = lookup(cache, number) != NULL;
                assert_int_equal(found, at >= 0);
                if (found)
                        model->entries[at].visited = true;
        }
}

static void random_operations_agree_with_a_model(void **state)
{
        const uint64_t cost = entry_cost();
        static const struct {
                size_t max_entries;
                uint64_t max_memory_bytes;
                unsigned int n_lookups; /* to five other operations */
        } caps[] = {
                {10, NO_CAP, 3},  {1, NO_CAP, 3},           {40, 8000, 3},   {20, 6000, 50},
                {80, NO_CAP, 50}, {MODEL_NUMBERS, 1000, 3}, {80, 22000, 50},
        };

        (void)state;
        for (size_t i = 0; i < N_OF(caps); i++) {
                struct model model = {
                        .hand = NO_HAND,
                        .max_entries = caps[i].max_entries,
                        .max_memory_bytes = caps[i].max_memory_bytes,
                };
                uint64_t seed = 10 + i;
                struct cache cache;

                assert_int_equal(cache_init(&cache, caps[i].max_entries, caps[i].max_memory_bytes),
                                 0);
                for (uint64_t step = 0; step < 20000; step++) {
                        random_step(&cache, &model, cost, step, caps[i].n_lookups, &seed);
                        assert_same(&cache, &model);
                }
                cache_deinit(&cache);
        }
}

static void out_of_memory_loses_nothing(void **state)
{
        struct cache cache;

        (void)state;
        for (unsigned int n = 1; n <= 2; n++) {
                alloc_fail_at(n);
                assert_int_equal(cache_init(&cache, 2, NO_CAP), -ENOMEM);
                assert_true(alloc_has_failed());
                cache_deinit(&cache);
        }
        assert_int_equal(cache_init(&cache, 2, NO_CAP), 0);
        store(&cache, 1, "a");
        store(&cache, 2, "b");
        alloc_fail_at(2); /* the first is the token's */
        assert_int_equal(store_until(&cache, 3, "c", 5000), -ENOMEM);
        assert_true(alloc_has_failed());
        assert_holds(&cache, 1, "a");
        assert_holds(&cache, 2, "b");
        assert_int_equal(cache.n_entries, 2);
        cache_deinit(&cache);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(the_table_is_as_large_as_the_cap_and_evenly_filled),
                cmocka_unit_test(every_byte_of_key_and_token_is_counted),
                cmocka_unit_test(what_was_stored_is_found_under_its_key_only),
                cmocka_unit_test(keys_of_equal_hash_are_told_apart_by_their_bytes),
                cmocka_unit_test(replacing_drops_the_old_token_and_keeps_the_entry),
                cmocka_unit_test(replacing_moves_the_expiry_both_ways),
                cmocka_unit_test(a_token_can_be_stored_in_its_own_place),
                cmocka_unit_test(one_token_may_be_under_several_keys),
                cmocka_unit_test(removing_wipes_and_what_is_not_there_is_not_counted),
                cmocka_unit_test(evicted_and_remaining_tokens_are_wiped),
                cmocka_unit_test(a_token_that_somebody_holds_outlives_its_entry),
                cmocka_unit_test(the_cap_on_entries_is_reached_and_never_passed),
                cmocka_unit_test(the_cap_on_bytes_is_reached_and_never_passed),
                cmocka_unit_test(
                        a_token_larger_than_the_whole_cache_is_refused_and_changes_nothing),
                cmocka_unit_test(a_replacement_that_fits_to_the_byte_evicts_nobody),
                cmocka_unit_test(a_larger_replacement_is_never_its_own_victim),
                cmocka_unit_test(expired_entries_go_at_their_time_and_no_more_than_asked),
                cmocka_unit_test(a_lookup_finds_a_token_until_a_second_before_its_end),
                cmocka_unit_test(freshness_changes_at_the_exact_millisecond),
                cmocka_unit_test(a_token_long_past_its_end_has_ended),
                cmocka_unit_test(the_hand_looks_at_a_bounded_number_of_entries),
                cmocka_unit_test(the_hand_steps_over_a_replacement_at_its_bound_too),
                cmocka_unit_test(a_hot_set_survives_a_scan_of_one_off_keys),
                cmocka_unit_test(random_operations_agree_with_a_model),
                cmocka_unit_test(out_of_memory_loses_nothing),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
