/* SPDX-License-Identifier: MIT */

/* Rules decide before anything is looked up or joined. */

#include "rules.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>
#include <openssl/sha.h>

#define N_OF(array) (sizeof(array) / sizeof((array)[0]))

static char *default_scope[] = {(char *)DEFAULT_SCOPE};
static char *read_and_core[] = {(char *)"read", (char *)"core.*"};
static size_t desk_only[] = {CLIENT_DESK};
static struct subject_pattern pa_only[] = {{SUBJECT_USERNAME, (char *)"pa*"}};

/* A caller without the right is answered the same whether there is a token, a fetch, a refusal or
 * nothing, and leaves no trace but the count of those who were refused. */
static void whoever_has_no_right_cannot_tell_what_is_here(void **state)
{
        static const char *const names[] = {"cached", "in-flight", "refused", "unheard-of"};
        struct rule rules[] = {rule_for("crm", UID_CRM), rule_for("batch", UID_BATCH)};
        static const enum reason reasons[] = {REASON_SUBJECT_NOT_PERMITTED,
                                              REASON_CLIENT_NOT_PERMITTED,
                                              REASON_SCOPE_NOT_PERMITTED, REASON_NOT_PERMITTED};
        static char *other_scope[] = {(char *)"other"};

        (void)state;
        for (int missing = 0; missing < 4; missing++) {
                struct broker_counters before, after;
                struct caller waiting = {}, caller = {};
                struct world world;
                uint64_t serial;

                world_init(&world);
                rules[1] = rule_for("batch", missing == 3 ? UID_OTHER : UID_BATCH);
                if (missing == 0) {
                        rules[1].subjects = pa_only;
                        rules[1].n_subjects = 1;
                } else if (missing == 1) {
                        rules[1].clients = desk_only;
                        rules[1].n_clients = 1;
                } else if (missing == 2) {
                        rule_give_scopes(&rules[1], other_scope, 1);
                }
                world_begin_with(&world, rules, 2);
                world.peer = peer_of(UID_CRM);
                serial = world_prime(&world, "cached", 3600);
                world_ask_user(&world, &caller, "refused");
                world_finish(&world, NULL, ENDING_SUBJECT_REFUSED);
                world_ask_user(&world, &waiting, "in-flight");
                before = world_counters(&world);
                for (size_t i = 0; i < N_OF(names); i++) {
                        world_ask_as(&world, &caller, UID_BATCH, names[i]);
                        assert_reason_for(&caller, reasons[missing], 0);
                        assert_int_equal(caller.answered_at_ms, caller.asked_at_ms);
                        assert_int_equal(caller.cache_status, CACHE_STATUS_HIT); /* not set */
                        assert_false(caller.collapsed);
                }
                after = world_counters(&world);
                before.requests += N_OF(names);
                before.refused += N_OF(names);
                assert_memory_equal(&before, &after, sizeof(before));
                world_finish(&world, NULL, ENDING_TOKEN);
                assert_token(&waiting, serial + 1);
                world_ask_as(&world, &caller, UID_CRM, "cached");
                assert_hit(&caller, serial);
                world_ask_as(&world, &caller, UID_BATCH, "in-flight"); /* not now either */
                assert_reason(&caller, reasons[missing]);
                world_end(&world);
        }
}

static void every_value_of_a_scope_is_judged_and_the_default_as_if_it_were_asked_for(void **state)
{
        struct rule rules[] = {rule_for("crm", UID_CRM), rule_for("batch", UID_BATCH)};
        static const struct {
                const char *scope;
                bool given;
        } cases[] = {
                {"read", true},         {"core.a", true},        {"core.b read core.a", true},
                {"read write", false},  {"core.a admin", false}, {"admin core.a read", false},
                {DEFAULT_SCOPE, false}, {"core.a reads", false}, {NULL, false},
        };
        struct caller caller = {};
        struct world world;

        (void)state;
        world_init(&world);
        rule_give_scopes(&rules[0], read_and_core, 2);
        rule_give_scopes(&rules[1], default_scope, 1);
        world_begin_with(&world, rules, 2);
        for (size_t i = 0; i < N_OF(cases); i++) {
                world.peer = peer_of(UID_CRM);
                world_ask(&world, &caller,
                          (struct wish){.subject = TEXT("anna"), .scope = cases[i].scope});
                if (!cases[i].given) {
                        assert_reason(&caller, REASON_SCOPE_NOT_PERMITTED);
                        continue;
                }
                assert_waits(&caller);
                world_finish(&world, NULL, ENDING_TOKEN);
                assert_token(&caller, world.serial);
        }
        world_ask_as(&world, &caller, UID_BATCH, "anna"); /* does not name it */
        assert_waits(&caller);
        world_finish(&world, NULL, ENDING_TOKEN);
        world_ask(&world, &caller, (struct wish){.subject = TEXT("anna"), .scope = DEFAULT_SCOPE});
        assert_hit(&caller, world.serial);
        world_end(&world);
}

/* Three users, three clients, two subjects, three scopes: all of it cached, and every user gets
 * just what his rule gives, by the hit that another paid for. */
static void a_hit_goes_to_those_with_the_right_to_it_alone(void **state)
{
        static const char *const names[] = {"paul", "anna"};
        static const char *const scopes[] = {"read", "core.a", "admin"};
        struct rule rules[] = {rule_for("crm", UID_CRM), rule_for("batch", UID_BATCH),
                               rule_for("other", UID_OTHER)};
        struct caller caller = {};
        struct world world;
        size_t n_hits = 0;

        (void)state;
        world_init(&world);
        rules[1].subjects = pa_only;
        rules[1].n_subjects = 1;
        rule_give_scopes(&rules[1], read_and_core, 2);
        rules[2].clients = desk_only;
        rules[2].n_clients = 1;
        world_begin_with(&world, rules, 3);
        for (int round = 0; round < 4; round++) {
                for (size_t n = 0; n < 18; n++) {
                        const struct wish wish = {.client = n % 3,
                                                  .subject = TEXT(names[n / 3 % 2]),
                                                  .scope = scopes[n / 6]};
                        enum reason expected = REASON_NONE;

                        if (round == 2 && n / 3 % 2 == 1)
                                expected = REASON_SUBJECT_NOT_PERMITTED;
                        else if (round == 2 && n / 6 == 2)
                                expected = REASON_SCOPE_NOT_PERMITTED;
                        else if (round == 3 && n % 3 != CLIENT_DESK)
                                expected = REASON_CLIENT_NOT_PERMITTED;
                        world.peer = peer_of(round <= 1   ? UID_CRM
                                             : round == 2 ? UID_BATCH
                                                          : UID_OTHER);
                        world_ask(&world, &caller, wish);
                        if (round == 0) {
                                assert_waits(&caller);
                                world_finish(&world, NULL, ENDING_TOKEN);
                        } else if (expected) {
                                assert_reason(&caller, expected);
                        } else {
                                assert_hit(&caller, n + 1);
                                n_hits++;
                        }
                }
        }
        assert_int_equal(world_counters(&world).fetches, 18);
        assert_int_equal(world_counters(&world).hits, n_hits);
        assert_int_equal(n_hits, 18 + 6 + 6);
        world_end(&world);
}

static void a_key_is_asked_for_at_every_request_and_chooses_the_rule(void **state)
{
        struct rule rules[] = {rule_for("admin", UID_CRM), rule_for("crm", UID_CRM)};
        struct wish wish = {.subject = TEXT("anna")};
        struct caller caller = {};
        struct world world;

        (void)state;
        world_init(&world);
        for (int i = 0; i < 2; i++) {
                rules[i].has_key = true;
                SHA256((const unsigned char *)(i ? "two" : "one"), 3, rules[i].key_sha256);
        }
        rules[1].subjects = pa_only;
        rules[1].n_subjects = 1;
        world_begin_with(&world, rules, 2);
        world.peer = peer_of(UID_CRM);
        wish.key = "one";
        world_ask(&world, &caller, wish);
        assert_waits(&caller);
        world_finish(&world, NULL, ENDING_TOKEN);
        assert_ptr_equal(caller.rule, &rules[0]);
        world_ask(&world, &caller, wish);
        assert_hit(&caller, 1);
        wish.key = "two";
        world_ask(&world, &caller, wish);
        assert_reason(&caller, REASON_SUBJECT_NOT_PERMITTED);
        assert_ptr_equal(caller.rule, &rules[1]);
        wish.key = "three";
        world_ask(&world, &caller, wish);
        assert_reason(&caller, REASON_BAD_KEY);
        wish.key = NULL;
        world_ask(&world, &caller, wish);
        assert_reason(&caller, REASON_BAD_KEY);
        assert_null(caller.rule);
        world_end(&world);
}

/* A request whose key is longer is judged each time, with the same outcome. */
static void a_verdict_is_kept_for_keys_up_to_its_limit(void **state)
{
        static const size_t rest = 8 + 1 + 2 + sizeof("anna") - 1 + 2; /* of the key */
        struct rule rules[] = {rule_for("crm", UID_CRM)};
        char scope[VERDICT_KEY_MAX_BYTES + 1];
        struct world world;

        (void)state;
        world_init(&world);
        world_begin_with(&world, rules, 1);
        world.peer = peer_of(UID_CRM);
        for (int over = 0; over < 2; over++) {
                const size_t size = VERDICT_KEY_MAX_BYTES - rest + (size_t)over;
                struct wish wish = {.subject = TEXT("anna"), .scope = scope};
                struct caller caller = {};

                memset(scope, 's', size);
                scope[size] = '\0';
                world_ask(&world, &caller, wish);
                world_finish(&world, NULL, ENDING_TOKEN);
                assert_token(&caller, world.serial);
                assert_int_equal(caller.verdict.generation != 0, !over);
                world_ask(&world, &caller, wish);
                assert_hit(&caller, world.serial);
                assert_int_equal(caller.verdict.generation != 0, !over);
        }
        world_end(&world);
}

static void what_explains_judges_as_what_answers(void **state)
{
        struct rule rules[] = {rule_for("crm", UID_CRM)};
        struct explanation explanation;
        struct world world;

        (void)state;
        world_init(&world);
        rules[0].fetches = (struct rate){1, 1 * MINUTES};
        world_begin_with(&world, rules, 1);
        world.peer = peer_of(UID_BATCH);
        explanation = world_explain(&world, "anna");
        assert_int_equal(explanation.refused, REASON_NOT_PERMITTED);
        assert_null(explanation.rule);
        assert_non_null(explanation.client_settings);
        assert_false(explanation.present);
        world.peer = peer_of(UID_CRM);
        explanation = world_explain(&world, "anna");
        assert_int_equal(explanation.refused, REASON_NONE);
        assert_ptr_equal(explanation.rule, &rules[0]);
        assert_true(explanation.would_wait);
        (void)world_prime(&world, "anna", 3600);
        explanation = world_explain(&world, "anna");
        assert_true(explanation.present);
        assert_int_equal(explanation.blocked, REASON_NONE);
        explanation = world_explain(&world, "bert");
        assert_int_equal(explanation.blocked, REASON_FETCHES_SPENT);
        assert_int_equal(explanation.blocked_ms, 1 * MINUTES);
        assert_false(explanation.would_wait);
        world_end(&world);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(whoever_has_no_right_cannot_tell_what_is_here),
                cmocka_unit_test(
                        every_value_of_a_scope_is_judged_and_the_default_as_if_it_were_asked_for),
                cmocka_unit_test(a_hit_goes_to_those_with_the_right_to_it_alone),
                cmocka_unit_test(a_key_is_asked_for_at_every_request_and_chooses_the_rule),
                cmocka_unit_test(a_verdict_is_kept_for_keys_up_to_its_limit),
                cmocka_unit_test(what_explains_judges_as_what_answers),
        };

        return cmocka_run_group_tests_name("rights", tests, NULL, NULL);
}
