/* SPDX-License-Identifier: MIT */

/*
 * 429, and 503 with Retry-After: the issuer asks for fewer requests, and gets fewer. Tokens in
 * memory are served meanwhile, and no subject is at fault.
 */

#include "world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

/* Asks, and has the issuer answer with 429 and these header fields. */
static void throttle(struct world *world, const char *username, const char *retry_after,
                     const char *ratelimit_reset)
{
        struct caller caller = {};
        struct fetch *fetch;

        world_ask_user(world, &caller, username);
        fetch = world_fetch_of(world, username);
        assert_non_null(fetch);
        fetch->retry_after = retry_after;
        fetch->ratelimit_reset = ratelimit_reset;
        world_finish(world, fetch, ENDING_THROTTLED);
        assert_reason(&caller, REASON_ISSUER_THROTTLES);
}

static uint64_t held_ms(struct world *world)
{
        const struct explanation explanation = world_explain(world, "nobody");

        return explanation.held ? explanation.breaker_left_ms : 0;
}

static void retry_after_in_seconds_is_obeyed_then_one_asks(void **state)
{
        (void)state;
        for (int unavailable = 0; unavailable <= 1; unavailable++) {
                struct caller first = {}, caller = {}, next[3] = {};
                struct world world;
                uint64_t fetches;

                world_init(&world);
                world_start(&world);
                world_ask_user(&world, &first, "first");
                world_oldest(&world)->retry_after = "3";
                world_finish(&world, NULL, unavailable ? ENDING_UNAVAILABLE : ENDING_THROTTLED);
                assert_reason_for(&first, REASON_ISSUER_THROTTLES, 3);
                assert_int_equal(world.last_note.kind, NOTE_ISSUER_HOLDS);
                assert_int_equal(world.last_note.for_ms, 3 * SECONDS);
                fetches = world_counters(&world).fetches;
                for (int i = 0; i < 30; i++) {
                        char name[16];

                        (void)snprintf(name, sizeof(name), "s%d", i);
                        world_ask_user(&world, &caller, name);
                        assert_reason(&caller, REASON_ISSUER_THROTTLES);
                        assert_int_equal(caller.retry_after_s, (3000 - i * 100 + 999) / 1000);
                        world_advance(&world, i < 29 ? 100 : 99);
                }
                assert_int_equal(world_counters(&world).fetches, fetches);
                world_advance(&world, 1);
                for (int i = 0; i < 3; i++)
                        world_ask_user(&world, &next[i], i ? i == 1 ? "b" : "c" : "a");
                assert_int_equal(world.n_fetches, 1);
                world_finish(&world, NULL, ENDING_TOKEN);
                assert_int_equal(world.n_fetches, 2);
                assert_int_equal(world.last_note.kind, NOTE_ISSUER_WELL);
                assert_int_equal(world_counters(&world).holds, 1);
                assert_int_equal(world_counters(&world).failures, 0);
                world_end(&world);
        }
}

static void dates_are_read_by_the_time_of_day(void **state)
{
        (void)state;
        for (int i = 0; i < 2; i++) {
                struct world world;
                char date[64];
                time_t at_s;
                struct tm tm;

                world_init(&world);
                world.now_ms = 1234000;
                world_start(&world);
                at_s = (time_t)(world_wall_ms(&world) / 1000 + 42);
                assert_non_null(gmtime_r(&at_s, &tm));
                assert_true(i ? strftime(date, sizeof(date), "%Y-%m-%dT%H:%M:%SZ", &tm)
                              : strftime(date, sizeof(date), "%a, %d %b %Y %T GMT", &tm));
                throttle(&world, "anna", i ? NULL : date, i ? date : NULL);
                assert_int_equal(held_ms(&world), 42 * SECONDS);
                world_end(&world);
        }
}

static void what_is_said_otherwise_is_bounded_or_passed_over(void **state)
{
        static const struct {
                const char *retry_after;
                uint64_t held_ms;
        } cases[] = {
                {"300", 300 * SECONDS},
                {"301", 300 * SECONDS},
                {"999999999", 300 * SECONDS},
                {"0", 1 * SECONDS},
                {"-5", 1 * SECONDS},
                {"soon", 1 * SECONDS},
                {"1.5", 1 * SECONDS},
                {"Sun, 06 Nov 1994 08:49:37 GMT", 1 * SECONDS},
                {"Fri, 31 Dec 2027 23:59:59 GMT", 300 * SECONDS},
        };

        (void)state;
        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
                struct world world;

                world_init(&world);
                world_start(&world);
                throttle(&world, "anna", cases[i].retry_after, NULL);
                assert_int_equal(held_ms(&world), cases[i].held_ms);
                world_end(&world);
        }
}

static void without_a_time_it_holds_a_second_doubling_to_sixty(void **state)
{
        static const uint64_t steps_s[] = {1, 2, 4, 8, 16, 32, 60, 60};
        struct world world;

        (void)state;
        world_init(&world);
        world_start(&world);
        for (size_t i = 0; i < sizeof(steps_s) / sizeof(steps_s[0]); i++) {
                throttle(&world, "anna", NULL, NULL);
                assert_int_equal(held_ms(&world), steps_s[i] * SECONDS);
                world_advance(&world, steps_s[i] * SECONDS);
        }
        (void)world_prime(&world, "anna", 1);
        world_advance(&world, 1 * SECONDS);
        throttle(&world, "anna", NULL, NULL);
        assert_int_equal(held_ms(&world), 1 * SECONDS);
        world_end(&world);
}

static void it_is_no_failure_of_key_or_url(void **state)
{
        struct caller caller = {};
        struct world world;

        (void)state;
        world_init(&world);
        world_start(&world);
        for (int i = 0; i < 20; i++) {
                char name[16];

                (void)snprintf(name, sizeof(name), "s%d", i);
                throttle(&world, name, "1", NULL);
                world_advance(&world, 1 * SECONDS);
        }
        assert_int_equal(world.n_notes[NOTE_BREAKER_OPENED], 0);
        assert_int_equal(world_counters(&world).memories, 0);
        world_ask_user(&world, &caller, "s19");
        assert_waits(&caller);
        world_end(&world);
}

static void several_that_were_sent_together_are_one_step(void **state)
{
        static const char *const names[] = {"a", "b", "c", "d", "e", "f"};
        struct caller callers[6] = {};
        struct world world;

        (void)state;
        world_init(&world);
        world_start(&world);
        for (int i = 0; i < 6; i++)
                world_ask_user(&world, &callers[i], names[i]);
        for (int i = 0; i < 6; i++) {
                world_finish(&world, NULL, ENDING_THROTTLED);
                assert_reason_for(&callers[i], REASON_ISSUER_THROTTLES, 1);
                world_advance(&world, 10);
        }
        assert_int_equal(held_ms(&world), 940);
        assert_int_equal(world.n_notes[NOTE_ISSUER_HOLDS], 1);
        world_end(&world);
}

static void what_was_sent_before_may_still_come_and_ends_nothing(void **state)
{
        struct caller before[2] = {}, caller = {};
        struct world world;

        (void)state;
        world_init(&world);
        world_start(&world);
        world_ask_user(&world, &before[0], "a");
        world_ask_user(&world, &before[1], "b");
        throttle(&world, "c", "3", NULL);
        world_finish(&world, world_fetch_of(&world, "a"), ENDING_TOKEN);
        assert_token(&before[0], 1);
        world_finish(&world, world_fetch_of(&world, "b"), ENDING_SUBJECT_REFUSED);
        assert_reason(&before[1], REASON_SUBJECT_REFUSED);
        world_ask_user(&world, &caller, "d");
        assert_reason_for(&caller, REASON_ISSUER_THROTTLES, 3);
        world_ask_user(&world, &caller, "a");
        assert_hit(&caller, 1);
        world_end(&world);
}

static void a_shorter_hold_does_not_cut_a_longer_one(void **state)
{
        struct caller before = {};
        struct world world;

        (void)state;
        world_init(&world);
        world_start(&world);
        world_ask_user(&world, &before, "a");
        throttle(&world, "b", "60", NULL);
        world_oldest(&world)->retry_after = "2";
        world_finish(&world, NULL, ENDING_THROTTLED);
        assert_reason_for(&before, REASON_ISSUER_THROTTLES, 60);
        world_end(&world);
}

static void a_b_and_c(void **state)
{
        struct caller caller = {};
        struct world world;
        uint64_t a, b;

        (void)state;
        world_init(&world);
        world_start(&world);
        b = world_prime(&world, "b", 3600);
        world_advance(&world, 3575 * SECONDS);
        a = world_prime(&world, "a", 3600);
        throttle(&world, "x", "10", NULL);
        world_ask_user(&world, &caller, "a");
        assert_hit(&caller, a);
        world_ask_user(&world, &caller, "b");
        assert_old_token(&caller, b, REASON_ISSUER_THROTTLES);
        world_ask_user(&world, &caller, "c");
        assert_reason_for(&caller, REASON_ISSUER_THROTTLES, 10);
        world_ask(&world, &caller, (struct wish){.kind = SUBJECT_EMAIL, .subject = TEXT("c")});
        assert_waits(&caller); /* another URL */
        world_end(&world);
}

static void who_queues_when_it_comes_waits_for_its_end(void **state)
{
        static const char *const names[] = {"a", "b", "c"};
        struct caller callers[3] = {};
        struct world world;

        (void)state;
        world_init(&world);
        world.settings.max_in_flight = 1;
        world_start(&world);
        for (int i = 0; i < 3; i++)
                world_ask_user(&world, &callers[i], names[i]);
        world_oldest(&world)->retry_after = "3";
        world_finish(&world, NULL, ENDING_THROTTLED);
        world_advance(&world, 3 * SECONDS - 1);
        assert_int_equal(world.n_fetches, 0);
        assert_waits(&callers[1]);
        world_advance(&world, 1);
        world_finish(&world, world_fetch_of(&world, "b"), ENDING_TOKEN);
        world_finish(&world, world_fetch_of(&world, "c"), ENDING_TOKEN);
        assert_token(&callers[2], 2);
        world_end(&world);
}

static void a_probe_at_its_end_that_fails_opens_the_breaker(void **state)
{
        struct caller caller = {};
        struct world world;

        (void)state;
        world_init(&world);
        world_start(&world);
        throttle(&world, "a", "3", NULL);
        world_advance(&world, 3 * SECONDS);
        world_ask_user(&world, &caller, "b");
        world_finish(&world, NULL, ENDING_ERROR);
        assert_reason(&caller, REASON_ISSUER_ERROR);
        world_ask_user(&world, &caller, "c");
        assert_reason_for(&caller, REASON_BREAKER_OPEN, 1);
        world_end(&world);
}

static void who_queues_and_cannot_wait_for_its_end_is_told_at_once(void **state)
{
        struct caller first = {}, patient = {}, hopeless = {};
        struct world world;

        (void)state;
        world_init(&world);
        world.settings.max_in_flight = 1;
        world_start(&world);
        world_ask_user(&world, &first, "first");
        world_ask_user(&world, &hopeless, "hopeless");
        world_advance(&world, 1);
        world_ask_user(&world, &patient, "patient"); /* until one millisecond later */
        world_advance(&world, 999);
        assert_int_equal(world.settings.request_timeout_ms, 20 * SECONDS);
        world_oldest(&world)->retry_after = "19";
        world_finish(&world, NULL, ENDING_THROTTLED);
        assert_reason_for(&first, REASON_ISSUER_THROTTLES, 19);
        assert_reason_for(&hopeless, REASON_ISSUER_THROTTLES, 19);
        assert_waits(&patient);
        world_end(&world);
}

/* Ends a fetch with 429, and has the URL held for so long. */
static void hold(struct world *world, const char *username, const char *retry_after)
{
        struct fetch *fetch = world_fetch_of(world, username);

        assert_non_null(fetch);
        fetch->retry_after = retry_after;
        world_finish(world, fetch, ENDING_THROTTLED);
}

static void who_is_to_be_tried_again_is_told_at_once(void **state)
{
        struct caller paused = {}, last = {}, first = {};
        struct world world;

        (void)state;
        world_init(&world);
        world_start(&world);
        world_ask_user(&world, &paused, "a");
        world_ask_user(&world, &first, "b");
        world_finish(&world, world_fetch_of(&world, "a"), ENDING_ERROR);
        assert_waits(&paused);
        world_advance(&world, 50);
        world_ask_user(&world, &last, "a");
        hold(&world, "b", "20"); /* for fifty milliseconds longer than the first can wait */
        assert_reason_for(&paused, REASON_ISSUER_THROTTLES, 20);
        assert_reason_for(&last, REASON_ISSUER_THROTTLES, 20);
        assert_int_equal(world_counters(&world).flights, 0);
        world_end(&world);
}

static void each_of_those_who_wait_together_waits_as_long_as_he_can(void **state)
{
        struct caller first = {}, early = {}, late = {}, later = {};
        struct world world;

        (void)state;
        world_init(&world);
        world.settings.max_in_flight = 1;
        world_start(&world);
        world_ask_user(&world, &first, "a");
        world_ask_user(&world, &early, "b");
        world_advance(&world, 3 * SECONDS);
        world_ask_user(&world, &late, "b");
        hold(&world, "a", "18");
        assert_reason_for(&early, REASON_ISSUER_THROTTLES, 18);
        assert_waits(&late);
        world_ask_user(&world, &later, "b"); /* there is something to wait for */
        assert_waits(&later);
        world_advance(&world, 18 * SECONDS);
        world_finish(&world, NULL, ENDING_TOKEN);
        assert_token(&late, 1);
        assert_token(&later, 1);
        world_end(&world);
}

static void who_queues_for_a_spent_token_gets_it_at_once(void **state)
{
        struct caller first = {}, caller = {};
        struct world world;
        uint64_t old;

        (void)state;
        world_init(&world);
        world.settings.max_in_flight = 1;
        world_start(&world);
        old = world_prime(&world, "a", 3600);
        world_advance(&world, 3575 * SECONDS);
        world_ask_user(&world, &first, "b");
        world_ask_user(&world, &caller, "a");
        assert_waits(&caller);
        hold(&world, "b", "2"); /* he would have waited for two seconds */
        assert_old_token(&caller, old, REASON_ISSUER_THROTTLES);
        assert_int_equal(world_counters(&world).flights, 0);
        world_end(&world);
}

static void who_queues_for_a_token_that_was_evicted_waits_for_the_end(void **state)
{
        struct caller before[2] = {}, caller = {};
        struct world world;

        (void)state;
        world_init(&world);
        world.settings.max_in_flight = 1;
        world.settings.max_entries = 1;
        world_start(&world);
        (void)world_prime(&world, "a", 3600);
        world_advance(&world, 3575 * SECONDS);
        world_ask_user(&world, &before[0], "b");
        world_ask_user(&world, &before[1], "c");
        world_ask_user(&world, &caller, "a");
        world_finish(&world, world_fetch_of(&world, "b"), ENDING_TOKEN); /* in the place of a's */
        hold(&world, "c", "3");
        assert_waits(&caller);
        world_advance(&world, 3 * SECONDS);
        world_finish(&world, world_fetch_of(&world, "a"), ENDING_TOKEN);
        assert_token(&caller, 3);
        world_end(&world);
}

/* Two tokens are due, and of their renewals there is a place for one, which is told to wait. */
static void hold_renewals(struct world *world)
{
        struct caller caller = {};

        world_init(world);
        world->settings.max_in_flight = 1;
        world_start(world);
        (void)world_prime(world, "a", 3600);
        (void)world_prime(world, "b", 3600);
        world_advance(world, 3390 * SECONDS);
        world_ask_user(world, &caller, "a");
        assert_hit(&caller, 1);
        world_ask_user(world, &caller, "b");
        assert_hit(&caller, 2);
        hold(world, "a", "300");
        assert_int_equal(world_counters(world).flights, 1);
}

static void a_renewal_that_queues_keeps_nobody_waiting(void **state)
{
        struct caller caller = {}, probe = {};
        struct world world;

        (void)state;
        hold_renewals(&world);
        world_advance(&world, 190 * SECONDS); /* both are spent */
        world_ask_user(&world, &caller, "a");
        assert_old_token(&caller, 1, REASON_ISSUER_THROTTLES);
        world_ask_user(&world, &caller, "b");
        assert_old_token(&caller, 2, REASON_ISSUER_THROTTLES);
        assert_int_equal(world_explain(&world, "b").blocked, REASON_ISSUER_THROTTLES);
        world_advance(&world, 22 * SECONDS); /* both have ended */
        world_ask_user(&world, &caller, "a");
        assert_reason_for(&caller, REASON_ISSUER_THROTTLES, 88);
        world_ask_user(&world, &caller, "b");
        assert_reason_for(&caller, REASON_ISSUER_THROTTLES, 88);
        world_advance(&world, 68 * SECONDS); /* the end is as far off as one waits */
        world_ask_user(&world, &caller, "b");
        assert_reason_for(&caller, REASON_ISSUER_THROTTLES, 20);
        world_advance(&world, 1);
        world_ask_user(&world, &probe, "b");
        assert_waits(&probe);
        world_advance(&world, 20 * SECONDS - 1);
        world_finish(&world, world_fetch_of(&world, "b"), ENDING_TOKEN);
        assert_token(&probe, 3);
        world_end(&world);
}

static void who_waits_for_another_secret_is_told_at_once(void **state)
{
        (void)state;
        for (int held_while_reading = 0; held_while_reading <= 1; held_while_reading++) {
                struct caller caller = {}, first = {}, joins = {};
                struct world world;

                world_init(&world);
                world.slow_files = true;
                world_start(&world);
                world_ask_user(&world, &caller, "a");
                world_ask_user(&world, &first, "b");
                if (!held_while_reading)
                        hold(&world, "b", "300");
                assert_waits(&caller); /* what was sent may still bring something */
                world_finish(&world, world_fetch_of(&world, "a"), ENDING_CREDENTIALS_REFUSED);
                if (held_while_reading) {
                        assert_waits(&caller);
                        hold(&world, "b", "300");
                }
                assert_reason_for(&caller, REASON_ISSUER_THROTTLES, 300);
                world_ask_user(&world, &joins, "a");
                assert_reason_for(&joins, REASON_ISSUER_THROTTLES, 300);
                world.secrets[CLIENT_PORTAL][0] = "new";
                assert_true(world_read_secrets(&world, CLIENT_PORTAL));
                assert_int_equal(world_counters(&world).flights, 0);
                world_end(&world);
        }
}

static void who_would_have_tried_another_secret_is_told_at_once(void **state)
{
        struct caller caller = {}, first = {};
        struct world world;

        (void)state;
        world_init(&world);
        world.secrets[CLIENT_PORTAL][1] = "next";
        world_start(&world);
        world_ask_user(&world, &caller, "a");
        world_ask_user(&world, &first, "b");
        world.secrets[CLIENT_PORTAL][0] = NULL;
        (void)world_read_secrets(&world, CLIENT_PORTAL);
        hold(&world, "b", "300");
        world_finish(&world, world_fetch_of(&world, "a"), ENDING_CREDENTIALS_REFUSED);
        assert_reason_for(&caller, REASON_ISSUER_THROTTLES, 300);
        assert_int_equal(world_counters(&world).flights, 0);
        world_end(&world);
}

static void what_was_about_to_be_sent_is_not(void **state)
{
        static const char *const names[] = {"a", "b", "c", "d", "e"};
        struct caller callers[5] = {};
        struct world world;

        (void)state;
        world_init(&world);
        world.settings.max_in_flight = 3;
        world_start(&world);
        for (int i = 0; i < 5; i++)
                world_ask_user(&world, &callers[i], names[i]);
        world.busy = true; /* three answers come at once */
        world_finish(&world, world_fetch_of(&world, "a"), ENDING_TOKEN);
        world_finish(&world, world_fetch_of(&world, "b"), ENDING_TOKEN);
        hold(&world, "c", "5");
        world.busy = false;
        world_turn(&world);
        assert_int_equal(world.n_fetches, 0);
        assert_waits(&callers[3]);
        world_advance(&world, 5 * SECONDS);
        world_finish(&world, world_fetch_of(&world, "d"), ENDING_TOKEN);
        world_finish(&world, world_fetch_of(&world, "e"), ENDING_TOKEN);
        assert_token(&callers[3], 3);
        assert_token(&callers[4], 4);
        world_end(&world);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(retry_after_in_seconds_is_obeyed_then_one_asks),
                cmocka_unit_test(dates_are_read_by_the_time_of_day),
                cmocka_unit_test(what_is_said_otherwise_is_bounded_or_passed_over),
                cmocka_unit_test(without_a_time_it_holds_a_second_doubling_to_sixty),
                cmocka_unit_test(it_is_no_failure_of_key_or_url),
                cmocka_unit_test(several_that_were_sent_together_are_one_step),
                cmocka_unit_test(what_was_sent_before_may_still_come_and_ends_nothing),
                cmocka_unit_test(a_shorter_hold_does_not_cut_a_longer_one),
                cmocka_unit_test(a_b_and_c),
                cmocka_unit_test(who_queues_when_it_comes_waits_for_its_end),
                cmocka_unit_test(who_queues_and_cannot_wait_for_its_end_is_told_at_once),
                cmocka_unit_test(a_probe_at_its_end_that_fails_opens_the_breaker),
                cmocka_unit_test(who_is_to_be_tried_again_is_told_at_once),
                cmocka_unit_test(each_of_those_who_wait_together_waits_as_long_as_he_can),
                cmocka_unit_test(who_queues_for_a_spent_token_gets_it_at_once),
                cmocka_unit_test(who_queues_for_a_token_that_was_evicted_waits_for_the_end),
                cmocka_unit_test(a_renewal_that_queues_keeps_nobody_waiting),
                cmocka_unit_test(who_waits_for_another_secret_is_told_at_once),
                cmocka_unit_test(who_would_have_tried_another_secret_is_told_at_once),
                cmocka_unit_test(what_was_about_to_be_sent_is_not),
        };

        return cmocka_run_group_tests_name("hold", tests, NULL, NULL);
}
