/* SPDX-License-Identifier: MIT */

/*
 * Lifetimes are counted on a clock that no suspend stops and nobody sets. What the
 * time of day does matters in one case: it leaps ahead when a virtual machine was paused.
 */

#include "world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define TOKENS 50

static void ask_numbered(struct world *world, struct caller *caller, int number)
{
        char name[16];

        (void)snprintf(name, sizeof(name), "s%d", number);
        world_ask_user(world, caller, name);
}

/* A world with tokens of an hour, a few seconds old, all of them used. */
static void start(struct world *world)
{
        struct caller caller = {};

        world_init(world);
        world_start(world);
        for (int i = 0; i < TOKENS; i++) {
                char name[16];

                (void)snprintf(name, sizeof(name), "s%d", i);
                (void)world_prime(world, name, 3600);
                ask_numbered(world, &caller, i);
        }
        world_advance(world, 10 * SECONDS);
        world_turn(world);
}

static void step_wall(struct world *world, int64_t ms)
{
        world->wall_ahead_ms += ms;
        broker_tick(world->broker, world->now_ms, world_wall_ms(world));
        world_turn(world);
}

static void assert_all_hit(struct world *world)
{
        struct caller caller = {};

        for (int i = 0; i < TOKENS; i++) {
                ask_numbered(world, &caller, i);
                assert_hit(&caller, (uint64_t)i + 1);
        }
}

static void a_day_forward_makes_every_entry_due_and_drops_none(void **state)
{
        struct caller caller = {};
        struct world world;

        (void)state;
        start(&world);
        step_wall(&world, (int64_t)DAYS);
        assert_int_equal(world_counters(&world).entries, TOKENS);
        assert_int_equal(world.n_fetches, 0); /* who is not asked for is not fetched */
        for (int i = 0; i < TOKENS; i++) {
                assert_int_equal(world_explain(&world, "s0").freshness, FRESHNESS_DUE);
                ask_numbered(&world, &caller, i);
                assert_hit(&caller, (uint64_t)i + 1);
        }
        assert_int_equal(world_counters(&world).refreshes, TOKENS);
        assert_in_range(world.n_fetches, 1, world.settings.max_in_flight / 2);
        while (world.n_fetches > 0)
                world_finish(&world, NULL, ENDING_TOKEN);
        for (int i = 0; i < TOKENS; i++) {
                ask_numbered(&world, &caller, i);
                assert_hit(&caller, (uint64_t)(TOKENS + i) + 1);
        }
        assert_int_equal(world_explain(&world, "s0").freshness, FRESHNESS_FRESH);
        assert_int_equal(world_counters(&world).refreshes, TOKENS);
        world_end(&world);
}

static void a_day_back_changes_nothing(void **state)
{
        struct world world;

        (void)state;
        start(&world);
        step_wall(&world, -(int64_t)DAYS);
        assert_all_hit(&world);
        assert_int_equal(world_explain(&world, "s0").freshness, FRESHNESS_FRESH);
        assert_int_equal(world_counters(&world).refreshes, 0);
        /* Nor does what follows count against the time before. */
        step_wall(&world, 59 * (int64_t)SECONDS);
        assert_all_hit(&world);
        assert_int_equal(world_counters(&world).refreshes, 0);
        world_end(&world);
}

static void a_leap_of_up_to_a_minute_changes_nothing(void **state)
{
        struct world world;

        (void)state;
        start(&world);
        step_wall(&world, 60 * (int64_t)SECONDS);
        assert_all_hit(&world);
        assert_int_equal(world_counters(&world).refreshes, 0);
        step_wall(&world, 60 * (int64_t)SECONDS + 1);
        assert_all_hit(&world);
        assert_int_equal(world_counters(&world).refreshes, TOKENS);
        world_end(&world);
}

static void a_token_under_way_during_the_leap_is_due_when_it_comes(void **state)
{
        struct caller caller = {};
        struct world world;

        (void)state;
        world_init(&world);
        world_start(&world);
        world_ask_user(&world, &caller, "anna");
        world_advance(&world, 100);
        step_wall(&world, (int64_t)HOURS);
        world_finish(&world, NULL, ENDING_TOKEN);
        assert_token(&caller, 1);
        assert_int_equal(world_explain(&world, "anna").freshness, FRESHNESS_DUE);
        world_end(&world);
}

static void asleep_for_eight_hours_nothing_past_its_end_is_served(void **state)
{
        struct caller caller = {};
        struct world world;

        (void)state;
        start(&world);
        world_suspend(&world, 8 * HOURS);
        ask_numbered(&world, &caller, 0);
        assert_waits(&caller);
        world_turn(&world);
        world_advance(&world, 1 * SECONDS);
        assert_int_equal(world_counters(&world).entries, 0);
        assert_int_equal(world_counters(&world).cache.expired, TOKENS);
        assert_int_equal(world.n_fetches, 1);
        world_finish(&world, NULL, ENDING_TOKEN);
        assert_token(&caller, TOKENS + 1);
        world_end(&world);
}

static void asleep_for_half_an_hour_tokens_are_served_on(void **state)
{
        struct world world;

        (void)state;
        start(&world);
        world_suspend(&world, 30 * MINUTES);
        assert_all_hit(&world);
        assert_int_equal(world_counters(&world).refreshes, 0);
        world_turn(&world);
        world_suspend(&world, 20 * MINUTES); /* past the refresh point of all */
        world_turn(&world);
        assert_int_equal(world_counters(&world).refreshes, TOKENS);
        assert_all_hit(&world);
        world_end(&world);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(a_day_forward_makes_every_entry_due_and_drops_none),
                cmocka_unit_test(a_day_back_changes_nothing),
                cmocka_unit_test(a_leap_of_up_to_a_minute_changes_nothing),
                cmocka_unit_test(a_token_under_way_during_the_leap_is_due_when_it_comes),
                cmocka_unit_test(asleep_for_eight_hours_nothing_past_its_end_is_served),
                cmocka_unit_test(asleep_for_half_an_hour_tokens_are_served_on),
        };

        return cmocka_run_group_tests_name("clock", tests, NULL, NULL);
}
