/* SPDX-License-Identifier: MIT */

/* Pages of entries, while entries come and go. */

#include "rules.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "broker-private.h"

#define N         3000
#define N_BUCKETS 16384

static const struct filter everything = {};

static struct page page;
static unsigned int seen[N];

static void begin(struct world *world)
{
        world_init(world);
        world->settings.max_entries = N_BUCKETS;
        world->settings.max_memory_bytes = 1 << 24;
        world_start(world);
}

static void prime_numbered(struct world *world, int number)
{
        char name[16];

        (void)snprintf(name, sizeof(name), "s%d", number);
        (void)world_prime(world, name, 3600);
}

static void purge_numbered(struct world *world, int number)
{
        struct purge purge;
        char name[16];

        (void)snprintf(name, sizeof(name), "s%d", number);
        assert_true(world_purge(world,
                                &(struct filter){.by_client = true,
                                                 .identity = 11,
                                                 .by_subject = true,
                                                 .subject = TEXT(name),
                                                 .scope = TEXT(DEFAULT_SCOPE)},
                                &purge));
        while (world->n_purging > 0)
                world_turn(world);
        assert_int_equal(purge.n_purged, 1);
}

static void see_page(void)
{
        for (size_t i = 0; i < page.n; i++) {
                const struct listed *entry = &page.entries[i];
                char name[16] = "";

                assert_true(entry->subject.size < sizeof(name));
                memcpy(name, entry->subject.bytes, entry->subject.size);
                seen[strtoul(name + 1, NULL, 10)]++;
        }
}

static void what_is_there_all_the_time_is_seen_exactly_once(void **state)
{
        struct world world;

        (void)state;
        begin(&world);
        /* Every third is there to begin with and stays; the others come, or go, or neither. */
        for (int i = 0; i < N; i++)
                if (i % 3 != 1)
                        prime_numbered(&world, i);
        for (unsigned int seed = 1; seed <= 6; seed++) {
                unsigned int random = seed, n_pages = 0;
                uint64_t after = 0;
                int at = 0;

                memset(seen, 0, sizeof(seen));
                do {
                        const uint64_t limit = seed == 1   ? 1
                                               : seed == 2 ? 0
                                                           : (uint64_t)(rand_r(&random) % 300);

                        broker_list(world.broker, &everything, after, limit, world.now_ms, &page);
                        /* A bucket is on one page, and holds a handful. */
                        assert_true(page.n <= (limit > 8 ? limit : limit == 0 ? 256 : 8));
                        see_page();
                        after = page.next;
                        n_pages++;
                        for (int k = 0; seed > 2 && k < 20 && at < N; k++, at++) {
                                if (at % 3 == 1 && seed % 2)
                                        prime_numbered(&world, at);
                                else if (at % 3 == 1 && seed > 3)
                                        purge_numbered(&world, at);
                        }
                } while (after > 0);
                assert_true(n_pages < 2 * N);
                for (int i = 0; i < N; i++) {
                        assert_in_range(seen[i], i % 3 == 1 ? 0 : 1, 1);
                        if (i % 3 == 1 && seed <= 2)
                                assert_int_equal(seen[i], 0);
                }
                /* All of those that were to come have come, and gone. */
                for (; seed > 2 && at < N; at++) {
                        if (at % 3 == 1 && seed % 2)
                                prime_numbered(&world, at);
                        else if (at % 3 == 1 && seed > 3)
                                purge_numbered(&world, at);
                }
        }
        world_end(&world);
}

static size_t count(struct world *world, const struct filter *filter, uint64_t after)
{
        size_t n = 0;

        do {
                broker_list(world->broker, filter, after, 7, world->now_ms, &page);
                n += page.n;
                after = page.next;
        } while (after > 0);
        return n;
}

static void a_list_holds_just_what_matches(void **state)
{
        static const enum subject_kind kinds[] = {SUBJECT_USERNAME, SUBJECT_USERID};
        struct caller caller = {};
        struct world world;

        (void)state;
        begin(&world);
        for (unsigned int i = 0; i < 24; i++) {
                world_ask(&world, &caller,
                          (struct wish){.client = i % 3,
                                        .kind = kinds[i / 3 % 2],
                                        .subject = i / 6 % 2 ? TEXT("anna") : TEXT("bert"),
                                        .scope = i / 12 ? "read" : "read write"});
                world_finish(&world, NULL, ENDING_TOKEN);
        }
        for (unsigned int said = 0; said < 8; said++) {
                const struct filter filter = {
                        .by_client = said & 1,
                        .identity = 13,
                        .by_subject = said & 2,
                        .subject_kind = SUBJECT_USERID,
                        .subject = TEXT("anna"),
                        .scope = said & 4 ? TEXT("write")
                                          : (struct text){}, /* of those that have it */
                };
                const size_t expected = 24 / (said & 1 ? 3 : 1) / (said & 2 ? 4 : 1) /
                                        (said & 4 ? 2 : 1);

                assert_int_equal(count(&world, &filter, 0), expected);
                for (size_t i = 0; i < page.n; i++) {
                        if (said & 1)
                                assert_string_equal(page.entries[i].client, "desk");
                        if (said & 2)
                                assert_true(text_equal(page.entries[i].subject, TEXT("anna")));
                        if (said & 4)
                                assert_true(text_equal(page.entries[i].scope, TEXT("read write")));
                }
        }
        assert_int_equal(count(&world, &(struct filter){.by_client = true, .identity = 99}, 0), 0);
        world_end(&world);
}

static void a_page_beyond_the_end_is_empty_and_the_last(void **state)
{
        static const uint64_t beyond[] = {TABLE_END, TABLE_END + 1, UINT64_MAX - 1, UINT64_MAX};
        struct world world;

        (void)state;
        begin(&world);
        prime_numbered(&world, 1);
        for (size_t i = 0; i < sizeof(beyond) / sizeof(beyond[0]); i++) {
                broker_list(world.broker, &everything, beyond[i], 10, world.now_ms, &page);
                assert_int_equal(page.n, 0);
                assert_int_equal(page.next, 0);
        }
        world_end(&world);

        world_init(&world); /* and without any entry */
        world_start(&world);
        broker_list(world.broker, &everything, 0, 0, world.now_ms, &page);
        assert_int_equal(page.n, 0);
        assert_int_equal(page.next, 0);
        world_end(&world);
}

static void a_page_looks_at_a_part_of_the_table(void **state)
{
        struct world world;
        uint64_t after = 0;
        unsigned int n = 0;

        (void)state;
        begin(&world);
        do {
                broker_list(world.broker, &everything, after, 0, world.now_ms, &page);
                assert_int_equal(page.n, 0);
                assert_true(page.next == 0 || page.next == after + TABLE_END / N_BUCKETS * 4096);
                after = page.next;
                n++;
        } while (after > 0);
        assert_int_equal(n, N_BUCKETS / 4096);
        world_end(&world);
}

static void a_larger_cap_loses_nothing(void **state)
{
        struct world world;
        uint64_t after = 0;

        (void)state;
        world_init(&world);
        world.settings.max_entries = 1;
        world_start(&world);
        world.settings.max_entries = N;
        world_reconfigure(&world);
        for (int i = 0; i < N; i++)
                prime_numbered(&world, i);
        memset(seen, 0, sizeof(seen));
        do {
                broker_list(world.broker, &everything, after, 0, world.now_ms, &page);
                see_page();
                after = page.next;
        } while (after > 0);
        for (int i = 0; i < N; i++)
                assert_int_equal(seen[i], 1);
        world_end(&world);
}

/* The table grows twice, over some turns each, between the pages and within them. */
static void what_is_there_all_the_time_is_seen_exactly_once_while_the_table_grows(void **state)
{
        (void)state;
        for (unsigned int seed = 1; seed <= 8; seed++) {
                unsigned int random = seed, n_pages = 0;
                struct world world;
                uint64_t after = 0;
                int at = 0;

                world_init(&world);
                world.settings.max_entries = seed % 2 ? 4096 : 64;
                world.settings.max_memory_bytes = 1 << 24;
                world_start(&world);
                world.settings.max_entries = 4096;
                world_reconfigure(&world);
                for (int i = 0; i < N; i++)
                        if (i % 3 != 1)
                                prime_numbered(&world, i);
                memset(seen, 0, sizeof(seen));
                do {
                        const uint64_t limit = seed < 3 ? seed
                                                        : (uint64_t)(rand_r(&random) % 300 + 1);

                        if (after > 0 && n_pages % 3 == 1 &&
                            world.settings.max_entries < (size_t)8 * N_BUCKETS) {
                                world.settings.max_entries *= 4;
                                world_reconfigure(&world);
                        }
                        broker_list(world.broker, &everything, after, limit, world.now_ms, &page);
                        assert_true(page.n <= limit);
                        see_page();
                        after = page.next;
                        n_pages++;
                        if (seed % 4 < 2)
                                world_turn(&world);
                        for (int k = 0; seed > 4 && k < 20 && at < N; k++, at++)
                                if (at % 3 == 1)
                                        prime_numbered(&world, at);
                } while (after > 0);
                for (int i = 0; i < N; i++)
                        assert_in_range(seen[i], i % 3 == 1 ? 0 : 1, i % 3 == 1 ? seed > 4 : 1);
                world_end(&world);
        }
}

/* Keyed hashes do not do that: here they are made. */
static void store_at(struct world *world, int number, uint64_t hash)
{
        uint8_t bytes[GRANT_KEY_MAX_BYTES];
        struct token *token = NULL;
        struct grant_key key;
        char name[16];

        (void)snprintf(name, sizeof(name), "s%d", number);
        key = grant_key_make(bytes, world->broker->hash_key,
                             &(struct grant){.identity = 11,
                                             .subject_kind = SUBJECT_USERNAME,
                                             .subject = TEXT(name),
                                             .scope = TEXT(DEFAULT_SCOPE)});
        key.hash = hash;
        assert_int_equal(token_new(&token, TEXT(name), TEXT(""), world->now_ms, 3600 * SECONDS), 0);
        assert_int_equal(cache_store(&world->broker->cache, key, token), 0);
        token_unref(token);
}

static void a_bucket_may_be_on_many_pages_and_a_position_is_on_one(void **state)
{
        enum { N_HERE = 1000, LAST = N_BUCKETS - 1 };
        const uint64_t per_bucket = TABLE_END / N_BUCKETS;

        (void)state;
        for (uint64_t limit = 0; limit <= 300; limit = limit < 4 ? limit + 1 : limit * 3) {
                struct world world;
                uint64_t after = 0;
                size_t n_pages = 0;

                begin(&world);
                for (int i = 0; i < N_HERE; i++)
                        store_at(&world, i, (per_bucket * LAST + (uint64_t)i * 7 % N_HERE) << 32);
                for (int i = N_HERE; i < N_HERE + 3; i++)
                        store_at(&world, i, ((per_bucket * 5 + 9) << 32) + (uint64_t)i);
                memset(seen, 0, sizeof(seen));
                do {
                        broker_list(world.broker, &everything, after, limit, world.now_ms, &page);
                        assert_true(page.n <= (limit == 0 || limit > 256 ? 256
                                               : limit < 3               ? 3
                                                                         : limit));
                        see_page();
                        after = page.next;
                        n_pages++;
                } while (after > 0);
                for (int i = 0; i < N_HERE + 3; i++)
                        assert_int_equal(seen[i], 1);
                /* Pages are full but for those that have seen their part of the table. */
                assert_true(n_pages <= N_HERE / (limit == 0 ? 256 : limit) + 6);
                world_end(&world);
        }
}

static void an_entry_is_shown_as_it_is(void **state)
{
        struct caller caller = {};
        struct world world;

        (void)state;
        world_init(&world);
        world_start(&world);
        world_ask_user(&world, &caller, "anna");
        world_oldest(&world)->granted = DEFAULT_SCOPE " more";
        world_oldest(&world)->lifetime_s = 1000;
        world_finish(&world, NULL, ENDING_TOKEN_WITH_SCOPE);
        world_advance(&world, 100 * SECONDS);
        broker_list(world.broker, &everything, 0, 0, world.now_ms, &page);
        assert_int_equal(page.n, 1);
        assert_string_equal(page.entries[0].client, "portal");
        assert_int_equal(page.entries[0].subject_kind, SUBJECT_USERNAME);
        assert_true(text_equal(page.entries[0].subject, TEXT("anna")));
        assert_true(text_equal(page.entries[0].scope, TEXT(DEFAULT_SCOPE)));
        assert_true(text_equal(page.entries[0].granted, TEXT(DEFAULT_SCOPE " more")));
        assert_int_equal(page.entries[0].freshness, FRESHNESS_FRESH);
        assert_int_equal(page.entries[0].age_ms, 100 * SECONDS);
        assert_int_equal(page.entries[0].left_ms, 900 * SECONDS);
        assert_in_range(page.entries[0].refresh_in_ms, 300 * SECONDS, 700 * SECONDS);
        assert_false(page.entries[0].used);
        assert_false(page.entries[0].rejected);
        world_ask_user(&world, &caller, "anna");
        broker_list(world.broker, &everything, 0, 0, world.now_ms, &page);
        assert_true(page.entries[0].used);
        world_ask(&world, &caller, (struct wish){.subject = TEXT("anna"), .rejects = &caller});
        broker_list(world.broker, &everything, 0, 0, world.now_ms, &page);
        assert_true(page.entries[0].rejected);
        world_suspend(&world, 900 * SECONDS - 999); /* no longer live, and not dropped yet */
        broker_list(world.broker, &everything, 0, 0, world.now_ms, &page);
        assert_int_equal(page.n, 0);
        assert_int_equal(world_counters(&world).entries, 1);
        world_end(&world);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(what_is_there_all_the_time_is_seen_exactly_once),
                cmocka_unit_test(a_list_holds_just_what_matches),
                cmocka_unit_test(a_page_beyond_the_end_is_empty_and_the_last),
                cmocka_unit_test(a_page_looks_at_a_part_of_the_table),
                cmocka_unit_test(a_larger_cap_loses_nothing),
                cmocka_unit_test(
                        what_is_there_all_the_time_is_seen_exactly_once_while_the_table_grows),
                cmocka_unit_test(a_bucket_may_be_on_many_pages_and_a_position_is_on_one),
                cmocka_unit_test(an_entry_is_shown_as_it_is),
        };

        return cmocka_run_group_tests_name("list", tests, NULL, NULL);
}
