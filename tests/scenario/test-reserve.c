/* SPDX-License-Identifier: MIT */

/*
 * The last quarter of an issuer's places is for uids that have none, also where they join what
 * somebody else's have been waiting for. What keeps flights from starting, and who would be the
 * next, is watched by the world after every step.
 */

#include "rules.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define LIVES   400
#define STEPS   400
#define CALLERS 40

#define UID_FOURTH 1004

#define PLACES 16 /* of which four are kept */

static void ask_numbered(struct world *world, struct caller *caller, uid_t uid, int number)
{
        char name[16];

        (void)snprintf(name, sizeof(name), "s%d", number);
        world_ask_as(world, caller, uid, name);
}

/* Asks for what is fetched at another token URL. */
static void ask_elsewhere(struct world *world, struct caller *caller, uid_t uid, const char *name)
{
        world->peer = peer_of(uid);
        world_ask(world, caller,
                  (struct wish){.client = CLIENT_MOBILE, .subject = TEXT(name), .scope = "a"});
}

static void finish_elsewhere(struct world *world)
{
        struct list *link = list_first(&world->fetches);

        while (!strstr(list_entry(link, struct fetch, link)->url, "other.example"))
                link = link->next;
        world_finish(world, list_entry(link, struct fetch, link), ENDING_TOKEN);
}

static size_t in_flight(const struct world *world)
{
        return world_counters(world).in_flight;
}

#define N_RULES 5

static struct rule rules[N_RULES];

static void give_rules(void)
{
        rules[0] = rule_for("walker", UID_CRM);
        rules[1] = rule_for("other", UID_OTHER);
        rules[2] = rule_for("batch", UID_BATCH);
        rules[3] = rule_for("fourth", UID_FOURTH);
        rules[4] = rule_for("root", 0);
}

/* The walker has asked for s0, s1 and so on: 12 of them hang, the rest queues. */
static void begin(struct world *world, struct caller *walkers, int n)
{
        give_rules();
        world_init(world);
        world->settings.max_in_flight = PLACES;
        world_begin_with(world, rules, N_RULES);
        for (int i = 0; i < n; i++) {
                walkers[i] = (struct caller){};
                ask_numbered(world, &walkers[i], UID_CRM, i);
                assert_waits(&walkers[i]);
        }
        assert_int_equal(in_flight(world), 12);
}

static void who_joins_the_flight_of_one_who_hangs_has_it_started(void **state)
{
        static struct caller walkers[20];
        struct world world;

        (void)state;
        for (int joined = 12; joined < 20; joined++) {
                struct caller other = {}, second = {};

                begin(&world, walkers, 20);
                ask_numbered(&world, &other, UID_OTHER, joined);
                assert_waits(&other);
                assert_int_equal(in_flight(&world), 13);
                ask_numbered(&world, &second, UID_OTHER, joined == 19 ? 12 : 19);
                assert_int_equal(in_flight(&world), 13); /* it has its place */
                world_finish(&world, list_entry(world.fetches.prev, struct fetch, link),
                             ENDING_TOKEN);
                assert_token(&other, 1);
                assert_token(&walkers[joined], 1);
                assert_waits(&second);
                assert_int_equal(in_flight(&world), 13); /* and again, for the second */
                world_end(&world);
        }
}

/* Nor does it matter that no turn of its own would come earlier. */
static void who_had_its_turn_in_this_round_joins_no_worse(void **state)
{
        static struct caller walkers[13];
        struct caller before = {}, other = {};
        struct world world;

        (void)state;
        begin(&world, walkers, 13);
        ask_numbered(&world, &before, UID_OTHER, 50);
        assert_int_equal(in_flight(&world), 13);
        world_finish(&world, world_fetch_of(&world, "s50"), ENDING_TOKEN);
        ask_numbered(&world, &other, UID_OTHER, 12);
        assert_int_equal(in_flight(&world), 13);
        world_finish(&world, world_fetch_of(&world, "s12"), ENDING_TOKEN);
        assert_token(&other, 2);
        assert_token(&walkers[12], 2);
        world_end(&world);
}

static void what_was_joined_starts_when_who_joined_has_no_place_any_more(void **state)
{
        static struct caller walkers[14];
        struct caller before = {}, other = {}, root = {};
        struct world world;

        (void)state;
        begin(&world, walkers, 14);
        ask_numbered(&world, &before, UID_OTHER, 50);
        ask_numbered(&world, &other, UID_OTHER, 13);
        assert_int_equal(in_flight(&world), 13);
        world_finish(&world, world_fetch_of(&world, "s50"), ENDING_TOKEN);
        assert_non_null(world_fetch_of(&world, "s13"));
        assert_int_equal(world_fetch_of(&world, "s13")->flight->turn_uid, UID_OTHER);
        ask_numbered(&world, &root, 0, 12); /* may have all */
        assert_non_null(world_fetch_of(&world, "s12"));
        world_end(&world);
}

/* It fails, and both wait for the next try. */
static void what_was_joined_while_it_ran_is_tried_again_for_both(void **state)
{
        static struct caller walkers[12];
        struct caller more[3] = {}, other = {};
        struct world world;

        (void)state;
        begin(&world, walkers, 12);
        ask_numbered(&world, &other, UID_OTHER, 0);
        world_finish(&world, world_fetch_of(&world, "s0"), ENDING_ERROR);
        for (int i = 0; i < 3; i++)
                ask_numbered(&world, &more[i], UID_CRM, 20 + i);
        assert_int_equal(in_flight(&world), 12);
        world_advance(&world, 700);
        assert_non_null(world_fetch_of(&world, "s0"));
        assert_int_equal(in_flight(&world), 13);
        world_end(&world);
}

/* The issuer is ready, but that all places of all are taken; then nobody waits any more who has no
 * place. */
static void who_joined_and_has_left_lends_no_right(void **state)
{
        static struct caller walkers[12];
        struct caller elsewhere[2] = {}, walker = {}, other = {}, again = {};
        struct world world;

        (void)state;
        begin(&world, walkers, 12);
        world.settings.max_in_flight_total = 14;
        world_reconfigure(&world);
        ask_elsewhere(&world, &elsewhere[0], 0, "x");
        ask_elsewhere(&world, &elsewhere[1], 0, "y");
        assert_int_equal(in_flight(&world), 14);
        ask_numbered(&world, &other, UID_OTHER, 30);
        world_advance(&world, 10 * SECONDS);
        ask_numbered(&world, &walker, UID_CRM, 30);
        world_advance(&world, 10 * SECONDS);
        assert_reason(&other, REASON_REQUEST_TIMEOUT);
        assert_waits(&walker);
        finish_elsewhere(&world);
        assert_null(world_fetch_of(&world, "s30")); /* the walker has its places */
        ask_numbered(&world, &again, UID_BATCH, 30);
        assert_non_null(world_fetch_of(&world, "s30"));
        world_end(&world);
}

/* Eight places of all, and as many at each issuer. */
static void begin_small(struct world *world)
{
        give_rules();
        world_init(world);
        world->settings.max_in_flight = world->settings.max_in_flight_total = 8;
        world_begin_with(world, rules, N_RULES);
}

/* The walker has five of them, two are elsewhere. */
static void fill(struct world *world, struct caller *walkers, struct caller *elsewhere)
{
        for (int i = 0; i < 5; i++)
                ask_numbered(world, &walkers[i], UID_CRM, i);
        ask_elsewhere(world, &elsewhere[0], 0, "x");
        ask_elsewhere(world, &elsewhere[1], 0, "y");
}

/* A turn comes earlier by who joins, who has a place, while it is the other's who has none. */
static void who_hastens_a_flight_takes_nobodys_place_from_it(void **state)
{
        struct caller walkers[5] = {}, elsewhere[2] = {}, early = {}, other = {}, zoe[2] = {};
        struct world world;

        (void)state;
        begin_small(&world);
        world_ask_as(&world, &other, UID_OTHER, "first");
        fill(&world, walkers, elsewhere);
        assert_int_equal(in_flight(&world), 8);
        finish_elsewhere(&world);
        world_ask_as(&world, &early, UID_BATCH, "early");
        world_finish(&world, world_fetch_of(&world, "early"), ENDING_TOKEN);
        ask_elsewhere(&world, &elsewhere[0], 0, "z");
        assert_int_equal(in_flight(&world), 8);
        world_ask_as(&world, &zoe[0], UID_BATCH, "zoe"); /* in the next round */
        world_ask_as(&world, &zoe[1], UID_OTHER, "zoe");
        assert_int_equal(in_flight(&world), 8);
        finish_elsewhere(&world);
        assert_non_null(world_fetch_of(&world, "zoe"));
        assert_int_equal(world_fetch_of(&world, "zoe")->flight->turn_uid, UID_BATCH);
        world_end(&world);
}

/* A place that a renewal had is that of who joins it: he has one then, and his other flight, which
 * might have had one of those that are kept, may not. */
static void who_joins_a_running_renewal_has_a_place(void **state)
{
        struct caller walkers[5] = {}, elsewhere[2] = {}, other = {}, joined = {};
        struct world world;

        (void)state;
        begin_small(&world);
        (void)world_prime(&world, "anna", 3600);
        world_advance(&world, 3100 * SECONDS);
        world_ask_as(&world, &joined, UID_OTHER, "anna");
        assert_int_equal(world_counters(&world).refreshes, 1);
        fill(&world, walkers, elsewhere);
        assert_int_equal(in_flight(&world), 8);
        world_ask_as(&world, &other, UID_OTHER, "zoe");
        world.peer = peer_of(UID_OTHER);
        world_ask(&world, &joined, (struct wish){.subject = TEXT("anna"), .min_ttl_s = 3600});
        assert_waits(&joined);
        finish_elsewhere(&world);
        assert_int_equal(in_flight(&world), 7);
        assert_waits(&other);
        world_finish(&world, world_fetch_of(&world, "anna"), ENDING_TOKEN);
        assert_non_null(world_fetch_of(&world, "zoe"));
        world_end(&world);
}

/* Few subjects and several uids, so that they often join each other's flights; most of which hang,
 * so that there are hardly places but those that are kept. */
struct life {
        struct world world;
        struct caller callers[CALLERS];
        unsigned int random;
};

static unsigned int any(struct life *life, unsigned int n)
{
        return (unsigned int)rand_r(&life->random) / 7 % n;
}

static void ask_anything(struct life *life)
{
        static const uid_t uids[] = {UID_CRM,   UID_CRM,    UID_CRM, UID_OTHER,
                                     UID_BATCH, UID_FOURTH, 0};
        struct caller *caller = &life->callers[any(life, CALLERS)];
        char name[] = "a";

        if (caller->waits)
                return;
        name[0] = (char)('a' + any(life, 12));
        life->world.peer = peer_of(uids[any(life, 7)]);
        world_ask(&life->world, caller,
                  (struct wish){.client = any(life, 4) ? CLIENT_PORTAL : CLIENT_MOBILE,
                                .subject = TEXT(name),
                                .scope = "a",
                                .min_ttl_s = any(life, 4) ? 0 : 3600});
}

static void finish_anything(struct life *life)
{
        static const enum ending endings[] = {ENDING_TOKEN,           ENDING_TOKEN,
                                              ENDING_TOKEN,           ENDING_ERROR,
                                              ENDING_SUBJECT_REFUSED, ENDING_THROTTLED};
        struct list *link = list_first(&life->world.fetches);
        struct fetch *fetch;

        if (!link)
                return;
        for (unsigned int n = any(life, 4); n > 0 && link->next != &life->world.fetches; n--)
                link = link->next;
        fetch = list_entry(link, struct fetch, link);
        fetch->lifetime_s = 60 + any(life, 60);
        world_finish(&life->world, fetch, endings[any(life, 6)]);
}

static void live(struct life *life)
{
        struct settings *settings = &life->world.settings;

        world_init(&life->world);
        settings->max_in_flight = 4 + any(life, 5);
        settings->max_in_flight_total = settings->max_in_flight + any(life, 3);
        give_rules();
        world_begin_with(&life->world, rules, N_RULES);
        for (int i = 0; i < STEPS; i++) {
                if (any(life, 100) == 0) {
                        settings->max_in_flight = 4 + any(life, 5);
                        settings->max_in_flight_total = settings->max_in_flight + any(life, 3);
                        world_reconfigure(&life->world);
                }
                if (any(life, 5) == 0)
                        finish_anything(life);
                else if (any(life, 6) == 0)
                        world_advance(&life->world, any(life, 4000));
                else
                        ask_anything(life);
        }
}

static void whoever_joins_whom_is_never_worse_off_than_alone(void **state)
{
        static struct life life;
        uint64_t n_joined = 0, n_tokens = 0, n_late = 0, n_refreshes = 0;

        (void)state;
        for (unsigned int seed = 1; seed <= LIVES; seed++) {
                struct broker_counters counters;

                memset(&life, 0, sizeof(life));
                life.random = seed;
                live(&life);
                counters = world_counters(&life.world);
                n_joined += counters.coalesced;
                n_tokens += counters.tokens;
                n_late += counters.timed_out;
                n_refreshes += counters.refreshes;
                world_end(&life.world);
        }
        print_message("# joined %" PRIu64 ", tokens %" PRIu64 ", late %" PRIu64
                      ", renewals %" PRIu64 "\n",
                      n_joined, n_tokens, n_late, n_refreshes);
        assert_true(n_joined > UINT64_C(10) * LIVES && n_tokens > UINT64_C(10) * LIVES &&
                    n_late > LIVES && n_refreshes > LIVES);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(who_joins_the_flight_of_one_who_hangs_has_it_started),
                cmocka_unit_test(who_had_its_turn_in_this_round_joins_no_worse),
                cmocka_unit_test(what_was_joined_starts_when_who_joined_has_no_place_any_more),
                cmocka_unit_test(what_was_joined_while_it_ran_is_tried_again_for_both),
                cmocka_unit_test(who_joined_and_has_left_lends_no_right),
                cmocka_unit_test(who_hastens_a_flight_takes_nobodys_place_from_it),
                cmocka_unit_test(who_joins_a_running_renewal_has_a_place),
                cmocka_unit_test(whoever_joins_whom_is_never_worse_off_than_alone),
        };

        return cmocka_run_group_tests_name("reserve", tests, NULL, NULL);
}
