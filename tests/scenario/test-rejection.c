/* SPDX-License-Identifier: MIT */

/*
 * rejected_token_sha256: compare and invalidate. What a caller reports is dead for it and
 * spent for the rest, and a loop of reports costs the issuer next to nothing.
 */

#include "world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define REPORTERS 500

static void report(struct world *world, struct caller *caller, const struct caller *holder)
{
        world_ask(world, caller, (struct wish){.subject = TEXT("anna"), .rejects = holder});
}

/* A world in which anna's token, which `holder` has, is some minutes old. */
static uint64_t start(struct world *world, struct caller *holder)
{
        uint64_t serial;

        world_init(world);
        world->settings.max_waiters = 1000;
        world->settings.max_waiters_per_flight = 1000;
        world_start(world);
        serial = world_prime(world, "anna", 3600);
        world_advance(world, 10 * MINUTES);
        world_ask_user(world, holder, "anna");
        assert_hit(holder, serial);
        return serial;
}

static void another_than_the_current_token_changes_nothing(void **state)
{
        struct caller holder = {}, other = {}, caller = {};
        struct world world;
        uint64_t serial;

        (void)state;
        serial = start(&world, &holder);
        world_ask_user(&world, &other, "bert");
        world_finish(&world, NULL, ENDING_TOKEN);
        report(&world, &caller, &other);
        assert_hit(&caller, serial);
        assert_int_equal(world_counters(&world).rejections, 0);
        assert_false(world_explain(&world, "anna").rejected);
        assert_int_equal(world.n_fetches, 0);
        world_end(&world);
}

static void the_token_before_the_current_one_changes_nothing(void **state)
{
        struct caller holder = {}, caller = {};
        struct world world;
        uint64_t serial;

        (void)state;
        serial = start(&world, &holder);
        report(&world, &caller, &holder);
        world_finish(&world, NULL, ENDING_TOKEN);
        assert_token(&caller, serial + 1);
        for (int i = 0; i < 100; i++) {
                report(&world, &caller, &holder);
                assert_hit(&caller, serial + 1);
                world_advance(&world, 100);
        }
        assert_int_equal(world_counters(&world).fetches, 2);
        world_end(&world);
}

static void
five_hundred_reports_cost_one_fetch_and_the_rest_get_the_old_token_meanwhile(void **state)
{
        static struct caller reporters[REPORTERS], others[50];
        struct caller holder = {};
        struct world world;
        uint64_t serial;

        (void)state;
        memset(reporters, 0, sizeof(reporters));
        memset(others, 0, sizeof(others));
        serial = start(&world, &holder);
        for (int i = 0; i < REPORTERS; i++) {
                report(&world, &reporters[i], &holder);
                assert_waits(&reporters[i]);
                if (i % 10 == 0)
                        world_ask_user(&world, &others[i / 10], "anna");
                world_advance(&world, 2);
        }
        assert_int_equal(world.n_fetches, 1);
        world_advance(&world, 3 * SECONDS);
        for (int i = 0; i < 50; i++) {
                assert_old_token(&others[i], serial, REASON_REQUEST_TIMEOUT);
                assert_true(others[i].answered_at_ms <= others[i].asked_at_ms + 2 * SECONDS);
        }
        world_finish(&world, NULL, ENDING_TOKEN);
        for (int i = 0; i < REPORTERS; i++) {
                assert_token(&reporters[i], serial + 1);
                assert_int_equal(reporters[i].cache_status, CACHE_STATUS_FWD_REQUEST);
        }
        assert_int_equal(world_counters(&world).fetches, 2);
        assert_int_equal(world_counters(&world).rejections, REPORTERS);
        world_end(&world);
}

static void where_the_fetch_fails_reporters_get_the_error_and_the_rest_the_old_token(void **state)
{
        struct caller holder = {}, reporter = {}, other = {};
        struct world world;
        uint64_t serial;

        (void)state;
        serial = start(&world, &holder);
        report(&world, &reporter, &holder);
        world_ask_user(&world, &other, "anna");
        assert_waits(&other);
        world_finish_for_good(&world, "anna", ENDING_ERROR);
        assert_reason(&reporter, REASON_ISSUER_ERROR);
        assert_old_token(&other, serial, REASON_ISSUER_ERROR);

        /* And so it is within the step, with no further fetch. */
        world_ask_user(&world, &other, "anna");
        assert_old_token(&other, serial, REASON_REJECTED_AGAIN);
        world_end(&world);
}

static void a_report_inside_the_step_is_503_with_retry_after(void **state)
{
        static const uint64_t steps_s[] = {5, 10, 20, 40, 60, 60};
        struct caller holder = {}, caller = {}, other = {};
        struct world world;
        uint64_t serial;

        (void)state;
        serial = start(&world, &holder);
        for (size_t i = 0; i < sizeof(steps_s) / sizeof(steps_s[0]); i++) {
                report(&world, &caller, &holder);
                assert_waits(&caller);
                world_finish(&world, NULL, ENDING_TOKEN);
                assert_token(&caller, ++serial);
                holder = caller;
                /* An API that rejects whatever it is shown. */
                report(&world, &caller, &holder);
                assert_reason_for(&caller, REASON_REJECTED_AGAIN, (unsigned int)steps_s[i]);
                world_advance(&world, steps_s[i] * SECONDS - 1);
                report(&world, &caller, &holder);
                assert_reason_for(&caller, REASON_REJECTED_AGAIN, 1);
                world_ask_user(&world, &other, "anna");
                assert_old_token(&other, serial, REASON_REJECTED_AGAIN);
                assert_int_equal(world.n_fetches, 0);
                world_advance(&world, 1);
        }
        assert_int_equal(world_counters(&world).fetches, 1 + 6);
        world_end(&world);
}

static void a_report_whose_fetch_was_never_sent_begins_no_step(void **state)
{
        struct caller holder = {}, reporter = {}, other = {};
        struct world world;
        uint64_t fetches;

        (void)state;
        (void)start(&world, &holder);
        world.settings.max_in_flight = 1;
        world_reconfigure(&world);
        world_ask_user(&world, &other, "hangs");
        fetches = world_counters(&world).fetches;
        for (int i = 0; i < 3; i++) {
                report(&world, &reporter, &holder);
                assert_waits(&reporter);
                world_advance(&world, 20 * SECONDS);
                assert_reason(&reporter, REASON_REQUEST_TIMEOUT);
        }
        report(&world, &reporter, &holder);
        reporter.hung_up = true;
        world_advance(&world, 1);
        world_finish(&world, NULL, ENDING_TOKEN);
        assert_int_equal(world.n_unsent, 1);
        assert_int_equal(world_counters(&world).fetches, fetches);
        world_advance(&world, 20 * SECONDS);
        report(&world, &reporter, &holder);
        assert_waits(&reporter);
        world_advance(&world, 3 * SECONDS);
        world_finish(&world, NULL, ENDING_ERROR);
        world_advance(&world, 600); /* the longest pause */
        world_finish(&world, NULL, ENDING_TOKEN);
        assert_token(&reporter, 3);
        holder = reporter;
        report(&world, &reporter, &holder); /* the first sending was the first step */
        assert_reason_for(&reporter, REASON_REJECTED_AGAIN, 2);
        world_end(&world);
}

static void after_two_quiet_minutes_the_step_begins_anew(void **state)
{
        struct caller holder = {}, caller = {};
        struct world world;

        (void)state;
        (void)start(&world, &holder);
        for (int i = 0; i < 4; i++) {
                report(&world, &caller, &holder);
                assert_waits(&caller);
                world_finish(&world, NULL, ENDING_TOKEN);
                holder = caller;
                report(&world, &caller, &holder);
                assert_reason_for(&caller, REASON_REJECTED_AGAIN, 5);
                world_advance(&world, 2 * MINUTES + 1);
        }
        world_end(&world);
}

static void an_issuer_that_repeats_the_token_is_told_of_and_not_asked_again(void **state)
{
        struct caller holder = {}, reporters[3] = {}, other = {}, later = {};
        struct fetch *fetch;
        struct world world;
        uint64_t serial;

        (void)state;
        serial = start(&world, &holder);
        for (int i = 0; i < 3; i++)
                report(&world, &reporters[i], &holder);
        world_ask_user(&world, &other, "anna");
        fetch = world_oldest(&world);
        fetch->repeated_serial = serial;
        fetch->repeated_expires_at_ms = holder.expires_at_ms;
        world_finish(&world, fetch, ENDING_TOKEN);
        for (int i = 0; i < 3; i++) {
                assert_token(&reporters[i], serial);
                assert_int_equal(reporters[i].detail, REASON_REPEATED_TOKEN);
        }
        assert_token(&other, serial);
        report(&world, &later, &holder);
        assert_reason_for(&later, REASON_REJECTED_AGAIN, 5);
        world_advance(&world, 5 * SECONDS);
        report(&world, &later, &holder);
        assert_waits(&later);
        assert_int_equal(world_counters(&world).fetches, 3);
        world_finish(&world, NULL, ENDING_TOKEN);
        assert_token(&later, serial + 1);
        assert_int_equal(later.detail, REASON_NONE);
        world_end(&world);
}

static void a_reporter_is_told_of_a_repeated_token_though_the_entry_has_gone_meanwhile(void **state)
{
        const struct filter anna = {.by_subject = true, .subject = TEXT("anna")};
        struct caller holder = {}, reporter = {}, other = {};
        struct fetch *fetch;
        struct purge purge;
        struct world world;
        uint64_t serial;

        (void)state;
        serial = start(&world, &holder);
        report(&world, &reporter, &holder);
        world_ask_user(&world, &other, "anna");
        (void)world_purge(&world, &anna, &purge);
        fetch = world_oldest(&world);
        fetch->repeated_serial = serial;
        fetch->repeated_expires_at_ms = holder.expires_at_ms;
        world_finish(&world, fetch, ENDING_TOKEN);
        assert_token(&reporter, serial);
        assert_int_equal(reporter.detail, REASON_REPEATED_TOKEN);
        assert_token(&other, serial);
        assert_int_equal(other.detail, REASON_NONE);
        world_end(&world);
}

/* Anna's first token was reported, its successor is spent, and `waiter`, who reports the first as
 * well, waits for a fetch that is purged; another fetch brings the first once more. */
static void bring_back_the_first(struct world *world, struct caller *waiter)
{
        struct caller holder = {}, reporter = {}, other = {};
        struct fetch *fetch;
        struct purge purge;

        world_init(world);
        world_start(world);
        (void)world_prime(world, "anna", 7200);
        world_ask_user(world, &holder, "anna");
        report(world, &reporter, &holder);
        world_oldest(world)->lifetime_s = 600;
        world_finish(world, NULL, ENDING_TOKEN);
        assert_token(&reporter, 2);
        world_advance(world, 580 * SECONDS);
        report(world, waiter, &holder);
        assert_waits(waiter);
        (void)world_purge(world, &(struct filter){}, &purge);
        world_ask_user(world, &other, "anna");
        fetch = list_entry(world->fetches.prev, struct fetch, link);
        fetch->repeated_serial = 1;
        fetch->repeated_expires_at_ms = holder.expires_at_ms;
        fetch->lifetime_s = (holder.expires_at_ms - world->now_ms) / SECONDS;
        world_finish(world, fetch, ENDING_TOKEN);
        assert_token(&other, 1);
        assert_waits(waiter);
}

static void a_reported_token_that_came_back_is_no_stopgap_for_who_reported_it(void **state)
{
        struct caller waiter = {};
        struct world world;

        (void)state;
        bring_back_the_first(&world, &waiter);
        world_finish(&world, NULL, ENDING_SUBJECT_REFUSED);
        assert_reason(&waiter, REASON_SUBJECT_REFUSED);
        world_end(&world);

        bring_back_the_first(&world, &waiter);
        world_advance(&world, 20 * SECONDS - 1);
        assert_waits(&waiter);
        world_advance(&world, 1);
        assert_reason(&waiter, REASON_REQUEST_TIMEOUT);
        world_end(&world);
}

static void whoever_reports_gets_no_stopgap_when_its_time_is_up(void **state)
{
        struct caller holder = {}, reporter = {};
        struct world world;

        (void)state;
        (void)start(&world, &holder);
        report(&world, &reporter, &holder);
        world_advance(&world, 19 * SECONDS);
        assert_waits(&reporter);
        world_advance(&world, 1 * SECONDS);
        assert_reason(&reporter, REASON_REQUEST_TIMEOUT);
        world_end(&world);
}

static void a_report_joins_the_refresh_that_runs(void **state)
{
        struct caller holder = {}, reporter = {};
        struct world world;
        uint64_t serial;

        (void)state;
        serial = start(&world, &holder);
        world_advance(&world, 40 * MINUTES);
        assert_int_equal(world_counters(&world).refreshes, 1);
        report(&world, &reporter, &holder);
        assert_waits(&reporter);
        assert_int_equal(world.n_fetches, 1);
        world_finish(&world, NULL, ENDING_TOKEN);
        assert_token(&reporter, serial + 1);
        world_end(&world);
}

static void with_an_open_breaker_reporters_are_told_and_the_rest_served(void **state)
{
        struct caller holder = {}, caller = {};
        struct world world;
        uint64_t serial;

        (void)state;
        serial = start(&world, &holder);
        world_ask_user(&world, &caller, "bert");
        world_oldest(&world)->retry_after = "7";
        world_finish(&world, NULL, ENDING_THROTTLED);
        report(&world, &caller, &holder);
        assert_reason_for(&caller, REASON_ISSUER_THROTTLES, 7);
        world_ask_user(&world, &caller, "anna");
        assert_old_token(&caller, serial, REASON_ISSUER_THROTTLES);
        world_end(&world);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(another_than_the_current_token_changes_nothing),
                cmocka_unit_test(the_token_before_the_current_one_changes_nothing),
                cmocka_unit_test(
                        five_hundred_reports_cost_one_fetch_and_the_rest_get_the_old_token_meanwhile),
                cmocka_unit_test(
                        where_the_fetch_fails_reporters_get_the_error_and_the_rest_the_old_token),
                cmocka_unit_test(a_report_inside_the_step_is_503_with_retry_after),
                cmocka_unit_test(a_report_whose_fetch_was_never_sent_begins_no_step),
                cmocka_unit_test(after_two_quiet_minutes_the_step_begins_anew),
                cmocka_unit_test(an_issuer_that_repeats_the_token_is_told_of_and_not_asked_again),
                cmocka_unit_test(
                        a_reporter_is_told_of_a_repeated_token_though_the_entry_has_gone_meanwhile),
                cmocka_unit_test(a_reported_token_that_came_back_is_no_stopgap_for_who_reported_it),
                cmocka_unit_test(whoever_reports_gets_no_stopgap_when_its_time_is_up),
                cmocka_unit_test(a_report_joins_the_refresh_that_runs),
                cmocka_unit_test(with_an_open_breaker_reporters_are_told_and_the_rest_served),
        };

        return cmocka_run_group_tests_name("rejection", tests, NULL, NULL);
}
