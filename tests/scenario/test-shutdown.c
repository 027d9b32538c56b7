/* SPDX-License-Identifier: MIT */

#include "world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void a_drain_begins_nothing_new_and_serves_what_it_has(void **state)
{
        struct caller caller = {};
        struct world world;
        uint64_t serial;

        (void)state;
        world_init(&world);
        world_start(&world);
        serial = world_prime(&world, "anna", 100);
        broker_drain(world.broker, world.now_ms);
        world_ask_user(&world, &caller, "anna");
        assert_hit(&caller, serial);
        world_ask_user(&world, &caller, "bert");
        assert_reason(&caller, REASON_SHUTTING_DOWN);
        world_advance(&world, 95 * SECONDS); /* spent, but better than nothing */
        world_ask_user(&world, &caller, "anna");
        assert_token(&caller, serial);
        world_advance(&world, 5 * SECONDS);
        world_ask_user(&world, &caller, "anna");
        assert_reason(&caller, REASON_SHUTTING_DOWN);
        assert_int_equal(world_counters(&world).fetches, 1);
        assert_true(broker_is_idle(world.broker));
        world_end(&world);
}

static void a_drain_lets_whoever_waits_have_an_answer(void **state)
{
        static const char *const names[] = {"running", "queued", "hopeless"};
        struct caller callers[3] = {}, joined = {};
        struct world world;

        (void)state;
        world_init(&world);
        world.settings.max_in_flight = 1;
        world_start(&world);
        for (int i = 0; i < 3; i++)
                world_ask_user(&world, &callers[i], names[i]);
        broker_drain(world.broker, world.now_ms);
        assert_false(broker_is_idle(world.broker));
        world_ask_user(&world, &joined, "running");
        assert_waits(&joined);
        world_finish(&world, NULL, ENDING_TOKEN);
        assert_token(&callers[0], 1);
        assert_token(&joined, 1);
        world_finish(&world, world_fetch_of(&world, "queued"), ENDING_TOKEN);
        assert_token(&callers[1], 2);
        assert_false(broker_is_idle(world.broker));
        world_finish(&world, NULL, ENDING_ERROR);
        assert_reason(&callers[2], REASON_ISSUER_ERROR);
        assert_true(broker_is_idle(world.broker));
        world_end(&world);
}

static void a_drained_broker_is_idle_only_when_every_reply_was_fetched(void **state)
{
        struct caller caller = {};
        struct world world;

        (void)state;
        world_init(&world);
        world_start(&world);
        world_ask_user(&world, &caller, "anna");
        broker_drain(world.broker, world.now_ms);
        world.busy = true;
        world_finish(&world, NULL, ENDING_TOKEN);
        assert_false(broker_is_idle(world.broker));
        world.busy = false;
        world_turn(&world);
        assert_true(broker_is_idle(world.broker));
        world_end(&world);
}

static void an_abort_answers_everybody_and_cancels_what_runs(void **state)
{
        struct caller running[3] = {}, queued[2] = {}, deserted = {};
        struct world world;

        (void)state;
        world_init(&world);
        world.settings.max_in_flight = 2;
        world_start(&world);
        world_ask_user(&world, &deserted, "deserted");
        world_advance(&world, 20 * SECONDS);
        assert_reason(&deserted, REASON_REQUEST_TIMEOUT);
        for (int i = 0; i < 3; i++)
                world_ask_user(&world, &running[i], "running");
        world_ask_user(&world, &queued[0], "queued");
        world_ask_user(&world, &queued[1], "queued too");
        assert_int_equal(world.n_fetches, 2);

        world_abort(&world);
        for (int i = 0; i < 3; i++)
                assert_reason(&running[i], REASON_SHUTTING_DOWN);
        for (int i = 0; i < 2; i++)
                assert_reason(&queued[i], REASON_SHUTTING_DOWN);
        assert_int_equal(world.n_cancelled, 2);
        assert_int_equal(world_counters(&world).fetches, 2);
        assert_true(broker_is_idle(world.broker));
        world_end(&world);
}

static void after_an_abort_with_a_queue_at_a_free_url_nothing_is_left_to_start(void **state)
{
        struct caller callers[3] = {};
        struct world world;

        (void)state;
        world_init(&world);
        world.settings.max_in_flight_total = 1;
        world_start(&world);
        world_ask_user(&world, &callers[0], "anna");
        world_ask(&world, &callers[1], (struct wish){.kind = SUBJECT_EMAIL, .subject = TEXT("a")});
        world_ask(&world, &callers[2],
                  (struct wish){.client = CLIENT_MOBILE, .subject = TEXT("a"), .scope = "b"});
        world_abort(&world);
        for (int i = 0; i < 3; i++)
                assert_reason(&callers[i], REASON_SHUTTING_DOWN);
        broker_tick(world.broker, world.now_ms, world_wall_ms(&world));
        world_turn(&world);
        assert_int_equal(world_counters(&world).fetches, 1);
        world_end(&world);
}

static void an_abort_before_a_start_was_fetched_begins_nothing(void **state)
{
        struct caller callers[2] = {};
        struct world world;

        (void)state;
        world_init(&world);
        world.settings.max_in_flight = 1;
        world_start(&world);
        world.busy = true;
        world_ask_user(&world, &callers[0], "starting");
        world_ask_user(&world, &callers[1], "queued");
        world.busy = false;
        world_abort(&world);
        for (int i = 0; i < 2; i++)
                assert_reason(&callers[i], REASON_SHUTTING_DOWN);
        assert_int_equal(world_counters(&world).fetches, 0);
        assert_int_equal(world.n_cancelled, 0);
        world_end(&world);
}

static void after_an_abort_a_request_joins_nothing_that_is_being_cancelled(void **state)
{
        struct caller callers[2] = {};
        struct world world;

        (void)state;
        world_init(&world);
        world_start(&world);
        world_ask_user(&world, &callers[0], "anna");
        world.busy = true;
        world_abort(&world);
        world_ask_user(&world, &callers[1], "anna");
        world.busy = false;
        world_turn(&world);
        assert_reason(&callers[0], REASON_SHUTTING_DOWN);
        assert_reason(&callers[1], REASON_SHUTTING_DOWN);
        world_end(&world);
}

static void after_an_abort_hits_are_served_and_nothing_is_fetched(void **state)
{
        struct caller caller = {};
        struct world world;
        uint64_t serial;

        (void)state;
        world_init(&world);
        world_start(&world);
        serial = world_prime(&world, "anna", 3600);
        world_abort(&world);
        world_abort(&world); /* once more harms nobody */
        world_ask_user(&world, &caller, "anna");
        assert_hit(&caller, serial);
        world_ask_user(&world, &caller, "bert");
        assert_reason(&caller, REASON_SHUTTING_DOWN);
        world_end(&world);
}

static void replies_complete_before_an_abort_stay_what_they_are(void **state)
{
        struct caller callers[2] = {};
        struct world world;

        (void)state;
        world_init(&world);
        world_start(&world);
        world_ask_user(&world, &callers[0], "anna");
        world_ask_user(&world, &callers[1], "bert");
        world.busy = true;
        world_finish(&world, world_fetch_of(&world, "anna"), ENDING_TOKEN);
        world.busy = false;
        world_abort(&world);
        assert_token(&callers[0], 1);
        assert_reason(&callers[1], REASON_SHUTTING_DOWN);
        world_end(&world);
}

static void a_broker_freed_with_fetches_in_the_air_leaves_nothing_behind(void **state)
{
        struct caller callers[40] = {};
        struct list *link;
        struct world world;

        (void)state;
        world_init(&world);
        world_start(&world);
        (void)world_prime(&world, "cached", 3600);
        for (int i = 0; i < 40; i++) {
                const char name[] = {(char)('a' + i / 2), '\0'};

                world_ask_user(&world, &callers[i], name);
        }
        world_advance(&world, 20 * SECONDS); /* nobody waits, all fetches run on */
        assert_int_equal(world.n_fetches, 20);
        world_drop(&world);
        while ((link = list_first(&world.fetches))) {
                list_unlink(link);
                secret_deinit(&list_entry(link, struct fetch, link)->form);
        }
}

static void
a_broker_aborted_and_freed_without_taking_its_cancels_leaves_nothing_behind(void **state)
{
        struct caller caller = {};
        struct world world;

        (void)state;
        world_init(&world);
        world_start(&world);
        world_ask_user(&world, &caller, "anna");
        world_advance(&world, 20 * SECONDS);
        broker_abort(world.broker, world.now_ms);
        world_drop(&world);
        secret_deinit(&world_oldest(&world)->form);
        broker_free(NULL);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(a_drain_begins_nothing_new_and_serves_what_it_has),
                cmocka_unit_test(a_drain_lets_whoever_waits_have_an_answer),
                cmocka_unit_test(a_drained_broker_is_idle_only_when_every_reply_was_fetched),
                cmocka_unit_test(an_abort_answers_everybody_and_cancels_what_runs),
                cmocka_unit_test(
                        after_an_abort_with_a_queue_at_a_free_url_nothing_is_left_to_start),
                cmocka_unit_test(an_abort_before_a_start_was_fetched_begins_nothing),
                cmocka_unit_test(after_an_abort_a_request_joins_nothing_that_is_being_cancelled),
                cmocka_unit_test(after_an_abort_hits_are_served_and_nothing_is_fetched),
                cmocka_unit_test(replies_complete_before_an_abort_stay_what_they_are),
                cmocka_unit_test(a_broker_freed_with_fetches_in_the_air_leaves_nothing_behind),
                cmocka_unit_test(
                        a_broker_aborted_and_freed_without_taking_its_cancels_leaves_nothing_behind),
        };

        return cmocka_run_group_tests_name("shutdown", tests, NULL, NULL);
}
