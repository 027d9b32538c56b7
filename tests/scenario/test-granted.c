/* SPDX-License-Identifier: MIT */

/* The issuer grants more than it was asked for: nobody gets a token that can do more than his
 * rule gives. */

#include "rules.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define MORE DEFAULT_SCOPE " knowledge.write"

static char *narrow[] = {(char *)DEFAULT_SCOPE};

static void begin(struct world *world, struct rule rules[static 2])
{
        rules[0] = rule_for("wide", UID_CRM);
        rules[1] = rule_for("narrow", UID_BATCH);
        rule_give_scopes(&rules[1], narrow, 1);
        world_init(world);
        world_begin_with(world, rules, 2);
}

static void grant_more(struct world *world, uint64_t lifetime_s)
{
        struct fetch *fetch = world_oldest(world);

        fetch->granted = MORE;
        fetch->lifetime_s = lifetime_s;
        world_finish(world, fetch, ENDING_TOKEN_WITH_SCOPE);
}

static void of_those_who_wait_together_each_gets_what_he_may(void **state)
{
        struct caller wide[2] = {}, small[2] = {};
        struct rule rules[2];
        struct world world;

        (void)state;
        begin(&world, rules);
        world_ask_as(&world, &small[0], UID_BATCH, "anna"); /* also who began the fetch */
        world_ask_as(&world, &wide[0], UID_CRM, "anna");
        world_ask_as(&world, &small[1], UID_BATCH, "anna");
        world_ask_as(&world, &wide[1], UID_CRM, "anna");
        grant_more(&world, 3600);
        for (int i = 0; i < 2; i++) {
                assert_token(&wide[i], 1);
                assert_reason_for(&small[i], REASON_GRANTED_TOO_MUCH, 0);
        }
        assert_int_equal(world_counters(&world).granted_too_much, 2);

        /* And the hits. */
        world_ask_as(&world, &wide[0], UID_CRM, "anna");
        assert_hit(&wide[0], 1);
        world_ask_as(&world, &small[0], UID_BATCH, "anna");
        assert_reason_for(&small[0], REASON_GRANTED_TOO_MUCH, 0);
        assert_int_equal(world_counters(&world).hits, 1);
        assert_int_equal(world_counters(&world).granted_too_much, 3);
        assert_int_equal(world_counters(&world).fetches,
                         1); /* a further one would bring the same */
        world_end(&world);
}

static void any_spelling_of_what_was_asked_for_is_not_too_much(void **state)
{
        static const char *const granted[] = {
                "read core.a", "core.a read", " core.a  read ", "read", "", "read read core.a"};

        (void)state;
        for (size_t i = 0; i < sizeof(granted) / sizeof(granted[0]); i++) {
                const struct text asked = TEXT("core.a read");
                struct caller caller = {};
                struct rule rules[2];
                struct reply reply;
                struct command command;
                struct world world;
                char form[] = "client_id=portal&subject_username=anna&scope=read+core.a";
                char body[200];
                struct fetch_result result = {.status = 200, .body = {body, 0}};
                static char *both[] = {(char *)"read", (char *)"core.a"};

                begin(&world, rules);
                rule_give_scopes(&rules[1], both, 2);
                request_init(&caller.request);
                assert_int_equal(
                        request_parse(&caller.request, form, sizeof(form) - 1, REQUEST_QUERY), 0);
                caller.peer = peer_of(UID_BATCH);
                assert_int_equal(broker_ask(world.broker, &caller.request, &caller.peer,
                                            world.now_ms, &caller.waiter, &reply),
                                 BROKER_E_WAIT);
                assert_true(broker_next(world.broker, world.now_ms, &command));
                assert_int_equal(command.kind, COMMAND_FETCH);
                secret_deinit(&command.form);
                result.body.size = (size_t)snprintf(
                        body, sizeof(body),
                        "{\"access_token\":\"t\",\"expires_in\":60,\"scope\":\"%s\"}", granted[i]);
                (void)broker_fetch_done(world.broker, command.flight, &result, world.now_ms, 0);
                assert_true(broker_next(world.broker, world.now_ms, &command));
                assert_int_equal(command.kind, COMMAND_REPLY);
                assert_int_equal(command.waiter->reply.reason, REASON_NONE);
                assert_true(text_equal(command.waiter->reply.asked_scope, asked));
                assert_false(command.waiter->reply.token->exceeds);
                token_unref(command.waiter->reply.token);
                assert_false(broker_next(world.broker, world.now_ms, &command));
                world_drop(&world);
        }
}

/* Where no new token comes, the old one goes to those alone who may have it: after a failure, when
 * patience is over, and at once where no fetch may begin. */
static void the_old_token_too_goes_to_those_alone_who_may_have_it(void **state)
{
        (void)state;
        for (int way = 0; way < 3; way++) {
                struct caller wide = {}, small = {}, caller = {};
                struct rule rules[2];
                struct world world;
                uint64_t served_old;

                begin(&world, rules);
                world_ask_as(&world, &caller, UID_CRM, "anna");
                grant_more(&world, 100);
                world_advance(&world, 95 * SECONDS); /* spent when 10 s are left */
                if (way == 2) {
                        broker_drain(world.broker, world.now_ms);
                        world_turn(&world);
                }
                world_ask_as(&world, &small, UID_BATCH, "anna");
                world_ask_as(&world, &wide, UID_CRM, "anna");
                served_old = world_counters(&world).served_old;
                if (way == 0)
                        world_finish(&world, NULL, ENDING_REDIRECT);
                else if (way == 1)
                        world_advance(&world, 2 * SECONDS);
                assert_reason(&small, REASON_GRANTED_TOO_MUCH);
                assert_token(&wide, 1);
                assert_true(wide.detail != REASON_NONE);
                assert_int_equal(world_counters(&world).granted_too_much, 1);
                assert_int_equal(world_counters(&world).served_old, way == 2 ? 1 : served_old + 1);
                world_end(&world);
        }
}

static void a_refresh_that_brings_what_was_asked_for_serves_all_again(void **state)
{
        struct caller wide = {}, small = {};
        struct rule rules[2];
        struct world world;

        (void)state;
        begin(&world, rules);
        world_ask_as(&world, &wide, UID_CRM, "anna");
        grant_more(&world, 3600);
        world_ask_as(&world, &wide, UID_CRM, "anna");
        world_advance(&world, 3400 * SECONDS);
        assert_int_equal(world.n_fetches, 1);
        world_finish(&world, NULL, ENDING_TOKEN_WITH_SCOPE);
        world_ask_as(&world, &small, UID_BATCH, "anna");
        assert_hit(&small, 2);
        world_end(&world);
}

static void explain_says_who_would_not_get_it(void **state)
{
        struct caller caller = {};
        struct rule rules[2];
        struct world world;

        (void)state;
        begin(&world, rules);
        world_ask_as(&world, &caller, UID_CRM, "anna");
        grant_more(&world, 3600);
        world.peer = peer_of(UID_BATCH);
        assert_true(world_explain(&world, "anna").present);
        assert_true(world_explain(&world, "anna").exceeds);
        world.peer = peer_of(UID_CRM);
        assert_true(world_explain(&world, "anna").present);
        assert_false(world_explain(&world, "anna").exceeds);
        world_end(&world);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(of_those_who_wait_together_each_gets_what_he_may),
                cmocka_unit_test(any_spelling_of_what_was_asked_for_is_not_too_much),
                cmocka_unit_test(the_old_token_too_goes_to_those_alone_who_may_have_it),
                cmocka_unit_test(a_refresh_that_brings_what_was_asked_for_serves_all_again),
                cmocka_unit_test(explain_says_who_would_not_get_it),
        };

        return cmocka_run_group_tests_name("granted", tests, NULL, NULL);
}
