/* SPDX-License-Identifier: MIT */

#include "freshness.h"

#include "helpers.h"

#define SENT_AT_MS UINT64_C(7000000)
#define YEAR_MS    (UINT64_C(366) * 86400 * 1000)

static const struct freshness_limits defaults = {.margin_ms = 30000, .timeout_ms = 10000};

static long double smaller(long double a, long double b)
{
        return a < b ? a : b;
}

static long double larger(long double a, long double b)
{
        return a > b ? a : b;
}

/* How long after it was sent for a token is due: the rule as it is written, over the reals. */
static long double expected_ms(uint64_t lifetime_ms, const struct freshness_limits *limits,
                               uint32_t random)
{
        const long double life = (long double)lifetime_ms;
        const long double reserve = smaller(larger(life / 5, 300000), life / 2);
        const long double j = 0.9L + 0.2L * (long double)random / 4294967296.0L;
        const long double margin = smaller((long double)limits->margin_ms, life / 10);
        const long double latest = life - margin - (long double)limits->timeout_ms;

        if (latest < life / 2)
                return life / 2;
        return smaller(larger(life - reserve * j, life / 2), latest);
}

static void assert_due_after(uint64_t lifetime_ms, const struct freshness_limits *limits,
                             uint32_t random)
{
        const uint64_t at_ms = freshness_refresh_at_ms(SENT_AT_MS, SENT_AT_MS + lifetime_ms, limits,
                                                       random);
        const long double off = (long double)(at_ms - SENT_AT_MS) -
                                expected_ms(lifetime_ms, limits, random);

        if (at_ms < SENT_AT_MS || off < -4 || off > 4) /* whole numbers lose a little */
                fail_msg("life %llu, margin %llu, time-out %llu, random %u: %llu",
                         (unsigned long long)lifetime_ms, (unsigned long long)limits->margin_ms,
                         (unsigned long long)limits->timeout_ms, random,
                         (unsigned long long)(at_ms - SENT_AT_MS));
}

static void the_refresh_point_follows_the_rule_for_any_life(void **state)
{
        static const uint32_t randoms[] = {0, 1, 0x40000000, 0x7fffffff, 0x80000000, 0xffffffff};
        static const struct freshness_limits limits[] = {
                {30000, 10000}, {0, 0}, {30000, 0}, {0, 10000}, {30000, 120000}, {600000, 600000},
        };
        uint64_t seed = 3;

        (void)state;
        for (size_t i = 0; i < N_OF(limits); i++) {
                for (uint64_t s = 0; s <= 10800; s++)
                        for (size_t k = 0; k < N_OF(randoms); k++)
                                assert_due_after(s * 1000, &limits[i], randoms[k]);
                for (size_t k = 0; k < N_OF(randoms); k++)
                        assert_due_after(YEAR_MS, &limits[i], randoms[k]);
                for (int n = 0; n < 50000; n++) {
                        const unsigned int bits = (unsigned int)(random_next(&seed) % 35);

                        assert_due_after(random_next(&seed) % YEAR_MS >> bits, &limits[i],
                                         (uint32_t)random_next(&seed));
                }
        }
}

/* Some of them by hand. */
static void well_known_lives_are_due_where_one_expects(void **state)
{
        static const struct {
                uint64_t lifetime_s;
                uint64_t earliest_ms; /* random at its highest */
                uint64_t middle_ms;
                uint64_t latest_ms; /* at 0 */
        } cases[] = {
                /* R = L/5 */
                {3600, 2808000, 2880000, 2952000},
                {86400, 67392000, 69120000, 70848000},
                {1800, 1404000, 1440000, 1476000},
                /* R = 300 s */
                {1500, 1170000, 1200000, 1230000},
                {900, 570000, 600000, 630000},
                {601, 300500, 301000, 331000}, /* held back at half the life */
                /* R = L/2: held back at half the life, and j still counts beyond it */
                {600, 300000, 300000, 330000},
                {60, 30000, 30000, 33000},
                /* a tenth for the margin and ten seconds for the fetch leave no room */
                {25, 12500, 12500, 12500},
                {20, 10000, 10000, 10000},
                {10, 5000, 5000, 5000},
                {1, 500, 500, 500},
        };

        (void)state;
        for (size_t i = 0; i < N_OF(cases); i++) {
                const uint64_t end_ms = SENT_AT_MS + cases[i].lifetime_s * 1000;
                const uint64_t wanted_ms[] = {cases[i].latest_ms, cases[i].middle_ms,
                                              cases[i].earliest_ms};
                const uint32_t randoms[] = {0, 0x80000000, 0xffffffff};

                for (size_t k = 0; k < N_OF(randoms); k++) {
                        const uint64_t at_ms = freshness_refresh_at_ms(SENT_AT_MS, end_ms,
                                                                       &defaults, randoms[k]);

                        assert_in_range(at_ms - SENT_AT_MS, wanted_ms[k], wanted_ms[k] + 1);
                }
        }
}

/* Wherever there is room, a fetch that begins at the refresh point ends before the token is spent.
 */
static void a_fetch_fits_between_due_and_spent(void **state)
{
        uint64_t seed = 4;

        (void)state;
        for (uint64_t s = 1; s <= 4000; s++) {
                const uint64_t life_ms = s * 1000;
                const uint64_t margin_ms = life_ms / 10 < 30000 ? life_ms / 10 : 30000;
                const uint64_t at_ms = freshness_refresh_at_ms(SENT_AT_MS, SENT_AT_MS + life_ms,
                                                               &defaults,
                                                               (uint32_t)random_next(&seed)) -
                                       SENT_AT_MS;

                assert_true(at_ms >= life_ms / 2 && at_ms < life_ms);
                if (life_ms / 2 >= margin_ms + defaults.timeout_ms)
                        assert_true(at_ms + defaults.timeout_ms + margin_ms <= life_ms);
                else
                        assert_int_equal(at_ms, life_ms / 2);
        }
}

/* Of an hour's tokens fetched at once, each minute of the spread renews about as many. */
static void tokens_fetched_together_are_not_renewed_together(void **state)
{
        enum { N = 14400, N_MINUTES = 3 };
        const uint64_t first_ms = SENT_AT_MS + 2808000, last_ms = SENT_AT_MS + 2952000;
        unsigned int n_in[N_MINUTES] = {};
        uint64_t seed = 5, lowest_ms = UINT64_MAX, highest_ms = 0;

        (void)state;
        for (int i = 0; i < N; i++) {
                const uint64_t at_ms = freshness_refresh_at_ms(
                        SENT_AT_MS, SENT_AT_MS + 3600000, &defaults, (uint32_t)random_next(&seed));

                assert_in_range(at_ms, first_ms, last_ms);
                n_in[(at_ms - first_ms) / 48001]++;
                lowest_ms = at_ms < lowest_ms ? at_ms : lowest_ms;
                highest_ms = at_ms > highest_ms ? at_ms : highest_ms;
        }
        for (int i = 0; i < N_MINUTES; i++)
                assert_in_range(n_in[i], N / N_MINUTES * 9 / 10, N / N_MINUTES * 11 / 10);
        assert_true(lowest_ms < first_ms + 1000 && highest_ms > last_ms - 1000);
}

static void assert_freshness(uint64_t lifetime_ms, uint64_t margin_ms, uint64_t left_ms,
                             enum freshness expected)
{
        const struct freshness_limits limits = {.margin_ms = margin_ms, .timeout_ms = 10000};
        const struct token token = {
                .sent_at_ms = SENT_AT_MS,
                .refresh_at_ms = SENT_AT_MS + lifetime_ms,
                .expires_at_ms = SENT_AT_MS + lifetime_ms,
        };

        if (freshness_of(&token, &limits, 0, SENT_AT_MS + lifetime_ms - left_ms) != expected)
                fail_msg("life %d, margin %d, left %d", (int)lifetime_ms, (int)margin_ms,
                         (int)left_ms);
}

static void spent_and_ended_begin_at_the_exact_millisecond(void **state)
{
        (void)state;
        /* An hour: the margin of 30 s counts. */
        assert_freshness(3600000, 30000, 3600000, FRESHNESS_FRESH);
        assert_freshness(3600000, 30000, 30000, FRESHNESS_FRESH);
        assert_freshness(3600000, 30000, 29999, FRESHNESS_SPENT);
        assert_freshness(3600000, 30000, 1000, FRESHNESS_SPENT);
        assert_freshness(3600000, 30000, 999, FRESHNESS_ENDED);
        assert_freshness(3600000, 30000, 0, FRESHNESS_ENDED);
        /* A minute: a tenth of it counts. */
        assert_freshness(60000, 30000, 6000, FRESHNESS_FRESH);
        assert_freshness(60000, 30000, 5999, FRESHNESS_SPENT);
        /* Five minutes: both are the same. */
        assert_freshness(300000, 30000, 30000, FRESHNESS_FRESH);
        assert_freshness(300000, 30000, 29999, FRESHNESS_SPENT);
        /* A little more than that: the margin counts, not the tenth. */
        assert_freshness(310000, 30000, 30000, FRESHNESS_FRESH);
        assert_freshness(310000, 30000, 29999, FRESHNESS_SPENT);
        /* No margin: never spent. */
        assert_freshness(3600000, 0, 1000, FRESHNESS_FRESH);
        assert_freshness(3600000, 0, 999, FRESHNESS_ENDED);
        /* A second: only at once. */
        assert_freshness(1000, 30000, 1000, FRESHNESS_FRESH);
        assert_freshness(1000, 30000, 999, FRESHNESS_ENDED);
        assert_freshness(1, 30000, 1, FRESHNESS_ENDED);
        assert_freshness(0, 30000, 0, FRESHNESS_ENDED);
}

static void due_begins_at_the_exact_millisecond_and_gives_way_to_spent(void **state)
{
        struct token token = {.refresh_at_ms = 40000, .expires_at_ms = 100000};

        (void)state;
        assert_int_equal(freshness_of(&token, &defaults, 0, 0), FRESHNESS_FRESH);
        assert_int_equal(freshness_of(&token, &defaults, 0, 39999), FRESHNESS_FRESH);
        assert_int_equal(freshness_of(&token, &defaults, 0, 40000), FRESHNESS_DUE);
        assert_int_equal(freshness_of(&token, &defaults, 0, 90000), FRESHNESS_DUE);
        assert_int_equal(freshness_of(&token, &defaults, 0, 90001), FRESHNESS_SPENT);
        assert_int_equal(freshness_of(&token, &defaults, 0, 99000), FRESHNESS_SPENT);
        assert_int_equal(freshness_of(&token, &defaults, 0, 99001), FRESHNESS_ENDED);
        assert_int_equal(freshness_of(&token, &defaults, 0, UINT64_C(1) << 40), FRESHNESS_ENDED);
        token.refresh_at_ms = 95000; /* where it lies past that, there is no due */
        assert_int_equal(freshness_of(&token, &defaults, 0, 90000), FRESHNESS_FRESH);
        assert_int_equal(freshness_of(&token, &defaults, 0, 95000), FRESHNESS_SPENT);
}

/* After a pause of the machine all that was fetched before is due, and nothing worse. */
static void what_was_sent_for_too_early_is_due_at_least(void **state)
{
        const struct token token = {
                .sent_at_ms = 10000, .refresh_at_ms = 50000, .expires_at_ms = 110000};

        (void)state;
        assert_int_equal(freshness_of(&token, &defaults, 10000, 20000), FRESHNESS_FRESH);
        assert_int_equal(freshness_of(&token, &defaults, 10001, 20000), FRESHNESS_DUE);
        assert_int_equal(freshness_of(&token, &defaults, UINT64_MAX, 20000), FRESHNESS_DUE);
        assert_int_equal(freshness_of(&token, &defaults, 10001, 50000), FRESHNESS_DUE);
        assert_int_equal(freshness_of(&token, &defaults, 10001, 100001), FRESHNESS_SPENT);
        assert_int_equal(freshness_of(&token, &defaults, 10001, 109001), FRESHNESS_ENDED);
}

/* A token goes through its stages in one direction, each of them where there is room for it. */
static void the_stages_follow_one_another(void **state)
{
        uint64_t seed = 6;

        (void)state;
        for (int n = 0; n < 2000; n++) {
                const uint64_t life_ms = 1000 * (1 + random_next(&seed) % 7200);
                const struct token token = {
                        .sent_at_ms = SENT_AT_MS,
                        .refresh_at_ms = freshness_refresh_at_ms(SENT_AT_MS, SENT_AT_MS + life_ms,
                                                                 &defaults,
                                                                 (uint32_t)random_next(&seed)),
                        .expires_at_ms = SENT_AT_MS + life_ms,
                };
                enum freshness last = FRESHNESS_FRESH;

                for (uint64_t at_ms = 0; at_ms <= life_ms; at_ms += 1 + life_ms / 500) {
                        const enum freshness freshness = freshness_of(&token, &defaults, 0,
                                                                      SENT_AT_MS + at_ms);

                        assert_true(freshness <= last);
                        last = freshness;
                }
                if (life_ms > 2000)
                        assert_int_equal(
                                freshness_of(&token, &defaults, 0, token.refresh_at_ms - 1),
                                FRESHNESS_FRESH);
        }
}

static void every_stage_has_a_name(void **state)
{
        (void)state;
        assert_string_equal(freshness_name(FRESHNESS_FRESH), "fresh");
        assert_string_equal(freshness_name(FRESHNESS_DUE), "due");
        assert_string_equal(freshness_name(FRESHNESS_SPENT), "spent");
        assert_string_equal(freshness_name(FRESHNESS_ENDED), "ended");
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(the_refresh_point_follows_the_rule_for_any_life),
                cmocka_unit_test(well_known_lives_are_due_where_one_expects),
                cmocka_unit_test(a_fetch_fits_between_due_and_spent),
                cmocka_unit_test(tokens_fetched_together_are_not_renewed_together),
                cmocka_unit_test(spent_and_ended_begin_at_the_exact_millisecond),
                cmocka_unit_test(due_begins_at_the_exact_millisecond_and_gives_way_to_spent),
                cmocka_unit_test(what_was_sent_for_too_early_is_due_at_least),
                cmocka_unit_test(the_stages_follow_one_another),
                cmocka_unit_test(every_stage_has_a_name),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
