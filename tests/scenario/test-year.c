/* SPDX-License-Identifier: MIT */

/*
 * Random callers, a moody issuer that rotates secrets, APIs that reject tokens, callers who hang
 * up, a machine that sleeps and a clock that is set, for a year. What is checked is in the world:
 * each token against the subject, scope and client application asked for, each waiter answered once
 * and in time. SCENARIO_SEED in the environment plays another year.
 */

#include "world.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define CALLERS 200

/* What kind of life it is. */
struct climate {
        uint64_t requests, duration_ms; /* it ends when both are reached */
        uint64_t mean_gap_ms;           /* between bursts of requests */
        unsigned int subjects;
        unsigned int burst_max;
        uint64_t latency_max_ms;
        uint64_t mean_fair_ms, mean_foul_ms; /* how long the issuer's moods last */
        uint64_t mean_awake_ms;              /* 0: the machine never sleeps */
};

struct life {
        struct world world;
        struct climate climate;
        struct caller callers[CALLERS];
        size_t next_caller;
        struct caller last;
        uint64_t random;
        bool foul[3]; /* the mood of each token URL */
        uint64_t mood_ends_ms[3];
        uint64_t sleep_ms; /* when the machine sleeps next */
        bool rotated;      /* the issuer accepts the second of the two secrets */
        const char *secrets[2];
        uint64_t n_sleeps, n_asked, n_answered, n_tokens, n_rejected;
        uint64_t n_old; /* tokens served although a new one was waited for */
};

/* splitmix64 */
static uint64_t random_bits(struct life *life)
{
        uint64_t z = life->random += UINT64_C(0x9e3779b97f4a7c15);

        z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
        z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
        return z ^ z >> 31;
}

static uint64_t random_below(struct life *life, uint64_t n)
{
        return random_bits(life) % n;
}

static bool one_in(struct life *life, uint64_t n)
{
        return random_below(life, n) == 0;
}

/* Mostly short, sometimes long, `mean_ms` on average. */
static uint64_t random_span(struct life *life, uint64_t mean_ms)
{
        return one_in(life, 4) ? random_below(life, 5 * mean_ms) : random_below(life, mean_ms);
}

static bool mood_is_foul(struct life *life, const struct fetch *fetch)
{
        const size_t at = fetch->matter.kind == SUBJECT_EMAIL           ? 2
                          : strstr(fetch->url, "other.example") != NULL ? 1
                                                                        : 0;

        while (life->mood_ends_ms[at] <= life->world.now_ms) {
                life->foul[at] = !life->foul[at];
                life->mood_ends_ms[at] +=
                        1 + random_span(life, life->foul[at] ? life->climate.mean_foul_ms
                                                             : life->climate.mean_fair_ms);
        }
        return life->foul[at];
}

static void decide(struct world *world, struct fetch *fetch)
{
        static const uint64_t lifetimes_s[] = {3600, 3600, 3600, 7200, 300, 60, 5};
        static const char *const retry_afters[] = {"1", "7", "100", "99999", "never"};
        struct life *life = world->script_data;
        const bool foul = mood_is_foul(life, fetch);

        fetch->lifetime_s = lifetimes_s[random_below(life, 7)];
        fetch->ends_at_ms = world->now_ms + 20 + random_below(life, life->climate.latency_max_ms);
        if (one_in(life, 100))
                fetch->ends_at_ms += 1 * MINUTES;
        fetch->ending = ENDING_TOKEN;
        if (one_in(life, foul ? 2 : 500))
                fetch->ending = (enum ending)random_below(life, _ENDING_N);
        if (one_in(life, 3))
                fetch->retry_after = retry_afters[random_below(life, 5)];
        if (one_in(life, 2000))
                life->rotated = !life->rotated;
        /* The portal's secret, and every now and then it is not in the files yet. */
        if (text_equal(fetch->matter.client_id, TEXT(world->clients[CLIENT_PORTAL].client_id)) &&
            !text_equal(fetch->client_secret, TEXT(life->secrets[life->rotated]))) {
                fetch->ending = ENDING_CREDENTIALS_REFUSED;
                if (!one_in(life, 4))
                        world->secrets[CLIENT_PORTAL][one_in(life, 2)] =
                                life->secrets[life->rotated];
        }
        if (foul && one_in(life, 4)) {
                fetch->ending = ENDING_TIMEOUT;
                fetch->ends_at_ms = world->now_ms + 15 * SECONDS;
        }
}

/* The caller's answer, if it has one, goes into the statistics. */
static void settle(struct life *life, struct caller *caller)
{
        if (caller->n_replies == 0 || caller->waits)
                return;
        life->n_answered++;
        life->n_tokens += caller->serial != 0;
        life->n_rejected += caller->rejects;
        life->n_old += caller->serial && caller->cache_status == CACHE_STATUS_FWD_STALE &&
                       caller->expires_at_ms < caller->answered_at_ms + 30 * SECONDS;
        caller->n_replies = 0;
}

/* Looking on must change nothing, which the world would notice. */
static void look_on(struct life *life, const struct wish *wish)
{
        struct explanation explanation;
        struct caller caller = {};

        caller_make_request(&caller, &life->world.clients[wish->client], wish);
        broker_explain(life->world.broker, &caller.request, &life->world.peer, life->world.now_ms,
                       &explanation);
        assert_false(explanation.would_wait && explanation.would_serve_old);
        request_deinit(&caller.request);
}

static void ask(struct life *life, unsigned int subject)
{
        static const char *const scopes[] = {NULL, NULL, NULL, NULL, "a", "b a", "a b", "a b a"};
        struct caller *caller = &life->callers[life->next_caller++ % CALLERS];
        char name[32];
        struct wish wish = {.kind = (enum subject_kind)(subject % SUBJECT_APPLICATION)};

        (void)snprintf(name, sizeof(name), "subject%u", subject / SUBJECT_APPLICATION);
        wish.subject = TEXT(name);
        wish.client = wish.kind == SUBJECT_EMAIL ? CLIENT_PORTAL
                                                 : (size_t)(subject / 7 % WORLD_CLIENTS_USUAL);
        wish.scope = scopes[random_below(life, 8)];
        if (wish.client == CLIENT_MOBILE && !wish.scope)
                wish.scope = "a";
        if (one_in(life, 20))
                wish.min_ttl_s = random_below(life, 7200);
        if (one_in(life, 50))
                look_on(life, &wish);
        if (caller->waits)
                return;
        settle(life, caller);
        life->n_asked++;
        world_ask(&life->world, caller, wish);
        caller->hung_up = one_in(life, 5);
        /* An API rejects what came. */
        if (!caller->waits && caller->serial && one_in(life, 20)) {
                life->last = *caller;
                settle(life, caller);
                wish.rejects = &life->last;
                life->n_asked++;
                world_ask(&life->world, caller, wish);
        }
}

/* Few subjects ask often, and many now and then. */
static unsigned int random_subject(struct life *life)
{
        const unsigned int n = life->climate.subjects;

        return (unsigned int)(one_in(life, 2) ? random_below(life, n / 50 + 1)
                                              : random_below(life, n));
}

static void set_clock(struct life *life)
{
        if (one_in(life, 300))
                life->world.wall_ahead_ms += (int64_t)random_below(life, 2 * DAYS) - (int64_t)DAYS;
        if (one_in(life, 1000))
                (void)world_read_secrets(&life->world, CLIENT_PORTAL);
}

static void sleep_if_tired(struct life *life)
{
        if (!life->climate.mean_awake_ms || life->world.now_ms < life->sleep_ms)
                return;
        life->n_sleeps++;
        world_suspend(&life->world, random_span(life, 2 * HOURS));
        life->sleep_ms = life->world.now_ms + random_span(life, life->climate.mean_awake_ms);
        /* What happens first on waking is anybody's guess. */
        if (one_in(life, 2))
                ask(life, random_subject(life));
        world_advance(&life->world, 0);
        if (life->world.n_waiting == 0)
                life->world.late = false;
}

static void live(struct life *life)
{
        const uint64_t until_ms = life->world.now_ms + life->climate.duration_ms;

        life->world.script = decide;
        life->world.script_data = life;
        life->sleep_ms = life->world.now_ms + life->climate.mean_awake_ms;
        for (int i = 0; i < 3; i++)
                life->mood_ends_ms[i] = life->world.now_ms;
        life->secrets[0] = life->world.secrets[CLIENT_PORTAL][0];
        life->secrets[1] = "next";
        world_start(&life->world);
        while (life->n_asked < life->climate.requests || life->world.now_ms < until_ms) {
                const uint64_t burst =
                        1 + (one_in(life, 4) ? random_below(life, life->climate.burst_max) : 0);
                const unsigned int subject = random_subject(life);

                /* Now and then they all come in one turn of the loop. */
                life->world.busy = one_in(life, 3);
                for (uint64_t i = 0; i < burst; i++)
                        ask(life, one_in(life, 5) ? random_subject(life) : subject);
                if (life->world.busy && life->world.n_fetches > 0 && one_in(life, 2))
                        world_finish(&life->world, NULL, world_oldest(&life->world)->ending);
                life->world.busy = false;
                world_turn(&life->world);

                life->world.tick_first = one_in(life, 2);
                world_advance(&life->world, random_span(life, life->climate.mean_gap_ms));
                set_clock(life);
                sleep_if_tired(life);
        }
        world_advance(&life->world, 1 * MINUTES);
        for (size_t i = 0; i < CALLERS; i++) {
                assert_false(life->callers[i].waits);
                settle(life, &life->callers[i]);
        }
}

static void report(const struct life *life, uint64_t seed, uint64_t began_ms)
{
        const struct broker_counters c = world_counters(&life->world);

        print_message("# seed %" PRIu64 ": %" PRIu64 " days, %" PRIu64 " requests, %" PRIu64
                      " hits, %" PRIu64 " misses, %" PRIu64 " coalesced, %" PRIu64 " refused, "
                      "%" PRIu64 " timed out\n",
                      seed, (life->world.now_ms - began_ms) / DAYS, c.requests, c.hits, c.misses,
                      c.coalesced, c.refused, c.timed_out);
        print_message("# %" PRIu64 " refreshes, %" PRIu64 " retries, %" PRIu64 " holds, %" PRIu64
                      " rejections, %" PRIu64 " blocked, %" PRIu64 " unsent, %" PRIu64
                      " secrets refused\n",
                      c.refreshes, c.retries, c.holds, c.rejections, c.blocked,
                      life->world.n_unsent, life->world.n_secret_ends);
        print_message("# %" PRIu64 " fetches, %" PRIu64 " tokens, %" PRIu64 " refusals, %" PRIu64
                      " failures, %" PRIu64 " dropped, %" PRIu64 " expired, %" PRIu64
                      " evicted, %" PRIu64 " old tokens served, %" PRIu64 " sleeps\n",
                      c.fetches, c.tokens, c.refusals, c.failures, c.dropped, c.cache.expired,
                      c.cache.evicted_entries + c.cache.evicted_memory, life->n_old,
                      life->n_sleeps);
}

static uint64_t choose_seed(uint64_t otherwise)
{
        const char *text = getenv("SCENARIO_SEED");

        return text ? strtoull(text, NULL, 10) : otherwise;
}

static void a_year_passes_and_every_caller_got_its_own_token_or_a_reason(void **state)
{
        static struct life life;
        const uint64_t seed = choose_seed(1);
        struct broker_counters c;
        uint64_t began_ms;

        (void)state;
        life = (struct life){
                .random = seed,
                .climate = {.duration_ms = 365 * DAYS,
                            .mean_gap_ms = 5 * MINUTES,
                            .subjects = 300,
                            .burst_max = 12,
                            .latency_max_ms = 8 * SECONDS,
                            .mean_fair_ms = 3 * DAYS,
                            .mean_foul_ms = 2 * HOURS,
                            .mean_awake_ms = 4 * DAYS},
        };
        world_init(&life.world);
        life.world.settings.max_entries = 25;
        began_ms = life.world.now_ms;
        live(&life);
        report(&life, seed, began_ms);

        /* It was a year in which everything happened. */
        c = world_counters(&life.world);
        assert_int_equal(life.n_answered, c.requests);
        assert_true(c.hits && c.misses && c.coalesced && c.timed_out);
        assert_true(c.tokens && c.refusals && c.failures);
        assert_true(c.cache.expired && c.cache.evicted_entries && c.cache.replaced);
        assert_true(c.refreshes && c.retries && c.holds && c.rejections && c.blocked);
        assert_true(life.n_rejected && life.world.n_secret_ends && life.world.n_reads);
        for (int i = 0; i < WORLD_NOTES; i++)
                assert_true(life.world.n_notes[i]);
        assert_true(life.n_sleeps > 30 && life.n_old > 0);
        assert_true(life.n_tokens > c.requests * 9 / 10);
        world_end(&life.world);
}

static void under_pressure_a_hundred_thousand_requests_get_their_own_token_or_a_reason(void **state)
{
        static struct life life;
        const uint64_t seed = choose_seed(2);
        struct broker_counters c;
        uint64_t began_ms;

        (void)state;
        life = (struct life){
                .random = seed,
                .climate = {.requests = 100000,
                            .mean_gap_ms = 1500,
                            .subjects = 2000,
                            .burst_max = 30,
                            .latency_max_ms = 10 * SECONDS,
                            .mean_fair_ms = 10 * MINUTES,
                            .mean_foul_ms = 2 * MINUTES},
        };
        world_init(&life.world);
        life.world.settings.max_entries = 400;
        life.world.settings.max_memory_bytes = 50000;
        life.world.settings.max_flights = 25;
        life.world.settings.max_waiters = 60;
        life.world.settings.max_waiters_per_flight = 15;
        life.world.settings.max_in_flight = 4;
        life.world.settings.max_in_flight_total = 7;
        began_ms = life.world.now_ms;
        live(&life);
        report(&life, seed, began_ms);

        c = world_counters(&life.world);
        assert_int_equal(life.n_answered, c.requests);
        assert_true(c.limits.flights_full && c.limits.flight_full && c.limits.waiters_full);
        assert_true(c.dropped && c.timed_out && c.cache.evicted_memory && life.world.n_unsent);
        world_end(&life.world);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(a_year_passes_and_every_caller_got_its_own_token_or_a_reason),
                cmocka_unit_test(
                        under_pressure_a_hundred_thousand_requests_get_their_own_token_or_a_reason),
        };

        return cmocka_run_group_tests_name("year", tests, NULL, NULL);
}
