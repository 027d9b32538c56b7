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
static int store_due(struct cache *cache, unsigned int number, const char *value,
                     uint64_t refresh_at_ms, uint64_t expires_at_ms)
{
        struct token *token = new_token(value, 0, expires_at_ms);
        struct key_buffer key;
        int r;

        token->refresh_at_ms = refresh_at_ms;
        r = cache_store(cache, key_of_number(&key, number), token);
        token_unref(token);
        return r;
}

/* Never due. */
static int store_until(struct cache *cache, unsigned int number, const char *value,
                       uint64_t expires_at_ms)
{
        return store_due(cache, number, value, expires_at_ms, expires_at_ms);
}

static void store(struct cache *cache, unsigned int number, const char *value)
{
        assert_int_equal(store_until(cache, number, value, 1000000), 0);
}

static struct cache_entry *entry_at(struct cache *cache, unsigned int number)
{
        struct key_buffer key;

        return cache_lookup(cache, key_of_number(&key, number), 0);
}

static struct token *token_of(const struct cache_entry *entry)
{
        return entry ? entry->token : NULL;
}

static struct token *lookup(struct cache *cache, unsigned int number)
{
        return token_of(entry_at(cache, number));
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
        const struct grant grant = grant_of_key(cache_entry_key(entry));
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
                uint64_t buckets;
        } sizes[] = {{1, 1}, {2, 2}, {3, 4}, {4, 4}, {5, 8}, {64, 64}, {65, 128}, {1000, 1024}};
        struct cache cache;

        (void)state;
        for (size_t i = 0; i < N_OF(sizes); i++) {
                assert_int_equal(cache_init(&cache, sizes[i].cap, NO_CAP), 0);
                assert_int_equal(count_buckets(&cache.table), sizes[i].buckets);
                cache_deinit(&cache);
        }
        assert_int_equal(cache_init(&cache, 1000, NO_CAP), 0);
        for (unsigned int i = 0; i < 1000; i++)
                store(&cache, i, "t");
        assert_int_equal(count_buckets(&cache.table), 1024);
        cache_deinit(&cache);
}

/* What is counted covers what is allocated: entry, key, token, and its slots in table and heap. */
static void every_byte_of_key_and_token_is_counted(void **state)
{
        struct grant grant = {.identity = 1,
                              .subject = BYTES("a subject of 24 letters."),
                              .scope = BYTES("scope")};
        static const uint8_t hash_key[SIPHASH_KEY_BYTES] = "";
        struct token *token = new_token("value", 0, 100000);
        uint8_t buffer[GRANT_KEY_MAX_BYTES];
        struct grant_key key;
        uint64_t least, before = 0;
        struct cache cache;

        (void)state;
        assert_int_equal(cache_init(&cache, 4, NO_CAP), 0);
        for (size_t size = 1; size <= 24; size += 23) {
                grant.subject.size = size;
                key = grant_key_make(buffer, hash_key, &grant);
                assert_int_equal(cache_store(&cache, key, token), 0);
                least = offsetof(struct cache_entry, key_bytes) + key.size + token_memory(token) +
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
                assert_ptr_equal(token_of(cache_lookup(&cache, keys[i].key, 0)), tokens[i]);
        /* Out of the middle, the front and the end of the chain. */
        for (int i = 1; i < N; i += 2)
                cache_remove(&cache, keys[i].key);
        for (int i = 0; i < N; i++)
                assert_ptr_equal(token_of(cache_lookup(&cache, keys[i].key, 0)),
                                 i % 2 ? NULL : tokens[i]);
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
        assert_int_equal(cache_next_event_ms(&cache), 5000);
        assert_int_equal(store_until(&cache, 1, "b", 9000), 0);
        assert_int_equal(cache_next_event_ms(&cache), 9000);
        assert_int_equal(store_until(&cache, 1, "c", 3000), 0);
        assert_int_equal(cache_next_event_ms(&cache), 3000);
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
        assert_int_equal(cache_next_event_ms(&cache), TIMERHEAP_NEVER);
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
        const uint64_t each = entry_cost() + offsetof(struct token, bytes) + strlen("value") + 5;

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
        const uint64_t cost = entry_cost() + offsetof(struct token, bytes) + 5;
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
        const uint64_t cost = entry_cost() + offsetof(struct token, bytes) + 5 + 5;
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
        const uint64_t cost = entry_cost() + offsetof(struct token, bytes) + 5;
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

/* What time has brought about: how many ran out, each told once, and nothing else. */
static size_t expire(struct cache *cache, uint64_t now_ms)
{
        struct cache_entry *entry = NULL;
        enum cache_event event;
        size_t n = 0;

        while ((event = cache_next_event(cache, now_ms, &entry)) != CACHE_EVENT_NONE) {
                assert_int_equal(event, CACHE_EVENT_EXPIRED);
                n++;
        }
        assert_null(entry);
        return n;
}

static void expired_entries_go_at_their_time_one_at_a_time(void **state)
{
        struct cache_entry *entry = NULL;
        struct cache cache;

        (void)state;
        frees_watch(NEEDLE);
        assert_int_equal(cache_init(&cache, 100, NO_CAP), 0);
        for (unsigned int i = 0; i < 10; i++)
                assert_int_equal(store_until(&cache, i, NEEDLE, 5000 + i), 0);
        assert_int_equal(cache_next_event_ms(&cache), 5000);
        assert_int_equal(expire(&cache, 4999), 0);
        assert_int_equal(expire(&cache, 5000), 1);
        assert_int_equal(cache_next_event_ms(&cache), 5001);
        for (int i = 1; i < 5; i++) {
                assert_int_equal(cache_next_event(&cache, 9000, &entry), CACHE_EVENT_EXPIRED);
                assert_int_equal(cache.n_entries, 9 - i);
        }
        assert_int_equal(expire(&cache, 9000), 5);
        assert_int_equal(expire(&cache, 9000), 0);
        assert_int_equal(cache_next_event_ms(&cache), TIMERHEAP_NEVER);
        assert_int_equal(cache.counters.expired, 10);
        assert_int_equal(cache.n_entries, 0);
        assert_int_equal(cache.memory_bytes, 0);
        assert_int_equal(frees_dirty(), 0);
        frees_watch(NULL);
        cache_deinit(&cache);
}

static void an_entry_is_due_once_at_its_refresh_point_and_stays_to_its_end(void **state)
{
        struct cache_entry *entry = NULL;
        struct cache cache;

        (void)state;
        assert_int_equal(cache_init(&cache, 10, NO_CAP), 0);
        assert_int_equal(store_due(&cache, 1, "t", 3000, 9000), 0);
        assert_int_equal(cache_next_event_ms(&cache), 3000);
        assert_int_equal(cache_next_event(&cache, 2999, &entry), CACHE_EVENT_NONE);
        assert_null(entry);
        assert_int_equal(cache_next_event(&cache, 3000, &entry), CACHE_EVENT_DUE);
        assert_ptr_equal(entry, entry_at(&cache, 1));
        assert_int_equal(cache_next_event(&cache, 8999, &entry), CACHE_EVENT_NONE);
        assert_int_equal(cache_next_event_ms(&cache), 9000);
        assert_holds(&cache, 1, "t");
        assert_int_equal(cache_next_event(&cache, 9000, &entry), CACHE_EVENT_EXPIRED);
        assert_int_equal(cache.n_entries, 0);
        cache_deinit(&cache);
}

/* After a long suspend both points may have passed: there is nothing left to be renewed. */
static void an_entry_whose_end_has_passed_is_not_due_any_more(void **state)
{
        struct cache cache;

        (void)state;
        assert_int_equal(cache_init(&cache, 10, NO_CAP), 0);
        assert_int_equal(store_due(&cache, 1, "t", 3000, 9000), 0);
        assert_int_equal(expire(&cache, 9000), 1);
        assert_int_equal(store_due(&cache, 1, "t", 3000, 9000), 0);
        assert_int_equal(expire(&cache, UINT64_C(1) << 40), 1);
        cache_deinit(&cache);
}

static void a_new_token_is_due_at_its_own_time_whatever_was_told_of_the_old_one(void **state)
{
        struct cache_entry *entry = NULL;
        struct cache cache;

        (void)state;
        assert_int_equal(cache_init(&cache, 10, NO_CAP), 0);
        assert_int_equal(store_due(&cache, 1, "a", 3000, 9000), 0);
        assert_int_equal(cache_next_event(&cache, 3000, &entry), CACHE_EVENT_DUE);
        assert_int_equal(store_due(&cache, 1, "b", 6000, 12000), 0);
        assert_int_equal(cache_next_event_ms(&cache), 6000);
        assert_int_equal(cache_next_event(&cache, 6000, &entry), CACHE_EVENT_DUE);
        assert_true(text_equal(token_value(entry->token), BYTES("b")));
        /* And before it was told of the old one. */
        assert_int_equal(store_due(&cache, 1, "c", 7000, 12000), 0);
        assert_int_equal(store_due(&cache, 1, "d", 8000, 12000), 0);
        assert_int_equal(cache_next_event(&cache, 7000, &entry), CACHE_EVENT_NONE);
        assert_int_equal(cache_next_event(&cache, 8000, &entry), CACHE_EVENT_DUE);
        cache_deinit(&cache);
}

static void what_is_known_of_a_token_goes_with_it(void **state)
{
        struct cache_entry *entry;
        struct cache cache;

        (void)state;
        assert_int_equal(cache_init(&cache, 10, NO_CAP), 0);
        store(&cache, 1, "a");
        entry = entry_at(&cache, 1);
        assert_false(entry->used); /* a lookup alone is not a use */
        assert_false(entry->rejected);
        entry->used = true;
        entry->rejected = true;
        store(&cache, 1, "b");
        assert_ptr_equal(entry_at(&cache, 1), entry);
        assert_false(entry->used);
        assert_false(entry->rejected);
        cache_deinit(&cache);
}

static void a_peek_finds_what_a_lookup_does_and_leaves_no_trace(void **state)
{
        struct key_buffer key;
        struct cache cache;

        (void)state;
        assert_int_equal(cache_init(&cache, 2, NO_CAP), 0);
        key_of_number(&key, 1);
        assert_null(cache_peek(&cache, key.key, 0));
        assert_int_equal(store_until(&cache, 1, "t", 60000), 0);
        assert_null(cache_peek(&cache, key.key, 59001));
        assert_non_null(cache_peek(&cache, key.key, 59000));
        assert_false(is_visited(list_first(&cache.queue)));
        assert_ptr_equal(cache_peek(&cache, key.key, 59000), entry_at(&cache, 1));
        cache_deinit(&cache);
}

static void an_entry_tells_the_key_it_is_under(void **state)
{
        struct key_buffer key;
        struct cache cache;

        (void)state;
        assert_int_equal(cache_init(&cache, 2, NO_CAP), 0);
        store(&cache, 77, "t");
        assert_true(
                grant_key_equal(cache_entry_key(entry_at(&cache, 77)), key_of_number(&key, 77)));
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
        const uint64_t cost = entry_cost() + offsetof(struct token, bytes) + 1 + 5;
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
                uint64_t event_at_ms; /* the next of the two that follow */
                uint64_t refresh_at_ms;
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
        const int oldest = model->n - 1;
        int at = model->hand == NO_HAND ? oldest : model->hand;
        int seen = 0;

        if (oldest < 0 || at < 0)
                abort(); /* gcc wonders; there is nobody to evict */
        while (seen++ < CACHE_HAND_MAX && (model->entries[at].visited || at == spared)) {
                model->entries[at].visited = false;
                at = at == 0 ? oldest : at - 1;
        }
        if (at == spared)
                at = at == 0 ? oldest : at - 1;
        model->hand = at;
        model_remove(model, at);
}

static void model_set(struct model *model, int at, uint64_t memory_bytes, uint64_t refresh_at_ms,
                      uint64_t expires_at_ms)
{
        model->memory_bytes += memory_bytes - model->entries[at].memory_bytes;
        model->entries[at].memory_bytes = memory_bytes;
        model->entries[at].event_at_ms = refresh_at_ms;
        model->entries[at].refresh_at_ms = refresh_at_ms;
        model->entries[at].expires_at_ms = expires_at_ms;
}

static void model_store(struct model *model, unsigned int number, uint64_t memory_bytes,
                        uint64_t refresh_at_ms, uint64_t expires_at_ms)
{
        int at = model_find(model, number);

        if (at >= 0) {
                model_set(model, at, memory_bytes, refresh_at_ms, expires_at_ms);
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
        model->entries[0].memory_bytes = 0;
        model_set(model, 0, memory_bytes, refresh_at_ms, expires_at_ms);
        model->n++;
        if (model->hand != NO_HAND)
                model->hand++;
}

/* Returns how many became due. */
static size_t model_pass_time(struct model *model, uint64_t now_ms)
{
        size_t n_due = 0;

        for (int i = model->n - 1; i >= 0; i--) {
                if (model->entries[i].event_at_ms > now_ms)
                        continue;
                if (model->entries[i].expires_at_ms <= now_ms) {
                        model_remove(model, i);
                        continue;
                }
                model->entries[i].event_at_ms = model->entries[i].expires_at_ms;
                n_due++;
        }
        return n_due;
}

static size_t pass_time(struct cache *cache, uint64_t now_ms)
{
        struct cache_entry *entry = NULL;
        enum cache_event event;
        size_t n_due = 0;

        while ((event = cache_next_event(cache, now_ms, &entry)) != CACHE_EVENT_NONE) {
                if (event != CACHE_EVENT_DUE)
                        continue;
                assert_in_range(now_ms, entry->token->refresh_at_ms,
                                entry->token->expires_at_ms - 1);
                n_due++;
        }
        return n_due;
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
                if (model->entries[i].event_at_ms < next_ms)
                        next_ms = model->entries[i].event_at_ms;
                i++;
        }
        assert_int_equal(i, model->n);
        assert_int_equal(cache->hand == NULL, model->hand == NO_HAND);
        assert_int_equal(cache_next_event_ms(cache), next_ms);
}

static void random_step(struct cache *cache, struct model *model, uint64_t cost, uint64_t now_ms,
                        unsigned int n_lookups, uint64_t *seed)
{
        const unsigned int number = MODEL_FIRST + (unsigned int)(random_next(seed) % MODEL_NUMBERS);
        const uint64_t expires_at_ms = now_ms + 5000 + random_next(seed) % 20000;
        const uint64_t refresh_at_ms = expires_at_ms - random_next(seed) % 6000;
        const size_t size = 1 + random_next(seed) % 300;
        const int at = model_find(model, number);
        char value[301] = "";
        bool found;

        switch (random_next(seed) % (5 + n_lookups)) {
        case 0:
        case 1:
        case 2:
                memset(value, 'v', size);
                assert_int_equal(store_due(cache, number, value, refresh_at_ms, expires_at_ms), 0);
                model_store(model, number, cost + offsetof(struct token, bytes) + size + 5,
                            refresh_at_ms, expires_at_ms);
                assert_true(model_find(model, number) >= 0);
                break;
        case 3:
                remove_number(cache, number);
                if (at >= 0)
                        model_remove(model, at);
                break;
        case 4: assert_int_equal(pass_time(cache, now_ms), model_pass_time(model, now_ms)); break;
        default:
                found = lookup(cache, number) != NULL;
                assert_int_equal(found, at >= 0);
                if (at >= 0)
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
        for (unsigned int n = 1; n <= 3; n++) {
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

static void a_lowered_cap_is_reached_by_trimming_in_steps(void **state)
{
        (void)state;
        for (int by_memory = 0; by_memory < 2; by_memory++) {
                struct cache cache;

                assert_int_equal(cache_init(&cache, 1000, UINT64_MAX), 0);
                for (unsigned int i = 0; i < 1000; i++)
                        store(&cache, i, "t");
                assert_false(cache_trim(&cache, 100)); /* it is within its caps */
                assert_int_equal(cache.n_entries, 1000);
                assert_int_equal(cache_set_limits(&cache, by_memory ? 1000 : 10,
                                                  by_memory ? 10 * entry_cost() : UINT64_MAX),
                                 0);
                assert_int_equal(cache.n_entries, 1000);
                for (unsigned int left = 900; left > 10; left = left > 110 ? left - 100 : 10) {
                        assert_true(cache_trim(&cache, 100) == (left > 10));
                        assert_int_equal(cache.n_entries, left);
                }
                assert_false(cache_trim(&cache, 100));
                assert_in_range(cache.n_entries, 1, 10);
                assert_true(by_memory ? cache.memory_bytes <= 10 * entry_cost()
                                      : cache.n_entries == 10);
                assert_int_equal(by_memory ? cache.counters.evicted_memory
                                           : cache.counters.evicted_entries,
                                 1000 - cache.n_entries);
                cache_deinit(&cache);
        }
}

static void a_store_over_a_lowered_cap_evicts_some_and_not_all(void **state)
{
        struct cache cache;

        (void)state;
        assert_int_equal(cache_init(&cache, 1000, UINT64_MAX), 0);
        for (unsigned int i = 0; i < 1000; i++)
                store(&cache, i, "t");
        assert_int_equal(cache_set_limits(&cache, 10, 10 * entry_cost()), 0);
        store(&cache, 5000, "t");
        assert_int_equal(cache.n_entries, 1000 - CACHE_MAKE_ROOM_MAX + 1);
        assert_holds(&cache, 5000, "t");
        store(&cache, 5000, "u");
        assert_holds(&cache, 5000, "u");
        cache_deinit(&cache);
}

static void a_raised_cap_is_reached(void **state)
{
        struct cache cache;

        (void)state;
        assert_int_equal(cache_init(&cache, 10, 10 * entry_cost()), 0);
        for (unsigned int n = 1; n <= 2; n++) {
                alloc_fail_at(n);
                assert_int_equal(cache_set_limits(&cache, 500, UINT64_MAX), -ENOMEM);
                assert_true(alloc_has_failed());
                assert_int_equal(cache.max_entries, 10);
                assert_int_equal(cache.max_memory_bytes, 10 * entry_cost());
                assert_int_equal(count_buckets(&cache.table), 16);
        }
        assert_int_equal(cache_set_limits(&cache, 500, UINT64_MAX), 0);
        for (unsigned int i = 0; i < 600; i++)
                store(&cache, i, "t");
        assert_int_equal(cache.n_entries, 500);
        cache_deinit(&cache);
}

/* Down and up again: there is a bucket for each entry, as if the cache had begun so. */
static void the_table_grows_with_the_cap_and_loses_nothing(void **state)
{
        struct cache cache;

        (void)state;
        assert_int_equal(cache_init(&cache, 500, NO_CAP), 0);
        for (unsigned int i = 0; i < 500; i++)
                store(&cache, i, "t");
        assert_int_equal(cache_set_limits(&cache, 300, NO_CAP), 0);
        assert_false(cache_trim(&cache, 200));
        assert_int_equal(cache_set_limits(&cache, 500, NO_CAP), 0);
        assert_false(table_is_growing(&cache.table));
        assert_int_equal(count_buckets(&cache.table), 512);
        assert_int_equal(cache_set_limits(&cache, 5000, NO_CAP), 0);
        for (unsigned int n = 500; n < 5000; n++) {
                if (n % 10 == 0) {
                        assert_true(table_is_growing(&cache.table) == (n < 500 + 512));
                        table_step(&cache.table, 10);
                }
                store(&cache, n, "t");
                for (unsigned int i = n < 600 ? 200 : n - 100; i <= n; i++)
                        assert_holds(&cache, i, "t");
                if (n % 7 == 0) {
                        remove_number(&cache, n - 50);
                        assert_null(lookup(&cache, n - 50));
                        store(&cache, n - 50, "t");
                }
        }
        assert_false(table_is_growing(&cache.table));
        assert_int_equal(count_buckets(&cache.table), 8192);
        assert_int_equal(cache.n_entries, 4800);
        cache_deinit(&cache);

        assert_int_equal(cache_init(&cache, 10, NO_CAP), 0); /* and it may end meanwhile */
        for (unsigned int i = 0; i < 10; i++)
                store(&cache, i, NEEDLE);
        assert_int_equal(cache_set_limits(&cache, 5000, NO_CAP), 0);
        table_step(&cache.table, 7);
        frees_watch(NEEDLE);
        cache_deinit(&cache);
        assert_int_equal(frees_dirty(), 0);
        frees_watch(NULL);
}

static void a_mark_on_what_is_not_there_is_none(void **state)
{
        const unsigned int marks = CACHE_MARK_VISITED | CACHE_MARK_USED | CACHE_MARK_REJECTED;
        struct key_buffer key;
        struct cache cache;

        (void)state;
        assert_int_equal(cache_init(&cache, 4, NO_CAP), 0);
        store(&cache, 1, "a");
        cache_mark(&cache, key_of_number(&key, 2), marks);
        assert_int_equal(cache_marks(&cache, cache_newer(&cache, NULL)) & marks, 0);
        cache_mark(&cache, key_of_number(&key, 1), marks);
        assert_int_equal(cache_marks(&cache, cache_newer(&cache, NULL)) & marks, marks);
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
                cmocka_unit_test(expired_entries_go_at_their_time_one_at_a_time),
                cmocka_unit_test(an_entry_is_due_once_at_its_refresh_point_and_stays_to_its_end),
                cmocka_unit_test(an_entry_whose_end_has_passed_is_not_due_any_more),
                cmocka_unit_test(
                        a_new_token_is_due_at_its_own_time_whatever_was_told_of_the_old_one),
                cmocka_unit_test(what_is_known_of_a_token_goes_with_it),
                cmocka_unit_test(a_peek_finds_what_a_lookup_does_and_leaves_no_trace),
                cmocka_unit_test(an_entry_tells_the_key_it_is_under),
                cmocka_unit_test(a_lookup_finds_a_token_until_a_second_before_its_end),
                cmocka_unit_test(the_hand_looks_at_a_bounded_number_of_entries),
                cmocka_unit_test(the_hand_steps_over_a_replacement_at_its_bound_too),
                cmocka_unit_test(a_hot_set_survives_a_scan_of_one_off_keys),
                cmocka_unit_test(random_operations_agree_with_a_model),
                cmocka_unit_test(a_mark_on_what_is_not_there_is_none),
                cmocka_unit_test(out_of_memory_loses_nothing),
                cmocka_unit_test(a_lowered_cap_is_reached_by_trimming_in_steps),
                cmocka_unit_test(a_store_over_a_lowered_cap_evicts_some_and_not_all),
                cmocka_unit_test(a_raised_cap_is_reached),
                cmocka_unit_test(the_table_grows_with_the_cap_and_loses_nothing),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
