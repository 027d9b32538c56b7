/* SPDX-License-Identifier: MIT */

/*
 * Our credentials are refused: secrets rotate under us, and nobody's hand is needed; where
 * none works the client application is held, and nobody else.
 */

#include "world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

/* What the issuer accepts of the portal; NULL: nothing. */
struct lock {
        const char *accepted;
        unsigned int n_refused;
};

static void check_secret(struct world *world, struct fetch *fetch)
{
        struct lock *lock = world->script_data;
        const bool portal = text_equal(fetch->matter.client_id,
                                       TEXT(world->clients[CLIENT_PORTAL].client_id));

        fetch->ending = ENDING_TOKEN;
        if (portal &&
            (!lock->accepted || !text_equal(fetch->client_secret, TEXT(lock->accepted)))) {
                fetch->ending = ENDING_CREDENTIALS_REFUSED;
                lock->n_refused++;
        }
        fetch->ends_at_ms = world->now_ms + 100;
}

static void start(struct world *world, struct lock *lock)
{
        *lock = (struct lock){.accepted = "old"};
        world_init(world);
        world->secrets[CLIENT_PORTAL][0] = "old";
        world->script = check_secret;
        world->script_data = lock;
        world_start(world);
}

static void ask_and_wait(struct world *world, struct caller *caller, const char *username)
{
        world_ask_user(world, caller, username);
        world_advance(world, 1 * SECONDS);
        assert_false(caller->waits);
}

static void a_secret_changed_in_its_file_is_read_again_and_nobody_notices(void **state)
{
        static const char *const names[] = {"a", "b", "c", "d", "e", "f", "g", "h"};
        struct caller callers[8] = {};
        struct world world;
        struct lock lock;

        (void)state;
        start(&world, &lock);
        ask_and_wait(&world, &callers[0], "before");
        assert_token(&callers[0], 1);

        lock.accepted = "new";
        world.secrets[CLIENT_PORTAL][0] = "new";
        for (int i = 0; i < 8; i++)
                world_ask_user(&world, &callers[i], names[i]);
        world_advance(&world, 1 * SECONDS);
        for (int i = 0; i < 8; i++)
                assert_token(&callers[i], (uint64_t)i + 2);
        assert_int_equal(world.n_reads, 1);
        assert_int_equal(lock.n_refused, 8); /* those under way at the time */
        assert_int_equal(world.n_notes[NOTE_CLIENT_HELD], 0);
        ask_and_wait(&world, &callers[0], "after");
        assert_int_equal(lock.n_refused, 8);
        world_end(&world);
}

static void the_next_secret_is_tried_and_stays_first(void **state)
{
        struct caller caller = {};
        struct world world;
        struct lock lock;

        (void)state;
        start(&world, &lock);
        world.secrets[CLIENT_PORTAL][1] = "next";
        assert_true(world_read_secrets(&world, CLIENT_PORTAL));
        ask_and_wait(&world, &caller, "a");
        assert_token(&caller, 1);
        assert_int_equal(lock.n_refused, 0);

        lock.accepted = "next";
        ask_and_wait(&world, &caller, "b");
        assert_token(&caller, 2);
        assert_int_equal(lock.n_refused, 1);
        for (int i = 0; i < 5; i++) {
                char name[16];

                (void)snprintf(name, sizeof(name), "s%d", i);
                ask_and_wait(&world, &caller, name);
                assert_token(&caller, (uint64_t)i + 3);
        }
        assert_int_equal(lock.n_refused, 1);
        /* The files say the same: nothing changes. */
        assert_false(world_read_secrets(&world, CLIENT_PORTAL));
        ask_and_wait(&world, &caller, "z");
        assert_int_equal(lock.n_refused, 1);

        /* And back, should the issuer want that. */
        lock.accepted = "old";
        ask_and_wait(&world, &caller, "y");
        assert_token(&caller, 9);
        assert_int_equal(lock.n_refused, 2);
        world_end(&world);
}

static void a_file_changed_without_a_refusal_is_used_from_then_on(void **state)
{
        struct caller caller = {};
        struct world world;
        struct lock lock;

        (void)state;
        start(&world, &lock);
        world.secrets[CLIENT_PORTAL][0] = "new";
        lock.accepted = "new";
        assert_true(world_read_secrets(&world, CLIENT_PORTAL));
        ask_and_wait(&world, &caller, "a");
        assert_token(&caller, 1);
        assert_int_equal(lock.n_refused, 0);
        world_end(&world);
}

static void each_secret_is_tried_once_and_then_the_client_is_held(void **state)
{
        struct caller caller = {};
        struct world world;
        struct lock lock;

        (void)state;
        start(&world, &lock);
        world.secrets[CLIENT_PORTAL][1] = "next";
        assert_true(world_read_secrets(&world, CLIENT_PORTAL));
        lock.accepted = NULL;
        ask_and_wait(&world, &caller, "a");
        assert_reason_for(&caller, REASON_CREDENTIALS_REFUSED, 30);
        assert_int_equal(lock.n_refused, 2);
        assert_int_equal(world.n_reads, 1);
        assert_int_equal(world.n_notes[NOTE_CLIENT_HELD], 1);
        assert_int_equal(world.last_note.for_ms, 30 * SECONDS);
        assert_string_equal(world.last_note.client, "portal");
        assert_int_equal(world_counters(&world).memories, 0); /* no subject is at fault */
        world_end(&world);
}

static void retries_leave_each_secret_its_try(void **state)
{
        struct caller caller = {};
        struct world world;

        (void)state;
        world_init(&world);
        world.secrets[CLIENT_PORTAL][0] = "old";
        world.secrets[CLIENT_PORTAL][1] = "good";
        world_start(&world);
        world_ask_user(&world, &caller, "a");
        for (int i = 0; i < 2; i++) {
                world_finish(&world, NULL, ENDING_ERROR);
                world_advance(&world, 600); /* the longest pause */
        }
        world.secrets[CLIENT_PORTAL][0] = "changed";
        world_finish(&world, NULL, ENDING_CREDENTIALS_REFUSED);
        assert_true(text_equal(world_oldest(&world)->client_secret, TEXT("changed")));
        world_finish(&world, NULL, ENDING_CREDENTIALS_REFUSED);
        assert_int_equal(world.n_fetches, 1);
        assert_true(text_equal(world_oldest(&world)->client_secret, TEXT("good")));
        world_finish(&world, NULL, ENDING_TOKEN);
        assert_token(&caller, 1);
        assert_int_equal(world.n_notes[NOTE_CLIENT_HELD], 0);
        world_end(&world);
}

static void held_thirty_seconds_doubling_to_five_minutes_with_one_probe_at_its_end(void **state)
{
        static const unsigned int steps_s[] = {30, 60, 120, 240, 300, 300};
        struct caller caller = {}, probe = {};
        struct world world;
        struct lock lock;

        (void)state;
        start(&world, &lock);
        lock.accepted = NULL;
        world_ask_user(&world, &probe, "first");
        world_advance(&world, 100);
        for (size_t i = 0; i < sizeof(steps_s) / sizeof(steps_s[0]); i++) {
                assert_reason_for(&probe, REASON_CREDENTIALS_REFUSED, steps_s[i]);
                assert_int_equal(lock.n_refused, i + 1);
                world_ask_user(&world, &caller, "a");
                assert_reason_for(&caller, REASON_CREDENTIALS_REFUSED, steps_s[i]);
                world_advance(&world, steps_s[i] * SECONDS - 1);
                world_ask_user(&world, &caller, "a");
                assert_reason_for(&caller, REASON_CREDENTIALS_REFUSED, 1);
                world_advance(&world, 1);
                world_ask_user(&world, &probe, "probe");
                assert_waits(&probe);
                world_ask_user(&world, &caller, "a");
                assert_reason(&caller, REASON_CREDENTIALS_REFUSED);
                assert_int_equal(world.n_fetches, 1);
                if (i + 1 == sizeof(steps_s) / sizeof(steps_s[0]))
                        lock.accepted = "old";
                if (lock.accepted)
                        world_oldest(&world)->ending = ENDING_TOKEN;
                world_advance(&world, 100);
        }
        assert_token(&probe, 1);
        assert_int_equal(world.last_note.kind, NOTE_CLIENT_WELL);
        ask_and_wait(&world, &caller, "a");
        assert_token(&caller, 2);
        world_end(&world);
}

static void a_probe_that_says_nothing_of_the_secret_leaves_that_to_the_next(void **state)
{
        struct caller probe = {}, caller = {};
        struct world world;
        struct lock lock;

        (void)state;
        start(&world, &lock);
        lock.accepted = NULL;
        ask_and_wait(&world, &caller, "x");
        assert_reason_for(&caller, REASON_CREDENTIALS_REFUSED, 30);
        world_advance(&world, 30 * SECONDS);
        world_ask_user(&world, &probe, "probe");
        assert_waits(&probe);
        world_finish(&world, NULL, ENDING_THROTTLED);
        assert_reason(&probe, REASON_ISSUER_THROTTLES);
        world_ask_user(&world, &caller, "a");
        assert_reason(&caller, REASON_ISSUER_THROTTLES); /* and not for its client's sake */
        world_advance(&world, 1 * SECONDS);
        lock.accepted = "old";
        ask_and_wait(&world, &caller, "b");
        assert_token(&caller, 1);
        world_end(&world);
}

static void held_a_and_b_are_served_and_c_is_told(void **state)
{
        struct caller caller = {};
        struct world world;
        struct lock lock;

        (void)state;
        start(&world, &lock);
        ask_and_wait(&world, &caller, "b");
        world_advance(&world, 3574 * SECONDS);
        ask_and_wait(&world, &caller, "a");
        lock.accepted = NULL;
        ask_and_wait(&world, &caller, "x");
        assert_reason(&caller, REASON_CREDENTIALS_REFUSED);
        world_ask_user(&world, &caller, "a");
        assert_hit(&caller, 2);
        world_ask_user(&world, &caller, "b");
        assert_old_token(&caller, 1, REASON_CREDENTIALS_REFUSED);
        assert_int_equal(caller.answered_at_ms, caller.asked_at_ms);
        world_ask_user(&world, &caller, "c");
        assert_reason_for(&caller, REASON_CREDENTIALS_REFUSED, 30);
        world_end(&world);
}

static void held_one_client_leaves_another_at_the_same_url_alone(void **state)
{
        struct caller caller = {};
        struct world world;
        struct lock lock;

        (void)state;
        start(&world, &lock);
        lock.accepted = NULL;
        ask_and_wait(&world, &caller, "a");
        assert_reason(&caller, REASON_CREDENTIALS_REFUSED);
        world_ask(&world, &caller, (struct wish){.client = CLIENT_DESK, .subject = TEXT("a")});
        world_advance(&world, 100);
        assert_token(&caller, 1);
        world_end(&world);
}

static void a_changed_secret_ends_the_hold_at_once(void **state)
{
        struct caller caller = {};
        struct world world;
        struct lock lock;

        (void)state;
        start(&world, &lock);
        lock.accepted = "new";
        ask_and_wait(&world, &caller, "a");
        assert_reason(&caller, REASON_CREDENTIALS_REFUSED);
        assert_false(world_read_secrets(&world, CLIENT_PORTAL)); /* still the same */
        ask_and_wait(&world, &caller, "a");
        assert_reason(&caller, REASON_CREDENTIALS_REFUSED);
        world.secrets[CLIENT_PORTAL][1] = "new";
        assert_true(world_read_secrets(&world, CLIENT_PORTAL));
        ask_and_wait(&world, &caller, "a");
        assert_token(&caller, 1);
        assert_int_equal(lock.n_refused, 1);
        world_end(&world);
}

static void who_queues_when_the_hold_comes_costs_no_request(void **state)
{
        static const char *const names[] = {"a", "b", "c", "d", "e"};
        struct caller callers[5] = {}, desk = {};
        struct world world;
        struct lock lock;

        (void)state;
        lock = (struct lock){};
        world_init(&world);
        world.settings.max_in_flight = 1;
        world.script = check_secret;
        world.script_data = &lock;
        world_start(&world);
        for (int i = 0; i < 5; i++)
                world_ask_user(&world, &callers[i], names[i]);
        world_ask(&world, &desk, (struct wish){.client = CLIENT_DESK, .subject = TEXT("a")});
        world_advance(&world, 1 * SECONDS);
        for (int i = 0; i < 5; i++)
                assert_reason_for(&callers[i], REASON_CREDENTIALS_REFUSED, 30);
        assert_token(&desk, 1);
        assert_int_equal(lock.n_refused, 1);
        world_end(&world);
}

static void while_files_are_read_callers_wait_no_longer_than_they_may(void **state)
{
        struct caller caller = {}, later = {};
        struct world world;
        struct lock lock;

        (void)state;
        start(&world, &lock);
        lock.accepted = "new";
        world.slow_files = true;
        world_ask_user(&world, &caller, "a");
        world_advance(&world, 10 * SECONDS);
        assert_waits(&caller);
        assert_int_equal(world.n_fetches, 0);
        assert_true(world.reading[CLIENT_PORTAL]);
        world_ask_user(&world, &later, "a");
        world_advance(&world, 10 * SECONDS);
        assert_reason(&caller, REASON_REQUEST_TIMEOUT);
        assert_waits(&later);
        world.secrets[CLIENT_PORTAL][0] = "new";
        assert_true(world_read_secrets(&world, CLIENT_PORTAL));
        world_turn(&world);
        world_advance(&world, 100);
        assert_token(&later, 1);
        world_end(&world);
}

static void while_files_are_read_a_secret_known_to_be_refused_is_not_sent(void **state)
{
        static const char *const names[] = {"a", "b", "c"};
        struct caller callers[3] = {}, desk = {};
        struct world world;
        struct lock lock;

        (void)state;
        start(&world, &lock);
        lock.accepted = "new";
        world.slow_files = true;
        for (int i = 0; i < 3; i++) {
                world_ask_user(&world, &callers[i], names[i]);
                world_advance(&world, 1 * SECONDS);
                assert_waits(&callers[i]);
        }
        world_ask(&world, &desk, (struct wish){.client = CLIENT_DESK, .subject = TEXT("a")});
        world_advance(&world, 1 * SECONDS);
        assert_token(&desk, 1);
        assert_int_equal(lock.n_refused, 1);
        world.secrets[CLIENT_PORTAL][0] = "new";
        assert_true(world_read_secrets(&world, CLIENT_PORTAL));
        world_turn(&world);
        world_advance(&world, 100);
        for (int i = 0; i < 3; i++)
                assert_token(&callers[i], (uint64_t)i + 2); /* in the order they came */
        assert_int_equal(lock.n_refused, 1);
        world_end(&world);
}

static void aborted_while_files_are_read_everybody_is_answered(void **state)
{
        struct caller caller = {};
        struct world world;
        struct lock lock;

        (void)state;
        start(&world, &lock);
        lock.accepted = "new";
        world.slow_files = true;
        world_ask_user(&world, &caller, "a");
        world_advance(&world, 1 * SECONDS);
        world_abort(&world);
        assert_reason(&caller, REASON_SHUTTING_DOWN);
        (void)world_read_secrets(&world, CLIENT_PORTAL);
        world_end(&world);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(a_secret_changed_in_its_file_is_read_again_and_nobody_notices),
                cmocka_unit_test(the_next_secret_is_tried_and_stays_first),
                cmocka_unit_test(a_file_changed_without_a_refusal_is_used_from_then_on),
                cmocka_unit_test(each_secret_is_tried_once_and_then_the_client_is_held),
                cmocka_unit_test(retries_leave_each_secret_its_try),
                cmocka_unit_test(
                        held_thirty_seconds_doubling_to_five_minutes_with_one_probe_at_its_end),
                cmocka_unit_test(a_probe_that_says_nothing_of_the_secret_leaves_that_to_the_next),
                cmocka_unit_test(held_a_and_b_are_served_and_c_is_told),
                cmocka_unit_test(held_one_client_leaves_another_at_the_same_url_alone),
                cmocka_unit_test(a_changed_secret_ends_the_hold_at_once),
                cmocka_unit_test(who_queues_when_the_hold_comes_costs_no_request),
                cmocka_unit_test(while_files_are_read_callers_wait_no_longer_than_they_may),
                cmocka_unit_test(while_files_are_read_a_secret_known_to_be_refused_is_not_sent),
                cmocka_unit_test(aborted_while_files_are_read_everybody_is_answered),
        };

        return cmocka_run_group_tests_name("credentials", tests, NULL, NULL);
}
