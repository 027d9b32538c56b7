/* SPDX-License-Identifier: MIT */

/* Away with tokens: at once for whoever asks, in the table in many turns. */

#include "rules.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define MANY_BUCKETS 65536 /* a walk of more than sixty turns */

static const struct filter everything = {};

static void begin(struct world *world)
{
        world_init(world);
        world->settings.max_entries = MANY_BUCKETS;
        world->settings.max_memory_bytes = 1 << 24;
        world_start(world);
}

/* Until all purges are done. */
static unsigned int walk(struct world *world)
{
        unsigned int n_turns = 0;

        for (; world->n_purging > 0; n_turns++)
                world_turn(world);
        return n_turns;
}

static void prime_wish(struct world *world, struct wish wish)
{
        struct caller caller = {};

        world_ask(world, &caller, wish);
        assert_waits(&caller);
        world_finish(world, NULL, ENDING_TOKEN);
        assert_token(&caller, world->serial);
}

/* Three clients, two subjects of two kinds, two scopes; what is purged is compared with what the
 * filter says, entry by entry. */
static void just_what_matches_all_that_is_said_is_purged(void **state)
{
        static const enum subject_kind kinds[] = {SUBJECT_USERNAME, SUBJECT_USERID};
        static const char *const names[] = {"anna", "bert"};
        static const char *const scopes[] = {"read", "read write"};

        (void)state;
        for (unsigned int said = 0; said < 8; said++) {
                const struct filter filter = {
                        .by_client = said & 1,
                        .identity = 12, /* mobile */
                        .by_subject = said & 2,
                        .subject_kind = SUBJECT_USERID,
                        .subject = TEXT("anna"),
                        .scope = said & 4 ? TEXT("write")
                                          : (struct text){}, /* of those that have it */
                };
                struct purge purge;
                struct world world;
                uint64_t n_purged = 0;

                begin(&world);
                for (unsigned int i = 0; i < 3 * 2 * 2 * 2; i++)
                        prime_wish(&world, (struct wish){.client = i % 3,
                                                         .kind = kinds[i / 3 % 2],
                                                         .subject = TEXT(names[i / 6 % 2]),
                                                         .scope = scopes[i / 12]});
                assert_true(world_purge(&world, &filter, &purge));
                assert_true(walk(&world) > 60);
                for (unsigned int i = 0; i < 3 * 2 * 2 * 2; i++) {
                        struct caller caller = {};
                        const bool purged = (!(said & 1) || i % 3 == CLIENT_MOBILE) &&
                                            (!(said & 2) || (i / 3 % 2 == 1 && i / 6 % 2 == 0)) &&
                                            (!(said & 4) || i / 12 == 1);

                        n_purged += purged;
                        world_ask(&world, &caller,
                                  (struct wish){.client = i % 3,
                                                .kind = kinds[i / 3 % 2],
                                                .subject = TEXT(names[i / 6 % 2]),
                                                .scope = scopes[i / 12]});
                        if (purged)
                                assert_waits(&caller);
                        else
                                assert_hit(&caller, i + 1);
                        if (caller.waits)
                                world_finish(&world, NULL, ENDING_TOKEN);
                }
                assert_int_equal(purge.n_purged, n_purged);
                assert_int_equal(world_counters(&world).purged, n_purged);
                assert_int_equal(world_counters(&world).cache.removed, n_purged);
                world_end(&world);
        }
}

/* However long the walk: by whoever asks, by who looks on, by the list. */
static void what_is_purged_is_gone_at_once(void **state)
{
        const struct filter anna = {.by_subject = true, .subject = TEXT("anna")};
        static struct page page;
        struct caller caller = {};
        struct purge purge;
        struct world world;

        (void)state;
        begin(&world);
        (void)world_prime(&world, "anna", 3600);
        (void)world_prime(&world, "bert", 3600);
        assert_true(world_purge(&world, &anna, &purge));
        assert_int_equal(world_counters(&world).entries, 2);
        assert_false(world_explain(&world, "anna").present);
        assert_true(world_explain(&world, "bert").present);
        for (uint64_t after = 0, n = 0; n == 0 || after > 0; n++) {
                broker_list(world.broker, &everything, after, 0, world.now_ms, &page);
                for (size_t i = 0; i < page.n; i++)
                        assert_true(text_equal(page.entries[i].subject, TEXT("bert")));
                after = page.next;
        }
        assert_int_equal(world_counters(&world).purged, 0); /* looking on counts nothing */
        world_ask_user(&world, &caller, "anna");
        assert_waits(&caller);
        assert_int_equal(purge.n_purged, 1);
        assert_int_equal(world_counters(&world).entries, 1);
        assert_int_equal(world.n_purging, 1);
        world_finish(&world, NULL, ENDING_TOKEN); /* in the same millisecond */
        assert_token(&caller, 3);
        assert_true(walk(&world) > 60);
        assert_ptr_equal(world.last_purge, &purge);
        assert_int_equal(purge.n_purged, 1);
        world_ask_user(&world, &caller, "anna"); /* what came afterwards stays */
        assert_hit(&caller, 3);
        world_ask_user(&world, &caller, "bert");
        assert_hit(&caller, 2);
        world_end(&world);
}

static void what_is_purged_serves_nobody_who_waits_and_is_not_renewed(void **state)
{
        struct caller waiting = {}, caller = {};
        struct purge purge;
        struct world world;

        (void)state;
        begin(&world);
        (void)world_prime(&world, "anna", 100);
        (void)world_prime(&world, "due", 1000);
        world_ask_user(&world, &caller, "due");
        world_advance(&world, 95 * SECONDS);
        world_ask_user(&world, &waiting, "anna"); /* could have the old one in 2 s */
        assert_waits(&waiting);
        world.busy = true;
        world_advance(&world, 1 * SECONDS);
        assert_true(world_purge(&world, &everything, &purge));
        assert_int_equal(world_counters(&world).limits.detached, 1);
        broker_tick(world.broker, world.now_ms + 1 * SECONDS, world_wall_ms(&world) + 1000);
        broker_tick(world.broker, world.now_ms + 650 * SECONDS, world_wall_ms(&world) + 650000);
        assert_int_equal(world_counters(&world).refreshes, 0);
        world.now_ms += 650 * SECONDS;
        world.late = true;
        world.busy = false;
        (void)walk(&world);
        assert_reason(&waiting, REASON_REQUEST_TIMEOUT);
        assert_int_equal(world_counters(&world).served_old, 0);
        world_end(&world);
}

static void a_fetch_that_runs_answers_those_who_wait_and_leaves_nothing(void **state)
{
        static const enum ending endings[] = {ENDING_TOKEN, ENDING_SUBJECT_REFUSED, ENDING_REDIRECT,
                                              ENDING_CLIENT_UNAUTHORIZED};

        (void)state;
        for (size_t i = 0; i < sizeof(endings) / sizeof(endings[0]); i++) {
                for (int order = 0; order < 2; order++) {
                        struct caller before[2] = {}, after[2] = {}, caller = {};
                        struct fetch *old, *new;
                        struct purge purge;
                        struct world world;

                        begin(&world);
                        world_ask_user(&world, &before[0], "anna");
                        world_ask_user(&world, &before[1], "anna");
                        assert_true(world_purge(&world, &everything, &purge));
                        old = world_oldest(&world);
                        assert_true(old->flight->detached);
                        for (int k = 0; k < 2; k++) {
                                world_ask_user(&world, &after[k], "anna"); /* joins no more */
                                assert_waits(&after[k]);
                        }
                        assert_int_equal(world.n_fetches, 2);
                        assert_int_equal(world_counters(&world).flights, 2);
                        new = list_entry(old->link.next, struct fetch, link);
                        if (order == 0)
                                world_finish(&world, old, endings[i]);
                        else
                                world_finish(&world, new, ENDING_TOKEN);
                        for (int k = 0; k < 2; k++) {
                                if (order == 1)
                                        assert_token(&after[k], 1);
                                else if (endings[i] == ENDING_TOKEN)
                                        assert_token(&before[k], 1);
                                else
                                        assert_reason(&before[k], ending_reason(endings[i]));
                        }
                        if (order == 0) {
                                assert_int_equal(world_counters(&world).entries, 0);
                                assert_int_equal(world_counters(&world).memories, 0);
                        }
                        world_ask_user(&world, &caller, "anna");
                        if (order == 0)
                                assert_waits(&caller);
                        else
                                assert_hit(&caller, 1);
                        if (order == 0)
                                world_finish(&world, new, ENDING_TOKEN);
                        else
                                world_finish(&world, old, endings[i]);
                        assert_false(before[0].waits || before[1].waits || after[0].waits ||
                                     after[1].waits || caller.waits);
                        world_ask_user(&world, &caller, "anna"); /* the new one's */
                        assert_hit(&caller,
                                   order == 1 ? 1 : (uint64_t)1 + (endings[i] == ENDING_TOKEN));
                        assert_int_equal(before[0].n_replies + before[1].n_replies, 2);
                        (void)walk(&world);
                        assert_int_equal(purge.n_purged, 0);
                        world_ask_user(&world, &caller, "anna");
                        assert_hit(&caller, world.serial > 1 && order == 0 ? 2 : 1);
                        world_end(&world);
                }
        }
}

static void a_detached_fetch_is_tried_again_for_those_who_wait(void **state)
{
        struct caller caller = {}, other = {};
        struct purge purge;
        struct world world;

        (void)state;
        begin(&world);
        world_ask_user(&world, &caller, "anna");
        assert_true(world_purge(&world, &everything, &purge));
        world_finish(&world, NULL, ENDING_ERROR);
        assert_waits(&caller);
        world_advance(&world, 700);
        assert_int_equal(world.n_fetches, 1);
        world_ask_user(&world, &other, "anna");
        assert_int_equal(world.n_fetches, 2);
        world_finish(&world, NULL, ENDING_TOKEN);
        assert_token(&caller, 1);
        assert_waits(&other);
        assert_int_equal(world_counters(&world).entries, 0);
        world_end(&world);
}

static void queued_flights_go_on_and_what_they_bring_stays(void **state)
{
        struct caller running = {}, queued = {}, caller = {};
        struct purge purge;
        struct world world;

        (void)state;
        world_init(&world);
        world.settings.max_entries = MANY_BUCKETS;
        world.settings.max_in_flight = 1;
        world_start(&world);
        (void)world_prime(&world, "anna", 100);
        world_advance(&world, 95 * SECONDS);
        world_ask_user(&world, &running, "busy");
        world_ask_user(&world, &queued, "anna"); /* where an old token is */
        assert_true(world_purge(&world, &everything, &purge));
        assert_int_equal(purge.n_purged, 1); /* counted though it will be replaced */
        world_finish(&world, NULL, ENDING_TOKEN);
        assert_token(&running, 2);
        world_finish(&world, NULL, ENDING_TOKEN); /* still in the same millisecond */
        assert_token(&queued, 3);
        assert_int_equal(world_counters(&world).entries, 1);
        (void)walk(&world);
        assert_int_equal(purge.n_purged, 1);
        world_ask_user(&world, &caller, "anna");
        assert_hit(&caller, 3);
        world_ask_user(&world, &caller, "busy");
        assert_waits(&caller);
        world_end(&world);
}

/* A renewal that queues has nothing to renew any more. */
static void a_queued_renewal_of_what_is_purged_is_dropped(void **state)
{
        struct caller callers[3] = {};
        struct purge purge;
        struct world world;

        (void)state;
        world_init(&world);
        world.settings.max_entries = MANY_BUCKETS;
        world.settings.max_in_flight = 1;
        world_start(&world);
        (void)world_prime(&world, "anna", 3600);
        world_ask_user(&world, &callers[0], "anna");
        world_advance(&world, 2790 * SECONDS);
        world_ask_user(&world, &callers[1], "busy");
        world_oldest(&world)->ends_at_ms = world.now_ms + 300 * SECONDS;
        world_advance(&world, 170 * SECONDS);
        assert_int_equal(world_counters(&world).refreshes, 1);
        assert_int_equal(world_counters(&world).flights, 2);
        assert_true(world_purge(&world, &everything, &purge));
        world_finish(&world, NULL, ENDING_TOKEN);
        assert_int_equal(world_counters(&world).dropped, 1);
        assert_int_equal(world_counters(&world).flights, 0);
        (void)walk(&world);
        assert_int_equal(purge.n_purged, 1);
        assert_int_equal(world_counters(&world).entries, 0);
        world_end(&world);
}

/* It would have to wait for turns that do not come. */
static void nothing_is_purged_while_the_daemon_stops(void **state)
{
        struct purge purge;
        struct world world;

        (void)state;
        begin(&world);
        broker_drain(world.broker, world.now_ms);
        assert_int_equal(broker_purge(world.broker, &everything, world.now_ms, &purge),
                         REASON_SHUTTING_DOWN);
        assert_true(broker_is_idle(world.broker));
        world_end(&world);
}

static void what_is_remembered_of_what_is_purged_is_forgotten(void **state)
{
        (void)state;
        for (int single = 0; single < 2; single++) {
                const struct filter anna = {.by_subject = true, .subject = TEXT("anna")};
                const struct filter one = {.by_client = true,
                                           .identity = 11,
                                           .by_subject = true,
                                           .subject = TEXT("anna"),
                                           .scope = TEXT(DEFAULT_SCOPE)};
                struct caller caller = {};
                struct purge purge;
                struct world world;

                begin(&world);
                for (int i = 0; i < 2; i++) {
                        world_ask_user(&world, &caller, i ? "bert" : "anna");
                        world_finish(&world, NULL, ENDING_SUBJECT_REFUSED);
                        assert_reason(&caller, REASON_SUBJECT_REFUSED);
                }
                assert_int_equal(world_purge(&world, single ? &one : &anna, &purge), true);
                (void)walk(&world);
                assert_int_equal(purge.n_purged, 0);
                world_ask_user(&world, &caller, "bert");
                assert_reason(&caller, REASON_SUBJECT_REFUSED);
                world_ask_user(&world, &caller, "anna");
                assert_waits(&caller);
                world_end(&world);
        }
}

/* Entries that a look-up drops on the way, those that run out, and those of several purges. */
static void the_count_is_of_what_a_purge_took_out(void **state)
{
        enum { N = 300 };
        struct filter filters[2] = {{}, {.by_client = true, .identity = 11}};
        struct purge purges[2];
        struct caller caller = {};
        struct world world;
        char name[16];

        (void)state;
        begin(&world);
        for (int i = 0; i < N; i++) {
                (void)snprintf(name, sizeof(name), "s%d", i);
                (void)world_prime(&world, name, 3600);
        }
        for (int i = 0; i < 2; i++)
                assert_true(world_purge(&world, &filters[i], &purges[i]));
        for (int i = 0; i < N; i += 3) {
                (void)snprintf(name, sizeof(name), "s%d", i);
                world_ask_user(&world, &caller, name);
                assert_waits(&caller);
                world_finish(&world, NULL, ENDING_TOKEN);
                assert_token(&caller, world.serial);
                if (i % 2)
                        world_turn(&world);
        }
        (void)walk(&world);
        assert_int_equal(purges[0].n_purged + purges[1].n_purged, N);
        assert_int_equal(world_counters(&world).purged, N);
        assert_int_equal(world_counters(&world).entries, N / 3);
        world_end(&world);
}

/* Twice while it walks, over many turns: nothing is left, and nothing that came since is taken. */
static void a_purge_is_complete_though_the_table_grows_meanwhile(void **state)
{
        enum { N = 600 };

        (void)state;
        for (unsigned int n_turns = 0; n_turns < 64; n_turns += 9) {
                struct caller caller = {};
                struct purge purge;
                struct world world;
                size_t n_anew = 0;
                char name[16];

                begin(&world);
                for (int i = 0; i < N; i++) {
                        (void)snprintf(name, sizeof(name), "s%d", i);
                        (void)world_prime(&world, name, 3600);
                }
                assert_true(world_purge(&world, &everything, &purge));
                for (unsigned int i = 0; i < n_turns; i++)
                        world_turn(&world);
                for (int i = 0; world.n_purging > 0; i++) {
                        if (i == 0 || i == 20) {
                                world.settings.max_entries *= 4;
                                world_reconfigure(&world);
                        }
                        if (i < N && i % 2) {
                                (void)snprintf(name, sizeof(name), "s%d", i);
                                world_ask_user(&world, &caller, name);
                                assert_waits(&caller);
                                world_finish(&world, NULL, ENDING_TOKEN);
                                n_anew++;
                        }
                        world_turn(&world);
                }
                assert_int_equal(purge.n_purged, N);
                assert_int_equal(world_counters(&world).entries, n_anew);
                world_end(&world);
        }
}

/* As in a daemon that was started so: a turn does not look at all that there is. */
static void a_purge_takes_many_turns_also_where_the_table_was_small_once(void **state)
{
        enum { N = 3000 };
        struct purge purge;
        struct world world;
        char name[16];

        (void)state;
        world_init(&world);
        world.settings.max_entries = 1;
        world.settings.max_memory_bytes = 1 << 24;
        world_start(&world);
        world.settings.max_entries = MANY_BUCKETS;
        world_reconfigure(&world);
        for (int i = 0; i < N; i++) {
                (void)snprintf(name, sizeof(name), "s%d", i);
                (void)world_prime(&world, name, 3600);
        }
        assert_true(world_purge(&world, &everything, &purge));
        world_turn(&world);
        assert_in_range(purge.n_purged, 0, N / 20);
        assert_true(walk(&world) > 60);
        assert_int_equal(purge.n_purged, N);
        world_end(&world);
}

static void purges_up_to_the_limit_are_under_way_and_one_more_is_turned_away(void **state)
{
        struct purge purges[9];
        struct caller caller = {};
        struct world world;

        (void)state;
        begin(&world);
        for (int i = 0; i < 8; i++)
                assert_true(world_purge(&world, &everything, &purges[i]));
        (void)world_prime(&world, "anna", 3600);
        assert_int_equal(world_counters(&world).purges_full, 0);
        assert_int_equal(broker_purge(world.broker, &everything, world.now_ms, &purges[8]),
                         REASON_PURGES_FULL);
        assert_int_equal(world_counters(&world).purges_full, 1);
        world_ask_user(&world, &caller, "anna"); /* what was turned away purges nothing */
        assert_hit(&caller, 1);
        while (world.n_purging == 8)
                world_turn(&world);
        assert_ptr_equal(world.last_purge, &purges[0]);
        assert_true(world_purge(&world, &everything, &purges[8]));
        world_ask_user(&world, &caller, "anna");
        assert_waits(&caller);
        (void)walk(&world);
        assert_ptr_equal(world.last_purge, &purges[8]);
        assert_int_equal(purges[8].n_purged, 1);
        world_end(&world);
}

static void an_abort_ends_the_purges_under_way(void **state)
{
        struct purge purges[2];
        struct caller caller = {};
        struct world world;

        (void)state;
        begin(&world);
        (void)world_prime(&world, "anna", 3600);
        world_ask_user(&world, &caller, "bert");
        for (int i = 0; i < 2; i++)
                assert_true(world_purge(&world, &everything, &purges[i]));
        assert_false(broker_is_idle(world.broker));
        world_abort(&world);
        assert_reason(&caller, REASON_SHUTTING_DOWN);
        assert_int_equal(world.n_purging, 0);
        assert_int_equal(purges[0].n_purged, 1);
        assert_int_equal(world_counters(&world).entries, 0);
        assert_true(broker_is_idle(world.broker));
        world_end(&world);
}

static void a_filter_is_made_of_what_a_request_says(void **state)
{
        struct token_request request;
        struct filter filter;
        struct world world;
        char form[] = "client_id=0002-mobile&subject_email=a%40b&scope=b+a";

        (void)state;
        world_init(&world);
        world_start(&world);
        request_init(&request);
        assert_int_equal(broker_filter(world.broker, &request, &filter), 0);
        assert_false(filter.by_client || filter.by_subject || filter.scope.size > 0);
        assert_int_equal(request_parse(&request, form, sizeof(form) - 1, REQUEST_FILTER), 0);
        assert_int_equal(broker_filter(world.broker, &request, &filter), 0);
        assert_true(filter.by_client && filter.by_subject);
        assert_int_equal(filter.identity, 12);
        assert_int_equal(filter.subject_kind, SUBJECT_EMAIL);
        assert_true(text_equal(filter.subject, TEXT("a@b")));
        assert_true(text_equal(filter.scope, TEXT("a b")));
        request.client = TEXT("nobody");
        assert_int_equal(broker_filter(world.broker, &request, &filter), REASON_UNKNOWN_CLIENT);
        world_end(&world);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(just_what_matches_all_that_is_said_is_purged),
                cmocka_unit_test(what_is_purged_is_gone_at_once),
                cmocka_unit_test(what_is_purged_serves_nobody_who_waits_and_is_not_renewed),
                cmocka_unit_test(a_fetch_that_runs_answers_those_who_wait_and_leaves_nothing),
                cmocka_unit_test(a_detached_fetch_is_tried_again_for_those_who_wait),
                cmocka_unit_test(queued_flights_go_on_and_what_they_bring_stays),
                cmocka_unit_test(a_queued_renewal_of_what_is_purged_is_dropped),
                cmocka_unit_test(nothing_is_purged_while_the_daemon_stops),
                cmocka_unit_test(what_is_remembered_of_what_is_purged_is_forgotten),
                cmocka_unit_test(the_count_is_of_what_a_purge_took_out),
                cmocka_unit_test(a_purge_is_complete_though_the_table_grows_meanwhile),
                cmocka_unit_test(a_purge_takes_many_turns_also_where_the_table_was_small_once),
                cmocka_unit_test(purges_up_to_the_limit_are_under_way_and_one_more_is_turned_away),
                cmocka_unit_test(an_abort_ends_the_purges_under_way),
                cmocka_unit_test(a_filter_is_made_of_what_a_request_says),
        };

        return cmocka_run_group_tests_name("purge", tests, NULL, NULL);
}
