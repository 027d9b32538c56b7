/* SPDX-License-Identifier: MIT */

#include "world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define CALLERS 1000

static void a_thousand_callers_on_one_cold_key_cause_one_fetch(void **state)
{
        static struct caller callers[CALLERS];
        struct broker_counters counters;
        struct world world;

        (void)state;
        world_init(&world);
        world.settings.max_waiters = CALLERS;
        world.settings.max_waiters_per_flight = CALLERS;
        world_start(&world);
        for (int i = 0; i < CALLERS; i++) {
                world_ask_user(&world, &callers[i], "anna");
                assert_waits(&callers[i]);
                world_advance(&world, 7);
        }
        assert_int_equal(world.n_fetches, 1);
        world_finish(&world, NULL, ENDING_TOKEN);

        for (int i = 0; i < CALLERS; i++) {
                assert_token(&callers[i], 1);
                assert_int_equal(callers[i].cache_status, CACHE_STATUS_FWD_MISS);
                assert_int_equal(callers[i].collapsed, i > 0);
        }
        counters = world_counters(&world);
        assert_int_equal(counters.fetches, 1);
        assert_int_equal(counters.misses, 1);
        assert_int_equal(counters.coalesced, CALLERS - 1);
        assert_int_equal(counters.waiters, 0);
        world_end(&world);
}

static void waiters_are_answered_in_the_order_they_came(void **state)
{
        struct caller callers[3] = {};
        struct command command;
        struct fetch *fetch;
        struct world world;

        (void)state;
        world_init(&world);
        world_start(&world);
        for (int i = 0; i < 3; i++)
                world_ask_user(&world, &callers[i], "anna");
        fetch = world_oldest(&world);
        world.busy = true;
        world_finish(&world, fetch, ENDING_TOKEN);
        for (int i = 0; i < 3; i++) {
                assert_true(broker_next(world.broker, world.now_ms, &command));
                assert_int_equal(command.kind, COMMAND_REPLY);
                assert_ptr_equal(command.waiter, &callers[i].waiter);
                token_unref(command.waiter->reply.token);
                callers[i].waits = false;
                world.n_waiting--;
        }
        world_end(&world);
}

static void a_failure_goes_to_all_who_waited_and_costs_one_fetch(void **state)
{
        (void)state;
        for (enum ending ending = 0; ending < _ENDING_N; ending++) {
                struct caller callers[50] = {};
                struct world world;

                if (ending_is_token(ending))
                        continue;
                world_init(&world);
                world_start(&world);
                for (int i = 0; i < 50; i++)
                        world_ask_user(&world, &callers[i], "anna");
                world_finish_for_good(&world, "anna", ending);
                for (int i = 0; i < 50; i++)
                        assert_reason(&callers[i], ending_reason(ending));
                assert_int_equal(world_counters(&world).fetches, ending_is_retried(ending) ? 3 : 1);
                assert_int_equal(world_counters(&world).tokens, 0);
                assert_int_equal(world_counters(&world).refusals, ending_is_refusal(ending));
                world_end(&world);
        }
}

static void no_failure_is_kept_as_a_token(void **state)
{
        (void)state;
        for (enum ending ending = 0; ending < _ENDING_N; ending++) {
                struct caller caller = {};
                struct world world;

                if (ending_is_token(ending))
                        continue;
                world_init(&world);
                world_start(&world);
                world_ask_user(&world, &caller, "anna");
                world_finish_for_good(&world, "anna", ending);
                assert_int_equal(world_counters(&world).entries, 0);

                world_advance(&world, 10 * MINUTES);
                world_ask_user(&world, &caller, "anna");
                assert_waits(&caller);
                world_finish(&world, NULL, ENDING_TOKEN);
                assert_token(&caller, 1);
                world_end(&world);
        }
}

static void whoever_asks_after_the_answer_hits(void **state)
{
        struct caller caller = {};
        struct world world;
        uint64_t serial;

        (void)state;
        world_init(&world);
        world_start(&world);
        serial = world_prime(&world, "anna", 3600);
        for (int i = 0; i < 100; i++) {
                world_ask_user(&world, &caller, "anna");
                assert_hit(&caller, serial);
                world_advance(&world, 20 * SECONDS);
        }
        assert_int_equal(world_counters(&world).fetches, 1);
        assert_int_equal(world_counters(&world).hits, 100);
        world_end(&world);
}

static void the_scope_granted_is_what_the_issuer_says_or_else_what_was_asked(void **state)
{
        struct caller caller = {};
        struct world world;

        (void)state;
        world_init(&world);
        world_start(&world);
        for (int i = 0; i < 2; i++) {
                const struct wish wish = {
                        .subject = TEXT("anna"),
                        .scope = i ? "b a" : "c",
                };

                /* The reply's scope is compared by the world, for the miss and for the hit. */
                world_ask(&world, &caller, wish);
                world_finish(&world, NULL, i ? ENDING_TOKEN_WITH_SCOPE : ENDING_TOKEN);
                assert_token(&caller, world.serial);
                world_ask(&world, &caller, wish);
                assert_hit(&caller, world.serial);
        }
        world_end(&world);
}

static void a_fetch_for_one_key_neither_delays_nor_serves_another(void **state)
{
        struct caller anna = {}, bert = {};
        struct world world;

        (void)state;
        world_init(&world);
        world_start(&world);
        world_ask_user(&world, &anna, "anna");
        world_ask_user(&world, &bert, "bert");
        assert_int_equal(world.n_fetches, 2);
        world_finish(&world, world_fetch_of(&world, "bert"), ENDING_TOKEN);
        assert_token(&bert, 1);
        assert_waits(&anna);
        world_finish(&world, world_fetch_of(&world, "anna"), ENDING_REDIRECT);
        assert_reason(&anna, REASON_ANSWER_REDIRECT);
        world_ask_user(&world, &bert, "bert");
        assert_hit(&bert, 1);
        world_end(&world);
}

static void every_spelling_of_a_scope_shares_a_fetch_and_every_key_has_one(void **state)
{
        static const char *const scopes[] = {"a b c", "c b a", "b a c b", "c c a b"};
        static struct caller callers[100 * 3 * 4];
        struct broker_counters counters;
        struct world world;
        size_t n = 0;

        (void)state;
        world_init(&world);
        world.settings.max_waiters = sizeof(callers) / sizeof(callers[0]);
        world.settings.max_flights = 300;
        world.settings.max_in_flight = 10;
        world_start(&world);
        for (int subject = 0; subject < 100; subject++) {
                char name[32];

                (void)snprintf(name, sizeof(name), "subject%d", subject);
                for (enum subject_kind kind = 0; kind < SUBJECT_APPLICATION; kind++)
                        for (int i = 0; i < 4; i++)
                                world_ask(&world, &callers[n++],
                                          (struct wish){.kind = kind,
                                                        .subject = TEXT(name),
                                                        .scope = scopes[i]});
        }
        while (world.n_fetches > 0)
                world_finish(&world, NULL, ENDING_TOKEN);
        for (size_t i = 0; i < n; i++)
                assert_token(&callers[i], callers[i - i % 4].serial);
        counters = world_counters(&world);
        assert_int_equal(counters.fetches, 300);
        assert_int_equal(counters.entries, 300);
        world_end(&world);
}

/* Bytes that read alike when their borders are lost. Each is a key of its own. */
static void keys_that_look_alike_are_kept_apart(void **state)
{
        static const struct wish wishes[] = {
                {.subject = {"a", 1}, .scope = "b c"},
                {.subject = {"a b", 3}, .scope = "c"},
                {.subject = {"ab", 2}, .scope = "c"},
                {.subject = {"a", 1}, .scope = "bc"},
                {.subject = {"a", 1}, .scope = "b"},
                {.subject = {"a", 1}, .scope = "c"},
                {.subject = {"b", 1}, .scope = "a c"},
                {.subject = {"c", 1}, .scope = "a b"},
                {.subject = {"a", 1}, .scope = "B c"},
                {.subject = {"A", 1}, .scope = "b c"},
                {.kind = SUBJECT_USERID, .subject = {"a", 1}, .scope = "b c"},
                {.kind = SUBJECT_EMAIL, .subject = {"a", 1}, .scope = "b c"},
                {.client = CLIENT_MOBILE, .subject = {"a", 1}, .scope = "b c"},
                {.client = CLIENT_DESK, .subject = {"a", 1}, .scope = "b c"},
                {.subject = {"pa", 2}},
                {.subject = {"Pa", 2}},
                {.subject = {"pa ", 3}},
                {.subject = {" pa", 3}},
                {.subject = {"pa&scope=x", 10}},
                {.subject = {"p%61", 4}},
                {.subject = {"p+a", 3}},
                {.subject = {"p a", 3}},
                {.subject = {"a\xcc\x88", 3}}, /* ä in two code points */
                {.subject = {"\xc3\xa4", 2}},  /* and in one */
        };
        const size_t n = sizeof(wishes) / sizeof(wishes[0]);
        struct caller callers[sizeof(wishes) / sizeof(wishes[0])] = {};
        struct world world;

        (void)state;
        world_init(&world);
        world_start(&world);
        for (size_t i = 0; i < n; i++)
                world_ask(&world, &callers[i], wishes[i]);
        assert_int_equal(world.n_fetches, n);
        while (world.n_fetches > 0)
                world_finish(&world, NULL, ENDING_TOKEN);
        for (size_t i = 0; i < n; i++) {
                world_ask(&world, &callers[i], wishes[i]);
                assert_hit(&callers[i], i + 1);
        }
        world_end(&world);
}

static void whoever_may_not_ask_neither_hits_nor_joins_nor_fetches(void **state)
{
        static const struct {
                struct peer peer;
                enum reason reason;
        } cases[] = {
                {{.known = true, .uid = 1000, .pid = 7}, REASON_NOT_PERMITTED},
                {{.known = true, .uid = 991}, REASON_NOT_PERMITTED},
                {{.known = false}, REASON_PEER_GONE},
        };
        struct caller waiting = {}, caller = {};
        struct world world;

        (void)state;
        world_init(&world);
        world_start(&world);
        (void)world_prime(&world, "cached", 3600);
        world_ask_user(&world, &waiting, "in-flight");
        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
                world.peer = cases[i].peer;
                world_ask_user(&world, &caller, "cached");
                assert_reason(&caller, cases[i].reason);
                world_ask_user(&world, &caller, "in-flight");
                assert_reason(&caller, cases[i].reason);
                world_ask_user(&world, &caller, "unheard-of");
                assert_reason(&caller, cases[i].reason);
        }
        assert_int_equal(world_counters(&world).fetches, 2);
        assert_int_equal(world_counters(&world).refused, 9);
        world.peer = (struct peer){.known = true, .uid = world.policy.own_uid};
        world_ask_user(&world, &caller, "cached");
        assert_hit(&caller, 1);
        world_end(&world);
}

static void what_cannot_be_asked_for_reaches_no_issuer(void **state)
{
        struct caller caller = {};
        struct world world;

        (void)state;
        world_init(&world);
        world_start(&world);
        world_ask(&world, &caller, (struct wish){.client = CLIENT_MOBILE, .subject = TEXT("a")});
        assert_reason(&caller, REASON_MISSING_SCOPE);
        world_ask(&world, &caller,
                  (struct wish){.client = CLIENT_MOBILE,
                                .kind = SUBJECT_EMAIL,
                                .subject = TEXT("a"),
                                .scope = "b"});
        assert_reason(&caller, REASON_NO_TOKEN_URL);
        assert_int_equal(world_counters(&world).fetches, 0);
        assert_int_equal(world_counters(&world).refused, 2);
        world_end(&world);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(a_thousand_callers_on_one_cold_key_cause_one_fetch),
                cmocka_unit_test(waiters_are_answered_in_the_order_they_came),
                cmocka_unit_test(a_failure_goes_to_all_who_waited_and_costs_one_fetch),
                cmocka_unit_test(no_failure_is_kept_as_a_token),
                cmocka_unit_test(whoever_asks_after_the_answer_hits),
                cmocka_unit_test(the_scope_granted_is_what_the_issuer_says_or_else_what_was_asked),
                cmocka_unit_test(a_fetch_for_one_key_neither_delays_nor_serves_another),
                cmocka_unit_test(every_spelling_of_a_scope_shares_a_fetch_and_every_key_has_one),
                cmocka_unit_test(keys_that_look_alike_are_kept_apart),
                cmocka_unit_test(whoever_may_not_ask_neither_hits_nor_joins_nor_fetches),
                cmocka_unit_test(what_cannot_be_asked_for_reaches_no_issuer),
        };

        return cmocka_run_group_tests_name("single-flight", tests, NULL, NULL);
}
