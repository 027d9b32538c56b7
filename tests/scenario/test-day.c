/* SPDX-License-Identifier: MIT */

/*
 * A day with a thousand subjects that are asked for all the time and a thousand that are asked for
 * once, at tokens of an hour; and the same with an issuer that is down for twenty minutes.
 */

#include "world.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define SUBJECTS 1000 /* busy ones, and as many idle ones */
#define CALLERS  64   /* who wait at the same time */

/* A busy subject is asked for so often, each at a time of its own. */
#define PERIOD_MS (5 * MINUTES)
#define SLICE_MS  (PERIOD_MS / SUBJECTS)

struct subject {
        unsigned int n_fetches;
        unsigned int n_waited; /* callers that were not answered at once */
        uint64_t ends_at_ms;   /* of the last token that a caller was given */
};

struct day {
        struct world world;
        struct subject busy[SUBJECTS], idle[SUBJECTS];
        struct caller callers[CALLERS];
        struct subject *asked[CALLERS]; /* by each of the callers */
        uint64_t down_from_ms, down_to_ms;
        uint64_t n_down; /* fetches while the issuer was down */
        uint64_t n_errors;
        size_t most_in_flight;
};

static struct subject *subject_of(struct day *day, struct text name)
{
        struct subject *all = name.bytes[0] == 'b' ? day->busy : day->idle;

        return &all[strtoul(name.bytes + 1, NULL, 10)];
}

static bool is_down(const struct day *day)
{
        return day->world.now_ms >= day->down_from_ms && day->world.now_ms < day->down_to_ms;
}

static void answer(struct world *world, struct fetch *fetch)
{
        struct day *day = world->script_data;
        char name[16];

        assert_true(fetch->matter.subject.size < sizeof(name));
        memcpy(name, fetch->matter.subject.bytes, fetch->matter.subject.size);
        name[fetch->matter.subject.size] = '\0';
        subject_of(day, TEXT(name))->n_fetches++;
        fetch->ending = is_down(day) ? ENDING_ERROR : ENDING_TOKEN;
        fetch->ends_at_ms = world->now_ms + 200;
        day->n_down += is_down(day);
        if (world->n_fetches > day->most_in_flight)
                day->most_in_flight = world->n_fetches;
}

static void settle(struct day *day, size_t i)
{
        struct caller *caller = &day->callers[i];
        struct subject *subject = day->asked[i];

        if (!subject)
                return;
        assert_false(caller->waits);
        day->asked[i] = NULL;
        if (caller->answered_at_ms > caller->asked_at_ms)
                subject->n_waited++;
        if (caller->serial) {
                assert_true(caller->answered_at_ms <= caller->asked_at_ms + 2 * SECONDS);
                subject->ends_at_ms = caller->expires_at_ms;
                return;
        }
        /* Nobody sees an error who could have had a token. */
        day->n_errors++;
        assert_true(caller->answered_at_ms + 1000 > subject->ends_at_ms);
        assert_int_equal(reason_info(caller->reason)->status, 503);
        assert_in_range(caller->retry_after_s, 1, 60);
}

static void ask(struct day *day, const char *kind, unsigned int number)
{
        struct subject *subject;
        char name[16];
        size_t i = 0;

        while (i < CALLERS && day->callers[i].waits)
                i++;
        assert_true(i < CALLERS);
        settle(day, i);
        (void)snprintf(name, sizeof(name), "%s%u", kind, number);
        subject = subject_of(day, TEXT(name));
        day->asked[i] = subject;
        world_ask_user(&day->world, &day->callers[i], name);
        if (!day->callers[i].waits)
                settle(day, i);
}

static void live(struct day *day, uint64_t duration_ms)
{
        const uint64_t until_ms = day->world.now_ms + duration_ms;
        unsigned int number = 0;

        for (; day->world.now_ms < until_ms; number = (number + 1) % SUBJECTS) {
                ask(day, "b", number);
                world_advance(&day->world, SLICE_MS);
        }
}

static void start(struct day *day)
{
        *day = (struct day){};
        world_init(&day->world);
        day->world.settings.max_entries = 4000;
        day->world.settings.max_memory_bytes = UINT64_C(8) << 20;
        day->world.script = answer;
        day->world.script_data = day;
        world_start(&day->world);
        for (unsigned int i = 0; i < SUBJECTS; i++) {
                ask(day, "i", i);
                world_advance(&day->world, SLICE_MS);
        }
}

static void end(struct day *day)
{
        world_advance(&day->world, 30 * SECONDS);
        for (size_t i = 0; i < CALLERS; i++)
                settle(day, i);
        for (unsigned int i = 0; i < SUBJECTS; i++)
                assert_int_equal(day->idle[i].n_fetches, 1); /* its first, and not once more */
        world_end(&day->world);
}

static void busy_subjects_are_renewed_once_in_48_minutes_and_idle_ones_not_once(void **state)
{
        static struct day day;
        uint64_t n_fetches = 0;

        (void)state;
        start(&day);
        live(&day, 24 * HOURS);
        for (unsigned int i = 0; i < SUBJECTS; i++) {
                assert_in_range(day.busy[i].n_fetches, 1 + 28, 1 + 31); /* 1440 / 48 is 30 */
                assert_int_equal(day.busy[i].n_waited, 1);              /* the first ever */
                n_fetches += day.busy[i].n_fetches;
        }
        assert_in_range(n_fetches, SUBJECTS * UINT64_C(30), SUBJECTS * UINT64_C(32));
        assert_int_equal(day.n_errors, 0);
        assert_int_equal(world_counters(&day.world).served_old, 0);
        assert_true(day.most_in_flight <= day.world.settings.max_in_flight / 2);
        print_message("# %" PRIu64 " fetches for busy subjects, %zu in flight at most\n", n_fetches,
                      day.most_in_flight);
        end(&day);
}

static void an_outage_of_twenty_minutes_is_seen_by_nobody_whose_token_lives(void **state)
{
        static struct day day;
        struct broker_counters before, after;
        uint64_t n_waited = 0, recovered_ms;

        (void)state;
        start(&day);
        live(&day, 4 * HOURS + 45 * MINUTES); /* in the middle of the renewals */
        for (unsigned int i = 0; i < SUBJECTS; i++)
                day.busy[i].n_fetches = day.busy[i].n_waited = 0;

        day.down_from_ms = day.world.now_ms;
        day.down_to_ms = day.world.now_ms + 20 * MINUTES;
        before = world_counters(&day.world);
        live(&day, 20 * MINUTES);
        /* Five failures and what was in flight at the time; probes after 1, 2, 4, … 60 s, each a
         * single try. */
        after = world_counters(&day.world);
        print_message("# outage: %" PRIu64 " fetches, %" PRIu64 " errors, %" PRIu64 " old tokens, "
                      "%" PRIu64 " times opened\n",
                      day.n_down, day.n_errors, after.served_old - before.served_old,
                      day.world.n_notes[NOTE_BREAKER_OPENED]);
        assert_in_range(day.n_down, 5, 5 + 10 + 6 + 20);
        assert_int_equal(after.tokens, before.tokens);
        assert_in_range(day.world.n_notes[NOTE_BREAKER_OPENED], 10, 27);

        /* Recovery: once the probe is through, each subject is fetched once, in its turn. */
        day.most_in_flight = 0;
        recovered_ms = day.world.now_ms;
        live(&day, 10 * MINUTES);
        before = after;
        after = world_counters(&day.world);
        print_message("# recovery: %" PRIu64 " fetches in ten minutes, %zu in flight at most\n",
                      after.fetches - before.fetches, day.most_in_flight);
        assert_int_equal(day.world.n_notes[NOTE_ISSUER_WELL], 1);
        assert_in_range(after.fetches - before.fetches, SUBJECTS / 2, SUBJECTS + 5);
        assert_true(day.most_in_flight <= day.world.settings.max_in_flight);
        for (unsigned int i = 0; i < SUBJECTS; i++) {
                assert_true(day.busy[i].ends_at_ms > recovered_ms);
                n_waited += day.busy[i].n_waited;
        }
        /* Some tokens ended meanwhile: L/5 is less than the outage. */
        assert_true(day.n_errors > 0 && day.n_errors < SUBJECTS);

        /* And then all is as before. */
        for (unsigned int i = 0; i < SUBJECTS; i++)
                day.busy[i].n_fetches = day.busy[i].n_waited = 0;
        live(&day, 3 * HOURS);
        for (unsigned int i = 0; i < SUBJECTS; i++) {
                assert_in_range(day.busy[i].n_fetches, 3, 4);
                assert_int_equal(day.busy[i].n_waited, 0);
        }
        print_message("# %" PRIu64 " callers waited in the outage and after it\n", n_waited);
        end(&day);
}

static void a_thousand_callers_at_the_moment_of_recovery_take_turns(void **state)
{
        static struct caller callers[SUBJECTS];
        static struct day day;

        (void)state;
        memset(callers, 0, sizeof(callers));
        day = (struct day){};
        world_init(&day.world);
        day.world.settings.max_waiters = SUBJECTS;
        day.world.settings.max_flights = SUBJECTS;
        day.world.script = answer;
        day.world.script_data = &day;
        world_start(&day.world);
        day.down_to_ms = day.world.now_ms + 1 * MINUTES;
        while (world_explain(&day.world, "b0").breaker == BREAKER_CLOSED) {
                for (unsigned int i = 0; i < 5; i++)
                        ask(&day, "i", i);
                world_advance(&day.world, 2 * SECONDS);
        }
        world_advance(&day.world, 1 * MINUTES);
        day.n_down = 0;
        day.most_in_flight = 0;
        for (unsigned int i = 0; i < SUBJECTS; i++) {
                char name[16];

                (void)snprintf(name, sizeof(name), "b%u", i);
                world_ask_user(&day.world, &callers[i], name);
                assert_waits(&callers[i]);
        }
        assert_int_equal(day.world.n_fetches, 1); /* half-open */
        world_advance(&day.world, 10 * SECONDS);
        for (unsigned int i = 0; i < SUBJECTS; i++) {
                assert_int_equal(callers[i].reason, REASON_NONE);
                assert_int_equal(day.busy[i].n_fetches, 1);
        }
        assert_int_equal(day.most_in_flight, day.world.settings.max_in_flight);

        /* Fetched in seconds, they are renewed over minutes. */
        for (unsigned int i = 0; i < SUBJECTS; i++) {
                char name[16];

                (void)snprintf(name, sizeof(name), "b%u", i);
                world_ask_user(&day.world, &callers[i], name);
        }
        day.most_in_flight = 0;
        world_advance(&day.world, 1 * HOURS);
        assert_true(day.most_in_flight <= day.world.settings.max_in_flight / 2);
        assert_int_equal(world_counters(&day.world).refreshes, SUBJECTS);
        for (size_t i = 0; i < CALLERS; i++)
                settle(&day, i);
        world_end(&day.world);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(
                        busy_subjects_are_renewed_once_in_48_minutes_and_idle_ones_not_once),
                cmocka_unit_test(an_outage_of_twenty_minutes_is_seen_by_nobody_whose_token_lives),
                cmocka_unit_test(a_thousand_callers_at_the_moment_of_recovery_take_turns),
        };

        return cmocka_run_group_tests_name("day", tests, NULL, NULL);
}
