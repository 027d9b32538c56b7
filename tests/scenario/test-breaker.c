/* SPDX-License-Identifier: MIT */

/*
 * The breaker, half-open and its probe, and the retries before it: what opens it and what never
 * does, for how long, who is served meanwhile, and how it closes.
 */

#include "world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static enum breaker_state breaker_of(struct world *world)
{
        return world_explain(world, "nobody").breaker;
}

static void try_once(struct world *world, const char *username, enum ending ending)
{
        struct caller caller = {};

        world_ask_user(world, &caller, username);
        assert_waits(&caller);
        world_finish(world, world_fetch_of(world, username), ending);
        assert_reason(&caller, ending_reason(ending));
}

/* Opens the breaker of the users' URL for a second. */
static void open_breaker(struct world *world)
{
        static const char *const names[] = {"x1", "x2", "x3", "x4", "x5"};

        for (int i = 0; i < 5; i++) {
                assert_int_equal(breaker_of(world), BREAKER_CLOSED);
                try_once(world, names[i], ENDING_REDIRECT);
        }
        assert_int_equal(breaker_of(world), BREAKER_OPEN);
}

static void five_failures_in_a_row_over_three_keys_open_it(void **state)
{
        static const struct {
                const char *names[6];
                bool opens;
        } cases[] = {
                {{"a", "b", "c", "d", "e"}, true},      {{"a", "b", "c", "a", "b"}, true},
                {{"a", "b", "c", "d"}, false},          {{"a", "b", "a", "b", "a"}, false},
                {{"a", "b", "a", "b", "a", "c"}, true},
        };

        (void)state;
        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
                struct world world;

                world_init(&world);
                world_start(&world);
                for (int k = 0; k < 6 && cases[i].names[k]; k++) {
                        try_once(&world, cases[i].names[k], ENDING_REDIRECT);
                        world_advance(&world, 5 * SECONDS); /* past what is remembered of a key */
                }
                assert_int_equal(world.n_notes[NOTE_BREAKER_OPENED], cases[i].opens);
                world_end(&world);
        }
}

static void a_row_is_ended_by_a_token_or_a_refusal(void **state)
{
        static const char *const names[] = {"a", "b", "c", "d"};

        (void)state;
        for (int refusal = 0; refusal <= 1; refusal++) {
                struct world world;

                world_init(&world);
                world_start(&world);
                for (int round = 0; round < 5; round++) {
                        for (int i = 0; i < 4; i++)
                                try_once(&world, names[i], ENDING_REDIRECT);
                        if (refusal)
                                try_once(&world, "e", ENDING_SUBJECT_REFUSED);
                        else
                                (void)world_prime(&world, "e", 2);
                        world_advance(&world, 61 * SECONDS);
                }
                assert_int_equal(world.n_notes[NOTE_BREAKER_OPENED], 0);
                world_end(&world);
        }
}

static void one_key_is_enough_where_nothing_was_reached(void **state)
{
        static const enum ending endings[] = {ENDING_UNREACHABLE, ENDING_CERTIFICATE};

        (void)state;
        for (size_t i = 0; i < 2; i++) {
                struct caller caller = {};
                struct world world;
                int n = 0;

                world_init(&world);
                world_start(&world);
                while (breaker_of(&world) == BREAKER_CLOSED) {
                        world_ask_user(&world, &caller, "anna");
                        world_finish_for_good(&world, "anna", endings[i]);
                        assert_int_equal(caller.reason, ending_reason(endings[i]));
                        world_advance(&world, world_explain(&world, "anna").failure_left_ms);
                        assert_true(++n < 6);
                }
                assert_int_equal(world_counters(&world).failures, 5);
                assert_int_equal(world.last_note.kind, NOTE_BREAKER_OPENED);
                assert_int_equal(world.last_note.reason, ending_reason(endings[i]));
                world_end(&world);
        }
}

static void one_unknown_subject_never_opens_it(void **state)
{
        struct caller caller = {};
        struct world world;

        (void)state;
        world_init(&world);
        world_start(&world);
        for (int i = 0; i < 1000; i++) {
                world_ask_user(&world, &caller, "unknown");
                if (caller.waits)
                        world_finish(&world, NULL, ENDING_SUBJECT_REFUSED);
                assert_reason(&caller, REASON_SUBJECT_REFUSED);
                world_ask_user(&world, &caller, "cursed"); /* fails, but alone */
                if (caller.waits)
                        world_finish(&world, NULL, ENDING_REDIRECT);
                assert_reason(&caller, REASON_ANSWER_REDIRECT);
                assert_int_equal(breaker_of(&world), BREAKER_CLOSED);
                world_advance(&world, 1 * SECONDS);
        }
        world_end(&world);
}

static void a_thousand_unknown_subjects_never_open_it(void **state)
{
        struct world world;

        (void)state;
        world_init(&world);
        world_start(&world);
        for (int i = 0; i < 1000; i++) {
                char name[16];

                (void)snprintf(name, sizeof(name), "s%d", i);
                try_once(&world, name, i % 2 ? ENDING_SUBJECT_REFUSED : ENDING_SCOPE_REFUSED);
        }
        assert_int_equal(breaker_of(&world), BREAKER_CLOSED);
        world_end(&world);
}

static void open_it_hides_no_token_and_turns_misses_away(void **state)
{
        struct caller caller = {};
        struct world world;
        uint64_t anna, bert;

        (void)state;
        world_init(&world);
        world_start(&world);
        bert = world_prime(&world, "bert", 3600);
        world_advance(&world, 3575 * SECONDS); /* spent */
        anna = world_prime(&world, "anna", 3600);
        open_breaker(&world);

        world_ask_user(&world, &caller, "anna");
        assert_hit(&caller, anna);
        world_ask_user(&world, &caller, "bert");
        assert_old_token(&caller, bert, REASON_BREAKER_OPEN);
        assert_int_equal(caller.answered_at_ms, caller.asked_at_ms);
        world_ask_user(&world, &caller, "carl");
        assert_reason_for(&caller, REASON_BREAKER_OPEN, 1);
        world_ask(&world, &caller, (struct wish){.kind = SUBJECT_EMAIL, .subject = TEXT("c")});
        assert_waits(&caller); /* another URL */
        world_end(&world);
}

static void it_opens_for_a_second_doubling_to_sixty(void **state)
{
        static const unsigned int steps_s[] = {1, 2, 4, 8, 16, 32, 60, 60};
        struct caller caller = {};
        struct world world;

        (void)state;
        world_init(&world);
        world_start(&world);
        open_breaker(&world);
        for (size_t i = 0; i < sizeof(steps_s) / sizeof(steps_s[0]); i++) {
                char name[16];

                world_ask_user(&world, &caller, "carl");
                assert_reason_for(&caller, REASON_BREAKER_OPEN, steps_s[i]);
                assert_int_equal(world.n_notes[NOTE_BREAKER_OPENED], i + 1);
                assert_int_equal(world.last_note.for_ms, steps_s[i] * SECONDS);
                world_advance(&world, steps_s[i] * SECONDS - 1);
                world_ask_user(&world, &caller, "carl");
                assert_reason_for(&caller, REASON_BREAKER_OPEN, 1);
                world_advance(&world, 1);
                assert_int_equal(breaker_of(&world), BREAKER_HALF_OPEN);
                (void)snprintf(name, sizeof(name), "probe%zu", i);
                try_once(&world, name, ENDING_ERROR); /* and it is not tried again */
        }
        world_end(&world);
}

static void half_open_it_lets_one_probe_pass_and_the_rest_queue(void **state)
{
        static const char *const names[] = {"a", "b", "c", "d"};
        struct caller callers[4] = {}, old = {};
        struct world world;
        uint64_t serial;

        (void)state;
        world_init(&world);
        world_start(&world);
        serial = world_prime(&world, "old", 3600);
        world_advance(&world, 3575 * SECONDS);
        open_breaker(&world);
        world_advance(&world, 1 * SECONDS);
        for (int i = 0; i < 4; i++) {
                world_ask_user(&world, &callers[i], names[i]);
                assert_waits(&callers[i]);
                world_advance(&world, 1 * SECONDS);
        }
        assert_int_equal(world.n_fetches, 1);
        assert_non_null(world_fetch_of(&world, "a")); /* the oldest */
        world_ask_user(&world, &old, "old");
        world_advance(&world, 2 * SECONDS);
        assert_old_token(&old, serial, REASON_REQUEST_TIMEOUT);
        world_advance(&world, 15 * SECONDS);
        assert_reason(&callers[0], REASON_REQUEST_TIMEOUT); /* to their deadline */
        assert_reason(&callers[1], REASON_REQUEST_TIMEOUT);
        assert_waits(&callers[3]);
        assert_int_equal(world.n_fetches, 1);
        world_finish(&world, NULL, ENDING_TOKEN);
        assert_int_equal(breaker_of(&world), BREAKER_CLOSED);
        assert_int_equal(world.n_notes[NOTE_ISSUER_PROBED], 1);
        assert_int_equal(world.n_notes[NOTE_ISSUER_WELL], 1);
        assert_non_null(world_fetch_of(&world, "d"));
        world_end(&world);
}

static void a_probe_that_fails_opens_it_and_the_rest_queue_on(void **state)
{
        struct caller callers[3] = {};
        struct world world;

        (void)state;
        world_init(&world);
        world_start(&world);
        open_breaker(&world);
        world_advance(&world, 1 * SECONDS);
        world_ask_user(&world, &callers[0], "a");
        world_ask_user(&world, &callers[1], "b");
        world_ask_user(&world, &callers[2], "c");
        world_finish(&world, NULL, ENDING_TIMEOUT);
        assert_reason_for(&callers[0], REASON_ISSUER_TIMEOUT, 2);
        assert_int_equal(world.n_fetches, 0);
        world_advance(&world, 1999);
        assert_int_equal(world.n_fetches, 0);
        world_advance(&world, 1);
        assert_int_equal(world.n_fetches, 1);
        assert_non_null(world_fetch_of(&world, "b"));
        world_finish(&world, NULL, ENDING_TOKEN);
        assert_token(&callers[1], 1);
        world_finish(&world, NULL, ENDING_TOKEN);
        assert_token(&callers[2], 2);
        world_end(&world);
}

static void a_refusal_as_its_result_closes_it(void **state)
{
        static const enum ending endings[] = {
                ENDING_SUBJECT_REFUSED,
                ENDING_SCOPE_REFUSED,
                ENDING_CLIENT_UNAUTHORIZED,
                ENDING_CREDENTIALS_REFUSED,
        };

        (void)state;
        for (size_t i = 0; i < sizeof(endings) / sizeof(endings[0]); i++) {
                struct world world;

                world_init(&world);
                world_start(&world);
                open_breaker(&world);
                world_advance(&world, 1 * SECONDS);
                try_once(&world, "a", endings[i]);
                assert_int_equal(breaker_of(&world), BREAKER_CLOSED);
                assert_int_equal(world.n_notes[NOTE_ISSUER_WELL], 1);
                /* The steps begin anew. */
                if (endings[i] != ENDING_CREDENTIALS_REFUSED &&
                    endings[i] != ENDING_CLIENT_UNAUTHORIZED) {
                        world_advance(&world, 30 * SECONDS);
                        open_breaker(&world);
                        assert_int_equal(world.last_note.for_ms, 1 * SECONDS);
                }
                world_end(&world);
        }
}

static void a_dropped_probe_frees_its_place(void **state)
{
        struct caller callers[3] = {};
        struct world world;

        (void)state;
        world_init(&world);
        world_start(&world);
        open_breaker(&world);
        world_advance(&world, 1 * SECONDS);
        world_ask_user(&world, &callers[0], "a");
        world_ask_user(&world, &callers[1], "b");
        world_ask_user(&world, &callers[2], "c");
        callers[1].hung_up = true;
        world_finish(&world, NULL, ENDING_ERROR);
        world_advance(&world, 2 * SECONDS);
        assert_reason(&callers[1], REASON_CALLER_GONE);
        assert_int_equal(world.n_unsent, 1);
        assert_int_equal(world.n_fetches, 1);
        assert_non_null(world_fetch_of(&world, "c"));
        world_end(&world);
}

static void a_failure_from_before_it_opened_is_not_the_probes(void **state)
{
        struct caller before[2] = {}, probe = {}, next = {};
        struct world world;

        (void)state;
        world_init(&world);
        world_start(&world);
        world_ask_user(&world, &before[0], "b1");
        world_ask_user(&world, &before[1], "b2");
        open_breaker(&world);
        world_advance(&world, 500);
        world_finish(&world, world_fetch_of(&world, "b1"), ENDING_ERROR);
        assert_reason_for(&before[0], REASON_ISSUER_ERROR, 1);
        world_advance(&world, 500);
        world_ask_user(&world, &probe, "probe");
        world_ask_user(&world, &next, "next");
        world_finish(&world, world_fetch_of(&world, "b2"), ENDING_ERROR);
        assert_int_equal(breaker_of(&world), BREAKER_HALF_OPEN);
        assert_waits(&probe);
        assert_int_equal(world.n_fetches, 1);
        world_finish(&world, world_fetch_of(&world, "probe"), ENDING_TOKEN);
        assert_int_equal(breaker_of(&world), BREAKER_CLOSED);
        assert_non_null(world_fetch_of(&world, "next"));
        assert_int_equal(world.n_notes[NOTE_BREAKER_OPENED], 1);
        world_end(&world);
}

static void a_success_from_before_it_opened_closes_it(void **state)
{
        struct caller before = {}, queued = {};
        struct world world;

        (void)state;
        world_init(&world);
        world_start(&world);
        world_ask_user(&world, &before, "before");
        open_breaker(&world);
        world_finish(&world, world_fetch_of(&world, "before"), ENDING_TOKEN);
        assert_token(&before, 1);
        assert_int_equal(breaker_of(&world), BREAKER_CLOSED);
        world_ask_user(&world, &queued, "after");
        assert_int_equal(world.n_fetches, 1);
        world_end(&world);
}

static void a_failure_is_tried_again_at_most_twice_after_a_pause(void **state)
{
        (void)state;
        for (enum ending ending = 0; ending < _ENDING_N; ending++) {
                struct caller caller = {};
                struct world world;
                uint64_t failed_at_ms;

                if (!ending_is_retried(ending))
                        continue;
                world_init(&world);
                world_start(&world);
                world_ask_user(&world, &caller, "anna");
                for (uint64_t i = 1; i <= 2; i++) {
                        failed_at_ms = world.now_ms;
                        world_finish(&world, NULL, ending);
                        assert_waits(&caller);
                        assert_int_equal(world.n_fetches, 0);
                        world_advance(&world, i * 100 - 1);
                        assert_int_equal(world.n_fetches, 0);
                        world_advance(&world, i * 200 + 1);
                        assert_int_equal(world.n_fetches, 1);
                        assert_true(world_oldest(&world)->sent_at_ms - failed_at_ms >= i * 100);
                }
                world_finish(&world, NULL, ending);
                assert_reason(&caller, ending_reason(ending));
                assert_int_equal(world_counters(&world).retries, 2);
                world_end(&world);
        }
}

static void the_pauses_have_jitter(void **state)
{
        uint64_t first_ms = UINT64_MAX, last_ms = 0;
        struct caller callers[50] = {};
        struct world world;

        (void)state;
        world_init(&world);
        world.settings.max_in_flight = 60;
        world_start(&world);
        for (int i = 0; i < 50; i++) {
                char name[16];

                (void)snprintf(name, sizeof(name), "s%d", i);
                if (i % 3 == 0)
                        (void)world_prime(&world, "well", 2);
                world_advance(&world, 3 * SECONDS);
                world_ask_user(&world, &callers[i], name);
                world_finish(&world, NULL, ENDING_CUT);
                for (uint64_t ms = 1; ms <= 300 && world.n_fetches == 0; ms++) {
                        world_advance(&world, 1);
                        if (world.n_fetches > 0) {
                                first_ms = ms < first_ms ? ms : first_ms;
                                last_ms = ms > last_ms ? ms : last_ms;
                        }
                }
                world_finish(&world, NULL, ENDING_TOKEN);
        }
        assert_in_range(first_ms, 100, 130);
        assert_in_range(last_ms, 270, 300);
        world_end(&world);
}

static void a_failure_is_not_tried_again_beyond_the_callers_time(void **state)
{
        struct caller caller = {};
        struct world world;

        (void)state;
        world_init(&world);
        world_start(&world);
        world_ask_user(&world, &caller, "anna");
        world_advance(&world, 19900);
        world_finish(&world, NULL, ENDING_ERROR);
        assert_reason(&caller, REASON_ISSUER_ERROR);
        assert_int_equal(world_counters(&world).retries, 0);
        world_end(&world);
}

static void a_pause_is_joined_and_counts_from_the_last_callers_time(void **state)
{
        struct caller first = {}, later = {};
        struct world world;

        (void)state;
        world_init(&world);
        world_start(&world);
        world_ask_user(&world, &first, "anna");
        world_advance(&world, 19500);
        world_finish(&world, NULL, ENDING_ERROR);
        assert_waits(&first);
        world_ask_user(&world, &later, "anna");
        assert_waits(&later);
        world_advance(&world, 500);
        assert_reason(&first, REASON_REQUEST_TIMEOUT);
        assert_int_equal(world.n_fetches, 1);
        world_finish(&world, NULL, ENDING_ERROR);
        assert_waits(&later);
        world_advance(&world, 600);
        world_finish(&world, NULL, ENDING_TOKEN);
        assert_token(&later, 1);
        world_end(&world);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(five_failures_in_a_row_over_three_keys_open_it),
                cmocka_unit_test(a_row_is_ended_by_a_token_or_a_refusal),
                cmocka_unit_test(one_key_is_enough_where_nothing_was_reached),
                cmocka_unit_test(one_unknown_subject_never_opens_it),
                cmocka_unit_test(a_thousand_unknown_subjects_never_open_it),
                cmocka_unit_test(open_it_hides_no_token_and_turns_misses_away),
                cmocka_unit_test(it_opens_for_a_second_doubling_to_sixty),
                cmocka_unit_test(half_open_it_lets_one_probe_pass_and_the_rest_queue),
                cmocka_unit_test(a_probe_that_fails_opens_it_and_the_rest_queue_on),
                cmocka_unit_test(a_refusal_as_its_result_closes_it),
                cmocka_unit_test(a_dropped_probe_frees_its_place),
                cmocka_unit_test(a_failure_from_before_it_opened_is_not_the_probes),
                cmocka_unit_test(a_success_from_before_it_opened_closes_it),
                cmocka_unit_test(a_failure_is_tried_again_at_most_twice_after_a_pause),
                cmocka_unit_test(the_pauses_have_jitter),
                cmocka_unit_test(a_failure_is_not_tried_again_beyond_the_callers_time),
                cmocka_unit_test(a_pause_is_joined_and_counts_from_the_last_callers_time),
        };

        return cmocka_run_group_tests_name("breaker", tests, NULL, NULL);
}
