/* SPDX-License-Identifier: MIT */

#include "world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void ask(struct world *world, struct caller *caller, size_t client, enum subject_kind kind,
                const char *subject)
{
        world_ask(
                world, caller,
                (struct wish){
                        .client = client, .kind = kind, .subject = TEXT(subject), .scope = "read"});
        assert_waits(caller);
}

static void assert_fetches(const struct fetch *fetch, const char *subject)
{
        assert_non_null(fetch);
        assert_true(text_equal(fetch->matter.subject, TEXT(subject)));
}

static void fetches_up_to_the_limit_run_and_the_rest_queue(void **state)
{
        static const char *const names[] = {"a", "b", "c", "d", "e"};
        struct caller callers[5] = {};
        struct world world;

        (void)state;
        world_init(&world);
        world.settings.max_in_flight = 3;
        world_start(&world);
        for (size_t i = 0; i < 5; i++) {
                ask(&world, &callers[i], CLIENT_PORTAL, SUBJECT_USERNAME, names[i]);
                assert_int_equal(world.n_fetches, i < 3 ? i + 1 : 3);
        }
        world_end(&world);
}

static void the_queue_is_served_in_order_whatever_became_of_the_one_before(void **state)
{
        static const char *const names[] = {"a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k"};
        static const enum ending endings[] = {
                ENDING_TOKEN,           ENDING_REDIRECT,      ENDING_SUBJECT_REFUSED,
                ENDING_TOO_LARGE,       ENDING_SCOPE_REFUSED, ENDING_CLIENT_UNAUTHORIZED,
                ENDING_TOKEN,           ENDING_CERTIFICATE,   ENDING_TOKEN_WITH_SCOPE,
                ENDING_SUBJECT_REFUSED, ENDING_TOKEN,
        };
        struct caller callers[11] = {};
        struct world world;

        (void)state;
        world_init(&world);
        world.settings.max_in_flight = 1;
        world_start(&world);
        for (int i = 0; i < 11; i++) {
                ask(&world, &callers[i], CLIENT_PORTAL, SUBJECT_USERNAME, names[i]);
                assert_int_equal(world.n_fetches, 1);
        }
        for (int i = 0; i < 11; i++) {
                assert_fetches(world_oldest(&world), names[i]);
                world_finish(&world, NULL, endings[i]);
                assert_false(callers[i].waits);
                assert_int_equal(callers[i].reason, ending_reason(endings[i]));
        }
        assert_int_equal(world_counters(&world).fetches, 11);
        world_end(&world);
}

static void a_token_url_that_is_full_does_not_hold_up_another(void **state)
{
        struct caller callers[4] = {};
        struct world world;

        (void)state;
        world_init(&world);
        world.settings.max_in_flight = 1;
        world_start(&world);
        ask(&world, &callers[0], CLIENT_PORTAL, SUBJECT_USERNAME, "a");
        ask(&world, &callers[1], CLIENT_PORTAL, SUBJECT_USERNAME, "b");
        assert_int_equal(world.n_fetches, 1);
        ask(&world, &callers[2], CLIENT_PORTAL, SUBJECT_EMAIL, "a");
        assert_int_equal(world.n_fetches, 2);
        ask(&world, &callers[3], CLIENT_MOBILE, SUBJECT_USERID, "a");
        assert_int_equal(world.n_fetches, 3);
        world_end(&world);
}

static void clients_of_one_token_url_share_its_places(void **state)
{
        struct caller callers[2] = {};
        struct world world;

        (void)state;
        world_init(&world);
        world.settings.max_in_flight = 1;
        world_start(&world);
        ask(&world, &callers[0], CLIENT_PORTAL, SUBJECT_USERNAME, "a");
        ask(&world, &callers[1], CLIENT_DESK, SUBJECT_USERNAME, "a");
        assert_int_equal(world.n_fetches, 1);
        world_finish(&world, NULL, ENDING_TOKEN);
        assert_int_equal(world.n_fetches, 1);
        assert_token(&callers[0], 1);
        assert_waits(&callers[1]);
        world_end(&world);
}

static void the_places_of_all_are_limited_too(void **state)
{
        static const char *const names[] = {"a", "b", "c", "d", "e", "f"};
        struct caller callers[6] = {};
        struct world world;

        (void)state;
        for (size_t cap = 1; cap <= 7; cap++) {
                world_init(&world);
                world.settings.max_in_flight = 2;
                world.settings.max_in_flight_total = cap;
                world_start(&world);
                memset(callers, 0, sizeof(callers));
                for (size_t i = 0; i < 6; i++)
                        ask(&world, &callers[i], i % 3 == 1 ? CLIENT_MOBILE : CLIENT_PORTAL,
                            i % 3 == 2 ? SUBJECT_EMAIL : SUBJECT_USERNAME, names[i]);
                assert_int_equal(world.n_fetches, cap < 6 ? cap : 6);
                for (int i = 0; i < 6; i++)
                        world_finish(&world, NULL, ENDING_TOKEN);
                for (int i = 0; i < 6; i++)
                        assert_false(callers[i].waits);
                world_end(&world);
        }
}

static void token_urls_take_turns_for_the_places_of_all(void **state)
{
        static const char *const expected[] = {"u1", "u2", "c1", "m1", "u3", "c2",
                                               "m2", "u4", "c3", "u5", "c4"};
        struct caller callers[11] = {};
        struct world world;
        int n = 0;

        (void)state;
        world_init(&world);
        world.settings.max_in_flight_total = 1;
        world_start(&world);
        for (int i = 1; i <= 5; i++) {
                char name[] = "u0";

                name[1] = (char)('0' + i);
                ask(&world, &callers[n++], CLIENT_PORTAL, SUBJECT_USERNAME, name);
        }
        for (int i = 1; i <= 4; i++) {
                char name[] = "c0";

                name[1] = (char)('0' + i);
                ask(&world, &callers[n++], CLIENT_PORTAL, SUBJECT_EMAIL, name);
        }
        ask(&world, &callers[n++], CLIENT_MOBILE, SUBJECT_USERNAME, "m1");
        ask(&world, &callers[n++], CLIENT_MOBILE, SUBJECT_USERNAME, "m2");
        for (int i = 0; i < 11; i++) {
                assert_int_equal(world.n_fetches, 1);
                assert_fetches(world_oldest(&world), expected[i]);
                world_finish(&world, NULL, ENDING_TOKEN);
        }
        world_end(&world);
}

static void a_queued_fetch_that_nobody_waits_for_any_more_is_dropped(void **state)
{
        struct broker_counters counters;
        struct caller callers[4] = {};
        struct world world;

        (void)state;
        world_init(&world);
        world.settings.max_in_flight = 1;
        world_start(&world);
        world_ask_user(&world, &callers[0], "running");
        world_ask_user(&world, &callers[1], "queued");
        world_advance(&world, 5 * SECONDS);
        world_ask_user(&world, &callers[2], "queued"); /* waits on when the first has gone */
        world_ask_user(&world, &callers[3], "next");
        world_advance(&world, 15 * SECONDS);
        assert_reason(&callers[1], REASON_REQUEST_TIMEOUT);
        assert_waits(&callers[2]);
        assert_int_equal(world_counters(&world).dropped, 0);
        assert_int_equal(world_counters(&world).flights, 3);
        world_advance(&world, 5 * SECONDS);
        assert_reason(&callers[2], REASON_REQUEST_TIMEOUT);
        assert_reason(&callers[3], REASON_REQUEST_TIMEOUT);
        counters = world_counters(&world);
        assert_int_equal(counters.dropped, 2);
        assert_int_equal(counters.flights, 1); /* the one that runs goes on */

        /* The place goes to who came after. */
        world_ask_user(&world, &callers[3], "next");
        world_finish(&world, NULL, ENDING_TOKEN);
        assert_non_null(world_fetch_of(&world, "next"));
        assert_null(world_fetch_of(&world, "queued"));
        world_end(&world);
}

static void a_fetch_about_to_start_is_dropped_with_its_last_caller(void **state)
{
        struct caller callers[3] = {};
        struct world world;

        (void)state;
        world_init(&world);
        world.settings.max_in_flight = 1;
        world_start(&world);
        world_ask_user(&world, &callers[0], "running");
        world_ask_user(&world, &callers[1], "starting");
        world_advance(&world, 1 * SECONDS);
        world_ask_user(&world, &callers[2], "behind");
        /* The place becomes free, and time passes before the start is fetched. */
        world.busy = true;
        world_finish(&world, NULL, ENDING_TOKEN);
        world_suspend(&world, 19 * SECONDS);
        world_turn(&world);
        world.busy = false;
        world_turn(&world);
        assert_reason(&callers[1], REASON_REQUEST_TIMEOUT);
        assert_int_equal(world_counters(&world).dropped, 1);
        assert_int_equal(world.n_fetches, 1);
        assert_non_null(world_fetch_of(&world, "behind"));
        world_end(&world);
}

static void a_fetch_about_to_start_is_joined(void **state)
{
        struct caller callers[2] = {};
        struct world world;

        (void)state;
        world_init(&world);
        world_start(&world);
        world.busy = true;
        world_ask_user(&world, &callers[0], "anna");
        world_suspend(&world, 30 * SECONDS);
        world_turn(&world); /* the first caller has gone when the second comes */
        world_ask_user(&world, &callers[1], "anna");
        world.busy = false;
        world_turn(&world);
        assert_reason(&callers[0], REASON_REQUEST_TIMEOUT);
        assert_int_equal(world.n_fetches, 1);
        world_finish(&world, NULL, ENDING_TOKEN);
        assert_token(&callers[1], 1);
        assert_true(callers[1].collapsed);
        world_end(&world);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(fetches_up_to_the_limit_run_and_the_rest_queue),
                cmocka_unit_test(the_queue_is_served_in_order_whatever_became_of_the_one_before),
                cmocka_unit_test(a_token_url_that_is_full_does_not_hold_up_another),
                cmocka_unit_test(clients_of_one_token_url_share_its_places),
                cmocka_unit_test(the_places_of_all_are_limited_too),
                cmocka_unit_test(token_urls_take_turns_for_the_places_of_all),
                cmocka_unit_test(a_queued_fetch_that_nobody_waits_for_any_more_is_dropped),
                cmocka_unit_test(a_fetch_about_to_start_is_dropped_with_its_last_caller),
                cmocka_unit_test(a_fetch_about_to_start_is_joined),
        };

        return cmocka_run_group_tests_name("queue", tests, NULL, NULL);
}
