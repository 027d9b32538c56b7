/* SPDX-License-Identifier: MIT */

/*
 * One broker ends, and the next one is given its snapshot: no token is lost, none is fetched twice,
 * and what the issuer has asked for is still obeyed. What has changed meanwhile counts.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "world.h"

#define SNAPSHOT_MAX_BYTES (1 << 20)

static uint8_t bytes[SNAPSHOT_MAX_BYTES];
static struct restored restored;

/* What settings own may not be constant. */
static char name_portal[] = "portal";
static char name_mobile[] = "mobile";
static char another_id[] = "another";
static char another_url[] = "https://other.example/V/token";
static char customer_url[] = "https://other.example/C/token";
static char another_name[] = "renamed";

static const struct snapshot_stamp stamp = {.boot_id = "fifteen and one", .sequence = 1};

/* Ends `before`, which may be looked at no more. Returns the size of what it leaves. */
static size_t leave(struct world *before)
{
        size_t size;

        world_abort(before);
        size = broker_save(before->broker, &stamp, before->now_ms, NULL);
        assert_true(size <= sizeof(bytes));
        assert_int_equal(broker_save(before->broker, &stamp, before->now_ms, bytes), size);
        world_end(before);
        return size;
}

/* A world in which the machine is the same, and the process another. */
static void world_init_after(struct world *after, const struct world *before, uint64_t ms)
{
        world_init(after);
        after->now_ms = before->now_ms + ms;
        after->wall_ahead_ms = before->wall_ahead_ms;
        after->serial = before->serial;
        memcpy(after->minted_at, before->minted_at, sizeof(after->minted_at));
        for (size_t i = 0; i < WORLD_CLIENTS; i++)
                after->clients[i].identity += 1000;
}

static void world_start_after(struct world *after, size_t size)
{
        struct snapshot snapshot;

        world_start(after);
        restored = (struct restored){};
        if (size == 0)
                return;
        assert_int_equal(snapshot_open(&snapshot, bytes, size, stamp.boot_id, after->now_ms), 0);
        assert_int_equal(broker_restore(after->broker, &snapshot, after->now_ms, &restored), 0);
        world_turn(after);
}

static void restart(struct world *before, struct world *after, uint64_t ms)
{
        const size_t size = leave(before);

        world_init_after(after, before, ms);
        world_start_after(after, size);
}

static void start(struct world *world)
{
        world_init(world);
        world_start(world);
}

static void no_token_is_fetched_again_before_its_refresh_point(void **state)
{
        enum { N = 50 };
        uint64_t refresh_at_ms[N], first_ms = UINT64_MAX, last_ms = 0;
        struct world before, after;
        struct caller caller = {};
        char name[16];

        (void)state;
        start(&before);
        for (int i = 0; i < N; i++) {
                (void)snprintf(name, sizeof(name), "s%d", i);
                assert_int_equal(world_prime(&before, name, 3600), i + 1);
                refresh_at_ms[i] = before.now_ms + world_explain(&before, name).refresh_in_ms;
                if (refresh_at_ms[i] < first_ms)
                        first_ms = refresh_at_ms[i];
                if (refresh_at_ms[i] > last_ms)
                        last_ms = refresh_at_ms[i];
                if (i % 2) /* whoever is used is renewed */
                        world_ask_user(&before, &caller, name);
                world_advance(&before, 100);
        }
        restart(&before, &after, 200);
        assert_int_equal(restored.tokens, N);
        for (int i = 0; i < N; i++) {
                struct explanation explanation;

                (void)snprintf(name, sizeof(name), "s%d", i);
                explanation = world_explain(&after, name);
                assert_int_equal(after.now_ms + explanation.refresh_in_ms, refresh_at_ms[i]);
                assert_int_equal(explanation.used, i % 2);
                assert_int_equal(explanation.freshness, FRESHNESS_FRESH);
                if (i >= N / 2) {
                        world_ask_user(&after, &caller, name);
                        assert_hit(&caller, (uint64_t)i + 1);
                }
        }
        world_advance(&after, first_ms - after.now_ms - 1);
        assert_int_equal(world_counters(&after).fetches, 0);
        world_advance(&after, last_ms - after.now_ms + 1000);
        assert_int_equal(world_counters(&after).refreshes, N / 4 + N / 2);
        world_end(&after);
}

/* Its refresh point came while no fetch could begin any more, or between the two processes. */
static void a_refresh_point_that_nobody_saw_is_made_up_for(void **state)
{
        (void)state;
        for (int draining = 0; draining < 2; draining++) {
                struct world before, after;
                struct caller caller = {};
                uint64_t left_ms;

                start(&before);
                (void)world_prime(&before, "anna", 3600);
                (void)world_prime(&before, "unused", 3600);
                world_ask_user(&before, &caller, "anna");
                left_ms = world_explain(&before, "anna").refresh_in_ms;
                world_advance(&before, left_ms - 500);
                if (draining) {
                        broker_drain(before.broker, before.now_ms);
                        before.aborted = true;
                        world_advance(&before, 2000);
                }
                restart(&before, &after, 1000);
                world_advance(&after, 1000);
                assert_int_equal(world_counters(&after).refreshes, 1);
                assert_non_null(world_fetch_of(&after, "anna"));
                world_ask_user(&after, &caller, "anna");
                assert_hit(&caller, 1);
                world_finish(&after, NULL, ENDING_TOKEN);
                world_ask_user(&after, &caller, "anna");
                assert_hit(&caller, 3);
                world_end(&after);
        }
}

static void a_refusal_is_remembered_and_lasts_no_longer(void **state)
{
        struct world before, after;
        struct caller caller = {};

        (void)state;
        start(&before);
        world_ask_user(&before, &caller, "nobody");
        world_finish(&before, NULL, ENDING_SUBJECT_REFUSED);
        world_ask(
                &before, &caller,
                (struct wish){.client = CLIENT_MOBILE, .subject = TEXT("anna"), .scope = "wrong"});
        world_finish(&before, NULL, ENDING_SCOPE_REFUSED);
        world_ask(&before, &caller, (struct wish){.client = CLIENT_DESK, .subject = TEXT("anna")});
        world_finish(&before, NULL, ENDING_CLIENT_UNAUTHORIZED);
        world_advance(&before, 3000);
        restart(&before, &after, 1000);
        assert_int_equal(restored.tokens, 0);
        assert_int_equal(restored.refusals, 3);
        world_ask_user(&after, &caller, "nobody");
        assert_reason(&caller, REASON_SUBJECT_REFUSED);
        world_ask(
                &after, &caller,
                (struct wish){.client = CLIENT_MOBILE, .subject = TEXT("anna"), .scope = "wrong"});
        assert_reason(&caller, REASON_SCOPE_REFUSED);
        world_ask(&after, &caller, (struct wish){.client = CLIENT_DESK, .subject = TEXT("other")});
        assert_reason_for(&caller, REASON_CLIENT_UNAUTHORIZED, 6);
        assert_int_equal(world_explain(&after, "nobody").refusal_left_ms, 6000);
        assert_int_equal(world_counters(&after).fetches, 0);
        /* When it is over it is over; the next one lasts twice as long, as without a restart. */
        world_advance(&after, 6000);
        world_ask_user(&after, &caller, "nobody");
        assert_waits(&caller);
        world_finish(&after, NULL, ENDING_SUBJECT_REFUSED);
        assert_int_equal(world_explain(&after, "nobody").refusal_left_ms, 20000);
        world_end(&after);
}

static void a_hold_is_obeyed_to_its_end_then_one_asks(void **state)
{
        struct caller callers[3] = {};
        struct world before, after;
        struct caller caller = {};

        (void)state;
        start(&before);
        (void)world_prime(&before, "anna", 3600);
        world_ask_user(&before, &caller, "first");
        world_oldest(&before)->retry_after = "30";
        world_finish(&before, NULL, ENDING_THROTTLED);
        restart(&before, &after, 1000);
        assert_int_equal(restored.holds, 1);
        world_ask_user(&after, &caller, "anna");
        assert_hit(&caller, 1);
        world_ask_user(&after, &caller, "other");
        assert_reason_for(&caller, REASON_ISSUER_THROTTLES, 29);
        /* At the same URL, whoever's; and not at any other. */
        world_ask(&after, &caller, (struct wish){.client = CLIENT_DESK, .subject = TEXT("anna")});
        assert_reason_for(&caller, REASON_ISSUER_THROTTLES, 29);
        world_ask(&after, &caller, (struct wish){.kind = SUBJECT_EMAIL, .subject = TEXT("a@b")});
        assert_waits(&caller);
        world_finish(&after, NULL, ENDING_TOKEN);
        world_advance(&after, 29000);
        for (int i = 0; i < 3; i++)
                world_ask_user(&after, &callers[i], i ? i == 1 ? "b" : "c" : "a");
        assert_int_equal(after.n_fetches, 1);
        world_finish(&after, NULL, ENDING_TOKEN);
        assert_int_equal(after.n_fetches, 2);
        assert_int_equal(after.last_note.kind, NOTE_ISSUER_WELL);
        world_end(&after);
}

/* Perhaps it was restarted because of them. */
static void failures_are_forgotten(void **state)
{
        struct world before, after;
        struct caller caller = {};
        char name[16];

        (void)state;
        start(&before);
        (void)world_prime(&before, "anna", 3600);
        for (int i = 0; i < 6; i++) {
                (void)snprintf(name, sizeof(name), "s%d", i);
                world_ask_user(&before, &caller, name);
                if (world_fetch_of(&before, name))
                        world_finish_for_good(&before, name, ENDING_UNREACHABLE);
        }
        assert_int_equal(world_explain(&before, "s0").breaker, BREAKER_OPEN);
        restart(&before, &after, 10);
        assert_int_equal(restored.tokens, 1);
        assert_int_equal(restored.refusals + restored.holds, 0);
        world_ask_user(&after, &caller, "s0");
        assert_waits(&caller);
        world_finish(&after, NULL, ENDING_TOKEN);
        assert_token(&caller, 2);
        world_end(&after);
}

static void a_rejected_token_stays_rejected_and_so_do_the_steps(void **state)
{
        struct caller first = {}, caller = {};
        struct world before, after;

        (void)state;
        start(&before);
        world_ask_user(&before, &first, "anna");
        world_finish(&before, NULL, ENDING_TOKEN);
        world_ask(&before, &caller, (struct wish){.subject = TEXT("anna"), .rejects = &first});
        world_oldest(&before)->repeated_serial = first.serial;
        world_oldest(&before)->repeated_expires_at_ms = first.expires_at_ms;
        world_finish(&before, NULL, ENDING_TOKEN);
        assert_int_equal(caller.detail, REASON_REPEATED_TOKEN);
        restart(&before, &after, 1000);
        assert_int_equal(restored.tokens, 1);
        world_ask(&after, &caller, (struct wish){.subject = TEXT("anna"), .rejects = &first});
        assert_reason_for(&caller, REASON_REJECTED_AGAIN, 4);
        world_advance(&after, 4000);
        world_ask(&after, &caller, (struct wish){.subject = TEXT("anna"), .rejects = &first});
        assert_waits(&caller);
        world_finish(&after, NULL, ENDING_TOKEN);
        assert_token(&caller, 2);
        world_end(&after);
}

/* That it is the right token for each is what the world watches. */
static void every_client_gets_its_own(void **state)
{
        const struct wish wishes[] = {
                {.client = CLIENT_PORTAL, .subject = TEXT("anna"), .scope = "same"},
                {.client = CLIENT_MOBILE, .subject = TEXT("anna"), .scope = "same"},
                {.client = CLIENT_DESK, .subject = TEXT("anna"), .scope = "same"},
                {.client = CLIENT_PORTAL,
                 .kind = SUBJECT_EMAIL,
                 .subject = TEXT("anna"),
                 .scope = "same"},
                {.client = CLIENT_PORTAL,
                 .kind = SUBJECT_USERID,
                 .subject = TEXT("anna"),
                 .scope = "same"},
                {.client = CLIENT_PORTAL, .subject = TEXT("anna"), .scope = "other"},
        };
        enum { N = sizeof(wishes) / sizeof(wishes[0]) };
        struct client_settings swapped;
        struct world before, after;
        struct caller caller = {};
        size_t size;

        (void)state;
        start(&before);
        for (int i = 0; i < N; i++) {
                world_ask(&before, &caller, wishes[i]);
                world_finish(&before, NULL, ENDING_TOKEN);
        }
        size = leave(&before);
        /* In another order in the file, with numbers and names that mean others now. */
        world_init_after(&after, &before, 100);
        swapped = after.clients[CLIENT_PORTAL];
        after.clients[CLIENT_PORTAL] = after.clients[CLIENT_DESK];
        after.clients[CLIENT_DESK] = swapped;
        after.clients[CLIENT_PORTAL].identity = 11;
        after.clients[CLIENT_DESK].identity = 13;
        after.clients[CLIENT_MOBILE].name = name_portal;
        after.clients[CLIENT_DESK].name = name_mobile;
        world_start_after(&after, size);
        assert_int_equal(restored.tokens, N);
        for (int i = 0; i < N; i++) {
                struct wish wish = wishes[i];

                if (wish.client != CLIENT_MOBILE)
                        wish.client = wish.client == CLIENT_DESK ? CLIENT_PORTAL : CLIENT_DESK;
                world_ask(&after, &caller, wish);
                assert_hit(&caller, (uint64_t)i + 1);
        }
        world_end(&after);
}

static void what_belongs_to_an_identity_that_is_gone_is_gone(void **state)
{
        (void)state;
        for (int change = 0; change < 4; change++) {
                const struct wish mobile = {.client = CLIENT_MOBILE,
                                            .subject = TEXT("anna"),
                                            .scope = "same"},
                                  unknown = {.client = CLIENT_MOBILE,
                                             .subject = TEXT("nobody"),
                                             .scope = "same"};
                struct world before, after;
                struct caller caller = {};
                size_t size;

                start(&before);
                (void)world_prime(&before, "anna", 3600);
                world_ask(&before, &caller, mobile);
                world_finish(&before, NULL, ENDING_TOKEN);
                world_ask(&before, &caller, unknown);
                world_finish(&before, NULL, ENDING_SUBJECT_REFUSED);
                size = leave(&before);
                world_init_after(&after, &before, 100);
                switch (change) {
                case 0: after.clients[CLIENT_MOBILE].client_id = another_id; break;
                case 1: after.clients[CLIENT_MOBILE].token_url[AUDIENCE_USER] = another_url; break;
                case 2:
                        after.clients[CLIENT_MOBILE].token_url[AUDIENCE_CUSTOMER] = customer_url;
                        break;
                default: break; /* only to see that it would be there */
                }
                after.clients[CLIENT_MOBILE].name = another_name;
                world_start_after(&after, size);
                assert_int_equal(restored.tokens, change < 3 ? 1 : 2);
                assert_int_equal(restored.gone, change < 3 ? 1 : 0);
                world_ask_user(&after, &caller, "anna");
                assert_hit(&caller, 1);
                world_ask(&after, &caller, mobile);
                if (change == 3) {
                        assert_hit(&caller, 2);
                } else {
                        assert_waits(&caller);
                        world_finish(&after, NULL, ENDING_TOKEN);
                        assert_token(&caller, 3);
                }
                world_ask(&after, &caller, unknown);
                if (change == 3) {
                        assert_reason(&caller, REASON_SUBJECT_REFUSED);
                } else {
                        assert_waits(&caller);
                        world_finish(&after, NULL, ENDING_TOKEN);
                }
                world_end(&after);
        }
}

static void a_token_past_its_end_stays_behind(void **state)
{
        struct world before, after;
        struct caller caller = {};

        (void)state;
        start(&before);
        (void)world_prime(&before, "short", 10);
        (void)world_prime(&before, "long", 12);
        world_advance(&before, 5000);
        restart(&before, &after, 4001);
        assert_int_equal(restored.tokens, 1);
        assert_int_equal(restored.ended, 1);
        assert_false(world_explain(&after, "short").present);
        world_ask_user(&after, &caller, "short");
        assert_waits(&caller);
        world_finish(&after, world_fetch_of(&after, "short"), ENDING_TOKEN);
        assert_token(&caller, 3);
        /* The other one is taken out at the same moment as without a restart. */
        world_advance(&after, 1998);
        assert_true(world_explain(&after, "long").present);
        world_advance(&after, 2);
        assert_false(world_explain(&after, "long").present);
        world_end(&after);
}

static void a_leap_of_the_time_of_day_between_the_two_is_noticed(void **state)
{
        (void)state;
        for (int leap = 0; leap < 2; leap++) {
                struct world before, after;
                struct caller caller = {};
                size_t size;

                start(&before);
                (void)world_prime(&before, "anna", 3600);
                size = leave(&before);
                world_init_after(&after, &before, 100);
                after.wall_ahead_ms += leap ? 61000 : 59000;
                world_start_after(&after, size);
                broker_tick(after.broker, after.now_ms, world_wall_ms(&after));
                assert_int_equal(world_explain(&after, "anna").freshness,
                                 leap ? FRESHNESS_DUE : FRESHNESS_FRESH);
                world_ask_user(&after, &caller, "anna");
                assert_hit(&caller, 1);
                assert_int_equal(after.n_fetches, leap);
                world_end(&after);
        }
}

static void what_is_purged_does_not_come_back(void **state)
{
        const struct filter filter = {.by_subject = true, .subject = TEXT("anna")};
        struct world before, after;
        struct purge purge;

        (void)state;
        world_init(&before);
        before.settings.max_entries = 100000; /* so that the walk takes some turns */
        world_start(&before);
        (void)world_prime(&before, "anna", 3600);
        (void)world_prime(&before, "bert", 3600);
        before.busy = true;
        assert_true(world_purge(&before, &filter, &purge));
        before.busy = false;
        restart(&before, &after, 100);
        assert_int_equal(restored.tokens, 1);
        assert_true(world_explain(&after, "bert").present);
        /* Nor is what was brought back taken for older than a purge of now. */
        assert_true(world_purge(&after,
                                &(struct filter){.by_client = true,
                                                 .identity = 1011,
                                                 .by_subject = true,
                                                 .subject = TEXT("bert"),
                                                 .scope = TEXT(DEFAULT_SCOPE)},
                                &purge));
        while (after.n_purging > 0)
                world_turn(&after);
        assert_int_equal(purge.n_purged, 1);
        world_end(&after);
}

/* As long as restarts go on. */
static void many_restarts_are_as_none(void **state)
{
        struct world worlds[2];
        struct caller caller = {};

        (void)state;
        start(&worlds[0]);
        (void)world_prime(&worlds[0], "anna", 3600);
        for (int i = 0; i < 20; i++) {
                restart(&worlds[i % 2], &worlds[1 - i % 2], 1000);
                assert_int_equal(restored.tokens, 1);
                world_ask_user(&worlds[1 - i % 2], &caller, "anna");
                assert_hit(&caller, 1);
                world_advance(&worlds[1 - i % 2], 100000);
                assert_int_equal(world_counters(&worlds[1 - i % 2]).fetches, 0);
        }
        world_end(&worlds[0]);
}

static void what_a_client_that_is_gone_has_left_is_not_written(void **state)
{
        struct world before, after;
        struct caller caller = {};
        size_t size;

        (void)state;
        start(&before);
        (void)world_prime(&before, "anna", 3600);
        world_ask_user(&before, &caller, "bert");
        world_finish(&before, NULL, ENDING_SUBJECT_REFUSED);
        world_ask(&before, &caller,
                  (struct wish){.client = CLIENT_DESK, .subject = TEXT("anna"), .scope = "read"});
        world_finish(&before, NULL, ENDING_TOKEN);
        before.busy = true; /* nothing is swept */
        before.clients[CLIENT_PORTAL].identity += 100;
        before.clients[CLIENT_PORTAL].token_url[AUDIENCE_USER] = another_url;
        world_reconfigure(&before);
        assert_true(world_sweeps(&before));
        assert_int_equal(world_counters(&before).entries, 2);
        size = broker_save(before.broker, &stamp, before.now_ms, NULL);
        assert_true(size <= sizeof(bytes));
        assert_int_equal(broker_save(before.broker, &stamp, before.now_ms, bytes), size);
        assert_true(world_sweeps(&before));
        world_end(&before);
        world_init_after(&after, &before, 200);
        world_start_after(&after, size);
        assert_int_equal(restored.tokens, 1);
        assert_int_equal(restored.refusals, 0);
        assert_int_equal(restored.gone, 0);
        world_end(&after);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(no_token_is_fetched_again_before_its_refresh_point),
                cmocka_unit_test(a_refresh_point_that_nobody_saw_is_made_up_for),
                cmocka_unit_test(a_refusal_is_remembered_and_lasts_no_longer),
                cmocka_unit_test(a_hold_is_obeyed_to_its_end_then_one_asks),
                cmocka_unit_test(failures_are_forgotten),
                cmocka_unit_test(a_rejected_token_stays_rejected_and_so_do_the_steps),
                cmocka_unit_test(every_client_gets_its_own),
                cmocka_unit_test(what_belongs_to_an_identity_that_is_gone_is_gone),
                cmocka_unit_test(a_token_past_its_end_stays_behind),
                cmocka_unit_test(a_leap_of_the_time_of_day_between_the_two_is_noticed),
                cmocka_unit_test(what_is_purged_does_not_come_back),
                cmocka_unit_test(many_restarts_are_as_none),
                cmocka_unit_test(what_a_client_that_is_gone_has_left_is_not_written),
        };

        return cmocka_run_group_tests_name("restart", tests, NULL, NULL);
}
