/* SPDX-License-Identifier: MIT */

/* New rules while callers wait. That replies name the rules of their moment is checked by the world
 * at every reply. */

#include "rules.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static char *narrow[] = {(char *)DEFAULT_SCOPE};
static size_t desk_only[] = {CLIENT_DESK};
static struct subject_pattern pa_only[] = {{SUBJECT_USERNAME, (char *)"pa*"}};

/* Two users; the second has lost what the number says. */
struct rules {
        struct rule rules[2];
        struct policy policy;
};

#define LOSSES 4

static const enum reason losses[LOSSES] = {REASON_NOT_PERMITTED, REASON_CLIENT_NOT_PERMITTED,
                                           REASON_SUBJECT_NOT_PERMITTED,
                                           REASON_SCOPE_NOT_PERMITTED};

static void make_rules(struct rules *rules, int loss)
{
        static char *other[] = {(char *)"other"};

        *rules = (struct rules){
                .rules = {rule_for("crm", UID_CRM),
                          rule_for("batch", loss == 0 ? UID_OTHER : UID_BATCH)},
                .policy = {.rules = rules->rules, .n_rules = 2, .own_uid = 990},
        };
        if (loss == 1) {
                rules->rules[1].clients = desk_only;
                rules->rules[1].n_clients = 1;
        } else if (loss == 2) {
                rules->rules[1].subjects = pa_only;
                rules->rules[1].n_subjects = 1;
        } else if (loss == 3) {
                rule_give_scopes(&rules->rules[1], other, 1);
        }
}

static void begin(struct world *world, struct rules *rules)
{
        make_rules(rules, -1);
        world_init(world);
        world->settings.max_in_flight = 1;
        world->policy = rules->policy;
        world_start(world);
}

static void who_waits_and_has_lost_his_right_is_told_at_once_and_the_others_stay(void **state)
{
        (void)state;
        for (int loss = 0; loss < LOSSES; loss++) {
                struct caller stays = {}, goes[2] = {}, caller = {};
                struct rules before, after;
                struct world world;

                begin(&world, &before);
                make_rules(&after, loss);
                world_ask_as(&world, &goes[0], UID_BATCH, "anna"); /* began it */
                world_ask_as(&world, &stays, UID_CRM, "anna");
                world_ask_as(&world, &goes[1], UID_BATCH, "anna");
                world_set_policy(&world, &after.policy);
                for (int i = 0; i < 2; i++)
                        assert_reason_for(&goes[i], losses[loss], 0);
                assert_waits(&stays);
                assert_int_equal(world_counters(&world).rights_lost, 2);
                world_finish(&world, NULL, ENDING_TOKEN);
                assert_token(&stays, 1);
                assert_ptr_equal(stays.rule, &after.rules[0]);
                assert_int_equal(goes[0].n_replies + goes[1].n_replies, 2);
                world_ask_as(&world, &caller, UID_BATCH, "anna");
                assert_reason(&caller, losses[loss]);
                world_end(&world);
        }
}

static void an_answer_that_was_not_fetched_yet_is_taken_back(void **state)
{
        (void)state;
        for (int loss = 0; loss < LOSSES; loss++) {
                for (int ending = 0; ending < 2; ending++) {
                        struct caller stays = {}, goes = {};
                        struct rules before, after, last;
                        struct world world;

                        begin(&world, &before);
                        make_rules(&after, loss);
                        make_rules(&last, -1);
                        world_ask_as(&world, &goes, UID_BATCH, "anna");
                        world_ask_as(&world, &stays, UID_CRM, "anna");
                        world.busy = true;
                        world_finish(&world, NULL, ending ? ENDING_REDIRECT : ENDING_TOKEN);
                        world_set_policy(&world, &after.policy);
                        assert_true(goes.waits && stays.waits);
                        assert_int_equal(world_counters(&world).rights_lost, 1);
                        if (loss == 2) /* given back too late */
                                world_set_policy(&world, &last.policy);
                        world.busy = false;
                        world_turn(&world);
                        assert_reason(&goes, losses[loss]);
                        if (ending)
                                assert_reason(&stays, REASON_ANSWER_REDIRECT);
                        else
                                assert_token(&stays, 1);
                        world_end(&world);
                }
        }
}

static void an_answer_that_has_become_too_much_is_taken_back(void **state)
{
        struct caller wide = {}, small = {};
        struct rules before, after;
        struct world world;

        (void)state;
        begin(&world, &before);
        make_rules(&after, -1);
        rule_give_scopes(&after.rules[1], narrow, 1);
        world_ask_as(&world, &small, UID_BATCH, "anna");
        world_ask_as(&world, &wide, UID_CRM, "anna");
        world_oldest(&world)->granted = DEFAULT_SCOPE " more";
        world.busy = true;
        world_finish(&world, NULL, ENDING_TOKEN_WITH_SCOPE);
        world_set_policy(&world, &after.policy);
        world.busy = false;
        world_turn(&world);
        assert_reason_for(&small, REASON_GRANTED_TOO_MUCH, 0);
        assert_token(&wide, 1);
        assert_int_equal(world_counters(&world).granted_too_much, 1);
        assert_int_equal(world_counters(&world).rights_lost, 0);
        world_end(&world);
}

static void a_queued_flight_goes_with_the_last_who_wanted_it(void **state)
{
        struct caller running = {}, queued[3] = {};
        struct rules before, after;
        struct world world;

        (void)state;
        begin(&world, &before);
        make_rules(&after, 0);
        world_ask_as(&world, &running, UID_BATCH, "anna");
        world_ask_as(&world, &queued[0], UID_BATCH, "bert");
        world_ask_as(&world, &queued[1], UID_BATCH, "carl");
        world_ask_as(&world, &queued[2], UID_CRM, "carl");
        assert_int_equal(world_counters(&world).flights, 3);
        world_set_policy(&world, &after.policy);
        assert_reason(&running, REASON_NOT_PERMITTED);
        assert_reason(&queued[0], REASON_NOT_PERMITTED);
        assert_reason(&queued[1], REASON_NOT_PERMITTED);
        assert_waits(&queued[2]);
        assert_int_equal(world_counters(&world).flights, 2); /* what runs goes on */
        assert_int_equal(world_counters(&world).dropped, 1);
        world_finish(&world, NULL, ENDING_TOKEN);
        assert_non_null(world_fetch_of(&world, "carl"));
        world_finish(&world, NULL, ENDING_TOKEN);
        assert_token(&queued[2], 2);
        assert_int_equal(world_counters(&world).fetches, 2);
        world_end(&world);
}

/* Between two tries of a failing fetch. */
static void a_pausing_flight_goes_with_the_last_who_wanted_it(void **state)
{
        struct caller caller = {};
        struct rules before, after;
        struct world world;

        (void)state;
        begin(&world, &before);
        make_rules(&after, 0);
        world_ask_as(&world, &caller, UID_BATCH, "anna");
        world_finish(&world, NULL, ENDING_ERROR);
        assert_waits(&caller);
        world_set_policy(&world, &after.policy);
        assert_reason(&caller, REASON_NOT_PERMITTED);
        assert_int_equal(world_counters(&world).flights, 0);
        world_advance(&world, 1 * MINUTES);
        assert_int_equal(world_counters(&world).fetches, 1);
        world_end(&world);
}

/* Its client's secrets are being read again. */
static void a_parked_flight_goes_when_its_time_comes_and_nobody_wants_it(void **state)
{
        struct caller goes = {}, stays = {};
        struct rules before, after;
        struct world world;

        (void)state;
        begin(&world, &before);
        make_rules(&after, 0);
        world.slow_files = true;
        world_ask_as(&world, &goes, UID_BATCH, "anna");
        world_finish(&world, NULL, ENDING_CREDENTIALS_REFUSED);
        world_ask_as(&world, &stays, UID_CRM, "bert");
        assert_true(world.reading[CLIENT_PORTAL]);
        world_set_policy(&world, &after.policy);
        assert_reason(&goes, REASON_NOT_PERMITTED);
        assert_waits(&stays);
        world.secrets[CLIENT_PORTAL][0] = "new";
        assert_true(world_read_secrets(&world, CLIENT_PORTAL));
        world_turn(&world);
        assert_null(world_fetch_of(&world, "anna"));
        world_finish(&world, NULL, ENDING_TOKEN);
        assert_token(&stays, 1);
        assert_int_equal(world_counters(&world).flights, 0);
        world_end(&world);
}

/* What is detached has waiters, too. */
static void who_waits_for_a_purged_fetch_loses_his_right_like_any_other(void **state)
{
        struct caller goes = {}, stays = {};
        const struct filter everything = {};
        struct rules before, after;
        struct purge purge;
        struct world world;

        (void)state;
        begin(&world, &before);
        make_rules(&after, 2);
        world_ask_as(&world, &goes, UID_BATCH, "anna");
        world_ask_as(&world, &stays, UID_CRM, "anna");
        assert_true(world_purge(&world, &everything, &purge));
        world_set_policy(&world, &after.policy);
        assert_reason(&goes, REASON_SUBJECT_NOT_PERMITTED);
        world_finish(&world, NULL, ENDING_TOKEN);
        assert_token(&stays, 1);
        world_end(&world);
}

static void a_right_that_is_given_holds_at_once(void **state)
{
        struct caller waiting = {}, caller = {};
        struct rules before, after;
        struct world world;

        (void)state;
        begin(&world, &before);
        make_rules(&after, -1);
        after.rules[0] = rule_for("other", UID_OTHER);
        world_ask_as(&world, &waiting, UID_BATCH, "anna");
        world_ask_as(&world, &caller, UID_OTHER, "anna");
        assert_reason(&caller, REASON_NOT_PERMITTED);
        world_set_policy(&world, &after.policy);
        world_ask_as(&world, &caller, UID_OTHER, "anna");
        assert_waits(&caller);
        world_finish(&world, NULL, ENDING_TOKEN);
        assert_token(&caller, 1);
        assert_token(&waiting, 1);
        assert_int_equal(world_counters(&world).rights_lost, 0);
        world_end(&world);
}

/* From rules to none, where the built-in one decides, and back. */
static void rules_may_come_and_go(void **state)
{
        const struct policy none = {.own_uid = 990};
        struct caller callers[3] = {};
        struct rules rules;
        struct world world;

        (void)state;
        begin(&world, &rules);
        world_ask_as(&world, &callers[0], UID_CRM, "anna");
        world_set_policy(&world, &none);
        assert_reason(&callers[0], REASON_NOT_PERMITTED);
        world_ask_as(&world, &callers[1], 990, "anna");
        world_ask_as(&world, &callers[2], 0, "anna");
        world_set_policy(&world, &rules.policy);
        assert_reason(&callers[1], REASON_NOT_PERMITTED);
        assert_reason(&callers[2], REASON_NOT_PERMITTED);
        world_end(&world);
}

static bool may_fetch(struct world *world, uid_t uid, int number)
{
        struct caller caller = {};
        char name[16];

        (void)snprintf(name, sizeof(name), "n%d", number);
        world_ask_as(world, &caller, uid, name);
        if (!caller.waits) {
                assert_reason(&caller, REASON_FETCHES_SPENT);
                return false;
        }
        world_finish(world, NULL, ENDING_TOKEN);
        return true;
}

static void what_a_rule_has_used_is_kept_for_its_name_and_its_rate(void **state)
{
        const struct rate rate = {2, 1 * HOURS};
        struct rules rules[5];
        struct world world;
        int n = 0;

        (void)state;
        for (int i = 0; i < 5; i++) {
                make_rules(&rules[i], -1);
                rules[i].rules[0].fetches = rules[i].rules[1].fetches = rate;
        }
        world_init(&world);
        world.policy = rules[0].policy;
        world_start(&world);
        assert_true(may_fetch(&world, UID_CRM, n++));
        assert_true(may_fetch(&world, UID_CRM, n++));
        assert_false(may_fetch(&world, UID_CRM, n++));
        assert_true(may_fetch(&world, UID_BATCH, n++));

        /* Another place in the order is the same rule. */
        rules[1].rules[0] = rules[0].rules[1];
        rules[1].rules[1] = rules[0].rules[0];
        world_set_policy(&world, &rules[1].policy);
        assert_false(may_fetch(&world, UID_CRM, n++));
        assert_true(may_fetch(&world, UID_BATCH, n++));
        assert_false(may_fetch(&world, UID_BATCH, n++));

        /* Another rate is another, and so is another name. */
        rules[2].rules[0].fetches.count = 1;
        rules[2].rules[1].name = (char *)"night";
        world_set_policy(&world, &rules[2].policy);
        assert_true(may_fetch(&world, UID_CRM, n++));
        assert_false(may_fetch(&world, UID_CRM, n++));
        assert_true(may_fetch(&world, UID_BATCH, n++));
        rules[3].rules[0].fetches = (struct rate){1, 2 * HOURS};
        world_set_policy(&world, &rules[3].policy);
        assert_true(may_fetch(&world, UID_CRM, n++));
        assert_false(may_fetch(&world, UID_CRM, n++));

        /* A rule without a limit has none at once. */
        rules[4].rules[0].fetches = (struct rate){};
        world_set_policy(&world, &rules[4].policy);
        for (int i = 0; i < 10; i++)
                assert_true(may_fetch(&world, UID_CRM, n++));
        world_end(&world);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(
                        who_waits_and_has_lost_his_right_is_told_at_once_and_the_others_stay),
                cmocka_unit_test(an_answer_that_was_not_fetched_yet_is_taken_back),
                cmocka_unit_test(an_answer_that_has_become_too_much_is_taken_back),
                cmocka_unit_test(a_queued_flight_goes_with_the_last_who_wanted_it),
                cmocka_unit_test(a_pausing_flight_goes_with_the_last_who_wanted_it),
                cmocka_unit_test(a_parked_flight_goes_when_its_time_comes_and_nobody_wants_it),
                cmocka_unit_test(who_waits_for_a_purged_fetch_loses_his_right_like_any_other),
                cmocka_unit_test(a_right_that_is_given_holds_at_once),
                cmocka_unit_test(rules_may_come_and_go),
                cmocka_unit_test(what_a_rule_has_used_is_kept_for_its_name_and_its_rate),
        };

        return cmocka_run_group_tests_name("set-policy", tests, NULL, NULL);
}
