/* SPDX-License-Identifier: MIT */

/*
 * All grants side by side: the same rows of what an issuer's answer means hold for each, what is
 * known of one says nothing of another, and among many requests of all kinds each gets its own
 * token. The world checks that at every reply.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "rules.h"

/* The kinds as the world asks for them; anonymous is what the client application makes of one. */
#define N_GRANTS _SUBJECT_KIND_N

static struct wish wish_for(enum subject_kind kind, struct text subject, struct text subject_token)
{
        struct wish wish = {.kind = kind};

        if (kind == SUBJECT_ANONYMOUS) {
                wish.kind = SUBJECT_APPLICATION;
                wish.client = CLIENT_LOBBY;
        }
        if (subject_kind_names(wish.kind))
                wish.subject = subject;
        if (kind == SUBJECT_EXCHANGE)
                wish.subject_token = subject_token;
        return wish;
}

static void begin(struct world *world)
{
        world_init(world);
        world->settings.n_clients = WORLD_CLIENTS;
        world_start(world);
}

static struct text token_for(const struct world *world, char *buffer, const char *who)
{
        return caller_subject_token(buffer, world_wall_ms(world) / 1000 + 86400, who);
}

/* Whatever the issuer answers, each grant's caller is told the same, and the same is remembered. */
static void every_ending_means_the_same_for_every_grant(void **state)
{
        (void)state;
        for (enum subject_kind kind = 0; kind < N_GRANTS; kind++) {
                for (enum ending ending = 0; ending < _ENDING_N; ending++) {
                        char buffer[CALLER_TOKEN_MAX_BYTES];
                        struct caller caller = {};
                        struct world world;
                        struct wish wish;

                        begin(&world);
                        wish = wish_for(kind, TEXT("anna"), token_for(&world, buffer, "anna"));
                        world_ask(&world, &caller, wish);
                        assert_waits(&caller);
                        while (caller.waits) {
                                if (world.n_fetches > 0)
                                        world_finish(&world, NULL, ending);
                                else
                                        world_advance(&world, 100);
                        }
                        if (ending_is_token(ending)) {
                                assert_token(&caller, 1);
                                world_ask(&world, &caller, wish);
                                assert_hit(&caller, 1);
                        } else {
                                const uint64_t n_fetches = world_counters(&world).fetches;

                                assert_reason(&caller, ending_reason(ending));
                                world_ask(&world, &caller, wish);
                                assert_false(caller.waits);
                                assert_int_not_equal(caller.reason, REASON_NONE);
                                assert_int_equal(world_counters(&world).fetches, n_fetches);
                        }
                        world_end(&world);
                }
        }
}

/* The same client application, scope and URL, and on behalf of others: only users and customers
 * share what is known of a whole client application. */
static void what_one_grant_may_not_do_another_may(void **state)
{
        static const enum subject_kind kinds[] = {SUBJECT_USERNAME, SUBJECT_APPLICATION,
                                                  SUBJECT_EXCHANGE};

        (void)state;
        for (size_t i = 0; i < 3; i++) {
                char buffer[CALLER_TOKEN_MAX_BYTES];
                struct caller caller = {};
                struct world world;

                begin(&world);
                world_ask(&world, &caller,
                          wish_for(kinds[i], TEXT("x"), token_for(&world, buffer, "x")));
                world_finish(&world, NULL, ENDING_CLIENT_UNAUTHORIZED);
                assert_reason(&caller, REASON_CLIENT_UNAUTHORIZED);
                for (size_t k = 0; k < 3; k++) {
                        world_ask(&world, &caller,
                                  wish_for(kinds[k], TEXT("x"), token_for(&world, buffer, "y")));
                        if (k == i) {
                                assert_reason(&caller, REASON_CLIENT_UNAUTHORIZED);
                                continue;
                        }
                        assert_waits(&caller);
                        world_finish(&world, NULL, ENDING_TOKEN);
                        assert_token(&caller, world.serial);
                }
                world_end(&world);
        }
}

static void the_client_application_must_serve_the_grant(void **state)
{
        char buffer[CALLER_TOKEN_MAX_BYTES];
        struct caller caller = {};
        struct world world;

        (void)state;
        world_init(&world);
        world.settings.n_clients = WORLD_CLIENTS;
        world.clients[CLIENT_DESK].token_url[AUDIENCE_CUSTOMER] =
                world.clients[CLIENT_DESK].token_url[AUDIENCE_USER];
        world.clients[CLIENT_DESK].token_url[AUDIENCE_USER] = NULL;
        world_start(&world);
        for (enum subject_kind kind = 0; kind < N_GRANTS; kind++) {
                struct wish wish = wish_for(kind, TEXT("x"), token_for(&world, buffer, "x"));

                if (kind == SUBJECT_ANONYMOUS)
                        continue;
                wish.client = CLIENT_LOBBY;
                if (kind != SUBJECT_APPLICATION) {
                        world_ask(&world, &caller, wish);
                        assert_reason(&caller, REASON_ANONYMOUS_CLIENT);
                }
                wish.client = CLIENT_DESK;
                world_ask(&world, &caller, wish);
                if (kind == SUBJECT_EMAIL)
                        world_finish(&world, NULL, ENDING_TOKEN);
                else
                        assert_reason(&caller, REASON_NO_TOKEN_URL);
        }
        assert_int_equal(world_counters(&world).fetches, 1);
        world_end(&world);
}

/* A right for one kind is none for another, and a registration_id is what a pattern tells apart. */
static void rights_are_given_kind_by_kind(void **state)
{
        static struct subject_pattern patterns[N_GRANTS];

        (void)state;
        for (enum subject_kind given = 0; given < N_GRANTS; given++) {
                struct rule rules[] = {rule_for("crm", UID_CRM)};
                char buffer[CALLER_TOKEN_MAX_BYTES];
                struct world world;

                patterns[given] = (struct subject_pattern){
                        .kind = given, .pattern = (char *)(subject_kind_names(given) ? "o*" : "*")};
                rules[0].subjects = &patterns[given];
                rules[0].n_subjects = 1;
                world_init(&world);
                world.settings.n_clients = WORLD_CLIENTS;
                world.policy = (struct policy){.rules = rules, .n_rules = 1, .own_uid = 990};
                world_start(&world);
                world.peer = peer_of(UID_CRM);
                for (enum subject_kind kind = 0; kind < N_GRANTS; kind++) {
                        for (int other = 0; other < 2; other++) {
                                struct caller caller = {};
                                const bool right = kind == given &&
                                                   (!other || !subject_kind_names(kind));

                                world_ask(&world, &caller,
                                          wish_for(kind, other ? TEXT("entra") : TEXT("okta"),
                                                   token_for(&world, buffer, "x")));
                                if (!right) {
                                        assert_reason(&caller, REASON_SUBJECT_NOT_PERMITTED);
                                        continue;
                                }
                                if (caller.waits)
                                        world_finish(&world, NULL, ENDING_TOKEN);
                                assert_token(&caller, world.serial);
                        }
                }
                world_end(&world);
        }
}

/* Rights that are taken away while an exchange is waited for. */
static void who_waits_for_an_exchange_is_judged_again(void **state)
{
        static struct subject_pattern entra[] = {{SUBJECT_EXCHANGE, (char *)"entra"}};
        struct rule before[] = {rule_for("crm", UID_CRM)}, after[] = {rule_for("crm", UID_CRM)};
        const struct policy policy = {.rules = after, .n_rules = 1, .own_uid = 990};
        char buffer[CALLER_TOKEN_MAX_BYTES];
        struct caller gone = {}, stays = {};
        struct world world;

        (void)state;
        after[0].subjects = entra;
        after[0].n_subjects = 1;
        world_init(&world);
        world_begin_with(&world, before, 1);
        world.peer = peer_of(UID_CRM);
        world_ask(&world, &gone,
                  wish_for(SUBJECT_EXCHANGE, TEXT("okta"), token_for(&world, buffer, "x")));
        world_ask(&world, &stays,
                  wish_for(SUBJECT_EXCHANGE, TEXT("entra"), token_for(&world, buffer, "x")));
        world_set_policy(&world, &policy);
        assert_reason(&gone, REASON_SUBJECT_NOT_PERMITTED);
        assert_waits(&stays);
        while (world.n_fetches > 0)
                world_finish(&world, NULL, ENDING_TOKEN);
        assert_token(&stays, world.serial);
        world_end(&world);
}

static unsigned int below(unsigned int *seed, unsigned int n)
{
        return (unsigned int)rand_r(seed) % n;
}

/* Texts that could be taken for one another where one ends and the next begins. */
static struct wish random_wish(const struct world *world, unsigned int *seed,
                               char buffer[static CALLER_TOKEN_MAX_BYTES])
{
        static const char *const subjects[] = {"a",         "b",        "ab", "a b", "application",
                                               "anonymous", "clientId", "a|", "*"};
        static const char *const scopes[] = {NULL, "a", "b", "a b", "ab", "application"};
        static const char *const who[] = {"a", "b", "ab"};
        static const int64_t ends_s[] = {86400, 86401, 30, 4};
        const char *subject = subjects[below(seed, 9)];
        struct wish wish;

        (void)caller_subject_token(
                buffer, (world_wall_ms(world) / 100000 + 1) * 100 + ends_s[below(seed, 4)],
                who[below(seed, 3)]);
        wish = wish_for((enum subject_kind)below(seed, N_GRANTS), TEXT(subject), TEXT(buffer));
        wish.scope = scopes[below(seed, 6)];
        if (wish.subject_token.size > 0)
                wish.subject_token_type = (enum subjecttoken_type)below(seed, 3);
        if (wish.client == CLIENT_PORTAL && wish.kind != SUBJECT_EMAIL && below(seed, 3) == 0)
                wish.client = CLIENT_DESK;
        return wish;
}

static void decide(struct world *world, struct fetch *fetch)
{
        static const enum ending bad[] = {ENDING_ERROR, ENDING_SUBJECT_REFUSED, ENDING_GARBAGE,
                                          ENDING_CLIENT_UNAUTHORIZED, ENDING_UNREACHABLE};
        unsigned int *seed = world->script_data;

        fetch->ends_at_ms = world->now_ms + 1 + below(seed, 400);
        fetch->lifetime_s = 2 + below(seed, 600);
        fetch->ending = below(seed, 12) ? ENDING_TOKEN : bad[below(seed, 5)];
}

static void every_token_is_for_what_was_asked_for(void **state)
{
        enum { CALLERS = 100, ROUNDS = 6000 };
        static char buffers[CALLERS][CALLER_TOKEN_MAX_BYTES];
        static struct caller callers[CALLERS];
        const char *given = getenv("GRANTS_SEED");
        unsigned int seed = given ? (unsigned int)strtoul(given, NULL, 10)
                                  : (unsigned int)time(NULL);
        uint64_t n_tokens[N_GRANTS] = {}, n_expired = 0;
        struct world world;

        (void)state;
        print_message("# GRANTS_SEED=%u\n", seed);
        world_init(&world);
        world.settings.n_clients = WORLD_CLIENTS;
        world.settings.max_in_flight = 8;
        world.settings.max_entries = 60;
        world.script = decide;
        world.script_data = &seed;
        world_start(&world);
        for (size_t i = 0; i < ROUNDS; i++) {
                struct caller *caller = &callers[i % CALLERS];

                if (caller->n_replies > 0) {
                        n_tokens[caller->matter.kind] += caller->reason == REASON_NONE;
                        n_expired += caller->reason == REASON_SUBJECT_TOKEN_EXPIRED;
                }
                if (!caller->waits)
                        world_ask(&world, caller, random_wish(&world, &seed, buffers[i % CALLERS]));
                world_advance(&world, below(&seed, 60));
        }
        world_end(&world);
        for (enum subject_kind kind = 0; kind < N_GRANTS; kind++)
                assert_true(n_tokens[kind] > 20);
        (void)n_expired; /* not in every run */
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(every_ending_means_the_same_for_every_grant),
                cmocka_unit_test(what_one_grant_may_not_do_another_may),
                cmocka_unit_test(the_client_application_must_serve_the_grant),
                cmocka_unit_test(rights_are_given_kind_by_kind),
                cmocka_unit_test(who_waits_for_an_exchange_is_judged_again),
                cmocka_unit_test(every_token_is_for_what_was_asked_for),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
