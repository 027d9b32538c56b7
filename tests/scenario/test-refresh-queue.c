/* SPDX-License-Identifier: MIT */

/*
 * Refreshes give way to waiting callers: where they stand in the queue, what they leave to
 * callers, and when they are given up.
 */

#include "world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define TOKENS 12

/* A world with tokens s0 to s11, all due and not renewed. */
static void start(struct world *world, size_t max_in_flight)
{
        world_init(world);
        world->settings.max_in_flight = max_in_flight;
        world->settings.max_flights = 16;
        world_start(world);
        for (int i = 0; i < TOKENS; i++) {
                char name[16];

                (void)snprintf(name, sizeof(name), "s%d", i);
                (void)world_prime(world, name, 3600);
        }
        world_advance(world, 3000 * SECONDS);
}

static void use(struct world *world, int first, int n)
{
        for (int i = first; i < first + n; i++) {
                struct caller caller = {};
                char name[16];

                (void)snprintf(name, sizeof(name), "s%d", i);
                world_ask_user(world, &caller, name);
                assert_hit(&caller, (uint64_t)i + 1);
        }
}

static void refreshes_take_half_of_the_places_at_most(void **state)
{
        static const struct {
                size_t places, for_refreshes;
        } cases[] = {{1, 1}, {2, 1}, {3, 2}, {4, 2}, {8, 4}};

        (void)state;
        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
                struct caller callers[8] = {};
                struct world world;

                start(&world, cases[i].places);
                use(&world, 0, TOKENS);
                assert_int_equal(world.n_fetches, cases[i].for_refreshes);
                assert_int_equal(world_counters(&world).flights, TOKENS);
                /* The other half is there for callers. */
                for (size_t k = 0; k < cases[i].places && k < 4; k++) {
                        char name[16];

                        (void)snprintf(name, sizeof(name), "caller%zu", k);
                        world_ask_user(&world, &callers[k], name);
                        assert_waits(&callers[k]);
                }
                assert_int_equal(world.n_fetches, cases[i].places);
                world_end(&world);
        }
}

static void callers_who_come_later_go_first(void **state)
{
        struct caller callers[2] = {};
        struct world world;

        (void)state;
        start(&world, 1);
        use(&world, 0, 3);
        world_ask_user(&world, &callers[0], "x");
        world_ask_user(&world, &callers[1], "y");
        assert_non_null(world_fetch_of(&world, "s0"));
        world_finish(&world, NULL, ENDING_TOKEN);
        assert_non_null(world_fetch_of(&world, "x"));
        world_finish(&world, NULL, ENDING_TOKEN);
        assert_non_null(world_fetch_of(&world, "y"));
        world_finish(&world, NULL, ENDING_TOKEN);
        assert_non_null(world_fetch_of(&world, "s1"));
        world_finish(&world, NULL, ENDING_TOKEN);
        assert_non_null(world_fetch_of(&world, "s2"));
        world_end(&world);
}

static void a_refresh_that_a_caller_joins_is_a_callers(void **state)
{
        struct caller callers[2] = {};
        struct world world;

        (void)state;
        start(&world, 1);
        use(&world, 0, 4);
        world_ask_user(&world, &callers[0], "x");
        world_ask(&world, &callers[1], (struct wish){.subject = TEXT("s3"), .min_ttl_s = 3000});
        assert_waits(&callers[1]);
        world_finish(&world, NULL, ENDING_TOKEN); /* s0 */
        world_finish(&world, world_fetch_of(&world, "x"), ENDING_TOKEN);
        assert_non_null(world_fetch_of(&world, "s3"));
        world_finish(&world, NULL, ENDING_TOKEN);
        assert_token(&callers[1], world.serial);
        assert_non_null(world_fetch_of(&world, "s1"));
        world_end(&world);
}

static void a_quarter_of_the_flights_is_left_to_callers(void **state)
{
        struct caller callers[5] = {};
        struct world world;

        (void)state;
        start(&world, 1);
        for (int i = 0; i < 4; i++) {
                char name[16];

                (void)snprintf(name, sizeof(name), "c%d", i);
                world_ask_user(&world, &callers[i], name);
        }
        use(&world, 0, TOKENS);
        assert_int_equal(world_counters(&world).flights, 12); /* of 16 */
        world_ask_user(&world, &callers[4], "d");
        assert_waits(&callers[4]);
        assert_int_equal(world_counters(&world).limits.flights_full, 0);
        world_end(&world);
}

static void a_queued_refresh_whose_token_has_gone_costs_no_request(void **state)
{
        struct caller blocking = {};
        struct world world;

        (void)state;
        start(&world, 1);
        world_ask_user(&world, &blocking, "blocking");
        use(&world, 0, 3);
        assert_int_equal(world_counters(&world).flights, 4);
        world_advance(&world, 11 * MINUTES); /* past their end */
        world_finish(&world, NULL, ENDING_TOKEN);
        assert_int_equal(world_counters(&world).flights, 0);
        assert_int_equal(world_counters(&world).dropped, 3);
        assert_int_equal(world_counters(&world).fetches, TOKENS + 1);
        world_end(&world);
}

static void a_refresh_is_the_probe_only_where_no_caller_is_there_to_be_one(void **state)
{
        struct caller callers[2] = {};
        struct world world;

        (void)state;
        start(&world, 1);
        world_ask_user(&world, &callers[0], "x");
        use(&world, 0, 3); /* they queue */
        world_oldest(&world)->retry_after = "3";
        world_finish(&world, NULL, ENDING_THROTTLED);
        assert_int_equal(world.n_fetches, 0);
        world_ask_user(&world, &callers[1], "y"); /* while it is held: refused at once */
        world_advance(&world, 3 * SECONDS);
        assert_int_equal(world.n_fetches, 1); /* one of the three, and only one */
        use(&world, 3, 3);                    /* and none of these begins */
        assert_int_equal(world_counters(&world).flights, 3);
        world_finish(&world, NULL, ENDING_TOKEN);
        for (int i = 0; i < 2; i++)
                world_finish(&world, NULL, ENDING_TOKEN);
        assert_int_equal(world_counters(&world).tokens, TOKENS + 3);
        world_end(&world);
}

static void a_drained_broker_begins_no_refresh(void **state)
{
        struct world world;

        (void)state;
        start(&world, 4);
        broker_drain(world.broker, world.now_ms);
        use(&world, 0, TOKENS);
        assert_int_equal(world_counters(&world).flights, 0);
        world_end(&world);
}

/* The hold has ended, and nobody has noticed yet: dropping one must not start another. */
static void a_drain_at_the_end_of_a_hold_drops_every_refresh(void **state)
{
        struct caller caller = {};
        struct world world;

        (void)state;
        start(&world, 1);
        world_ask_user(&world, &caller, "x");
        use(&world, 0, 5);
        world_oldest(&world)->retry_after = "3";
        world_finish(&world, NULL, ENDING_THROTTLED);
        assert_int_equal(world_counters(&world).flights, 5);
        world_suspend(&world, 3 * SECONDS);
        broker_drain(world.broker, world.now_ms);
        assert_int_equal(world_counters(&world).flights, 0);
        world_end(&world);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(refreshes_take_half_of_the_places_at_most),
                cmocka_unit_test(callers_who_come_later_go_first),
                cmocka_unit_test(a_refresh_that_a_caller_joins_is_a_callers),
                cmocka_unit_test(a_quarter_of_the_flights_is_left_to_callers),
                cmocka_unit_test(a_queued_refresh_whose_token_has_gone_costs_no_request),
                cmocka_unit_test(a_refresh_is_the_probe_only_where_no_caller_is_there_to_be_one),
                cmocka_unit_test(a_drained_broker_begins_no_refresh),
                cmocka_unit_test(a_drain_at_the_end_of_a_hold_drops_every_refresh),
        };

        return cmocka_run_group_tests_name("refresh-queue", tests, NULL, NULL);
}
