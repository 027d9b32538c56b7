/* SPDX-License-Identifier: MIT */

/*
 * A fetch is refused, or fails: what is remembered of a grant, against whom and for how
 * long; and what is never remembered against anybody else.
 */

#include "world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void a_refusal_is_remembered_ten_seconds_doubling_to_sixty(void **state)
{
        static const uint64_t steps_s[] = {10, 20, 40, 60, 60};

        (void)state;
        for (enum ending ending = ENDING_SUBJECT_REFUSED; ending <= ENDING_SCOPE_REFUSED;
             ending++) {
                struct caller caller = {};
                struct world world;

                world_init(&world);
                world_start(&world);
                for (size_t i = 0; i < sizeof(steps_s) / sizeof(steps_s[0]); i++) {
                        world_ask_user(&world, &caller, "anna");
                        assert_waits(&caller);
                        world_finish(&world, NULL, ending);
                        assert_reason_for(&caller, ending_reason(ending), 0);
                        world_advance(&world, steps_s[i] * SECONDS - 1);
                        world_ask_user(&world, &caller, "anna");
                        assert_reason_for(&caller, ending_reason(ending), 0);
                        assert_int_equal(world_explain(&world, "anna").refusal_left_ms, 1);
                        world_advance(&world, 1);
                }
                assert_int_equal(world_counters(&world).fetches, 5);
                assert_int_equal(world_counters(&world).blocked, 5);
                world_end(&world);
        }
}

static void a_failure_is_remembered_a_second_doubling_to_thirty(void **state)
{
        static const unsigned int steps_s[] = {1, 2, 4, 8, 16, 30, 30};
        struct caller caller = {};
        struct world world;

        (void)state;
        world_init(&world);
        world_start(&world);
        for (size_t i = 0; i < sizeof(steps_s) / sizeof(steps_s[0]); i++) {
                world_ask_user(&world, &caller, "anna");
                assert_waits(&caller);
                world_finish(&world, NULL, ENDING_REDIRECT);
                assert_reason_for(&caller, REASON_ANSWER_REDIRECT, steps_s[i]);
                world_ask_user(&world, &caller, "anna");
                assert_reason_for(&caller, REASON_ANSWER_REDIRECT, steps_s[i]);
                world_advance(&world, steps_s[i] * SECONDS - 1);
                world_ask_user(&world, &caller, "anna");
                assert_reason_for(&caller, REASON_ANSWER_REDIRECT, 1);
                world_advance(&world, 1);
        }
        assert_int_equal(world_counters(&world).fetches, 7);
        world_end(&world);
}

static void a_success_forgets(void **state)
{
        struct caller caller = {};
        struct world world;

        (void)state;
        for (int i = 0; i < 3; i++) {
                static const enum ending endings[] = {ENDING_REDIRECT, ENDING_SUBJECT_REFUSED,
                                                      ENDING_CLIENT_UNAUTHORIZED};
                const enum ending ending = endings[i];

                world_init(&world);
                world_start(&world);
                for (int round = 0; round < 3; round++) {
                        world_ask_user(&world, &caller, "anna");
                        world_finish(&world, NULL, ending);
                        world_advance(&world, i ? 10 * SECONDS : 1 * SECONDS);
                        world_ask_user(&world, &caller, "anna");
                        assert_waits(&caller); /* never the second step */
                        world_oldest(&world)->lifetime_s = 2;
                        world_finish(&world, NULL, ENDING_TOKEN);
                        assert_int_equal(world_counters(&world).memories, 0);
                        world_advance(&world, 2 * SECONDS);
                }
                world_end(&world);
        }
}

static void after_two_quiet_minutes_all_is_forgotten(void **state)
{
        struct caller caller = {};
        struct world world;

        (void)state;
        world_init(&world);
        world_start(&world);
        for (int i = 0; i < 4; i++) {
                world_ask_user(&world, &caller, "anna");
                world_finish(&world, NULL, ENDING_REDIRECT);
                assert_reason_for(&caller, REASON_ANSWER_REDIRECT, 1);
                world_advance(&world, 2 * MINUTES);
        }
        world_end(&world);
}

static void what_is_remembered_of_one_grant_is_held_against_no_other(void **state)
{
        static const struct wish wishes[] = {
                {.subject = {"bert", 4}},
                {.subject = {"anna", 4}, .scope = "other"},
                {.subject = {"anna", 4}, .kind = SUBJECT_USERID},
                {.subject = {"anna", 4}, .kind = SUBJECT_EMAIL},
                {.subject = {"anna", 4}, .client = CLIENT_DESK},
        };
        struct caller caller = {}, others[sizeof(wishes) / sizeof(wishes[0])] = {};
        struct world world;

        (void)state;
        world_init(&world);
        world_start(&world);
        world_ask_user(&world, &caller, "anna");
        world_finish(&world, NULL, ENDING_SUBJECT_REFUSED);
        for (size_t i = 0; i < sizeof(wishes) / sizeof(wishes[0]); i++) {
                world_ask(&world, &others[i], wishes[i]);
                assert_waits(&others[i]);
        }
        world_end(&world);
}

static void spent_with_a_failure_remembered_is_served_at_once(void **state)
{
        struct caller caller = {};
        struct world world;
        uint64_t serial;

        (void)state;
        world_init(&world);
        world_start(&world);
        serial = world_prime(&world, "anna", 3600);
        world_advance(&world, 3571 * SECONDS);
        world_ask_user(&world, &caller, "anna");
        world_finish(&world, NULL, ENDING_REDIRECT);
        assert_old_token(&caller, serial, REASON_ANSWER_REDIRECT);
        for (int i = 0; i < 5; i++) {
                world_ask_user(&world, &caller, "anna");
                assert_old_token(&caller, serial, REASON_ANSWER_REDIRECT);
                assert_int_equal(caller.answered_at_ms, caller.asked_at_ms);
                world_advance(&world, 999);
        }
        assert_int_equal(world_counters(&world).fetches, 2);
        assert_int_equal(world_counters(&world).served_old, 6);
        world_advance(&world, 5);
        world_ask_user(&world, &caller, "anna");
        assert_waits(&caller);
        world_end(&world);
}

/* Where the callers leave between two tries, it has failed all the same. */
static void a_failure_is_remembered_though_nobody_waited_for_the_next_try(void **state)
{
        struct caller caller = {};
        struct world world;
        uint64_t serial;

        (void)state;
        world_init(&world);
        world_start(&world);
        serial = world_prime(&world, "anna", 3600);
        world_advance(&world, 3571 * SECONDS);
        world_ask_user(&world, &caller, "anna");
        world_advance(&world, 1950);
        world_finish(&world, NULL, ENDING_ERROR);
        world_advance(&world, 50);
        assert_old_token(&caller, serial, REASON_REQUEST_TIMEOUT);
        assert_int_equal(world_counters(&world).dropped, 1);
        world_ask_user(&world, &caller, "anna");
        assert_old_token(&caller, serial, REASON_ISSUER_ERROR);
        world_end(&world);
}

static void a_client_not_authorized_is_remembered_for_client_and_scope(void **state)
{
        struct caller caller = {};
        struct world world;
        uint64_t serial;

        (void)state;
        world_init(&world);
        world_start(&world);
        serial = world_prime(&world, "anna", 3600);
        world_ask_user(&world, &caller, "bert");
        world_finish(&world, NULL, ENDING_CLIENT_UNAUTHORIZED);
        assert_reason_for(&caller, REASON_CLIENT_UNAUTHORIZED, 10);
        world_ask_user(&world, &caller, "carl");
        assert_reason_for(&caller, REASON_CLIENT_UNAUTHORIZED, 10);
        world_ask(&world, &caller, (struct wish){.kind = SUBJECT_USERID, .subject = TEXT("x")});
        assert_reason(&caller, REASON_CLIENT_UNAUTHORIZED);
        world_ask_user(&world, &caller, "anna");
        assert_hit(&caller, serial);
        world_ask(&world, &caller, (struct wish){.subject = TEXT("carl"), .scope = "other"});
        assert_waits(&caller);
        world_finish(&world, NULL, ENDING_TOKEN);
        world_ask(&world, &caller, (struct wish){.client = CLIENT_DESK, .subject = TEXT("carl")});
        assert_waits(&caller);
        world_finish(&world, NULL, ENDING_TOKEN);
        world_advance(&world, 10 * SECONDS);
        world_ask_user(&world, &caller, "carl");
        assert_waits(&caller);
        world_end(&world);
}

static void the_table_holds_as_many_as_it_may_and_counts_what_it_pushes_out(void **state)
{
        struct caller caller = {};
        struct world world;
        uint64_t serial;

        (void)state;
        world_init(&world);
        world.settings.max_memories = 10;
        world.settings.max_entries = 1;
        world_start(&world);
        serial = world_prime(&world, "anna", 3600);
        for (int i = 0; i < 100; i++) {
                char name[16];

                (void)snprintf(name, sizeof(name), "s%d", i);
                world_ask_user(&world, &caller, name);
                assert_waits(&caller);
                world_finish(&world, NULL, ENDING_SUBJECT_REFUSED);
                assert_int_equal(world_counters(&world).memories, i < 10 ? i + 1 : 10);
                assert_int_equal(world_counters(&world).memories_evicted, i < 10 ? 0 : i - 9);
        }
        /* The one touched longest ago went; and no token did. */
        world_ask_user(&world, &caller, "s90");
        assert_reason(&caller, REASON_SUBJECT_REFUSED);
        world_ask_user(&world, &caller, "s89");
        assert_waits(&caller);
        world_finish(&world, NULL, ENDING_SUBJECT_REFUSED);
        world_ask_user(&world, &caller, "anna");
        assert_hit(&caller, serial);
        world_end(&world);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(a_refusal_is_remembered_ten_seconds_doubling_to_sixty),
                cmocka_unit_test(a_failure_is_remembered_a_second_doubling_to_thirty),
                cmocka_unit_test(a_success_forgets),
                cmocka_unit_test(after_two_quiet_minutes_all_is_forgotten),
                cmocka_unit_test(what_is_remembered_of_one_grant_is_held_against_no_other),
                cmocka_unit_test(spent_with_a_failure_remembered_is_served_at_once),
                cmocka_unit_test(a_failure_is_remembered_though_nobody_waited_for_the_next_try),
                cmocka_unit_test(a_client_not_authorized_is_remembered_for_client_and_scope),
                cmocka_unit_test(the_table_holds_as_many_as_it_may_and_counts_what_it_pushes_out),
        };

        return cmocka_run_group_tests_name("memory", tests, NULL, NULL);
}
