/* SPDX-License-Identifier: MIT */

/*
 * Every allocation of the core fails once, and once every one from some point on: each caller is
 * answered all the same, with a token or a documented reason, and the core goes on when memory is
 * back. Linked with --wrap for the functions below; nothing in the world itself allocates.
 */

#include "rules.h"

#include <errno.h>
#include <limits.h>
#include <openssl/evp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

void *__real_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__real_reallocarray(void *block, size_t n, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_reallocarray(void *block, size_t n, size_t size);
unsigned char *__real_HMAC(const EVP_MD *md, const void *key, int key_size,
                           const unsigned char *bytes, size_t size, unsigned char *ret,
                           unsigned int *ret_size);
unsigned char *__wrap_HMAC(const EVP_MD *md, const void *key, int key_size,
                           const unsigned char *bytes, size_t size, unsigned char *ret,
                           unsigned int *ret_size);

static struct {
        bool armed;
        bool for_ever; /* all that follow fail too */
        unsigned long until, n_failed;
} shortage;

static bool allocation_fails(void)
{
        if (!shortage.armed)
                return false;
        if (shortage.until > 0) {
                shortage.until--;
                return false;
        }
        if (shortage.n_failed > 0 && !shortage.for_ever)
                return false;
        shortage.n_failed++;
        return true;
}

void *__wrap_malloc(size_t size)
{
        return allocation_fails() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t n, size_t size)
{
        return allocation_fails() ? NULL : __real_calloc(n, size);
}

void *__wrap_reallocarray(void *block, size_t n, size_t size)
{
        return allocation_fails() ? NULL : __real_reallocarray(block, n, size);
}

unsigned char *__wrap_HMAC(const EVP_MD *md, const void *key, int key_size,
                           const unsigned char *bytes, size_t size, unsigned char *ret,
                           unsigned int *ret_size)
{
        return allocation_fails() ? NULL
                                  : __real_HMAC(md, key, key_size, bytes, size, ret, ret_size);
}

static void begin_shortage(unsigned long after, bool for_ever)
{
        memset(&shortage, 0, sizeof(shortage));
        shortage.until = after;
        shortage.for_ever = for_ever;
        shortage.armed = true;
}

/* Returns whether anything failed. */
static bool end_shortage(void)
{
        shortage.armed = false;
        return shortage.n_failed > 0;
}

static void assert_token_or(const struct caller *caller, enum reason reason)
{
        assert_false(caller->waits);
        assert_int_equal(caller->n_replies, 1);
        assert_true(caller->reason == REASON_NONE || caller->reason == reason ||
                    caller->reason == REASON_OUT_OF_MEMORY);
}

/* Ends whatever is under way, and what is tried again after it. */
static void finish_if_any(struct world *world, enum ending ending)
{
        for (int i = 0; i < 3; i++) {
                while (world->n_fetches > 0)
                        world_finish(world, NULL, ending);
                world_advance(world, 650);
        }
}

/* What happens to an application in a day. Each of its allocations is made to fail. */
static void live_through_a_day(struct world *world)
{
        struct caller callers[4] = {};

        for (int i = 0; i < 4; i++)
                world_ask_user(world, &callers[i], i < 3 ? "anna" : "bert");
        finish_if_any(world, ENDING_TOKEN_WITH_SCOPE);
        for (int i = 0; i < 4; i++)
                assert_token_or(&callers[i], REASON_NONE);

        world_ask_user(world, &callers[0], "anna");
        finish_if_any(world, ENDING_TOKEN);
        assert_token_or(&callers[0], REASON_NONE);

        world_advance(world, 3100 * SECONDS); /* renewed behind the callers' backs */
        finish_if_any(world, ENDING_TOKEN);
        world_ask(world, &callers[0],
                  (struct wish){.subject = TEXT("anna"),
                                .rejects = callers[1].serial ? &callers[1] : NULL});
        finish_if_any(world, ENDING_CREDENTIALS_REFUSED);
        assert_token_or(&callers[0], REASON_CREDENTIALS_REFUSED);
        world_advance(world, 475 * SECONDS);
        world_ask_user(world, &callers[0], "anna");
        finish_if_any(world, ENDING_TOKEN);
        assert_token_or(&callers[0], REASON_NONE);

        world_ask_user(world, &callers[0], "carl");
        finish_if_any(world, ENDING_SUBJECT_REFUSED);
        assert_token_or(&callers[0], REASON_SUBJECT_REFUSED);
        world_advance(world, 10 * MINUTES);
        world_ask_user(world, &callers[0], "dora");
        finish_if_any(world, ENDING_ERROR);
        assert_token_or(&callers[0], REASON_ISSUER_ERROR);
        world_ask_user(world, &callers[0], "emil");
        finish_if_any(world, ENDING_CLIENT_UNAUTHORIZED);
        assert_token_or(&callers[0], REASON_CLIENT_UNAUTHORIZED);
}

static void whichever_allocation_fails_every_caller_is_answered(void **state)
{
        (void)state;
        for (int way = 0; way < 4; way++) {
                const bool for_ever = way & 1;
                unsigned long n = 0;
                bool failed;

                do {
                        struct caller caller = {};
                        struct world world;

                        world_init(&world);
                        world.starved = true;
                        if (way & 2) /* of root no share is kept */
                                world.peer.uid = world.policy.own_uid;
                        world_start(&world);
                        begin_shortage(n++, for_ever);
                        live_through_a_day(&world);
                        failed = end_shortage();

                        /* Memory is back, and so is the service. */
                        world_advance(&world, 1 * HOURS);
                        world_ask_user(&world, &caller, "anna");
                        assert_waits(&caller);
                        world_finish(&world, NULL, ENDING_TOKEN);
                        assert_token(&caller, world.serial);
                        world_ask_user(&world, &caller, "anna");
                        assert_hit(&caller, world.serial);
                        world_end(&world);
                } while (failed);
                assert_true(n > 20);
                print_message("# %lu allocations\n", n - 1);
        }
}

static void an_old_token_is_served_whichever_allocation_for_a_new_one_fails(void **state)
{
        unsigned long n = 0;
        bool failed;

        (void)state;
        do {
                struct caller caller = {};
                struct world world;
                uint64_t serial;

                world_init(&world);
                world.starved = true;
                world_start(&world);
                serial = world_prime(&world, "anna", 3600);
                world_advance(&world, 3575 * SECONDS);
                begin_shortage(n++, false);
                world_ask_user(&world, &caller, "anna");
                finish_if_any(&world, ENDING_TOKEN);
                failed = end_shortage();
                assert_false(caller.waits);
                assert_int_equal(caller.reason, REASON_NONE);
                assert_int_equal(caller.serial, failed ? serial : serial + 1);
                world_end(&world);
        } while (failed);
        assert_true(n > 3);
}

/* How many allocations it takes to read a request, which is not what is tested here. */
static unsigned long count_reading(const struct world *world, const struct wish *wish)
{
        struct caller caller = {};
        unsigned long n;

        begin_shortage(ULONG_MAX, false);
        caller_make_request(&caller, &world->clients[wish->client], wish);
        n = ULONG_MAX - shortage.until;
        (void)end_shortage();
        request_deinit(&caller.request);
        return n;
}

/* Nothing of an exchange is left where it could not begin, and its token is found once it did. */
static void an_exchange_is_made_or_not_whichever_allocation_fails(void **state)
{
        unsigned long n = 0;
        bool failed;

        (void)state;
        do {
                char bytes[CALLER_TOKEN_MAX_BYTES];
                struct caller caller = {};
                struct world world;
                struct wish wish;

                world_init(&world);
                world.starved = true;
                world_start(&world);
                wish = (struct wish){.kind = SUBJECT_EXCHANGE,
                                     .subject = TEXT("okta"),
                                     .subject_token = caller_subject_token(
                                             bytes, world_wall_ms(&world) / 1000 + 7200, "anna")};
                begin_shortage(count_reading(&world, &wish) + n++, false);
                world_ask(&world, &caller, wish);
                finish_if_any(&world, ENDING_TOKEN);
                failed = end_shortage();
                assert_token_or(&caller, REASON_NONE);
                assert_int_equal(world_counters(&world).flights, 0);
                world_ask(&world, &caller, wish);
                if (world.n_fetches > 0)
                        world_finish(&world, NULL, ENDING_TOKEN);
                assert_false(caller.waits);
                assert_int_equal(caller.reason, REASON_NONE);
                world_end(&world);
        } while (failed);
        assert_true(n > 5);
}

static void hits_need_no_memory(void **state)
{
        struct caller caller = {};
        struct world world;

        (void)state;
        world_init(&world);
        world_start(&world);
        (void)world_prime(&world, "anna", 3600);
        begin_shortage(0, true);
        for (int i = 0; i < 10; i++) {
                world_ask_user(&world, &caller, "anna");
                assert_hit(&caller, 1);
        }
        assert_false(end_shortage());
        world_end(&world);
}

static void deadlines_expiry_and_abort_need_no_memory(void **state)
{
        struct caller callers[3] = {};
        struct world world;

        (void)state;
        world_init(&world);
        world.settings.max_in_flight = 1;
        world_start(&world);
        (void)world_prime(&world, "anna", 10);
        world_ask_user(&world, &callers[0], "bert");
        world_ask_user(&world, &callers[1], "carl");
        begin_shortage(0, true);
        world_advance(&world, 1 * MINUTES);
        assert_reason(&callers[0], REASON_REQUEST_TIMEOUT);
        assert_reason(&callers[1], REASON_REQUEST_TIMEOUT);
        assert_int_equal(world_counters(&world).entries, 0);
        world_ask_user(&world, &callers[2], "bert"); /* joins */
        assert_waits(&callers[2]);
        world_abort(&world);
        assert_reason(&callers[2], REASON_SHUTTING_DOWN);
        assert_false(end_shortage());
        world_end(&world);
}

static void new_rules_without_memory_are_not_taken(void **state)
{
        struct rule before[] = {rule_for("crm", UID_CRM)}, after[] = {rule_for("other", UID_OTHER)};
        const struct policy policy = {.rules = after, .n_rules = 1, .own_uid = 990};
        struct caller waiting = {}, caller = {};
        struct world world;

        (void)state;
        world_init(&world);
        world_begin_with(&world, before, 1);
        world_ask_as(&world, &waiting, UID_CRM, "anna");
        begin_shortage(0, false);
        assert_int_equal(broker_reconfigure(world.broker, &world.settings, &policy, world.now_ms),
                         -ENOMEM);
        assert_true(end_shortage());
        world_turn(&world);
        assert_waits(&waiting);
        assert_ptr_equal(broker_policy(world.broker)->rules, before);
        world_ask_as(&world, &caller, UID_OTHER, "anna");
        assert_reason(&caller, REASON_NOT_PERMITTED);
        begin_shortage(2, true); /* two allocations are all that it takes */
        world_set_policy(&world, &policy);
        assert_false(end_shortage());
        assert_reason(&waiting, REASON_NOT_PERMITTED);
        world_end(&world);
}

/* A client is new, one has changed, one is gone, and every limit is higher. */
static void a_configuration_without_memory_is_not_taken(void **state)
{
        unsigned long n = 0;
        int r;

        (void)state;
        do {
                struct rule before[] = {rule_for("crm", UID_CRM)};
                struct rule after[] = {rule_for("crm", UID_CRM), rule_for("other", UID_OTHER)};
                const struct policy policy = {.rules = after, .n_rules = 2, .own_uid = 990};
                struct caller waiting = {}, caller = {};
                struct client_settings clients[3];
                struct settings settings;
                struct world world;
                uint64_t serial;

                world_init(&world);
                world_begin_with(&world, before, 1);
                world.peer = peer_of(UID_CRM);
                serial = world_prime(&world, "anna", 3600);
                world_ask_as(&world, &waiting, UID_CRM, "bert");
                memcpy(clients, world.clients, sizeof(clients));
                clients[0].identity = 101;
                clients[0].token_url[0] = (char *)"https://new.example/1";
                clients[2].identity = 103;
                clients[2].token_url[0] = (char *)"https://new.example/2";
                settings = world.settings;
                settings.clients = clients;
                settings.max_entries = 50000;
                settings.max_waiters *= 10;
                settings.max_flights *= 10;
                settings.max_memories *= 10;
                begin_shortage(n++, false);
                r = broker_reconfigure(world.broker, &settings, &policy, world.now_ms);
                assert_int_equal(r, end_shortage() ? -ENOMEM : 0);
                if (r == 0) {
                        world.late = true;
                        world_abort(&world);
                        assert_reason(&waiting, REASON_SHUTTING_DOWN);
                        world_drop(&world);
                        continue;
                }
                world_check(&world);
                assert_waits(&waiting);
                assert_false(world_sweeps(&world));
                assert_ptr_equal(broker_policy(world.broker)->rules, before);
                world_ask_as(&world, &caller, UID_CRM, "anna");
                assert_hit(&caller, serial);
                world_ask_as(&world, &caller, UID_OTHER, "anna");
                assert_reason(&caller, REASON_NOT_PERMITTED);
                world_finish(&world, NULL, ENDING_TOKEN);
                assert_token(&waiting, serial + 1);
                world_end(&world);
        } while (r);
        print_message("# %lu allocations\n", n - 1);
        assert_true(n > 8);
}

static void purges_and_lists_need_no_memory(void **state)
{
        const struct filter everything = {};
        static struct page page;
        struct caller caller = {};
        struct purge purge;
        struct world world;

        (void)state;
        world_init(&world);
        world_start(&world);
        (void)world_prime(&world, "anna", 3600);
        world_ask_user(&world, &caller, "bert");
        begin_shortage(0, true);
        broker_list(world.broker, &everything, 0, 0, world.now_ms, &page);
        assert_int_equal(page.n, 1);
        assert_true(world_purge(&world, &everything, &purge));
        while (world.n_purging > 0)
                world_turn(&world);
        assert_int_equal(purge.n_purged, 1);
        assert_int_equal(world_counters(&world).limits.detached, 1);
        assert_false(end_shortage());
        world_finish(&world, NULL, ENDING_TOKEN);
        assert_token(&caller, 2);
        world_end(&world);
}

/* A share, the flight itself: whatever it was that could not be had, nothing of it is left, and
 * no fetch is counted that did not begin. */
static void whoever_cannot_wait_for_want_of_memory_holds_no_share(void **state)
{
        unsigned long n = 0;
        bool failed;

        (void)state;
        do {
                struct rule rules[] = {rule_for("crm", UID_CRM)};
                struct caller caller = {};
                struct world world;

                world_init(&world);
                world.starved = true;
                world.settings.max_flights = 4; /* one for each */
                rules[0].fetches = (struct rate){1, 1 * HOURS};
                world_begin_with(&world, rules, 1);
                begin_shortage(n++, false);
                world_ask_as(&world, &caller, UID_CRM, "anna");
                failed = end_shortage();
                if (failed)
                        assert_reason(&caller, REASON_OUT_OF_MEMORY);
                else
                        world_finish(&world, NULL, ENDING_TOKEN);
                if (world_counters(&world).misses == 1)
                        world_advance(&world, 1 * HOURS);
                world_ask_as(&world, &caller, UID_CRM, "bert");
                assert_waits(&caller);
                assert_int_equal(world_counters(&world).uid_flights_full, 0);
                world_end(&world);
        } while (failed);
        assert_true(n > 4);
}

static void a_broker_without_memory_to_begin_with_is_not_made(void **state)
{
        static const uint8_t hash_key[SIPHASH_KEY_BYTES] = {0};
        struct broker *broker = NULL;
        unsigned long n = 0;
        struct world world;
        bool failed;

        (void)state;
        world_init(&world);
        world.settings.clients = world.clients;
        do {
                int r;

                begin_shortage(n++, false);
                r = broker_new(&broker, &world.settings, &world.policy, hash_key);
                failed = end_shortage();
                assert_int_equal(r, failed ? -ENOMEM : 0);
                assert_true(failed == !broker);
        } while (failed);
        assert_true(n > 5);
        broker_free(broker);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(whichever_allocation_fails_every_caller_is_answered),
                cmocka_unit_test(an_old_token_is_served_whichever_allocation_for_a_new_one_fails),
                cmocka_unit_test(an_exchange_is_made_or_not_whichever_allocation_fails),
                cmocka_unit_test(hits_need_no_memory),
                cmocka_unit_test(deadlines_expiry_and_abort_need_no_memory),
                cmocka_unit_test(new_rules_without_memory_are_not_taken),
                cmocka_unit_test(a_configuration_without_memory_is_not_taken),
                cmocka_unit_test(purges_and_lists_need_no_memory),
                cmocka_unit_test(whoever_cannot_wait_for_want_of_memory_holds_no_share),
                cmocka_unit_test(a_broker_without_memory_to_begin_with_is_not_made),
        };

        return cmocka_run_group_tests_name("out-of-memory", tests, NULL, NULL);
}
