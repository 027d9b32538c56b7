/* SPDX-License-Identifier: MIT */

/*
 * Everything at once, at random: users of several rules, rules and clients that change, purges,
 * more scope than was asked for, failures, a loop that is late. What must hold whatever happens is
 * checked by the world after every step.
 */

#include "rules.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define LIVES   2000
#define STEPS   500
#define CALLERS 60
#define PURGES  10

static const uid_t uids[] = {0, 990, UID_CRM, UID_BATCH, UID_OTHER};
static const char *const names[] = {"paul", "anna", "pia", "bert"};
static const char *const scopes[] = {NULL, "read", "read write", "core.a read"};
static char *narrow[] = {(char *)DEFAULT_SCOPE, (char *)"read"};
static struct subject_pattern pa_only[] = {{SUBJECT_USERNAME, (char *)"p*"}};

struct life {
        struct world world;
        struct caller callers[CALLERS];
        struct purge purges[PURGES];
        struct rule rules[2][3]; /* those that hold, and those before them */
        struct policy policies[2];
        unsigned int random, generation;
        uint64_t last_identity;
};

static unsigned int any(struct life *life, unsigned int n)
{
        return (unsigned int)rand_r(&life->random) / 7 % n;
}

static const struct policy *make_policy(struct life *life)
{
        const unsigned int which = life->generation++ % 2;
        struct rule *rules = life->rules[which];

        rules[0] = rule_for("crm", UID_CRM);
        rules[1] = rule_for("batch", any(life, 4) ? UID_BATCH : UID_CRM);
        rules[2] = rule_for("rest", any(life, 2) ? UID_OTHER : 0);
        for (int i = 0; i < 3; i++) {
                if (any(life, 2))
                        rule_give_scopes(&rules[i], narrow, 2);
                if (any(life, 3) == 0) {
                        rules[i].subjects = pa_only;
                        rules[i].n_subjects = 1;
                }
                if (any(life, 4) == 0)
                        rules[i].n_clients = 1;
                if (any(life, 2))
                        rules[i].fetches = (struct rate){1 + any(life, 3), 10 * SECONDS};
        }
        life->policies[which] = (struct policy){
                .rules = rules,
                .n_rules = any(life, 8) ? 3 : 0,
                .own_uid = 990,
        };
        return &life->policies[which];
}

static void ask(struct life *life)
{
        struct caller *caller = &life->callers[any(life, CALLERS)];
        struct caller *holder = &life->callers[any(life, CALLERS)];
        const char *name = names[any(life, 4)];

        if (caller->waits)
                return;
        life->world.peer = peer_of(uids[any(life, 5)]);
        world_ask(&life->world, caller,
                  (struct wish){.client = any(life, WORLD_CLIENTS_USUAL),
                                .subject = TEXT(name),
                                .scope = scopes[any(life, 4)],
                                .min_ttl_s = any(life, 6) ? 0 : 60,
                                .rejects = any(life, 8) == 0 && holder != caller &&
                                                           !holder->waits && holder->serial
                                                   ? holder
                                                   : NULL});
}

static void finish(struct life *life)
{
        struct fetch *fetch = world_oldest(&life->world);
        enum ending ending = (enum ending)any(life, _ENDING_N);
        char granted[200];

        for (unsigned int n = any(life, 3); fetch && n > 0; n--)
                if (fetch->link.next != &life->world.fetches)
                        fetch = list_entry(fetch->link.next, struct fetch, link);
        if (!fetch)
                return;
        if (any(life, 2))
                ending = ENDING_TOKEN_WITH_SCOPE;
        fetch->lifetime_s = 20 + any(life, 300);
        if (life->world.now_ms > fetch->sent_at_ms + 15 * SECONDS)
                fetch->lifetime_s += (life->world.now_ms - fetch->sent_at_ms) / 1000;
        if (any(life, 3) == 0) {
                (void)snprintf(granted, sizeof(granted), "%.*s extra",
                               (int)fetch->matter.scope.size, fetch->matter.scope.bytes);
                fetch->granted = granted;
        }
        world_finish(&life->world, fetch, ending);
}

static void purge(struct life *life)
{
        const char *name = names[any(life, 4)];
        const struct filter filter = {
                .by_client = any(life, 2),
                .identity = 11 + any(life, 3),
                .by_subject = any(life, 2),
                .subject = TEXT(name),
                .scope = any(life, 2) ? TEXT("read") : (struct text){},
        };

        /* Those before are done: a purge takes a turn or two here. */
        if (life->world.n_purging == 0)
                (void)world_purge(&life->world, &filter, &life->purges[any(life, PURGES)]);
}

/* Clients come and go, change their identity, name, place and default scope, and limits change. */
static void reconfigure(struct life *life)
{
        static char *const urls[] = {(char *)"https://issuer.example/U/token",
                                     (char *)"https://other.example/U/token",
                                     (char *)"https://third.example/U/token"};
        static char *const defaults[] = {NULL, (char *)"read", (char *)DEFAULT_SCOPE};
        struct world *world = &life->world;
        struct settings *settings = &world->settings;
        struct client_settings *client = &world->clients[any(life, WORLD_CLIENTS_USUAL)];
        struct client_settings *other = &world->clients[any(life, WORLD_CLIENTS_USUAL)];
        struct client_settings swapped = *client;

        switch (any(life, 7)) {
        case 0:
                client->name = other->name;
                other->name = swapped.name;
                break;
        case 1:
                *client = *other;
                *other = swapped;
                break;
        case 2:
                client->identity = ++life->last_identity;
                client->token_url[AUDIENCE_USER] = urls[any(life, 3)];
                break;
        case 3: client->default_scope = defaults[any(life, 3)]; break;
        case 4:
                settings->n_clients = any(life, WORLD_CLIENTS_USUAL + 1);
                /* Those that are not there come back as others. */
                for (size_t i = settings->n_clients; i < WORLD_CLIENTS_USUAL; i++)
                        world->clients[i].identity = ++life->last_identity;
                break;
        case 5:
                settings->max_in_flight = 1 + any(life, 4);
                settings->max_in_flight_total = 2 + any(life, 20);
                settings->max_flights = 4 + any(life, 12);
                settings->max_waiters = 8 + any(life, 30);
                settings->max_waiters_per_flight = 2 + any(life, 12);
                settings->request_timeout_ms = (1 + any(life, 20)) * SECONDS;
                break;
        default:
                settings->max_entries = any(life, 2) ? 1 + any(life, 6) : 3000;
                settings->max_memory_bytes = any(life, 2) ? 1000 + any(life, 3000) : 1 << 20;
                settings->max_memories = 1 + any(life, 1000);
                break;
        }
        if (any(life, 3) == 0)
                world->policy = *make_policy(life);
        world_reconfigure(world);
}

static void step(struct life *life)
{
        struct world *world = &life->world;

        if (any(life, 50) == 0)
                reconfigure(life);

        switch (any(life, 16)) {
        case 0:
                if (any(life, 2))
                        purge(life);
                else
                        world_set_policy(world, make_policy(life));
                break;
        case 1:
        case 2:
                world->busy = any(life, 4) == 0;
                world_turn(world);
                break;
        case 3:
        case 4: world_advance(world, any(life, 3000)); break;
        case 5:
                if (!world->busy)
                        world_advance(world, any(life, 60) * SECONDS);
                break;
        case 6:
        case 7:
        case 8:
        case 9: finish(life); break;
        default: ask(life); break;
        }
}

static void whatever_happens_all_that_must_hold_does(void **state)
{
        static struct life life;
        uint64_t n_tokens = 0, n_lost = 0, n_excess = 0, n_detached = 0, n_purged = 0, n_full = 0,
                 n_reconfigured = 0;

        (void)state;
        for (unsigned int seed = 1; seed <= LIVES; seed++) {
                struct broker_counters counters;

                memset(&life, 0, sizeof(life));
                life.random = seed;
                life.last_identity = 100;
                world_init(&life.world);
                life.world.late = true; /* the loop is busy at times */
                life.world.settings.max_in_flight = 1 + any(&life, 3);
                life.world.settings.max_flights = 8;
                life.world.settings.max_waiters = 24;
                life.world.settings.max_entries = any(&life, 2) ? 6 : 3000;
                world_start(&life.world);
                for (int i = 0; i < STEPS; i++)
                        step(&life);
                counters = world_counters(&life.world);
                n_tokens += counters.tokens;
                n_lost += counters.rights_lost;
                n_excess += counters.granted_too_much;
                n_detached += counters.limits.detached;
                n_purged += counters.purged;
                n_full += counters.uid_flights_full + counters.uid_waiters_full;
                n_reconfigured += life.world.n_reconfigured;
                world_end(&life.world);
                for (int i = 0; i < CALLERS; i++)
                        assert_false(life.callers[i].waits);
        }
        print_message("# tokens %" PRIu64 ", rights lost %" PRIu64 ", too much %" PRIu64
                      ", detached %" PRIu64 ", purged %" PRIu64 ", shares full %" PRIu64
                      ", reconfigured %" PRIu64 "\n",
                      n_tokens, n_lost, n_excess, n_detached, n_purged, n_full, n_reconfigured);
        assert_true(n_tokens > LIVES && n_lost > LIVES && n_excess > LIVES && n_detached > LIVES &&
                    n_purged > LIVES && n_full > LIVES && n_reconfigured > LIVES);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(whatever_happens_all_that_must_hold_does),
        };

        return cmocka_run_group_tests_name("upheaval", tests, NULL, NULL);
}
