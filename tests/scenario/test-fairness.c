/* SPDX-License-Identifier: MIT */

/* Nobody costs the issuer more than his rule says, and nobody is in another's way. */

#include "rules.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void ask_numbered(struct world *world, struct caller *caller, uid_t uid, int number)
{
        char name[16];

        (void)snprintf(name, sizeof(name), "s%d", number);
        world_ask_as(world, caller, uid, name);
}

static void a_walk_through_ten_thousand_subjects_ends_at_the_rules_fetches(void **state)
{
        struct rule rules[] = {rule_for("walker", UID_CRM), rule_for("other", UID_OTHER)};
        struct caller caller = {}, other = {};
        struct world world;
        int n_fetched = 0;

        (void)state;
        world_init(&world);
        rules[0].fetches = rules[1].fetches = (struct rate){600, 1 * MINUTES};
        world_begin_with(&world, rules, 2);
        for (int i = 0; i < 10000; i++) {
                ask_numbered(&world, &caller, UID_CRM, i);
                if (caller.waits) {
                        n_fetched++;
                        world_finish(&world, NULL, i % 3 ? ENDING_TOKEN : ENDING_SUBJECT_REFUSED);
                } else {
                        assert_reason_for(&caller, REASON_FETCHES_SPENT, 1);
                }
                if (i % 1000 == 999) { /* another is as well off as ever */
                        ask_numbered(&world, &other, UID_OTHER, 100000 + i);
                        assert_waits(&other);
                        world_finish(&world, NULL, ENDING_TOKEN);
                        assert_token(&other, world.serial);
                }
        }
        assert_int_equal(n_fetched, 600);
        assert_int_equal(world_counters(&world).fetches_spent, 10000 - 600);
        assert_int_equal(world_counters(&world).fetches, 610);
        ask_numbered(&world, &caller, UID_CRM, 1); /* what is here is served */
        assert_hit(&caller, 1);
        ask_numbered(&world, &caller, UID_CRM, 0); /* and what is known of it, too */
        assert_reason(&caller, REASON_SUBJECT_REFUSED);
        world_end(&world);
}

/* Whoever hangs on an issuer's silence hangs alone: the last quarter of the places is for others.
 */
static void who_fills_an_issuers_places_leaves_some_to_others(void **state)
{
        struct rule rules[] = {rule_for("many", UID_CRM), rule_for("other", UID_OTHER),
                               rule_for("root", 0)};
        static struct caller many[40], root[40];
        struct caller other = {}, second = {};
        struct world world;

        (void)state;
        world_init(&world);
        world.settings.max_in_flight = 16;
        world_begin_with(&world, rules, 3);
        for (int i = 0; i < 20; i++) {
                many[i] = (struct caller){};
                ask_numbered(&world, &many[i], UID_CRM, i);
                assert_waits(&many[i]);
        }
        assert_int_equal(world_counters(&world).in_flight, 12);
        ask_numbered(&world, &other, UID_OTHER, 100);
        assert_int_equal(world_counters(&world).in_flight,
                         13); /* at once, before the 8 that queue */
        ask_numbered(&world, &second, UID_OTHER, 101);
        assert_int_equal(world_counters(&world).in_flight, 13); /* it has one */
        for (int i = 0; i < 20; i++) {
                root[i] = (struct caller){};
                ask_numbered(&world, &root[i], 0, 200 + i);
        }
        assert_int_equal(world_counters(&world).in_flight, 16);
        for (int i = 0; i < 42; i++)
                world_finish(&world, NULL, ENDING_TOKEN);
        for (int i = 0; i < 20; i++)
                assert_false(many[i].waits || root[i].waits);
        assert_false(other.waits || second.waits);
        world_end(&world);
}

static void the_time_to_come_back_is_right_to_the_second(void **state)
{
        struct rule rules[] = {rule_for("walker", UID_CRM)};
        struct caller caller = {};
        struct world world;

        (void)state;
        world_init(&world);
        rules[0].fetches = (struct rate){6, 1 * MINUTES};
        world_begin_with(&world, rules, 1);
        for (int i = 0; i < 6; i++) {
                ask_numbered(&world, &caller, UID_CRM, i);
                assert_waits(&caller);
                world_finish(&world, NULL, ENDING_TOKEN);
        }
        ask_numbered(&world, &caller, UID_CRM, 6);
        assert_reason_for(&caller, REASON_FETCHES_SPENT, 10);
        world_advance(&world, 9999);
        ask_numbered(&world, &caller, UID_CRM, 6);
        assert_reason_for(&caller, REASON_FETCHES_SPENT, 1);
        world_advance(&world, 1);
        ask_numbered(&world, &caller, UID_CRM, 6);
        assert_waits(&caller);
        world_finish(&world, NULL, ENDING_TOKEN);
        ask_numbered(&world, &caller, UID_CRM, 7);
        assert_reason_for(&caller, REASON_FETCHES_SPENT, 10);
        assert_int_equal(world_counters(&world).fetches_spent, 3);
        assert_int_equal(world_counters(&world).refused, 3);
        world_advance(&world, 1 * MINUTES);
        for (int i = 10; i < 16; i++) {
                ask_numbered(&world, &caller, UID_CRM, i);
                assert_waits(&caller);
                world_finish(&world, NULL, ENDING_TOKEN);
        }
        world_end(&world);
}

/* Only what begins a fetch is counted: not who joins, nor hits, nor renewals behind the callers'
 * backs, nor what was turned away before. */
static void who_has_spent_his_fetches_joins_hits_and_gets_the_old_token(void **state)
{
        struct rule rules[] = {rule_for("spent", UID_CRM), rule_for("other", UID_OTHER)};
        struct caller caller = {}, other = {};
        struct world world;

        (void)state;
        world_init(&world);
        rules[0].fetches = (struct rate){1, 24 * HOURS};
        world_begin_with(&world, rules, 2);
        world_ask_as(&world, &caller, UID_CRM, "anna");
        world_oldest(&world)->lifetime_s = 100;
        world_finish(&world, NULL, ENDING_TOKEN);
        assert_token(&caller, 1);
        world_ask_as(&world, &other, UID_OTHER, "bert");
        world_ask_as(&world, &caller, UID_CRM, "bert");
        assert_waits(&caller);
        world_finish(&world, NULL, ENDING_TOKEN);
        assert_token(&caller, 2);
        assert_true(caller.collapsed);
        world_ask_as(&world, &caller, UID_CRM, "bert");
        assert_hit(&caller, 2);

        /* Spent, and no fetch may begin. */
        world_advance(&world, 95 * SECONDS);
        world_ask_as(&world, &caller, UID_CRM, "anna");
        assert_old_token(&caller, 1, REASON_FETCHES_SPENT);
        assert_int_equal(world.n_fetches, 0);
        world_ask_as(&world, &other, UID_OTHER, "anna"); /* whoever may, has one begun for both */
        world_ask_as(&world, &caller, UID_CRM, "anna");
        assert_waits(&caller);
        world_finish(&world, NULL, ENDING_TOKEN);
        assert_token(&caller, 3);

        /* A report of a token that was rejected costs, too. */
        world_ask(&world, &other, (struct wish){.subject = TEXT("anna"), .rejects = &caller});
        assert_reason(&other, REASON_FETCHES_SPENT);
        world.peer = peer_of(UID_CRM);
        world_ask_as(&world, &caller, UID_CRM, "nobody");
        assert_reason(&caller, REASON_FETCHES_SPENT);
        world_end(&world);
}

static void renewals_cost_the_rule_nothing(void **state)
{
        struct rule rules[] = {rule_for("crm", UID_CRM)};
        struct caller caller = {};
        struct world world;

        (void)state;
        world_init(&world);
        rules[0].fetches = (struct rate){1, 24 * HOURS};
        world_begin_with(&world, rules, 1);
        world_ask_as(&world, &caller, UID_CRM, "anna");
        world_finish(&world, NULL, ENDING_TOKEN);
        for (uint64_t serial = 1; serial < 6; serial++) {
                world_ask_as(&world, &caller, UID_CRM, "anna");
                assert_hit(&caller, serial);
                world_advance(&world, 2960 * SECONDS);
                assert_int_equal(world.n_fetches, 1);
                world_finish(&world, NULL, ENDING_TOKEN);
        }
        assert_int_equal(world_counters(&world).fetches_spent, 0);
        world_end(&world);
}

static void a_uid_begins_a_quarter_of_the_flights_and_root_all(void **state)
{
        struct rule rules[] = {rule_for("crm", UID_CRM), rule_for("other", UID_OTHER),
                               rule_for("root", 0)};
        struct caller callers[16] = {}, caller = {};
        struct world world;
        int n = 0;

        (void)state;
        world_init(&world);
        world.settings.max_flights = 16;
        world.settings.max_in_flight = 2;
        world_begin_with(&world, rules, 3);
        for (; n < 4; n++) {
                ask_numbered(&world, &callers[n], UID_CRM, n);
                assert_waits(&callers[n]);
        }
        assert_int_equal(world_counters(&world).uid_flights_full, 0);
        ask_numbered(&world, &caller, UID_CRM, n);
        assert_reason_for(&caller, REASON_UID_FLIGHTS_FULL, 1);
        assert_int_equal(world_counters(&world).uid_flights_full, 1);
        assert_int_equal(world_counters(&world).limits.flights_full, 0);
        ask_numbered(&world, &callers[4], UID_CRM, 3); /* joins */
        assert_waits(&callers[4]);
        for (n = 5; n < 9; n++) {
                ask_numbered(&world, &callers[n], UID_OTHER, n);
                assert_waits(&callers[n]);
        }
        for (; n < 16; n++) {
                ask_numbered(&world, &callers[n], 0, n);
                assert_waits(&callers[n]);
        }
        ask_numbered(&world, &caller, 0, 16);
        assert_waits(&caller);
        assert_int_equal(world_counters(&world).flights, 16);
        world_finish(&world, NULL, ENDING_TOKEN); /* of the first */
        ask_numbered(&world, &callers[0], UID_OTHER, 17);
        assert_reason(&callers[0], REASON_UID_FLIGHTS_FULL);
        ask_numbered(&world, &callers[0], UID_CRM, 17);
        assert_waits(&callers[0]);
        world_end(&world);
}

static void a_uid_has_a_quarter_of_the_waiters_and_root_all(void **state)
{
        struct rule rules[] = {rule_for("crm", UID_CRM), rule_for("root", 0)};
        struct caller callers[16] = {}, caller = {};
        struct world world;

        (void)state;
        world_init(&world);
        world.settings.max_waiters = 16;
        world_begin_with(&world, rules, 2);
        for (int i = 0; i < 4; i++) {
                ask_numbered(&world, &callers[i], UID_CRM, i % 2);
                assert_waits(&callers[i]);
        }
        ask_numbered(&world, &caller, UID_CRM, 0);
        assert_reason_for(&caller, REASON_UID_WAITERS_FULL, 1);
        ask_numbered(&world, &caller, UID_CRM, 2);
        assert_reason_for(&caller, REASON_UID_WAITERS_FULL, 1);
        assert_int_equal(world_counters(&world).uid_waiters_full, 2);
        assert_int_equal(world_counters(&world).uid_flights_full, 0);
        for (int i = 4; i < 16; i++) {
                ask_numbered(&world, &callers[i], 0, 0);
                assert_waits(&callers[i]);
        }
        ask_numbered(&world, &caller, 0, 0);
        assert_reason(&caller, REASON_WAITERS_FULL);
        /* Who is answered, or whose time is up, has left a place. */
        world_finish(&world, NULL, ENDING_TOKEN);
        ask_numbered(&world, &callers[0], UID_CRM, 3);
        assert_waits(&callers[0]);
        world_advance(&world, world.settings.request_timeout_ms);
        for (int i = 0; i < 4; i++)
                ask_numbered(&world, &callers[i], UID_CRM, 1);
        assert_waits(&callers[3]);
        world_end(&world);
}

/* It queues as much as it may, and asks for more as soon as it can. */
static void anothers_requests_start_within_one_turn_of_the_walkers(void **state)
{
        struct rule rules[] = {rule_for("walker", UID_CRM), rule_for("other", UID_OTHER)};
        struct caller walkers[40] = {}, other = {};
        struct world world;
        int n_walked = 0;

        (void)state;
        world_init(&world);
        world.settings.max_in_flight = 1;
        world_begin_with(&world, rules, 2);
        for (int round = 0; round < 50; round++) {
                for (int i = 0; i < 40; i++)
                        if (!walkers[i].waits)
                                ask_numbered(&world, &walkers[i], UID_CRM, n_walked++);
                ask_numbered(&world, &other, UID_OTHER, 100000 + round);
                assert_waits(&other);
                world_finish(&world, NULL, ENDING_TOKEN); /* the walker's that was under way */
                if (round % 2 && !walkers[39].waits)      /* and sometimes he comes again at once */
                        ask_numbered(&world, &walkers[39], UID_CRM, n_walked++);
                world_finish(&world, NULL, ENDING_TOKEN);
                if (other.waits)
                        world_finish(&world, NULL, ENDING_TOKEN);
                assert_token(&other, world.serial);
                world_advance(&world, 10);
        }
        world_end(&world);
}

static void who_joins_a_queued_flight_hastens_it(void **state)
{
        struct rule rules[] = {rule_for("walker", UID_CRM), rule_for("other", UID_OTHER)};
        struct caller walkers[20] = {}, other = {};
        struct world world;

        (void)state;
        world_init(&world);
        world.settings.max_in_flight = 1;
        world_begin_with(&world, rules, 2);
        for (int i = 0; i < 20; i++)
                ask_numbered(&world, &walkers[i], UID_CRM, i);
        ask_numbered(&world, &other, UID_OTHER, 19);
        assert_waits(&other);
        assert_int_equal(world_counters(&world).coalesced, 1);
        world_finish(&world, NULL, ENDING_TOKEN);
        assert_non_null(world_fetch_of(&world, "s19"));
        world_finish(&world, NULL, ENDING_TOKEN);
        assert_token(&other, 2);
        assert_token(&walkers[19], 2);
        assert_non_null(world_fetch_of(&world, "s1"));
        world_end(&world);
}

/* It fails, and is tried again in the turn of who waits for it now. */
static void a_running_renewal_that_is_joined_takes_the_turn_of_who_joined(void **state)
{
        struct rule rules[] = {rule_for("crm", UID_CRM), rule_for("other", UID_OTHER)};
        struct caller caller = {}, more[2] = {}, other = {};
        struct world world;

        (void)state;
        world_init(&world);
        world.settings.max_in_flight = 1;
        world_begin_with(&world, rules, 2);
        world_ask_as(&world, &caller, UID_CRM, "anna");
        world_finish(&world, NULL, ENDING_TOKEN);
        world_ask_as(&world, &caller, UID_CRM, "anna");
        world_advance(&world, 2960 * SECONDS);
        assert_int_equal(world_counters(&world).refreshes, 1);
        world.peer = peer_of(UID_CRM);
        world_ask(&world, &caller, (struct wish){.subject = TEXT("anna"), .min_ttl_s = 3600});
        assert_waits(&caller);
        assert_int_equal(world_oldest(&world)->flight->turn_uid, UID_CRM);
        assert_false(world_oldest(&world)->flight->has_owner); /* it began by itself */
        world_finish(&world, NULL, ENDING_ERROR);
        world_ask_as(&world, &more[0], UID_CRM, "bert");
        world_ask_as(&world, &more[1], UID_CRM, "carl");
        world_ask_as(&world, &other, UID_OTHER, "dora");
        world_advance(&world, 700);
        world_finish(&world, NULL, ENDING_TOKEN); /* for bert, who was first */
        assert_non_null(world_fetch_of(&world, "anna"));
        world_finish(&world, NULL, ENDING_TOKEN);
        assert_token(&caller, world.serial);
        assert_non_null(world_fetch_of(&world, "dora"));
        world_end(&world);
}

/* A world with one place, which another user's fetch holds, and four fetches a day for the CRM. */
static void begin_with_four_fetches(struct world *world, struct rule rules[2], struct caller *other)
{
        rules[0] = rule_for("crm", UID_CRM);
        rules[0].fetches = (struct rate){4, 24 * HOURS};
        rules[1] = rule_for("other", UID_OTHER);
        world_init(world);
        world->settings.max_in_flight = 1;
        world->settings.max_flights = 64;
        world_begin_with(world, rules, 2);
        world_ask_as(world, other, UID_OTHER, "hangs");
}

static void what_was_never_sent_costs_no_fetches(void **state)
{
        struct caller callers[5] = {}, other = {};
        struct rule rules[2];
        struct world world;

        (void)state;
        begin_with_four_fetches(&world, rules, &other);
        for (int k = 0; k < 3; k++) {
                for (int i = 0; i < 4; i++)
                        ask_numbered(&world, &callers[i], UID_CRM, i);
                /* No more queue than could be sent. */
                ask_numbered(&world, &callers[4], UID_CRM, 4);
                assert_reason(&callers[4], REASON_FETCHES_SPENT);
                world_advance(&world, 20 * SECONDS);
                for (int i = 0; i < 4; i++)
                        assert_reason(&callers[i], REASON_REQUEST_TIMEOUT);
        }
        for (int i = 0; i < 4; i++) {
                ask_numbered(&world, &callers[i], UID_CRM, i);
                callers[i].hung_up = i < 2;
        }
        world_advance(&world, 1);
        world_finish(&world, NULL, ENDING_TOKEN);
        assert_int_equal(world.n_unsent, 2);
        for (int i = 2; i < 4; i++)
                world_finish(&world, NULL, ENDING_SUBJECT_REFUSED);
        for (int i = 0; i < 2; i++) {
                ask_numbered(&world, &callers[i], UID_CRM, i);
                world_finish(&world, NULL, ENDING_TOKEN);
        }
        assert_int_equal(world_counters(&world).fetches, 1 + 4);
        ask_numbered(&world, &callers[4], UID_CRM, 4);
        assert_reason(&callers[4], REASON_FETCHES_SPENT);
        world_end(&world);
}

static void a_fetch_that_is_tried_again_costs_one(void **state)
{
        struct caller callers[2] = {}, other = {};
        struct rule rules[2];
        struct world world;

        (void)state;
        begin_with_four_fetches(&world, rules, &other);
        world_finish(&world, NULL, ENDING_TOKEN);
        for (int i = 0; i < 3; i++) {
                ask_numbered(&world, &callers[0], UID_CRM, i);
                world_finish(&world, NULL, ENDING_TOKEN);
        }
        ask_numbered(&world, &callers[0], UID_CRM, 3);
        world_finish(&world, NULL, ENDING_ERROR);
        other = (struct caller){};
        world_ask_as(&world, &other, UID_OTHER, "hangs again");
        world_advance(&world, 300); /* the longest pause */
        callers[0].hung_up = true;
        world_advance(&world, 1);
        world_finish(&world, NULL, ENDING_TOKEN);
        assert_int_equal(world.n_unsent, 1);
        ask_numbered(&world, &callers[1], UID_CRM, 4);
        assert_reason(&callers[1], REASON_FETCHES_SPENT);
        world_end(&world);
}

static void what_is_set_aside_outlives_a_reload_of_the_same_rule(void **state)
{
        (void)state;
        for (int other_rate = 0; other_rate <= 1; other_rate++) {
                struct caller callers[5] = {}, other = {};
                struct rule rules[2], next[2];
                struct policy policy;
                struct world world;

                begin_with_four_fetches(&world, rules, &other);
                for (int i = 0; i < 4; i++)
                        ask_numbered(&world, &callers[i], UID_CRM, i);
                next[0] = rules[1];
                next[1] = rules[0];
                next[1].fetches.count += other_rate;
                policy = (struct policy){.rules = next, .n_rules = 2, .own_uid = 990};
                world_set_policy(&world, &policy);
                ask_numbered(&world, &callers[4], UID_CRM, 4);
                if (other_rate) /* another rule begins anew */
                        assert_waits(&callers[4]);
                else
                        assert_reason(&callers[4], REASON_FETCHES_SPENT);
                while (world_oldest(&world))
                        world_finish(&world, NULL, ENDING_TOKEN);
                ask_numbered(&world, &callers[4], UID_CRM, 5);
                if (other_rate)
                        assert_waits(&callers[4]);
                else
                        assert_reason(&callers[4], REASON_FETCHES_SPENT);
                world_end(&world);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(a_walk_through_ten_thousand_subjects_ends_at_the_rules_fetches),
                cmocka_unit_test(who_fills_an_issuers_places_leaves_some_to_others),
                cmocka_unit_test(the_time_to_come_back_is_right_to_the_second),
                cmocka_unit_test(who_has_spent_his_fetches_joins_hits_and_gets_the_old_token),
                cmocka_unit_test(renewals_cost_the_rule_nothing),
                cmocka_unit_test(a_uid_begins_a_quarter_of_the_flights_and_root_all),
                cmocka_unit_test(a_uid_has_a_quarter_of_the_waiters_and_root_all),
                cmocka_unit_test(anothers_requests_start_within_one_turn_of_the_walkers),
                cmocka_unit_test(who_joins_a_queued_flight_hastens_it),
                cmocka_unit_test(a_running_renewal_that_is_joined_takes_the_turn_of_who_joined),
                cmocka_unit_test(what_was_never_sent_costs_no_fetches),
                cmocka_unit_test(a_fetch_that_is_tried_again_costs_one),
                cmocka_unit_test(what_is_set_aside_outlives_a_reload_of_the_same_rule),
        };

        return cmocka_run_group_tests_name("fairness", tests, NULL, NULL);
}
