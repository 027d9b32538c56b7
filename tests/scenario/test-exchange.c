/* SPDX-License-Identifier: MIT */

/*
 * Token exchange: what comes of a subject token is found by nobody who does not bring that very
 * subject token, ends with it, and is renewed only by whoever brings it again. That every token is
 * the right one is checked by the world at every reply, the subject token included.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "rules.h"

#define REGISTRATION "okta-1"

static struct wish exchange(struct text subject_token)
{
        return (struct wish){.kind = SUBJECT_EXCHANGE,
                             .subject = TEXT(REGISTRATION),
                             .subject_token = subject_token};
}

/* The time of day in so many seconds. */
static int64_t in_s(const struct world *world, int64_t s)
{
        return world_wall_ms(world) / 1000 + s;
}

static void begin(struct world *world)
{
        world_init(world);
        world_start(world);
}

static void put_clock_forward(struct world *world, int64_t ms)
{
        world->wall_ahead_ms += ms;
        broker_tick(world->broker, world->now_ms, world_wall_ms(world));
}

/* Asks, and has the token fetched, which lives an hour of its own. */
static void prime(struct world *world, struct caller *caller, struct wish wish)
{
        world_ask(world, caller, wish);
        assert_waits(caller);
        world_finish(world, NULL, ENDING_TOKEN);
        assert_token(caller, world->serial);
}

static void equal_exchanges_share_one_fetch_and_then_one_token(void **state)
{
        char buffer[CALLER_TOKEN_MAX_BYTES], same[CALLER_TOKEN_MAX_BYTES];
        struct caller callers[20] = {};
        struct world world;

        (void)state;
        begin(&world);
        for (size_t i = 0; i < 20; i++)
                world_ask(&world, &callers[i],
                          exchange(caller_subject_token(i % 2 ? buffer : same, in_s(&world, 7200),
                                                        "anna")));
        assert_int_equal(world.n_fetches, 1);
        assert_int_equal(world_counters(&world).coalesced, 19);
        world_finish(&world, NULL, ENDING_TOKEN);
        for (size_t i = 0; i < 20; i++)
                assert_token(&callers[i], 1);
        world_ask(&world, &callers[0], exchange(TEXT(buffer)));
        assert_hit(&callers[0], 1);
        assert_int_equal(world_counters(&world).entries, 1);
        world_end(&world);
}

/* One thing is another each time: subject token, its type, registration, scope, client. */
static void whatever_differs_is_fetched_apart(void **state)
{
        static const char *const registrations[] = {REGISTRATION, "okta-1 ", "okta", "Okta-1"};
        static const char *const scopes[] = {"a", "b", "a b"};
        static char tokens[5][CALLER_TOKEN_MAX_BYTES];
        struct caller callers[16] = {};
        struct wish wishes[16];
        struct world world;
        size_t n = 0;

        (void)state;
        begin(&world);
        for (size_t i = 0; i < 5; i++)
                (void)caller_subject_token(tokens[i], in_s(&world, 7200 + (i == 4)),
                                           i == 4 ? "0" : (char[]){(char)('0' + i), '\0'});
        for (size_t i = 0; i < 5; i++)
                wishes[n++] = exchange(TEXT(tokens[i]));
        for (int type = 1; type < _SUBJECTTOKEN_TYPE_N; type++) {
                wishes[n] = exchange(TEXT(tokens[0]));
                wishes[n++].subject_token_type = (enum subjecttoken_type)type;
        }
        for (size_t i = 1; i < 4; i++) {
                wishes[n] = exchange(TEXT(tokens[0]));
                wishes[n++].subject = TEXT(registrations[i]);
        }
        for (size_t i = 0; i < 3; i++) {
                wishes[n] = exchange(TEXT(tokens[0]));
                wishes[n++].scope = scopes[i];
        }
        wishes[n] = exchange(TEXT(tokens[0]));
        wishes[n++].client = CLIENT_DESK;
        for (size_t i = 0; i < n; i++)
                world_ask(&world, &callers[i], wishes[i]);
        assert_int_equal(world.n_fetches, n);
        assert_int_equal(world_counters(&world).coalesced, 0);
        while (world.n_fetches > 0)
                world_finish(&world, NULL, ENDING_TOKEN);
        for (size_t i = 0; i < n; i++) {
                const uint64_t serial = callers[i].serial;

                world_ask(&world, &callers[i], wishes[i]);
                assert_hit(&callers[i], serial);
        }
        assert_int_equal(world_counters(&world).entries, n);
        world_end(&world);
}

static void the_token_ends_with_the_subject_token(void **state)
{
        char buffer[CALLER_TOKEN_MAX_BYTES];
        struct caller caller = {};
        struct world world;
        uint64_t end_ms;

        (void)state;
        begin(&world);
        put_clock_forward(&world, 250); /* seconds of the two clocks begin apart */
        (void)caller_subject_token(buffer, in_s(&world, 100), "anna");
        prime(&world, &caller, exchange(TEXT(buffer)));
        end_ms = (uint64_t)(in_s(&world, 100) * 1000 - world.wall_ahead_ms);
        assert_int_equal(caller.expires_at_ms, end_ms);
        /* No other would live longer, so that it is as good at its end as it was. */
        world_advance(&world, end_ms - 1000 - world.now_ms);
        world_ask(&world, &caller, exchange(TEXT(buffer)));
        assert_hit(&caller, 1);
        assert_int_equal(world_counters(&world).refreshes, 0);
        world_advance(&world, 999);
        world_ask(&world, &caller, exchange(TEXT(buffer))); /* not one second is left */
        assert_waits(&caller);
        world_finish(&world, NULL, ENDING_TOKEN);
        assert_reason(&caller, REASON_SUBJECT_TOKEN_EXPIRED);
        world_advance(&world, 1);
        world_ask(&world, &caller, exchange(TEXT(buffer)));
        assert_reason(&caller, REASON_SUBJECT_TOKEN_EXPIRED);
        assert_int_equal(world_counters(&world).fetches, 2);
        world_end(&world);
}

/* Asking again would bring none that lives longer; but one that an API does not refuse. */
static void what_ends_with_its_subject_token_satisfies_any_min_ttl(void **state)
{
        char buffer[CALLER_TOKEN_MAX_BYTES];
        struct caller first = {}, caller = {};
        struct world world;
        struct wish wish;

        (void)state;
        begin(&world);
        wish = exchange(caller_subject_token(buffer, in_s(&world, 300), "anna"));
        prime(&world, &first, wish);
        world_advance(&world, 200 * SECONDS);
        wish.min_ttl_s = 299;
        world_ask(&world, &caller, wish);
        assert_hit(&caller, 1);
        wish.rejects = &first;
        world_ask(&world, &caller, wish);
        assert_waits(&caller);
        world_finish(&world, NULL, ENDING_TOKEN);
        assert_token(&caller, 2);
        world_advance(&world, 1);
        put_clock_forward(&world, 61 * SECONDS); /* a paused machine */
        world_ask(&world, &caller, exchange(TEXT(buffer)));
        assert_hit(&caller, 2);
        assert_int_equal(world_counters(&world).refreshes, 1);
        world_finish(&world, NULL, ENDING_TOKEN);
        world_end(&world);
}

/* A token of its own shorter life stays as it is. */
static void a_subject_token_makes_no_life_longer(void **state)
{
        char buffer[CALLER_TOKEN_MAX_BYTES];
        struct caller caller = {};
        struct world world;

        (void)state;
        begin(&world);
        world_ask(&world, &caller,
                  exchange(caller_subject_token(buffer, in_s(&world, 999999), "anna")));
        world_oldest(&world)->lifetime_s = 300;
        world_finish(&world, NULL, ENDING_TOKEN);
        assert_token(&caller, 1);
        assert_int_equal(caller.expires_at_ms, world.now_ms + 300 * SECONDS);
        world_end(&world);
}

static void what_has_ended_is_told_before_the_issuer_is_asked(void **state)
{
        static const int64_t past_s[] = {0, -1, -100000};
        char buffer[CALLER_TOKEN_MAX_BYTES];
        struct caller caller = {};
        struct world world;

        (void)state;
        begin(&world);
        for (size_t i = 0; i < 3; i++) {
                world_ask(&world, &caller,
                          exchange(caller_subject_token(buffer, in_s(&world, past_s[i]), "anna")));
                assert_reason(&caller, REASON_SUBJECT_TOKEN_EXPIRED);
        }
        assert_int_equal(world_counters(&world).fetches, 0);
        assert_int_equal(world_counters(&world).memories, 0);
        world_end(&world);
}

/* The time of day was put forward: the entry lives by its own clock, and is not for this caller. */
static void the_time_of_day_decides_about_a_hit_too(void **state)
{
        char buffer[CALLER_TOKEN_MAX_BYTES];
        struct caller caller = {};
        struct world world;

        (void)state;
        begin(&world);
        (void)caller_subject_token(buffer, in_s(&world, 500), "anna");
        prime(&world, &caller, exchange(TEXT(buffer)));
        put_clock_forward(&world, 501 * SECONDS);
        assert_int_equal(world_counters(&world).entries, 1);
        world_ask(&world, &caller, exchange(TEXT(buffer)));
        assert_reason(&caller, REASON_SUBJECT_TOKEN_EXPIRED);
        world_end(&world);
}

static void what_ends_in_the_queue_is_not_sent(void **state)
{
        char buffer[CALLER_TOKEN_MAX_BYTES];
        struct caller first = {}, second = {}, third = {};
        struct world world;

        (void)state;
        world_init(&world);
        world.settings.max_in_flight = 1;
        world_start(&world);
        world_ask_user(&world, &first, "anna");
        world_ask(&world, &second, exchange(caller_subject_token(buffer, in_s(&world, 5), "bert")));
        world_ask_user(&world, &third, "carl");
        world_advance(&world, 6 * SECONDS);
        assert_waits(&second);
        world_finish(&world, NULL, ENDING_TOKEN);
        assert_token(&first, 1);
        assert_reason(&second, REASON_SUBJECT_TOKEN_EXPIRED);
        assert_int_equal(world.n_fetches, 1); /* the third one's */
        world_finish(&world, NULL, ENDING_TOKEN);
        assert_token(&third, 2);
        assert_int_equal(world_counters(&world).fetches, 2);
        world_end(&world);
}

/* Whose fault that is, is known: not the issuer's. */
static void what_ends_under_way_brings_no_token(void **state)
{
        char buffer[CALLER_TOKEN_MAX_BYTES];
        struct caller caller = {};
        struct world world;

        (void)state;
        begin(&world);
        world_ask(&world, &caller, exchange(caller_subject_token(buffer, in_s(&world, 5), "anna")));
        world_advance(&world, 5 * SECONDS);
        world_finish(&world, NULL, ENDING_TOKEN);
        assert_reason(&caller, REASON_SUBJECT_TOKEN_EXPIRED);
        assert_int_equal(world_counters(&world).failures, 0);
        assert_int_equal(world_counters(&world).entries, 0);
        assert_int_equal(world_explain(&world, "x").failures, 0);
        world_end(&world);
}

static uint64_t refresh_point(struct world *world)
{
        static struct page page;

        broker_list(world->broker, &(struct filter){}, 0, 0, world->now_ms, &page);
        assert_int_equal(page.n, 1);
        assert_int_equal(page.entries[0].subject_kind, SUBJECT_EXCHANGE);
        assert_true(text_equal(page.entries[0].subject, TEXT(REGISTRATION)));
        return page.entries[0].refresh_in_ms;
}

/* Nobody has the subject token any more once its caller is answered. */
static void no_timer_renews_it_and_whoever_brings_it_again_does(void **state)
{
        char buffer[CALLER_TOKEN_MAX_BYTES];
        struct caller caller = {};
        struct world world;

        (void)state;
        begin(&world);
        (void)caller_subject_token(buffer, in_s(&world, 7200), "anna");
        prime(&world, &caller, exchange(TEXT(buffer)));
        world_ask(&world, &caller, exchange(TEXT(buffer)));
        assert_hit(&caller, 1);
        world_advance(&world, refresh_point(&world) + 2000);
        assert_int_equal(world_counters(&world).refreshes, 0);
        assert_int_equal(world.n_fetches, 0);

        world_ask(&world, &caller, exchange(TEXT(buffer)));
        assert_hit(&caller, 1);
        assert_int_equal(world_counters(&world).refreshes, 1);
        assert_int_equal(world.n_fetches, 1);
        assert_true(text_equal(world_oldest(&world)->matter.subject_token, TEXT(buffer)));
        memset(buffer, 'x', sizeof(buffer) - 1); /* it has a copy of its own */
        world_finish(&world, NULL, ENDING_TOKEN);
        (void)caller_subject_token(buffer, in_s(&world, 0), "anna"); /* another, at that time */
        assert_int_equal(world_counters(&world).entries, 1);
        world_end(&world);
}

static void the_others_are_renewed_by_the_timer(void **state)
{
        static const struct wish wishes[] = {{.kind = SUBJECT_APPLICATION},
                                             {.client = CLIENT_LOBBY, .kind = SUBJECT_APPLICATION}};

        (void)state;
        for (size_t i = 0; i < 2; i++) {
                struct caller caller = {};
                struct world world;

                world_init(&world);
                world.settings.n_clients = WORLD_CLIENTS;
                world_start(&world);
                prime(&world, &caller, wishes[i]);
                world_ask(&world, &caller, wishes[i]);
                assert_hit(&caller, 1);
                world_advance(&world, 3500 * SECONDS);
                assert_int_equal(world_counters(&world).refreshes, 1);
                world_finish(&world, NULL, ENDING_TOKEN);
                world_ask(&world, &caller, wishes[i]);
                assert_hit(&caller, 2);
                world_end(&world);
        }
}

/* Failures, and a secret that is read again, find the subject token where it was. */
static void every_further_try_brings_the_same_subject_token(void **state)
{
        char buffer[CALLER_TOKEN_MAX_BYTES];
        struct caller caller = {};
        struct world world;

        (void)state;
        begin(&world);
        world.slow_files = true;
        world_ask(&world, &caller,
                  exchange(caller_subject_token(buffer, in_s(&world, 500), "anna")));
        world_finish(&world, NULL, ENDING_ERROR);
        world_advance(&world, 600);
        world_finish(&world, NULL, ENDING_CUT);
        world_advance(&world, 1200);
        world_finish(&world, NULL, ENDING_CREDENTIALS_REFUSED);
        assert_int_equal(world.n_fetches, 0);
        world.secrets[CLIENT_PORTAL][0] = "another";
        assert_true(world_read_secrets(&world, CLIENT_PORTAL));
        world_turn(&world);
        assert_true(text_equal(world_oldest(&world)->client_secret, TEXT("another")));
        assert_true(text_equal(world_oldest(&world)->matter.subject_token, TEXT(buffer)));
        world_finish(&world, NULL, ENDING_TOKEN);
        assert_token(&caller, 1);
        assert_int_equal(world_counters(&world).retries, 2);
        world_end(&world);
}

/* A further try comes too late for it. */
static void what_ends_in_a_pause_is_not_tried_again(void **state)
{
        char buffer[CALLER_TOKEN_MAX_BYTES];
        struct caller caller = {};
        struct world world;

        (void)state;
        begin(&world);
        world.now_ms += 950 - (uint64_t)world_wall_ms(&world) % 1000 + 1000;
        world_turn(&world);
        world_ask(&world, &caller, exchange(caller_subject_token(buffer, in_s(&world, 1), "anna")));
        world_finish(&world, NULL, ENDING_ERROR);
        assert_waits(&caller);
        world_advance(&world, 600);
        assert_reason(&caller, REASON_SUBJECT_TOKEN_EXPIRED);
        assert_int_equal(world_counters(&world).fetches, 1);
        world_end(&world);
}

static void one_subject_token_that_is_refused_says_nothing_of_another(void **state)
{
        char one[CALLER_TOKEN_MAX_BYTES], two[CALLER_TOKEN_MAX_BYTES];
        struct caller caller = {};
        struct world world;

        (void)state;
        begin(&world);
        (void)caller_subject_token(one, in_s(&world, 500), "anna");
        (void)caller_subject_token(two, in_s(&world, 500), "bert");
        world_ask(&world, &caller, exchange(TEXT(one)));
        world_finish(&world, NULL, ENDING_SUBJECT_REFUSED);
        assert_reason(&caller, REASON_SUBJECT_REFUSED);
        world_ask(&world, &caller, exchange(TEXT(one)));
        assert_reason(&caller, REASON_SUBJECT_REFUSED);
        assert_int_equal(world_counters(&world).fetches, 1);
        prime(&world, &caller, exchange(TEXT(two)));
        /* That this may not be done at all goes for every subject token of the registration. */
        (void)caller_subject_token(one, in_s(&world, 500), "carl");
        world_ask(&world, &caller, exchange(TEXT(one)));
        world_finish(&world, NULL, ENDING_CLIENT_UNAUTHORIZED);
        (void)caller_subject_token(one, in_s(&world, 500), "dora");
        world_ask(&world, &caller, exchange(TEXT(one)));
        assert_reason(&caller, REASON_CLIENT_UNAUTHORIZED);
        world_ask(&world, &caller,
                  (struct wish){.kind = SUBJECT_EXCHANGE,
                                .subject = TEXT("okta-2"),
                                .subject_token = TEXT(one)});
        assert_waits(&caller);
        world_finish(&world, NULL, ENDING_TOKEN);
        assert_token(&caller, 2);
        world_end(&world);
}

static void a_rejected_token_is_exchanged_anew(void **state)
{
        char buffer[CALLER_TOKEN_MAX_BYTES];
        struct caller first = {}, caller = {};
        struct wish wish;
        struct world world;

        (void)state;
        begin(&world);
        wish = exchange(caller_subject_token(buffer, in_s(&world, 7200), "anna"));
        prime(&world, &first, wish);
        wish.rejects = &first;
        world_ask(&world, &caller, wish);
        assert_waits(&caller);
        world_finish(&world, NULL, ENDING_TOKEN);
        assert_token(&caller, 2);
        world_end(&world);
}

static void tokens_of_a_registration_are_purged(void **state)
{
        char buffer[CALLER_TOKEN_MAX_BYTES];
        struct caller caller = {};
        struct purge purge;
        struct world world;
        struct wish wishes[4];

        (void)state;
        begin(&world);
        wishes[0] = exchange(caller_subject_token(buffer, in_s(&world, 7200), "anna"));
        wishes[1] = wishes[0];
        wishes[1].subject = TEXT("okta-2");
        wishes[2] = (struct wish){.subject = TEXT(REGISTRATION)};
        wishes[3] = (struct wish){.kind = SUBJECT_APPLICATION};
        for (size_t i = 0; i < 4; i++)
                prime(&world, &caller, wishes[i]);
        assert_true(world_purge(&world,
                                &(struct filter){.by_subject = true,
                                                 .subject_kind = SUBJECT_EXCHANGE,
                                                 .subject = TEXT(REGISTRATION)},
                                &purge));
        world_advance(&world, 1000);
        assert_int_equal(purge.n_purged, 1);
        for (size_t i = 0; i < 4; i++) {
                world_ask(&world, &caller, wishes[i]);
                assert_int_equal(caller.waits, i == 0);
                if (caller.waits)
                        world_finish(&world, NULL, ENDING_TOKEN);
        }
        world_end(&world);
}

/* The key that they would be found by dies with the process. */
static void a_restart_leaves_them_behind_and_takes_the_others_along(void **state)
{
        static const struct snapshot_stamp stamp = {.boot_id = "fifteen and one", .sequence = 1};
        static uint8_t bytes[1 << 20];
        char token[CALLER_TOKEN_MAX_BYTES];
        const struct wish others[] = {{.kind = SUBJECT_APPLICATION},
                                      {.client = CLIENT_LOBBY, .kind = SUBJECT_APPLICATION},
                                      {.subject = TEXT("anna")}};
        struct world before, after;
        struct restored restored;
        struct snapshot snapshot;
        struct caller caller = {};
        size_t size;

        (void)state;
        world_init(&before);
        before.settings.n_clients = WORLD_CLIENTS;
        world_start(&before);
        prime(&before, &caller, exchange(caller_subject_token(token, in_s(&before, 7200), "anna")));
        for (size_t i = 0; i < 3; i++)
                prime(&before, &caller, others[i]);
        for (int i = 0; i < 2; i++) {
                struct wish wish = exchange(TEXT(token));

                wish.scope = i ? "refused" : "unauthorized";
                world_ask(&before, &caller, wish);
                world_finish(&before, NULL,
                             i ? ENDING_SUBJECT_REFUSED : ENDING_CLIENT_UNAUTHORIZED);
                world_ask(&before, &caller,
                          (struct wish){.kind = SUBJECT_APPLICATION, .scope = wish.scope});
                world_finish(&before, NULL,
                             i ? ENDING_SUBJECT_REFUSED : ENDING_CLIENT_UNAUTHORIZED);
        }
        world_abort(&before);
        size = broker_save(before.broker, &stamp, before.now_ms, bytes);
        assert_true(size > 0 && size <= sizeof(bytes));
        assert_null(memmem(bytes, size, token, strlen(token)));
        assert_null(memmem(bytes, size, REGISTRATION, strlen(REGISTRATION)));
        world_end(&before);

        world_init(&after);
        after.settings.n_clients = WORLD_CLIENTS;
        after.now_ms = before.now_ms + 1000;
        after.serial = before.serial;
        memcpy(after.minted_at, before.minted_at, sizeof(after.minted_at));
        world_start(&after);
        assert_int_equal(snapshot_open(&snapshot, bytes, size, stamp.boot_id, after.now_ms), 0);
        assert_int_equal(broker_restore(after.broker, &snapshot, after.now_ms, &restored), 0);
        assert_int_equal(restored.tokens, 3);
        assert_int_equal(restored.refusals, 2);
        for (size_t i = 0; i < 3; i++) {
                world_ask(&after, &caller, others[i]);
                assert_hit(&caller, i + 2);
        }
        world_ask(&after, &caller,
                  (struct wish){.kind = SUBJECT_APPLICATION, .scope = "unauthorized"});
        assert_reason(&caller, REASON_CLIENT_UNAUTHORIZED);
        world_ask(&after, &caller, exchange(TEXT(token)));
        assert_waits(&caller);
        world_finish(&after, NULL, ENDING_TOKEN);
        assert_token(&caller, after.serial);
        world_end(&after);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(equal_exchanges_share_one_fetch_and_then_one_token),
                cmocka_unit_test(whatever_differs_is_fetched_apart),
                cmocka_unit_test(the_token_ends_with_the_subject_token),
                cmocka_unit_test(what_ends_with_its_subject_token_satisfies_any_min_ttl),
                cmocka_unit_test(a_subject_token_makes_no_life_longer),
                cmocka_unit_test(what_has_ended_is_told_before_the_issuer_is_asked),
                cmocka_unit_test(the_time_of_day_decides_about_a_hit_too),
                cmocka_unit_test(what_ends_in_the_queue_is_not_sent),
                cmocka_unit_test(what_ends_under_way_brings_no_token),
                cmocka_unit_test(no_timer_renews_it_and_whoever_brings_it_again_does),
                cmocka_unit_test(the_others_are_renewed_by_the_timer),
                cmocka_unit_test(every_further_try_brings_the_same_subject_token),
                cmocka_unit_test(what_ends_in_a_pause_is_not_tried_again),
                cmocka_unit_test(one_subject_token_that_is_refused_says_nothing_of_another),
                cmocka_unit_test(a_rejected_token_is_exchanged_anew),
                cmocka_unit_test(tokens_of_a_registration_are_purged),
                cmocka_unit_test(a_restart_leaves_them_behind_and_takes_the_others_along),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
