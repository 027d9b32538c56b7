/* SPDX-License-Identifier: MIT */

#include "world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

/* A world in which anna's token is spent, and 25 s of it are left. */
static uint64_t start_with_spent_token(struct world *world)
{
        uint64_t serial;

        world_init(world);
        world_start(world);
        serial = world_prime(world, "anna", 3600);
        world_advance(world, 3575 * SECONDS);
        return serial;
}

static void whatever_fails_an_old_token_that_lives_is_served(void **state)
{
        (void)state;
        for (enum ending ending = 0; ending < _ENDING_N; ending++) {
                struct caller callers[5] = {}, other = {};
                struct world world;
                uint64_t serial;

                if (ending_is_token(ending) || ending_is_refusal(ending))
                        continue;
                serial = start_with_spent_token(&world);
                for (int i = 0; i < 5; i++) {
                        world_ask_user(&world, &callers[i], "anna");
                        assert_waits(&callers[i]);
                }
                world_ask_user(&world, &other, "bert");
                world_advance(&world, 500);
                world_finish_for_good(&world, "anna", ending);
                for (int i = 0; i < 5; i++) {
                        assert_old_token(&callers[i], serial, ending_reason(ending));
                        assert_int_equal(callers[i].cache_status, CACHE_STATUS_FWD_STALE);
                }
                /* Who has none gets none. */
                world_finish_for_good(&world, "bert", ending);
                assert_reason(&other, ending_reason(ending));
                world_end(&world);
        }
}

static void a_refusal_takes_the_old_token_away(void **state)
{
        (void)state;
        for (enum ending ending = 0; ending < _ENDING_N; ending++) {
                struct caller callers[3] = {}, later = {};
                struct world world;

                if (!ending_is_refusal(ending))
                        continue;
                (void)start_with_spent_token(&world);
                for (int i = 0; i < 3; i++)
                        world_ask_user(&world, &callers[i], "anna");
                world_finish(&world, NULL, ending);
                for (int i = 0; i < 3; i++)
                        assert_reason(&callers[i], ending_reason(ending));
                assert_int_equal(world_counters(&world).entries, 0);
                assert_int_equal(world_counters(&world).cache.removed, 1);

                /* An outage does not bring it back. */
                world_advance(&world, 12 * SECONDS);
                world_ask_user(&world, &later, "anna");
                assert_waits(&later);
                world_finish_for_good(&world, "anna", ENDING_ERROR);
                assert_reason(&later, REASON_ISSUER_ERROR);
                world_end(&world);
        }
}

static void a_refusal_of_one_key_leaves_all_others_alone(void **state)
{
        struct caller caller = {};
        struct world world;

        (void)state;
        world_init(&world);
        world_start(&world);
        (void)world_prime(&world, "anna", 3600);
        world_ask(&world, &caller, (struct wish){.subject = TEXT("anna"), .scope = "other"});
        world_finish(&world, NULL, ENDING_SCOPE_REFUSED);
        world_ask(&world, &caller, (struct wish){.kind = SUBJECT_USERID, .subject = TEXT("anna")});
        world_finish(&world, NULL, ENDING_SUBJECT_REFUSED);
        world_ask_user(&world, &caller, "anna");
        assert_hit(&caller, 1);
        world_end(&world);
}

static void an_old_token_that_ended_while_the_issuer_failed_is_not_served(void **state)
{
        struct caller caller = {};
        struct world world;

        (void)state;
        (void)start_with_spent_token(&world);
        world_advance(&world, 10 * SECONDS); /* 15 s left */
        world_ask_user(&world, &caller, "anna");
        world_suspend(&world, 14 * SECONDS + 1);
        world_finish(&world, NULL, ENDING_REDIRECT);
        assert_reason(&caller, REASON_ANSWER_REDIRECT);
        world_end(&world);
}

static void a_new_token_dead_on_arrival_leaves_the_old_one_in_place(void **state)
{
        struct caller caller = {};
        struct world world;
        uint64_t serial;

        (void)state;
        serial = start_with_spent_token(&world);
        world_ask_user(&world, &caller, "anna");
        world_oldest(&world)->lifetime_s = 1;
        world_advance(&world, 1500);
        world_finish(&world, NULL, ENDING_TOKEN);
        assert_int_equal(world_counters(&world).failures, 1);
        world_advance(&world, 500);
        assert_old_token(&caller, serial, REASON_REQUEST_TIMEOUT);
        world_end(&world);
}

static void a_min_ttl_that_cannot_be_had_gets_the_old_token(void **state)
{
        struct caller caller = {};
        struct world world;
        uint64_t serial;

        (void)state;
        world_init(&world);
        world_start(&world);
        serial = world_prime(&world, "anna", 3600);
        world_advance(&world, 1 * HOURS / 2);
        world_ask(&world, &caller, (struct wish){.subject = TEXT("anna"), .min_ttl_s = 3000});
        assert_waits(&caller);
        world_finish_for_good(&world, "anna", ENDING_UNREACHABLE);
        assert_old_token(&caller, serial, REASON_ISSUER_UNREACHABLE);
        assert_int_equal(caller.cache_status, CACHE_STATUS_FWD_REQUEST);
        world_end(&world);
}

static void fail_at_once(struct world *world, struct fetch *fetch)
{
        fetch->ending = ENDING_UNREACHABLE;
        fetch->ends_at_ms = world->now_ms;
}

static void an_outage_is_invisible_for_as_long_as_the_token_lives(void **state)
{
        struct caller caller = {};
        struct world world;
        uint64_t serial, start_ms;

        (void)state;
        world_init(&world);
        world_start(&world);
        start_ms = world.now_ms;
        serial = world_prime(&world, "anna", 3600);
        world.script = fail_at_once;
        while (world.now_ms <= start_ms + 3599 * SECONDS) {
                world_ask_user(&world, &caller, "anna");
                for (int i = 0; caller.waits && i < 20; i++)
                        world_advance(&world, 100);
                assert_token(&caller, serial);
                world_advance(&world, 100);
        }
        world_ask_user(&world, &caller, "anna");
        world_advance(&world, 20 * SECONDS);
        assert_false(caller.waits);
        assert_int_not_equal(caller.reason, REASON_NONE);
        world_end(&world);
}

static void the_issuer_is_back_and_so_is_everybody(void **state)
{
        struct caller caller = {};
        struct world world;

        (void)state;
        (void)start_with_spent_token(&world);
        world_ask_user(&world, &caller, "anna");
        world_finish(&world, NULL, ENDING_REDIRECT);
        world_advance(&world, 10 * MINUTES);
        world_ask_user(&world, &caller, "anna");
        assert_waits(&caller);
        world_finish(&world, NULL, ENDING_TOKEN);
        assert_token(&caller, 2);
        world_ask_user(&world, &caller, "anna");
        assert_hit(&caller, 2);
        world_end(&world);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(whatever_fails_an_old_token_that_lives_is_served),
                cmocka_unit_test(a_refusal_takes_the_old_token_away),
                cmocka_unit_test(a_refusal_of_one_key_leaves_all_others_alone),
                cmocka_unit_test(an_old_token_that_ended_while_the_issuer_failed_is_not_served),
                cmocka_unit_test(a_new_token_dead_on_arrival_leaves_the_old_one_in_place),
                cmocka_unit_test(a_min_ttl_that_cannot_be_had_gets_the_old_token),
                cmocka_unit_test(an_outage_is_invisible_for_as_long_as_the_token_lives),
                cmocka_unit_test(the_issuer_is_back_and_so_is_everybody),
        };

        return cmocka_run_group_tests_name("outage", tests, NULL, NULL);
}
