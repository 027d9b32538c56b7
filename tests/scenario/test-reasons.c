/* SPDX-License-Identifier: MIT */

/*
 * Every reason that the core can give for an answer is met once, each in the plainest way there is.
 * OUT_OF_MEMORY is met in test-out-of-memory.c; the rights to monitor and to administer are judged
 * in tests/unit/test-policy.c; those of parsing, HTTP, connections and records never come from the
 * core.
 */

#include "rules.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static bool seen[_REASON_N];

static void see(struct world *world, struct caller *caller, const char *username)
{
        world_ask_user(world, caller, username);
        if (!caller->waits)
                seen[caller->reason] = true;
}

static void see_ending(enum ending ending)
{
        struct caller caller = {};
        struct world world;

        world_init(&world);
        world_start(&world);
        world_ask_user(&world, &caller, "anna");
        world_finish_for_good(&world, "anna", ending);
        assert_int_equal(caller.reason, ending_reason(ending));
        seen[caller.reason] = true;
        world_end(&world);
}

static void see_request(struct token_request request)
{
        struct waiter waiter = {};
        struct reply reply;
        struct world world;

        world_init(&world);
        world_start(&world);
        request.subject = TEXT("anna");
        request.scope = TEXT("read");
        assert_int_equal(
                broker_ask(world.broker, &request, &world.peer, world.now_ms, &waiter, &reply), 0);
        seen[reply.reason] = true;
        world_end(&world);
}

static void see_clients(void)
{
        struct caller caller = {};
        struct world world;

        see_request((struct token_request){});
        see_request((struct token_request){.client = TEXT("nobody")});
        see_request((struct token_request){.client = TEXT("portal"),
                                           .basic_client = TEXT("mobile"),
                                           .basic_client_raw = TEXT("mobile")});
        world_init(&world);
        world_start(&world);
        world_ask(&world, &caller, (struct wish){.client = CLIENT_MOBILE, .subject = TEXT("a")});
        seen[caller.reason] = true;
        world_ask(&world, &caller,
                  (struct wish){.client = CLIENT_MOBILE,
                                .kind = SUBJECT_EMAIL,
                                .subject = TEXT("a"),
                                .scope = "b"});
        seen[caller.reason] = true;
        world.peer = (struct peer){.known = true, .uid = 1000};
        see(&world, &caller, "anna");
        world.peer = (struct peer){.known = false};
        see(&world, &caller, "anna");
        world_end(&world);
}

static void see_limits(void)
{
        for (int limit = 0; limit < 3; limit++) {
                struct caller first = {}, caller = {};
                struct world world;

                world_init(&world);
                world.settings.max_waiters = limit == 0 ? 1 : 10;
                world.settings.max_waiters_per_flight = limit == 1 ? 1 : 10;
                world.settings.max_flights = limit == 2 ? 1 : 10;
                world_start(&world);
                world_ask_user(&world, &first, "anna");
                see(&world, &caller, limit == 2 ? "bert" : "anna");
                world_end(&world);
        }
}

static void see_breaker_and_rejections(void)
{
        struct caller holder = {}, caller = {};
        struct fetch *fetch;
        struct world world;

        world_init(&world);
        world_start(&world);
        (void)world_prime(&world, "anna", 3600);
        world_ask_user(&world, &holder, "anna");
        world_ask(&world, &caller, (struct wish){.subject = TEXT("anna"), .rejects = &holder});
        fetch = world_oldest(&world);
        fetch->repeated_serial = holder.serial;
        fetch->repeated_expires_at_ms = holder.expires_at_ms;
        world_finish(&world, NULL, ENDING_TOKEN);
        seen[caller.detail] = true;
        world_ask(&world, &caller, (struct wish){.subject = TEXT("anna"), .rejects = &holder});
        seen[caller.reason] = true;
        for (int i = 0; i < 2; i++) {
                const char *name = i ? "bert" : "carl";

                world_ask_user(&world, &caller, name);
                world_finish_for_good(&world, name, ENDING_UNREACHABLE);
        }
        see(&world, &caller, "dora");
        world_end(&world);
}

static void see_queue_deadline_and_end(void)
{
        struct caller callers[3] = {}, caller = {};
        struct world world;

        world_init(&world);
        world.settings.max_in_flight = 1;
        world_start(&world);
        world_ask_user(&world, &callers[0], "a");
        world_advance(&world, 10 * SECONDS);
        world_ask_user(&world, &callers[1], "b");
        callers[1].hung_up = true;
        world_advance(&world, 10 * SECONDS);
        seen[callers[0].reason] = true;
        world_finish(&world, NULL, ENDING_TOKEN);
        seen[callers[1].reason] = true;
        broker_drain(world.broker, world.now_ms);
        see(&world, &caller, "d");
        world_end(&world);
}

static void see_policy(void)
{
        static char *narrow[] = {(char *)DEFAULT_SCOPE};
        static struct subject_pattern anna[] = {{SUBJECT_USERNAME, (char *)"anna"}};
        struct rule rules[] = {rule_for("crm", UID_CRM), rule_for("batch", UID_BATCH),
                               rule_for("other", UID_OTHER)};
        struct caller caller = {};
        struct world world;

        world_init(&world);
        rules[0].n_clients = 1;
        rules[0].fetches = (struct rate){1, 1 * MINUTES};
        rules[0].subjects = anna;
        rules[0].n_subjects = 1;
        rule_give_scopes(&rules[0], narrow, 1);
        rules[1].has_key = true;
        world.settings.max_waiters = 8; /* two for each */
        world.settings.max_flights = 4; /* one for each */
        world_begin_with(&world, rules, 3);
        world.peer = peer_of(UID_CRM);
        world_ask(&world, &caller, (struct wish){.client = CLIENT_DESK, .subject = TEXT("anna")});
        seen[caller.reason] = true;
        world_ask(&world, &caller, (struct wish){.subject = TEXT("anna"), .scope = "more"});
        seen[caller.reason] = true;
        see(&world, &caller, "bert");
        see(&world, &caller, "anna");
        world_oldest(&world)->granted = DEFAULT_SCOPE " more";
        world_finish(&world, NULL, ENDING_TOKEN_WITH_SCOPE);
        seen[caller.reason] = true;
        world_advance(&world, 1 * HOURS);
        see(&world, &caller, "anna");
        world_finish(&world, NULL, ENDING_REDIRECT);
        world_advance(&world, 2 * SECONDS);
        see(&world, &caller, "anna");
        world.peer = peer_of(UID_BATCH);
        see(&world, &caller, "anna");
        world_end(&world);
}

static void see_shares_and_purges(void)
{
        struct rule rules[] = {rule_for("other", UID_OTHER)};
        struct caller callers[3] = {}, caller = {};
        const struct filter everything = {};
        struct purge purges[9];
        struct world world;

        world_init(&world);
        world.settings.max_waiters = 8;
        world.settings.max_flights = 4;
        world_begin_with(&world, rules, 1);
        world.peer = peer_of(UID_OTHER);
        world_ask_user(&world, &callers[0], "anna");
        see(&world, &caller, "bert");
        world_ask_user(&world, &callers[1], "anna");
        see(&world, &caller, "anna");
        for (int i = 0; i < 8; i++)
                assert_true(world_purge(&world, &everything, &purges[i]));
        seen[broker_purge(world.broker, &everything, world.now_ms, &purges[8])] = true;
        world_end(&world);
}

static void every_reason_of_the_core_is_met(void **state)
{
        static const enum reason reasons[] = {
                REASON_NONE,
                REASON_AMBIGUOUS_CLIENT,
                REASON_MISSING_CLIENT,
                REASON_UNKNOWN_CLIENT,
                REASON_NO_TOKEN_URL,
                REASON_MISSING_SCOPE,
                REASON_NOT_PERMITTED,
                REASON_BAD_KEY,
                REASON_CLIENT_NOT_PERMITTED,
                REASON_SUBJECT_NOT_PERMITTED,
                REASON_SCOPE_NOT_PERMITTED,
                REASON_GRANTED_TOO_MUCH,
                REASON_FETCHES_SPENT,
                REASON_UID_WAITERS_FULL,
                REASON_UID_FLIGHTS_FULL,
                REASON_PURGES_FULL,
                REASON_PEER_GONE,
                REASON_SUBJECT_REFUSED,
                REASON_SCOPE_REFUSED,
                REASON_CREDENTIALS_REFUSED,
                REASON_CLIENT_UNAUTHORIZED,
                REASON_ANSWER_UNUSABLE,
                REASON_ANSWER_REDIRECT,
                REASON_ANSWER_TOO_LARGE,
                REASON_ISSUER_CERTIFICATE,
                REASON_ISSUER_THROTTLES,
                REASON_ISSUER_ERROR,
                REASON_ISSUER_UNREACHABLE,
                REASON_ISSUER_CUT,
                REASON_ISSUER_TIMEOUT,
                REASON_BREAKER_OPEN,
                REASON_REJECTED_AGAIN,
                REASON_REPEATED_TOKEN,
                REASON_REQUEST_TIMEOUT,
                REASON_WAITERS_FULL,
                REASON_FLIGHT_FULL,
                REASON_FLIGHTS_FULL,
                REASON_CALLER_GONE,
                REASON_SHUTTING_DOWN,
        };

        (void)state;
        for (enum ending ending = 0; ending < _ENDING_N; ending++)
                see_ending(ending);
        see_clients();
        see_limits();
        see_breaker_and_rejections();
        see_queue_deadline_and_end();
        see_policy();
        see_shares_and_purges();
        for (size_t i = 0; i < sizeof(reasons) / sizeof(reasons[0]); i++)
                if (!seen[reasons[i]])
                        fail_msg("%s was not met",
                                 reasons[i] ? reason_info(reasons[i])->code : "success");
        for (size_t i = 0; i < sizeof(reasons) / sizeof(reasons[0]); i++)
                seen[reasons[i]] = false;
        for (int i = 0; i < _REASON_N; i++)
                assert_false(seen[i]); /* none that is not in the list */
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(every_reason_of_the_core_is_met),
        };

        return cmocka_run_group_tests_name("reasons", tests, NULL, NULL);
}
