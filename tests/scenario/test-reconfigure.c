/* SPDX-License-Identifier: MIT */

/*
 * Another configuration while callers wait. That no token is of another client application or URL
 * than its caller asked for, and that nobody looks at what is gone, is checked by the world at
 * every reply.
 */

#include "rules.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "broker-private.h"

#define NEW_URL "https://issuer.example/V/token"

static char *const new_url = (char *)NEW_URL;

static struct wish wish_of(size_t client, const char *subject)
{
        return (struct wish){.client = client, .subject = TEXT(subject), .scope = "read"};
}

static void ask(struct world *world, struct caller *caller, size_t client, const char *subject)
{
        world_ask(world, caller, wish_of(client, subject));
}

static uint64_t prime(struct world *world, size_t client, const char *subject)
{
        struct caller caller = {};

        ask(world, &caller, client, subject);
        assert_waits(&caller);
        world_finish(world, NULL, ENDING_TOKEN);
        assert_token(&caller, world->serial);
        return world->serial;
}

static void begin(struct world *world)
{
        world_init(world);
        world_start(world);
}

/* The portal of another tenant, under the same name. */
static void move_portal(struct world *world)
{
        world->clients[CLIENT_PORTAL].identity += 100;
        world->clients[CLIENT_PORTAL].token_url[AUDIENCE_USER] = new_url;
        world_reconfigure(world);
}

static void sweep_to_the_end(struct world *world)
{
        for (int i = 0; world_sweeps(world); i++) {
                assert_true(i < 100);
                world_turn(world);
        }
}

static void nothing_happens_where_nothing_has_changed(void **state)
{
        struct caller waiting = {}, caller = {};
        struct world world;
        uint64_t serial;

        (void)state;
        begin(&world);
        serial = prime(&world, CLIENT_PORTAL, "anna");
        ask(&world, &waiting, CLIENT_PORTAL, "bert");
        world_reconfigure(&world);
        sweep_to_the_end(&world);
        assert_waits(&waiting);
        ask(&world, &caller, CLIENT_PORTAL, "anna");
        assert_hit(&caller, serial);
        world_finish(&world, NULL, ENDING_TOKEN);
        assert_token(&waiting, world.serial);
        ask(&world, &caller, CLIENT_PORTAL, "bert");
        assert_hit(&caller, world.serial);
        assert_int_equal(world_counters(&world).limits.detached, 0);
        world_end(&world);
}

static void a_client_that_is_added_is_served_at_once(void **state)
{
        struct caller caller = {};
        struct world world;

        (void)state;
        world_init(&world);
        world.settings.n_clients = CLIENT_DESK;
        world_start(&world);
        ask(&world, &caller, CLIENT_DESK, "anna");
        assert_reason(&caller, REASON_UNKNOWN_CLIENT);
        world.settings.n_clients = WORLD_CLIENTS_USUAL;
        world_reconfigure(&world);
        (void)prime(&world, CLIENT_DESK, "anna");
        world_end(&world);
}

static void what_belongs_to_a_removed_client_is_gone_even_if_it_comes_back(void **state)
{
        struct caller caller = {};
        struct world world;

        (void)state;
        begin(&world);
        (void)prime(&world, CLIENT_DESK, "anna");
        (void)prime(&world, CLIENT_PORTAL, "anna");
        world.settings.n_clients = CLIENT_DESK;
        world_reconfigure(&world);
        ask(&world, &caller, CLIENT_DESK, "anna");
        assert_reason(&caller, REASON_UNKNOWN_CLIENT);
        sweep_to_the_end(&world);
        assert_int_equal(world_counters(&world).entries, 1);
        world.settings.n_clients = WORLD_CLIENTS_USUAL;
        world.clients[CLIENT_DESK].identity += 100; /* none is given twice */
        world_reconfigure(&world);
        ask(&world, &caller, CLIENT_DESK, "anna");
        assert_waits(&caller);
        world_end(&world);
}

static void a_renamed_client_keeps_what_it_has(void **state)
{
        struct caller waiting = {}, caller = {};
        struct world world;
        uint64_t serial;

        (void)state;
        begin(&world);
        serial = prime(&world, CLIENT_PORTAL, "anna");
        ask(&world, &waiting, CLIENT_PORTAL, "bert");
        world.clients[CLIENT_PORTAL].name = (char *)"gate";
        world_reconfigure(&world);
        assert_waits(&waiting);
        ask(&world, &caller, CLIENT_PORTAL, "anna");
        assert_hit(&caller, serial);
        world_finish(&world, NULL, ENDING_TOKEN);
        assert_token(&waiting, world.serial);
        world_end(&world);
}

static void an_old_token_is_never_hit_by_another_identity_of_the_same_name(void **state)
{
        struct caller caller = {};
        struct world world;

        (void)state;
        begin(&world);
        (void)prime(&world, CLIENT_PORTAL, "anna");
        move_portal(&world);
        assert_true(world_sweeps(&world));
        ask(&world, &caller, CLIENT_PORTAL, "anna"); /* before the sweep has come there */
        assert_waits(&caller);
        assert_string_equal(world_oldest(&world)->url, NEW_URL);
        sweep_to_the_end(&world);
        assert_int_equal(world_counters(&world).entries, 0);
        world_finish(&world, NULL, ENDING_TOKEN);
        assert_token(&caller, 2);
        ask(&world, &caller, CLIENT_PORTAL, "anna");
        assert_hit(&caller, 2);
        world_end(&world);
}

static void what_was_not_sent_is_answered_and_what_was_is_detached(void **state)
{
        struct caller runs = {}, queues = {}, caller = {};
        struct world world;

        (void)state;
        world_init(&world);
        world.settings.max_in_flight = 1;
        world_start(&world);
        ask(&world, &runs, CLIENT_PORTAL, "anna");
        ask(&world, &queues, CLIENT_PORTAL, "bert");
        move_portal(&world);
        assert_reason(&queues, REASON_CLIENT_CHANGED);
        assert_waits(&runs);
        ask(&world, &caller, CLIENT_PORTAL, "anna"); /* nobody joins */
        assert_waits(&caller);
        assert_int_equal(world.n_fetches, 2);
        world_finish(&world, NULL, ENDING_TOKEN);
        assert_token(&runs, 1);
        assert_waits(&caller);
        assert_int_equal(world_counters(&world).entries, 0);
        world_finish(&world, NULL, ENDING_TOKEN);
        assert_token(&caller, 2);
        world_end(&world);
}

/* Whatever comes of a fetch of an identity that is gone, it is not tried again, and the client of
 * its name knows nothing of it. */
static void no_end_of_a_retired_fetch_is_remembered(void **state)
{
        (void)state;
        for (enum ending ending = 0; ending < _ENDING_N; ending++) {
                struct caller runs = {}, caller = {};
                struct world world;

                begin(&world);
                ask(&world, &runs, CLIENT_PORTAL, "anna");
                move_portal(&world);
                world_finish(&world, NULL, ending);
                assert_false(runs.waits);
                assert_int_equal(runs.reason, ending_reason(ending));
                world_advance(&world, 2 * SECONDS);
                assert_int_equal(world.n_fetches, 0);
                assert_int_equal(world_counters(&world).memories, 0);
                assert_int_equal(world_counters(&world).entries, 0);
                assert_int_equal(world.n_notes[NOTE_CLIENT_HELD], 0);
                ask(&world, &caller, CLIENT_PORTAL, "anna");
                assert_waits(&caller);
                world_end(&world);
        }
}

static void refused_secrets_of_a_retired_client_hold_nobody(void **state)
{
        struct caller waiting[2] = {}, caller = {};
        struct world world;

        (void)state;
        begin(&world);
        world.slow_files = true;
        ask(&world, &waiting[0], CLIENT_PORTAL, "anna");
        ask(&world, &waiting[1], CLIENT_PORTAL, "bert");
        world_finish(&world, NULL, ENDING_CREDENTIALS_REFUSED); /* waits for its secrets */
        assert_waits(&waiting[0]);
        assert_int_equal(world.n_reads, 1);
        move_portal(&world);
        assert_reason(&waiting[0], REASON_CLIENT_CHANGED);
        world_finish(&world, NULL, ENDING_CREDENTIALS_REFUSED);
        assert_reason(&waiting[1], REASON_CREDENTIALS_REFUSED);
        assert_int_equal(world.n_reads, 1);
        ask(&world, &caller, CLIENT_PORTAL, "anna");
        assert_waits(&caller);
        world_finish(&world, NULL, ENDING_TOKEN);
        assert_token(&caller, world.serial);
        world_end(&world);
}

static void the_reading_of_secrets_that_nobody_began_is_forgotten(void **state)
{
        struct caller waiting = {};
        struct world world;

        (void)state;
        begin(&world);
        ask(&world, &waiting, CLIENT_PORTAL, "anna");
        world.busy = true;
        world_finish(&world, NULL, ENDING_CREDENTIALS_REFUSED);
        move_portal(&world);
        world.busy = false;
        world_turn(&world);
        assert_int_equal(world.n_reads, 0);
        assert_reason(&waiting, REASON_CLIENT_CHANGED);
        world_end(&world);
}

static void a_retry_that_was_to_come_does_not(void **state)
{
        struct caller waiting = {};
        struct world world;

        (void)state;
        begin(&world);
        ask(&world, &waiting, CLIENT_PORTAL, "anna");
        world_finish(&world, NULL, ENDING_ERROR);
        assert_waits(&waiting);
        move_portal(&world);
        assert_reason(&waiting, REASON_CLIENT_CHANGED);
        world_advance(&world, 5 * SECONDS);
        assert_int_equal(world_counters(&world).fetches, 1);
        world_end(&world);
}

static void clients_that_swap_names_keep_their_callers_apart(void **state)
{
        struct caller portal = {}, desk = {}, caller = {};
        struct world world;
        char *name;

        (void)state;
        begin(&world);
        ask(&world, &portal, CLIENT_PORTAL, "anna");
        ask(&world, &desk, CLIENT_DESK, "anna");
        name = world.clients[CLIENT_PORTAL].name;
        world.clients[CLIENT_PORTAL].name = world.clients[CLIENT_DESK].name;
        world.clients[CLIENT_DESK].name = name;
        world_reconfigure(&world);
        assert_true(portal.waits && desk.waits);
        while (world.n_fetches > 0)
                world_finish(&world, NULL, ENDING_TOKEN);
        assert_token(&portal, 1);
        assert_token(&desk, 2);
        ask(&world, &caller, CLIENT_PORTAL, "anna");
        assert_hit(&caller, 1);
        ask(&world, &caller, CLIENT_DESK, "anna");
        assert_hit(&caller, 2);
        world_end(&world);
}

/* A rule names the portal, and means whoever bears the name. */
static void who_waits_is_judged_for_what_it_waits_for(void **state)
{
        static size_t first_only[] = {0};
        struct rule rules[] = {rule_for("crm", UID_CRM)};
        struct caller portal = {};
        struct world world;
        struct client_settings first;

        (void)state;
        rules[0].clients = first_only;
        rules[0].n_clients = 1;
        world_init(&world);
        world_begin_with(&world, rules, 1);
        world_ask_as(&world, &portal, UID_CRM, "anna");
        assert_waits(&portal);
        /* Its place and its name are another's now. */
        first = world.clients[0];
        world.clients[0] = world.clients[CLIENT_DESK];
        world.clients[CLIENT_DESK] = first;
        world.clients[CLIENT_DESK].name = world.clients[0].name;
        world.clients[0].name = first.name;
        world_reconfigure(&world);
        assert_reason(&portal, REASON_CLIENT_NOT_PERMITTED);
        world_end(&world);
}

static void who_waits_for_a_default_scope_gets_the_one_of_its_time(void **state)
{
        struct caller waiting = {}, caller = {};
        struct world world;

        (void)state;
        begin(&world);
        world_ask_user(&world, &waiting, "anna");
        world.clients[CLIENT_PORTAL].default_scope = (char *)"other.read";
        world_reconfigure(&world);
        assert_waits(&waiting);
        world_finish(&world, NULL, ENDING_TOKEN);
        assert_token(&waiting, 1);
        world_ask_user(&world, &caller, "anna");
        assert_waits(&caller);
        world.clients[CLIENT_PORTAL].default_scope = NULL;
        world_reconfigure(&world);
        assert_waits(&caller);
        world_finish(&world, NULL, ENDING_TOKEN);
        assert_token(&caller, 2);
        world_end(&world);
}

static void who_waits_for_a_client_that_goes_is_judged_again(void **state)
{
        struct caller runs = {}, queues = {}, lies = {};
        struct world world;

        (void)state;
        world_init(&world);
        world.settings.max_in_flight = 2;
        world_start(&world);
        ask(&world, &lies, CLIENT_DESK, "carl");
        ask(&world, &runs, CLIENT_DESK, "anna");
        ask(&world, &queues, CLIENT_DESK, "bert");
        world.busy = true;
        world_finish(&world, NULL, ENDING_TOKEN); /* the answer is there, and not fetched yet */
        world.settings.n_clients = CLIENT_DESK;
        world_reconfigure(&world);
        world.busy = false;
        world_turn(&world);
        assert_reason(&runs, REASON_UNKNOWN_CLIENT);
        assert_reason(&queues, REASON_UNKNOWN_CLIENT);
        assert_reason(&lies, REASON_UNKNOWN_CLIENT);
        assert_int_equal(world.n_fetches, 1);
        world_finish(&world, NULL, ENDING_TOKEN);
        sweep_to_the_end(&world);
        assert_int_equal(world_counters(&world).entries, 0);
        world_end(&world);
}

static void an_issuer_stays_while_one_of_its_clients_does(void **state)
{
        struct caller desk = {}, portal = {};
        struct world world;

        (void)state;
        world_init(&world);
        world.settings.max_in_flight = 1;
        world_start(&world);
        ask(&world, &desk, CLIENT_DESK, "anna");
        ask(&world, &portal, CLIENT_PORTAL, "anna"); /* queues behind it */
        assert_int_equal(world.n_fetches, 1);
        world.settings.n_clients = CLIENT_DESK;
        world_reconfigure(&world);
        assert_reason(&desk, REASON_UNKNOWN_CLIENT);
        assert_waits(&portal);
        assert_int_equal(world.n_fetches, 1);
        world_finish(&world, NULL, ENDING_TOKEN);
        assert_int_equal(world.n_fetches, 1);
        world_finish(&world, NULL, ENDING_TOKEN);
        assert_token(&portal, 2);
        world_end(&world);
}

static void what_is_known_of_a_url_survives(void **state)
{
        struct caller caller = {};
        struct fetch *fetch;
        struct world world;

        (void)state;
        begin(&world);
        ask(&world, &caller, CLIENT_PORTAL, "anna");
        fetch = world_oldest(&world);
        fetch->retry_after = "60";
        world_finish(&world, fetch, ENDING_THROTTLED);
        world.settings.n_clients = CLIENT_DESK; /* which shares the URL */
        world_reconfigure(&world);
        world_advance(&world, 1 * SECONDS);
        ask(&world, &caller, CLIENT_PORTAL, "bert");
        assert_reason_for(&caller, REASON_ISSUER_THROTTLES, 59);
        world_advance(&world, 60 * SECONDS);
        ask(&world, &caller, CLIENT_PORTAL, "bert");
        assert_waits(&caller);
        world_end(&world);
}

static void a_client_that_is_held_stays_so_until_its_secret_changes(void **state)
{
        struct caller caller = {};
        struct world world;

        (void)state;
        begin(&world);
        ask(&world, &caller, CLIENT_PORTAL, "anna");
        world_finish(&world, NULL, ENDING_CREDENTIALS_REFUSED);
        assert_reason(&caller, REASON_CREDENTIALS_REFUSED);
        world.clients[CLIENT_PORTAL].name = (char *)"gate";
        world_reconfigure(&world);
        ask(&world, &caller, CLIENT_PORTAL, "bert");
        assert_reason(&caller, REASON_CREDENTIALS_REFUSED);
        world.secrets[CLIENT_PORTAL][0] = "another";
        world_reconfigure(&world);
        ask(&world, &caller, CLIENT_PORTAL, "bert");
        assert_waits(&caller);
        world_end(&world);
}

static void a_note_names_what_is_there_or_is_not_given(void **state)
{
        (void)state;
        for (int gone = 0; gone < 2; gone++) {
                struct caller caller = {};
                struct world world;

                begin(&world);
                world.busy = true;
                ask(&world, &caller, CLIENT_PORTAL, "anna");
                world.busy = false;
                world_turn(&world);
                world.busy = true;
                world_oldest(&world)->retry_after = "60";
                world_finish(&world, NULL, ENDING_THROTTLED);
                if (gone)
                        move_portal(&world);
                world.clients[CLIENT_PORTAL].name = (char *)"gate";
                world_reconfigure(&world);
                world.busy = false;
                world_turn(&world);
                assert_int_equal(world.n_notes[NOTE_ISSUER_HOLDS], !gone);
                world_end(&world);
        }
}

static void what_a_rule_has_used_of_its_fetches_is_kept(void **state)
{
        struct rule rules[] = {rule_for("crm", UID_CRM)};
        struct caller caller = {};
        struct world world;

        (void)state;
        rules[0].fetches = (struct rate){1, 1 * HOURS};
        world_init(&world);
        world_begin_with(&world, rules, 1);
        world_ask_as(&world, &caller, UID_CRM, "anna");
        world_finish(&world, NULL, ENDING_TOKEN);
        world_reconfigure(&world);
        world_ask_as(&world, &caller, UID_CRM, "bert");
        assert_reason(&caller, REASON_FETCHES_SPENT);
        world_end(&world);
}

static void lowered_caps_of_the_cache_are_reached_in_small_steps(void **state)
{
        (void)state;
        for (int by_memory = 0; by_memory < 2; by_memory++) {
                struct caller caller = {};
                struct world world;
                uint64_t before;
                char name[16];

                world_init(&world);
                world.settings.max_entries = 1000;
                world_start(&world);
                for (int i = 0; i < 900; i++) {
                        (void)snprintf(name, sizeof(name), "user%d", i);
                        (void)prime(&world, CLIENT_PORTAL, name);
                }
                ask(&world, &caller, CLIENT_PORTAL, "late");
                if (by_memory)
                        world.settings.max_memory_bytes = 8000;
                else
                        world.settings.max_entries = 10;
                world_reconfigure(&world);
                world_finish(&world, NULL, ENDING_TOKEN); /* stored before the first tick */
                assert_token(&caller, world.serial);
                before = world_counters(&world).entries;
                assert_true(before > 600);
                for (int i = 0; broker_next_tick_ms(world.broker) <= world.now_ms; i++) {
                        world_turn(&world);
                        assert_true(before - world_counters(&world).entries <= 256);
                        before = world_counters(&world).entries;
                        assert_true(i < 20);
                }
                assert_true(before > 0);
                assert_true(by_memory ? world_counters(&world).memory_bytes <= 8000 : before <= 10);
                world.settings.max_memory_bytes = 1 << 20;
                world.settings.max_entries = 3000;
                world_reconfigure(&world);
                for (int i = 0; i < 2000; i++) {
                        (void)snprintf(name, sizeof(name), "more%d", i);
                        (void)prime(&world, CLIENT_PORTAL, name);
                }
                assert_true(world_counters(&world).entries >= 2000);
                world_end(&world);
        }
}

/* Nobody waits for it, and the loop turns until it is done. */
static void raised_limits_have_the_tables_grow_in_small_steps(void **state)
{
        (void)state;
        for (int which = 0; which < 3; which++) {
                struct caller caller = {};
                struct world world;
                uint64_t serial;
                int n_turns = 0;

                world_init(&world);
                world.settings.max_entries = world.settings.max_memories = 8192;
                world.settings.max_flights = 8192;
                world_start(&world);
                serial = prime(&world, CLIENT_PORTAL, "anna");
                ask(&world, &caller, CLIENT_PORTAL, "bert");
                assert_waits(&caller);
                if (which == 0)
                        world.settings.max_entries = 65536;
                else if (which == 1)
                        world.settings.max_memories = 65536;
                else
                        world.settings.max_flights = 65536;
                world_reconfigure(&world);
                for (; broker_is_growing(world.broker); n_turns++) {
                        struct caller other = {};

                        assert_int_equal(broker_next_tick_ms(world.broker), 0);
                        ask(&world, &other, CLIENT_PORTAL, "anna");
                        assert_hit(&other, serial);
                        world_turn(&world);
                }
                assert_in_range(n_turns, 6, 8);
                sweep_to_the_end(&world);
                world_turn(&world);
                assert_true(broker_next_tick_ms(world.broker) > world.now_ms);
                world_finish(&world, NULL, ENDING_TOKEN);
                assert_token(&caller, serial + 1);
                world_end(&world);
        }
}

static void who_is_in_stays_in_where_limits_are_lowered(void **state)
{
        struct caller callers[6] = {}, caller = {};
        struct world world;
        char name[16];

        (void)state;
        world_init(&world);
        world.settings.max_in_flight = 3;
        world_start(&world);
        for (int i = 0; i < 6; i++) {
                (void)snprintf(name, sizeof(name), "user%d", i);
                ask(&world, &callers[i], CLIENT_PORTAL, name);
        }
        assert_int_equal(world.n_fetches, 3);
        world.settings.max_waiters = 4;
        world.settings.max_flights = 5;
        world.settings.max_in_flight = 1;
        world.settings.max_in_flight_total = 1;
        world_reconfigure(&world);
        assert_int_equal(world.n_waiting, 6);
        ask(&world, &caller, CLIENT_PORTAL, "user0");
        assert_reason(&caller, REASON_WAITERS_FULL);
        world.settings.max_waiters = 100;
        world_reconfigure(&world);
        ask(&world, &caller, CLIENT_PORTAL, "new");
        assert_reason(&caller, REASON_FLIGHTS_FULL);
        for (int i = 0; i < 6; i++) {
                world_finish(&world, NULL, ENDING_TOKEN);
                assert_true(world.n_fetches <= (i < 1 ? 2 : 1));
        }
        assert_int_equal(world.n_waiting, 0);
        world.settings.max_flights = 100;
        world.settings.max_in_flight = 8;
        world.settings.max_in_flight_total = 16;
        world_reconfigure(&world);
        for (int i = 0; i < 6; i++) {
                (void)snprintf(name, sizeof(name), "next%d", i);
                ask(&world, &callers[i], CLIENT_PORTAL, name);
        }
        assert_int_equal(world.n_fetches, 6);
        world_end(&world);
}

static void raised_limits_start_who_queues(void **state)
{
        struct caller callers[2] = {};
        struct world world;

        (void)state;
        world_init(&world);
        world.settings.max_in_flight = 1;
        world_start(&world);
        ask(&world, &callers[0], CLIENT_PORTAL, "anna");
        ask(&world, &callers[1], CLIENT_PORTAL, "bert");
        assert_int_equal(world.n_fetches, 1);
        world.settings.max_in_flight = 2;
        world_reconfigure(&world);
        assert_int_equal(world.n_fetches, 2);
        world_end(&world);
}

static void a_sweep_takes_some_turns_and_ends_also_if_another_comes(void **state)
{
        struct caller caller = {};
        struct world world;
        int n = 0;

        (void)state;
        world_init(&world);
        world.settings.max_entries = 8192;
        world_start(&world);
        (void)prime(&world, CLIENT_PORTAL, "anna");
        (void)prime(&world, CLIENT_MOBILE, "anna");
        move_portal(&world);
        world_turn(&world);
        assert_true(world_sweeps(&world));
        world.settings.n_clients = CLIENT_MOBILE;
        world_reconfigure(&world);
        while (world_sweeps(&world)) {
                world_turn(&world);
                n++;
        }
        assert_true(n > 4 && n < 20);
        assert_int_equal(world_counters(&world).entries, 0);
        assert_int_equal(world_counters(&world).memories, 0);
        ask(&world, &caller, CLIENT_PORTAL, "anna");
        assert_waits(&caller);
        world_end(&world);
}

static void a_purge_under_way_goes_on(void **state)
{
        const struct filter everything = {};
        struct purge purge;
        struct world world;

        (void)state;
        world_init(&world);
        world.settings.max_entries = 8192;
        world_start(&world);
        (void)prime(&world, CLIENT_PORTAL, "anna");
        (void)prime(&world, CLIENT_MOBILE, "anna");
        assert_true(world_purge(&world, &everything, &purge));
        move_portal(&world);
        while (world.n_purging > 0)
                world_turn(&world);
        assert_int_equal(purge.n_purged, 2);
        sweep_to_the_end(&world);
        world_end(&world);
}

static void while_shutting_down_a_reload_begins_nothing(void **state)
{
        struct caller runs = {}, caller = {};
        struct world world;
        uint64_t serial;

        (void)state;
        begin(&world);
        serial = prime(&world, CLIENT_MOBILE, "anna");
        ask(&world, &runs, CLIENT_PORTAL, "anna");
        broker_drain(world.broker, world.now_ms);
        move_portal(&world);
        assert_waits(&runs);
        ask(&world, &caller, CLIENT_MOBILE, "anna");
        assert_hit(&caller, serial);
        ask(&world, &caller, CLIENT_PORTAL, "bert");
        assert_reason(&caller, REASON_SHUTTING_DOWN);
        world_finish(&world, NULL, ENDING_TOKEN);
        assert_token(&runs, world.serial);
        sweep_to_the_end(&world);
        assert_true(broker_is_idle(world.broker));
        world_end(&world);
}

static void a_broker_can_be_given_up_with_retired_fetches_under_way(void **state)
{
        struct caller runs[3] = {};
        struct world world;

        (void)state;
        begin(&world);
        for (int i = 0; i < 3; i++) {
                ask(&world, &runs[i], CLIENT_PORTAL, "anna");
                move_portal(&world);
        }
        assert_int_equal(world.n_fetches, 3);
        world_abort(&world);
        for (int i = 0; i < 3; i++)
                assert_reason(&runs[i], REASON_SHUTTING_DOWN);
        world_end(&world);
}

static void no_client_at_all_is_a_configuration_too(void **state)
{
        struct caller runs = {};
        struct world world;

        (void)state;
        begin(&world);
        (void)prime(&world, CLIENT_MOBILE, "anna");
        ask(&world, &runs, CLIENT_PORTAL, "anna");
        world.settings.n_clients = 0;
        world_reconfigure(&world);
        assert_reason(&runs, REASON_UNKNOWN_CLIENT);
        world_finish(&world, NULL, ENDING_TOKEN);
        sweep_to_the_end(&world);
        assert_int_equal(world_counters(&world).entries, 0);
        world_end(&world);
}

/* Whoever has an old token to fall back on is not given it when that belongs to another tenant. */
static void a_stopgap_of_an_identity_that_is_gone_is_not_handed_out(void **state)
{
        struct caller runs = {}, queues = {};
        struct world world;

        (void)state;
        world_init(&world);
        world.settings.max_in_flight = 1;
        world_start(&world);
        for (int i = 0; i < 2; i++) {
                ask(&world, &runs, CLIENT_PORTAL, i ? "anna" : "bert");
                world_oldest(&world)->lifetime_s = 200;
                world_finish(&world, NULL, ENDING_TOKEN);
        }
        world_advance(&world, 190 * SECONDS); /* its refresh runs */
        while (world.n_fetches > 0)
                world_finish(&world, NULL, ENDING_REDIRECT);
        world_ask(&world, &runs,
                  (struct wish){.subject = TEXT("anna"), .scope = "read", .min_ttl_s = 100});
        world_ask(&world, &queues,
                  (struct wish){.subject = TEXT("bert"), .scope = "read", .min_ttl_s = 100});
        if (runs.waits && queues.waits) {
                move_portal(&world);
                assert_reason(&queues, REASON_CLIENT_CHANGED);
                world_finish(&world, NULL, ENDING_ERROR);
                assert_reason(&runs, REASON_ISSUER_ERROR);
        } else {
                fail_msg("they do not wait");
        }
        world_end(&world);
}

/* A refresh that nobody waits for, of a client that is gone. */
static void a_broker_may_end_with_a_retired_fetch_under_way(void **state)
{
        struct caller caller = {};
        struct world world;

        (void)state;
        begin(&world);
        (void)world_prime(&world, "anna", 3600);
        world_advance(&world, 3000 * SECONDS);
        world_ask_user(&world, &caller, "anna");
        assert_hit(&caller, world.serial);
        assert_int_equal(world.n_fetches, 1);
        move_portal(&world);
        sweep_to_the_end(&world);
        assert_int_equal(world.n_fetches, 1);
        world_drop(&world);
        while (world.n_fetches > 0) { /* nobody will ask for its end any more */
                struct fetch *fetch = world_oldest(&world);

                list_unlink(&fetch->link);
                secret_deinit(&fetch->form);
                world.n_fetches--;
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(nothing_happens_where_nothing_has_changed),
                cmocka_unit_test(a_client_that_is_added_is_served_at_once),
                cmocka_unit_test(what_belongs_to_a_removed_client_is_gone_even_if_it_comes_back),
                cmocka_unit_test(a_renamed_client_keeps_what_it_has),
                cmocka_unit_test(an_old_token_is_never_hit_by_another_identity_of_the_same_name),
                cmocka_unit_test(what_was_not_sent_is_answered_and_what_was_is_detached),
                cmocka_unit_test(no_end_of_a_retired_fetch_is_remembered),
                cmocka_unit_test(refused_secrets_of_a_retired_client_hold_nobody),
                cmocka_unit_test(the_reading_of_secrets_that_nobody_began_is_forgotten),
                cmocka_unit_test(a_retry_that_was_to_come_does_not),
                cmocka_unit_test(clients_that_swap_names_keep_their_callers_apart),
                cmocka_unit_test(who_waits_is_judged_for_what_it_waits_for),
                cmocka_unit_test(who_waits_for_a_default_scope_gets_the_one_of_its_time),
                cmocka_unit_test(who_waits_for_a_client_that_goes_is_judged_again),
                cmocka_unit_test(an_issuer_stays_while_one_of_its_clients_does),
                cmocka_unit_test(what_is_known_of_a_url_survives),
                cmocka_unit_test(a_client_that_is_held_stays_so_until_its_secret_changes),
                cmocka_unit_test(a_note_names_what_is_there_or_is_not_given),
                cmocka_unit_test(what_a_rule_has_used_of_its_fetches_is_kept),
                cmocka_unit_test(lowered_caps_of_the_cache_are_reached_in_small_steps),
                cmocka_unit_test(raised_limits_have_the_tables_grow_in_small_steps),
                cmocka_unit_test(who_is_in_stays_in_where_limits_are_lowered),
                cmocka_unit_test(raised_limits_start_who_queues),
                cmocka_unit_test(a_sweep_takes_some_turns_and_ends_also_if_another_comes),
                cmocka_unit_test(a_purge_under_way_goes_on),
                cmocka_unit_test(while_shutting_down_a_reload_begins_nothing),
                cmocka_unit_test(a_broker_can_be_given_up_with_retired_fetches_under_way),
                cmocka_unit_test(no_client_at_all_is_a_configuration_too),
                cmocka_unit_test(a_stopgap_of_an_identity_that_is_gone_is_not_handed_out),
                cmocka_unit_test(a_broker_may_end_with_a_retired_fetch_under_way),
        };

        return cmocka_run_group_tests_name("reconfigure", tests, NULL, NULL);
}
