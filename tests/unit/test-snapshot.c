/* SPDX-License-Identifier: MIT */

#include "snapshot.h"

#include <errno.h>
#include <openssl/sha.h>
#include <stdio.h>

#include "broker-private.h"
#include "helpers.h"

#define NOW_MS   UINT64_C(10000000)
#define LATER_MS (NOW_MS + 500)
#define SECRET   "token-that-must-be-wiped"
#define URL_A    "https://issuer.example/U/token"
#define URL_B    "https://issuer.example/C/token"
#define URL_C    "https://other.example/U/token"

static const struct snapshot_stamp stamp = {.boot_id = "fifteen and one", .sequence = 7};

static const struct policy policy = {.own_uid = 990};

/* A broker with its settings: two client applications, the second one without customers. */
struct subject {
        struct client_settings clients[2];
        struct settings settings;
        struct broker *broker;
};

static void subject_init(struct subject *subject, uint64_t first_identity, size_t max_entries)
{
        uint8_t hash_key[SIPHASH_KEY_BYTES] = "0123456789abcde";

        *subject = (struct subject){
                .clients = {{.name = "a",
                             .client_id = "a-id",
                             .identity = first_identity,
                             .identity_sha256 = "digest of the first",
                             .token_url = {URL_A, URL_B}},
                            {.name = "b",
                             .client_id = "b-id",
                             .identity = first_identity + 1,
                             .identity_sha256 = "digest of the second",
                             .token_url = {URL_C, NULL}}},
                .settings = {.n_clients = 2,
                             .max_entries = max_entries,
                             .max_memory_bytes = 1 << 24,
                             .request_timeout_ms = 20000,
                             .expiry_margin_ms = 30000,
                             .upstream_timeout_ms = 10000,
                             .default_lifetime_ms = 300000,
                             .max_waiters = 16,
                             .max_waiters_per_flight = 16,
                             .max_flights = 16,
                             .max_in_flight = 4,
                             .max_in_flight_total = 4,
                             .max_memories = 200,
                             .max_token_bytes = 2000},
        };
        subject->settings.clients = subject->clients;
        hash_key[0] = (uint8_t)first_identity;
        assert_int_equal(broker_new(&subject->broker, &subject->settings, &policy, hash_key), 0);
        if (!subject->broker) /* clang-tidy does not know that this ends the test */
                abort();
}

static void subject_deinit(struct subject *subject)
{
        broker_free(subject->broker);
}

static char *some_text(char *ret, size_t size, const char *alphabet, uint64_t *seed)
{
        for (size_t i = 0; i < size; i++)
                ret[i] = alphabet[random_next(seed) % strlen(alphabet)];
        ret[size] = '\0';
        return ret;
}

static struct grant_key random_key(struct subject *subject, uint8_t *buffer, uint64_t *seed)
{
        const size_t client = random_next(seed) % 2;
        const struct client_settings *settings = &subject->clients[client];
        static const enum subject_kind kinds[] = {SUBJECT_USERNAME, SUBJECT_USERID,
                                                  SUBJECT_APPLICATION, SUBJECT_EMAIL};
        char text[REQUEST_SUBJECT_MAX_BYTES + 1], scope[64];
        struct grant grant = {
                .identity = settings->identity,
                .subject_kind = kinds[random_next(seed) % (client ? 3 : N_OF(kinds))],
                .subject = TEXT(some_text(text, 1 + random_next(seed) % REQUEST_SUBJECT_MAX_BYTES,
                                          "abc@\xc3\xa9 \"'&", seed)),
        };

        /* half of a character is no text */
        for (size_t i = 0; i < grant.subject.size; i++)
                if (text[i] == '\xc3' || text[i] == '\xa9')
                        text[i] = '%';
        if (!subject_kind_names(grant.subject_kind))
                grant.subject.size = 0;
        grant.scope = TEXT(some_text(scope, 1 + random_next(seed) % 40, "abc.:/", seed));
        return grant_key_make(buffer, subject->broker->hash_key, &grant);
}

static void add_token(struct subject *subject, uint64_t *seed)
{
        const uint64_t sent_at_ms = NOW_MS - random_next(seed) % 3000000;
        const uint64_t life_ms = NOW_MS - sent_at_ms + 2000 + random_next(seed) % 3600000;
        const size_t size = 1 + random_next(seed) % 1900;
        struct cache *cache = &subject->broker->cache;
        uint8_t buffer[GRANT_KEY_MAX_BYTES];
        char value[2001], granted[65];
        struct grant_key key = random_key(subject, buffer, seed);
        struct token *token;

        (void)some_text(value, size, "abcXYZ-_.~!", seed);
        (void)some_text(granted, random_next(seed) % 64, "abc.:/ ", seed);
        if (random_next(seed) % 4 == 0) /* just what was asked for */
                assert_int_equal(token_new(&token, TEXT(value), grant_of_key(key).scope, sent_at_ms,
                                           life_ms),
                                 0);
        else
                assert_int_equal(token_new(&token, TEXT(value), TEXT(granted), sent_at_ms, life_ms),
                                 0);
        token->refresh_at_ms = sent_at_ms + random_next(seed) % (life_ms + 1);
        token->exceeds = !scope_includes(grant_of_key(key).scope, token_scope(token));
        assert_int_equal(cache_store(cache, key, token), 0);
        token_unref(token);
        cache_mark(cache, key, random_next(seed) % CACHE_MARK_HAND);
}

static void add_memory(struct subject *subject, uint64_t at_ms, uint64_t *seed)
{
        static const enum reason reasons[] = {REASON_SUBJECT_REFUSED, REASON_SCOPE_REFUSED,
                                              REASON_CLIENT_UNAUTHORIZED};
        uint8_t buffer[GRANT_KEY_MAX_BYTES];
        struct grant_key key = random_key(subject, buffer, seed);
        struct memory_record *record;

        if (random_next(seed) % 4 == 0)
                key = grant_key_make_any_subject(
                        buffer, subject->broker->hash_key,
                        &(struct grant){.identity = subject->clients[0].identity,
                                        .scope = TEXT("any.scope")});
        record = memory_touch(&subject->broker->memory, key, at_ms);
        assert_non_null(record);
        if (random_next(seed) % 2) {
                record->reason = reasons[random_next(seed) % N_OF(reasons)];
                backoff_extend(&record->refusal, MEMORY_REFUSAL_FIRST_MS, MEMORY_REFUSAL_MAX_MS,
                               at_ms);
        }
        if (random_next(seed) % 2 || record->refusal.step_ms == 0)
                backoff_extend(&record->rejection, MEMORY_REJECTION_FIRST_MS,
                               MEMORY_REJECTION_MAX_MS, at_ms);
}

/* What a broker may have come to know by NOW_MS. */
static void subject_fill(struct subject *subject, size_t n_tokens, size_t n_memories,
                         uint64_t *seed)
{
        struct cache *cache = &subject->broker->cache;

        for (size_t i = 0; i < n_tokens; i++)
                add_token(subject, seed);
        if (random_next(seed) % 4 && cache->n_entries > 0) {
                struct list *at = cache->queue.next;

                for (size_t i = random_next(seed) % cache->n_entries; i > 0; i--)
                        at = at->next;
                cache->hand = at;
        }
        for (size_t i = 0; i < n_memories; i++)
                add_memory(subject, NOW_MS - 4000 + i * 4000 / n_memories, seed);
        breaker_held(&issuers_find(&subject->broker->issuers, URL_B)->breaker,
                     1000 + random_next(seed) % 200000, NOW_MS);
        if (random_next(seed) % 2)
                breaker_held(&issuers_find(&subject->broker->issuers, URL_C)->breaker, 0, NOW_MS);
        subject->broker->due_since_ms = random_next(seed) % NOW_MS;
        subject->broker->wall_ahead_ms = (int64_t)(random_next(seed) % 2000000000000) - 1000;
        subject->broker->wall_known = true;
}

/* In a block of just its size, to be freed. */
static uint8_t *save(const struct subject *subject, uint64_t now_ms, size_t *ret_size)
{
        const size_t size = broker_save(subject->broker, &stamp, now_ms, NULL);
        uint8_t *bytes = malloc(size);

        assert_true(size > 0);
        assert_non_null(bytes);
        assert_int_equal(broker_save(subject->broker, &stamp, now_ms, bytes), size);
        *ret_size = size;
        return bytes;
}

static int restore(struct subject *subject, const void *bytes, size_t size, uint64_t now_ms,
                   struct restored *ret)
{
        struct snapshot snapshot;
        int r;

        *ret = (struct restored){};
        r = snapshot_open(&snapshot, bytes, size, stamp.boot_id, now_ms);
        return r ? r : broker_restore(subject->broker, &snapshot, now_ms, ret);
}

static void sign(uint8_t *bytes, size_t size)
{
        SHA256(bytes, size - SNAPSHOT_DIGEST_BYTES, bytes + size - SNAPSHOT_DIGEST_BYTES);
}

static void assert_empty(const struct subject *subject)
{
        assert_int_equal(subject->broker->cache.n_entries, 0);
        assert_int_equal(subject->broker->cache.memory_bytes, 0);
        assert_int_equal(subject->broker->cache.counters.stored, 0);
        assert_int_equal(subject->broker->memory.n, 0);
        list_for_each (link, &subject->broker->issuers.all)
                assert_int_equal(list_entry(link, struct issuer, link)->breaker.state,
                                 BREAKER_CLOSED);
}

/* The same token in both, though under keys of different processes. */
static void assert_same_entry(const struct subject *a, const struct cache_entry *x,
                              const struct subject *b, const struct cache_entry *y)
{
        const struct grant p = grant_of_key(cache_entry_key(x)),
                           q = grant_of_key(cache_entry_key(y));

        assert_int_equal(p.identity - a->clients[0].identity, q.identity - b->clients[0].identity);
        assert_int_equal(p.subject_kind, q.subject_kind);
        assert_true(text_equal(p.subject, q.subject) && text_equal(p.scope, q.scope));
        assert_true(text_equal(token_value(x->token), token_value(y->token)));
        assert_true(text_equal(token_scope(x->token), token_scope(y->token)));
        assert_int_equal(x->token->sent_at_ms, y->token->sent_at_ms);
        assert_int_equal(x->token->refresh_at_ms, y->token->refresh_at_ms);
        assert_int_equal(x->token->expires_at_ms, y->token->expires_at_ms);
        assert_int_equal(x->token->exceeds, y->token->exceeds);
        assert_int_equal(x->visited, y->visited);
        assert_int_equal(x->used, y->used);
        assert_int_equal(x->rejected, y->rejected);
        assert_int_equal(a->broker->cache.hand == &x->link, b->broker->cache.hand == &y->link);
        assert_ptr_equal(cache_peek(&b->broker->cache, cache_entry_key(y), NOW_MS), y);
}

static void whatever_a_broker_knows_is_known_to_the_next_one(void **state)
{
        uint64_t seed = 1;

        (void)state;
        for (int round = 0; round < 60; round++) {
                const struct cache_entry *x = NULL, *y = NULL;
                struct subject before, after;
                struct restored restored;
                uint8_t *bytes, *again;
                size_t size, size_again;

                subject_init(&before, 100, 64);
                subject_init(&after, 200 + (uint64_t)round, 64);
                subject_fill(&before, random_next(&seed) % 80, 1 + random_next(&seed) % 100, &seed);
                bytes = save(&before, NOW_MS, &size);
                assert_int_equal(restore(&after, bytes, size, NOW_MS, &restored), 0);
                assert_int_equal(restored.tokens, before.broker->cache.n_entries);
                assert_int_equal(restored.ended + restored.gone + restored.no_room, 0);
                assert_true(restored.holds > 0);
                assert_int_equal(after.broker->cache.n_entries, before.broker->cache.n_entries);
                assert_int_equal(after.broker->memory.n, before.broker->memory.n);
                assert_int_equal(after.broker->due_since_ms, before.broker->due_since_ms);
                while ((x = cache_newer(&before.broker->cache, x))) {
                        y = cache_newer(&after.broker->cache, y);
                        assert_non_null(y);
                        assert_same_entry(&before, x, &after, y);
                }
                /* What is written of it is the same to the last byte, so all the rest is, too. */
                again = save(&after, NOW_MS, &size_again);
                assert_int_equal(size, size_again);
                assert_memory_equal(bytes, again, size);
                free(again);
                free(bytes);
                subject_deinit(&after);
                subject_deinit(&before);
        }
}

static void a_broker_that_knows_nothing_writes_nothing(void **state)
{
        struct subject subject;

        (void)state;
        subject_init(&subject, 1, 10);
        assert_int_equal(broker_save(subject.broker, &stamp, NOW_MS, NULL), 0);
        subject_deinit(&subject);
}

/* A small one, with something of each kind in it. */
static uint8_t *small_snapshot(size_t *ret_size)
{
        struct subject subject;
        uint64_t seed = 5;
        uint8_t *bytes;

        subject_init(&subject, 1, 10);
        subject_fill(&subject, 2, 3, &seed);
        bytes = save(&subject, NOW_MS, ret_size);
        subject_deinit(&subject);
        return bytes;
}

static void a_byte_that_is_not_as_it_was_discards_it_all(void **state)
{
        struct restored restored;
        struct subject subject;
        size_t size;
        uint8_t *bytes = small_snapshot(&size);

        (void)state;
        subject_init(&subject, 1, 10);
        for (size_t i = 0; i < size; i++) {
                for (int bit = 0; bit < 8; bit += 7) {
                        bytes[i] ^= (uint8_t)(1 << bit);
                        assert_true(restore(&subject, bytes, size, LATER_MS, &restored) > 0);
                        assert_empty(&subject);
                        bytes[i] ^= (uint8_t)(1 << bit);
                }
        }
        assert_int_equal(restore(&subject, bytes, size, LATER_MS, &restored), 0);
        subject_deinit(&subject);
        free(bytes);
}

/* Nobody but root could, and the checksum does not tell; still nothing is half taken. */
static void a_byte_that_was_changed_with_care_does_no_harm(void **state)
{
        size_t size, n_discarded = 0;
        uint8_t *bytes = small_snapshot(&size);

        (void)state;
        for (size_t i = 0; i < size - SNAPSHOT_DIGEST_BYTES; i++) {
                for (int bit = 0; bit < 8; bit++) {
                        struct restored restored;
                        struct subject subject;
                        int r;

                        subject_init(&subject, 1, 10);
                        bytes[i] ^= (uint8_t)(1 << bit);
                        sign(bytes, size);
                        r = restore(&subject, bytes, size, LATER_MS, &restored);
                        assert_in_range(r, 0, SNAPSHOT_E_DUPLICATE);
                        if (r) {
                                assert_empty(&subject);
                                n_discarded++;
                        }
                        bytes[i] ^= (uint8_t)(1 << bit);
                        subject_deinit(&subject);
                }
        }
        assert_true(n_discarded > size);
        free(bytes);
}

static void of_another_length_it_is_discarded(void **state)
{
        struct restored restored;
        struct subject subject;
        size_t size;
        uint8_t *bytes = small_snapshot(&size);

        (void)state;
        subject_init(&subject, 1, 10);
        for (size_t cut = 0; cut <= size + 1; cut++) {
                uint8_t *copy = calloc(1, cut > 0 ? cut : 1);
                int r;

                if (cut == size) {
                        free(copy);
                        continue;
                }
                assert_non_null(copy);
                memcpy(copy, bytes, cut < size ? cut : size);
                r = restore(&subject, copy, cut, LATER_MS, &restored);
                assert_int_equal(r, cut < 8 ? SNAPSHOT_E_NOISE : SNAPSHOT_E_TRUNCATED);
                /* The same with all that the head can tell of it put right. */
                if (cut > 88 + SNAPSHOT_DIGEST_BYTES) {
                        for (size_t i = 0; i < 8; i++)
                                copy[16 + i] = (uint8_t)(cut >> 8 * i);
                        sign(copy, cut);
                        r = restore(&subject, copy, cut, LATER_MS, &restored);
                        assert_int_equal(r, SNAPSHOT_E_MALFORMED);
                }
                assert_empty(&subject);
                free(copy);
        }
        subject_deinit(&subject);
        free(bytes);
}

static void another_boot_version_or_time_is_told_apart(void **state)
{
        struct snapshot snapshot;
        uint8_t boot_id[SNAPSHOT_BOOT_BYTES];
        size_t size;
        uint8_t *bytes = small_snapshot(&size);

        (void)state;
        memcpy(boot_id, stamp.boot_id, sizeof(boot_id));
        assert_int_equal(snapshot_open(&snapshot, bytes, size, boot_id, NOW_MS), 0);
        assert_int_equal(snapshot.head.stamp.sequence, 7);
        assert_int_equal(snapshot_open(&snapshot, bytes, size, boot_id, NOW_MS - 1),
                         SNAPSHOT_E_TIME);
        boot_id[15] ^= 1;
        assert_int_equal(snapshot_open(&snapshot, bytes, size, boot_id, NOW_MS), SNAPSHOT_E_BOOT);
        bytes[8]++;
        sign(bytes, size);
        assert_int_equal(snapshot_open(&snapshot, bytes, size, stamp.boot_id, NOW_MS),
                         SNAPSHOT_E_VERSION);
        free(bytes);
        for (int r = -1; r <= SNAPSHOT_E_DUPLICATE + 1; r++)
                assert_true(strlen(snapshot_fault(r)) > 5);
}

/* A snapshot of one client application and one token, which a test may have made odd. */
static struct snapshot_token plain_token(void)
{
        return (struct snapshot_token){
                .kind = SUBJECT_USERNAME,
                .sent_at_ms = NOW_MS - 1000,
                .refresh_at_ms = NOW_MS + 1000,
                .expires_at_ms = NOW_MS + 60000,
                .subject = TEXT("anna"),
                .scope = TEXT("a b"),
                .value = TEXT("value"),
        };
}

static struct snapshot_refusal plain_refusal(void)
{
        return (struct snapshot_refusal){
                .kind = SUBJECT_USERNAME,
                .subject = TEXT("anna"),
                .scope = TEXT("a"),
                .touched_at_ms = NOW_MS - 1000,
                .reason = REASON_SUBJECT_REFUSED,
                .refusal_until_ms = NOW_MS + 9000,
                .refusal_step_ms = 10000,
        };
}

static struct snapshot_hold plain_hold(void)
{
        return (struct snapshot_hold){.url = TEXT(URL_A), .until_ms = NOW_MS + 5000};
}

struct parts {
        struct snapshot_head head;
        size_t n_clients;
        size_t n_holds;
        struct snapshot_hold holds[2];
        size_t n_refusals;
        struct snapshot_refusal refusals[2];
        size_t n_tokens;
        struct snapshot_token tokens[2];
        bool same_clients;
};

static struct parts plain_parts(void)
{
        return (struct parts){
                .head = {.stamp = stamp, .saved_at_ms = NOW_MS},
                .n_clients = 2,
                .n_holds = 1,
                .holds = {plain_hold(), plain_hold()},
                .n_refusals = 1,
                .refusals = {plain_refusal(), plain_refusal()},
                .n_tokens = 1,
                .tokens = {plain_token(), plain_token()},
        };
}

static size_t write_parts(const struct parts *parts, uint8_t *bytes)
{
        const uint8_t digests[2][SNAPSHOT_DIGEST_BYTES] = {"digest of the first",
                                                           "digest of the second"};
        struct snapshot_writer writer;

        snapshot_begin(&writer, bytes, &parts->head);
        for (size_t i = 0; i < parts->n_clients; i++)
                snapshot_write_client(&writer, digests[parts->same_clients ? 0 : i % 2]);
        for (size_t i = 0; i < parts->n_holds; i++)
                snapshot_write_hold(&writer, &parts->holds[i]);
        for (size_t i = 0; i < parts->n_refusals; i++)
                snapshot_write_refusal(&writer, &parts->refusals[i]);
        for (size_t i = 0; i < parts->n_tokens; i++)
                snapshot_write_token(&writer, &parts->tokens[i]);
        return snapshot_end(&writer);
}

static int restore_parts(struct subject *subject, const struct parts *parts,
                         struct restored *restored)
{
        const size_t size = write_parts(parts, NULL);
        uint8_t *bytes = malloc(size);
        int r;

        assert_non_null(bytes);
        assert_int_equal(write_parts(parts, bytes), size);
        r = restore(subject, bytes, size, LATER_MS, restored);
        free(bytes);
        return r;
}

static void assert_fault(const struct parts *parts, int fault)
{
        struct restored restored;
        struct subject subject;

        subject_init(&subject, 1, 10);
        assert_int_equal(restore_parts(&subject, parts, &restored), fault);
        if (fault)
                assert_empty(&subject);
        subject_deinit(&subject);
}

#define assert_odd(fault, change)                   \
        do {                                        \
                struct parts parts = plain_parts(); \
                change;                             \
                assert_fault(&parts, fault);        \
        } while (0)

static void what_nobody_writes_is_malformed(void **state)
{
        static char long_text[REQUEST_SCOPE_MAX_BYTES * 4 + 2];

        (void)state;
        memset(long_text, 'x', sizeof(long_text) - 1);
        assert_odd(0, (void)parts);
        assert_odd(SNAPSHOT_E_MALFORMED, parts.tokens[0].client = 2);
        assert_odd(SNAPSHOT_E_MALFORMED, parts.tokens[0].kind = _SUBJECT_KIND_N);
        assert_odd(SNAPSHOT_E_MALFORMED, parts.tokens[0].marks = CACHE_MARKS + 1);
        assert_odd(SNAPSHOT_E_MALFORMED, parts.tokens[0].subject.size = 0);
        assert_odd(SNAPSHOT_E_MALFORMED, parts.tokens[0].subject = TEXT("a\n"));
        assert_odd(SNAPSHOT_E_MALFORMED, parts.tokens[0].subject = TEXT("\xff"));
        assert_odd(SNAPSHOT_E_MALFORMED, parts.tokens[0].subject = ((struct text){long_text, 257}));
        assert_odd(SNAPSHOT_E_MALFORMED, parts.tokens[0].scope.size = 0);
        assert_odd(SNAPSHOT_E_MALFORMED, parts.tokens[0].scope = TEXT("b a"));
        assert_odd(SNAPSHOT_E_MALFORMED, parts.tokens[0].scope = ((struct text){long_text, 4097}));
        assert_odd(SNAPSHOT_E_MALFORMED, parts.tokens[0].value.size = 0);
        assert_odd(SNAPSHOT_E_MALFORMED, parts.tokens[0].value = TEXT("a b"));
        assert_odd(SNAPSHOT_E_MALFORMED, parts.tokens[0].value = TEXT("a\r\nX: y"));
        assert_odd(SNAPSHOT_E_MALFORMED, parts.tokens[0].granted = TEXT("a\"b"));
        assert_odd(SNAPSHOT_E_MALFORMED, parts.tokens[0].granted = TEXT(long_text));
        /* The second client application has no token URL for customers. */
        assert_odd(0, parts.tokens[0].client = 1);
        assert_odd(0, parts.tokens[0].kind = SUBJECT_EMAIL);
        assert_odd(SNAPSHOT_E_MALFORMED, {
                parts.tokens[0].client = 1;
                parts.tokens[0].kind = SUBJECT_EMAIL;
        });
        /* Nothing names the application's own subject, and no exchange is ever written. */
        assert_odd(SNAPSHOT_E_MALFORMED, parts.tokens[0].kind = SUBJECT_APPLICATION);
        assert_odd(0, {
                parts.tokens[0].kind = SUBJECT_APPLICATION;
                parts.tokens[0].subject.size = 0;
        });
        assert_odd(SNAPSHOT_E_MALFORMED, {
                parts.tokens[0].kind = SUBJECT_ANONYMOUS; /* at a client application that is not */
                parts.tokens[0].subject.size = 0;
        });
        assert_odd(SNAPSHOT_E_MALFORMED, parts.tokens[0].kind = SUBJECT_EXCHANGE);
        assert_odd(SNAPSHOT_E_MALFORMED, parts.refusals[0].kind = SUBJECT_EXCHANGE);
        assert_odd(SNAPSHOT_E_MALFORMED, parts.refusals[0].kind = SUBJECT_APPLICATION);
        assert_odd(0, {
                parts.refusals[0].kind = SUBJECT_APPLICATION;
                parts.refusals[0].subject.size = 0;
        });
        assert_odd(SNAPSHOT_E_MALFORMED, parts.refusals[0].client = 2);
        assert_odd(SNAPSHOT_E_MALFORMED, parts.refusals[0].kind = _SUBJECT_KIND_N);
        assert_odd(SNAPSHOT_E_MALFORMED, parts.refusals[0].any_subject = true);
        assert_odd(0, {
                parts.refusals[0].any_subject = true;
                parts.refusals[0].subject.size = 0;
        });
        assert_odd(SNAPSHOT_E_MALFORMED, parts.refusals[0].subject.size = 0);
        assert_odd(SNAPSHOT_E_MALFORMED, parts.refusals[0].scope = TEXT("a  b"));
        assert_odd(SNAPSHOT_E_MALFORMED, parts.refusals[0].reason = REASON_NONE);
        assert_odd(SNAPSHOT_E_MALFORMED, parts.refusals[0].refusal_step_ms = 0);
        assert_odd(SNAPSHOT_E_MALFORMED, {
                parts.refusals[0].reason = REASON_NONE;
                parts.refusals[0].refusal_step_ms = 0;
        });
        assert_odd(SNAPSHOT_E_MALFORMED, parts.holds[0].url.size = 0);
        assert_odd(SNAPSHOT_E_MALFORMED, parts.holds[0].url = ((struct text){long_text, 8193}));
        assert_odd(SNAPSHOT_E_MALFORMED, parts.n_clients = SNAPSHOT_CLIENTS_MAX + 1);
}

static void a_time_that_cannot_be_discards_it_all(void **state)
{
        const uint64_t year_ms = (uint64_t)ANSWER_LIFETIME_MAX_S * 1000;

        (void)state;
        assert_odd(SNAPSHOT_E_TIME, parts.tokens[0].sent_at_ms = NOW_MS + 1);
        assert_odd(SNAPSHOT_E_TIME, parts.tokens[0].refresh_at_ms = NOW_MS - 1001);
        assert_odd(SNAPSHOT_E_TIME, parts.tokens[0].refresh_at_ms = NOW_MS + 60001);
        assert_odd(SNAPSHOT_E_TIME, {
                parts.tokens[0].refresh_at_ms = NOW_MS;
                parts.tokens[0].expires_at_ms = NOW_MS;
        });
        assert_odd(0, parts.tokens[0].expires_at_ms = NOW_MS - 1000 + year_ms);
        assert_odd(SNAPSHOT_E_TIME, parts.tokens[0].expires_at_ms = NOW_MS - 999 + year_ms);
        assert_odd(SNAPSHOT_E_TIME, parts.tokens[0].expires_at_ms = UINT64_MAX);
        assert_odd(SNAPSHOT_E_TIME, parts.refusals[0].touched_at_ms = NOW_MS + 1);
        assert_odd(SNAPSHOT_E_TIME, parts.refusals[0].refusal_until_ms = NOW_MS + 59001);
        assert_odd(SNAPSHOT_E_TIME, parts.refusals[0].refusal_step_ms = 60001);
        assert_odd(SNAPSHOT_E_TIME, parts.refusals[0].rejection_until_ms = 1);
        assert_odd(SNAPSHOT_E_TIME, parts.refusals[0].rejection_step_ms = 60001);
        assert_odd(SNAPSHOT_E_TIME, {
                parts.n_refusals = 2;
                parts.refusals[1].subject = TEXT("bert");
                parts.refusals[1].touched_at_ms = NOW_MS - 1001;
                parts.refusals[1].refusal_until_ms = NOW_MS;
        });
        assert_odd(SNAPSHOT_E_TIME, parts.holds[0].until_ms = NOW_MS);
        assert_odd(SNAPSHOT_E_TIME, parts.holds[0].until_ms = NOW_MS + 300001);
        assert_odd(SNAPSHOT_E_TIME, parts.holds[0].step_ms = 60001);
        assert_odd(SNAPSHOT_E_TIME, parts.head.due_since_ms = NOW_MS + 1);
        assert_odd(SNAPSHOT_E_TIME, parts.head.saved_at_ms = LATER_MS + 1);
        assert_odd(SNAPSHOT_E_TIME, parts.head.wall_ahead_ms = INT64_MIN);
        assert_odd(SNAPSHOT_E_TIME, parts.head.wall_ahead_ms = INT64_MAX);
}

static void the_same_thing_twice_discards_it_all(void **state)
{
        (void)state;
        assert_odd(SNAPSHOT_E_DUPLICATE, parts.n_tokens = 2);
        assert_odd(SNAPSHOT_E_DUPLICATE, parts.n_refusals = 2);
        assert_odd(SNAPSHOT_E_DUPLICATE, parts.n_holds = 2);
        assert_odd(SNAPSHOT_E_DUPLICATE, parts.same_clients = true);
        assert_odd(SNAPSHOT_E_DUPLICATE, parts.n_clients = 3);
        assert_odd(0, {
                parts.n_tokens = 2;
                parts.tokens[1].subject = TEXT("bert");
        });
}

static void what_has_run_out_is_counted_and_left_out(void **state)
{
        struct restored restored;
        struct subject subject;
        struct parts parts = plain_parts();

        (void)state;
        parts.n_tokens = 2;
        parts.tokens[0].refresh_at_ms = NOW_MS;
        parts.tokens[0].expires_at_ms = LATER_MS + 999;
        parts.tokens[0].marks = CACHE_MARK_HAND;
        parts.tokens[1].subject = TEXT("bert");
        parts.holds[0].until_ms = LATER_MS;
        parts.refusals[0].touched_at_ms = LATER_MS - MEMORY_KEEP_MS;
        parts.refusals[0].refusal_until_ms = NOW_MS - MEMORY_KEEP_MS;
        subject_init(&subject, 1, 10);
        assert_int_equal(restore_parts(&subject, &parts, &restored), 0);
        assert_int_equal(restored.tokens, 1);
        assert_int_equal(restored.ended, 1);
        assert_int_equal(restored.gone, 0);
        assert_int_equal(restored.no_room, 0);
        assert_int_equal(restored.holds, 0);
        assert_int_equal(restored.refusals, 0);
        assert_int_equal(subject.broker->memory.n, 0);
        assert_int_equal(subject.broker->counters.restored, 1);
        /* The hand was at the one that is gone, and is at the next newer one now. */
        assert_ptr_equal(subject.broker->cache.hand, subject.broker->cache.queue.next);
        subject_deinit(&subject);
}

static void what_is_beyond_the_limits_of_today_is_counted_and_left_out(void **state)
{
        struct restored restored;
        struct subject subject;
        struct parts parts = plain_parts();
        char name[2][8] = {"one", "two"};

        (void)state;
        parts.n_tokens = 2;
        parts.tokens[0].subject = TEXT(name[0]);
        parts.tokens[1].subject = TEXT(name[1]);
        subject_init(&subject, 1, 1);
        assert_int_equal(restore_parts(&subject, &parts, &restored), 0);
        assert_int_equal(restored.tokens, 1);
        assert_int_equal(restored.no_room, 1);
        assert_true(text_equal(
                grant_of_key(cache_entry_key(cache_newer(&subject.broker->cache, NULL))).subject,
                TEXT("two")));
        subject_deinit(&subject);

        subject_init(&subject, 1, 10);
        subject.settings.max_token_bytes = 4;
        parts.tokens[1].value = TEXT("v");
        assert_int_equal(restore_parts(&subject, &parts, &restored), 0);
        assert_int_equal(restored.tokens, 1);
        assert_int_equal(restored.no_room, 1);
        subject_deinit(&subject);
}

static void what_belongs_to_nobody_any_more_is_left_out(void **state)
{
        struct restored restored;
        struct subject subject;
        struct parts parts = plain_parts();

        (void)state;
        parts.n_tokens = 2;
        parts.tokens[1].client = 1;
        subject_init(&subject, 1, 10);
        subject.clients[0].identity_sha256[0] ^= 1;
        assert_int_equal(restore_parts(&subject, &parts, &restored), 0);
        assert_int_equal(restored.tokens, 1);
        assert_int_equal(restored.gone, 1);
        assert_int_equal(restored.refusals, 0);
        assert_int_equal(restored.holds, 1); /* of a URL, whoever uses it */
        subject_deinit(&subject);
}

static void without_memory_nothing_is_taken_and_all_is_wiped(void **state)
{
        struct parts parts = plain_parts();
        struct restored restored;
        struct subject subject;
        unsigned int n = 1;
        size_t size;
        uint8_t *bytes;

        (void)state;
        parts.n_tokens = 2;
        parts.tokens[0].value = TEXT(SECRET);
        parts.tokens[1].value = TEXT(SECRET);
        parts.tokens[1].subject = TEXT("bert");
        size = write_parts(&parts, NULL);
        bytes = malloc(size);
        assert_non_null(bytes);
        (void)write_parts(&parts, bytes);
        subject_init(&subject, 1, 10);
        frees_watch(SECRET);
        for (;; n++) {
                int r;

                alloc_fail_at(n);
                r = restore(&subject, bytes, size, LATER_MS, &restored);
                if (!alloc_has_failed())
                        break;
                assert_int_equal(r, -ENOMEM);
                assert_empty(&subject);
                assert_int_equal(restored.tokens, 0);
        }
        assert_true(n > 5);
        assert_int_equal(restored.tokens, 2);
        subject_deinit(&subject);
        assert_int_equal(frees_dirty(), 0);
        frees_watch(NULL);
        free(bytes);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(whatever_a_broker_knows_is_known_to_the_next_one),
                cmocka_unit_test(a_broker_that_knows_nothing_writes_nothing),
                cmocka_unit_test(a_byte_that_is_not_as_it_was_discards_it_all),
                cmocka_unit_test(a_byte_that_was_changed_with_care_does_no_harm),
                cmocka_unit_test(of_another_length_it_is_discarded),
                cmocka_unit_test(another_boot_version_or_time_is_told_apart),
                cmocka_unit_test(what_nobody_writes_is_malformed),
                cmocka_unit_test(a_time_that_cannot_be_discards_it_all),
                cmocka_unit_test(the_same_thing_twice_discards_it_all),
                cmocka_unit_test(what_has_run_out_is_counted_and_left_out),
                cmocka_unit_test(what_is_beyond_the_limits_of_today_is_counted_and_left_out),
                cmocka_unit_test(what_belongs_to_nobody_any_more_is_left_out),
                cmocka_unit_test(without_memory_nothing_is_taken_and_all_is_wiped),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
