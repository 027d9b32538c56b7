/* SPDX-License-Identifier: MIT */

/*
 * What the process before has left. The first byte says how: 'r' raw, anything else with magic,
 * size, boot, and checksum put right, or nothing would ever get past them.
 */

#include "fuzz.h"

#include <openssl/sha.h>

#include "broker-private.h"

#define NOW_MS UINT64_C(10000000)

/* Of the head, see snapshot.c. */
#define HEAD_BYTES 88
#define SIZE_AT    16
#define BOOT_AT    24

static const uint8_t magic[] = {'e', 'G', 'T', 'o', 'k', 'e', 'n', 'd'};
static const uint8_t boot_id[SNAPSHOT_BOOT_BYTES] = "fifteen and one";

static struct client_settings clients[] = {
        {.name = "a",
         .client_id = "a-id",
         .identity = 1,
         .identity_sha256 = "digest of the first",
         .token_url = {"https://issuer.example/U/token", "https://issuer.example/C/token"}},
        {.name = "b",
         .client_id = "b-id",
         .identity = 2,
         .identity_sha256 = "digest of the second",
         .token_url = {"https://other.example/U/token", NULL}},
};

static const struct settings settings = {
        .clients = clients,
        .n_clients = 2,
        .max_entries = 8,
        .max_memory_bytes = 16384,
        .request_timeout_ms = 20000,
        .expiry_margin_ms = 30000,
        .upstream_timeout_ms = 10000,
        .default_lifetime_ms = 300000,
        .max_waiters = 8,
        .max_waiters_per_flight = 8,
        .max_flights = 8,
        .max_in_flight = 2,
        .max_in_flight_total = 4,
        .max_memories = 8,
        .max_token_bytes = 2048,
};

static const struct policy policy = {.own_uid = 990};

static struct broker *new_broker(void)
{
        static const uint8_t hash_key[SIPHASH_KEY_BYTES] = "0123456789abcde";
        struct broker *broker;

        must(broker_new(&broker, &settings, &policy, hash_key) == 0);
        return broker;
}

static void drain(struct broker *broker, uint64_t now_ms)
{
        struct command command;

        while (broker_next(broker, now_ms, &command)) {
                must(command.kind != COMMAND_REPLY && command.kind != COMMAND_PURGED);
                if (command.kind == COMMAND_FETCH) {
                        secret_deinit(&command.form);
                        broker_fetch_dropped(broker, command.flight, now_ms);
                }
                if (command.kind == COMMAND_READ_SECRETS)
                        broker_secrets_read(broker, command.client_index, now_ms);
        }
}

static void check_limits(const struct broker *broker, const struct restored *restored)
{
        must(broker->cache.n_entries == restored->tokens);
        must(broker->cache.n_entries <= settings.max_entries);
        must(broker->cache.memory_bytes <= settings.max_memory_bytes);
        must(broker->memory.n <= settings.max_memories);
        for (const struct cache_entry *entry = cache_newer(&broker->cache, NULL); entry;
             entry = cache_newer(&broker->cache, entry)) {
                const struct grant grant = grant_of_key(cache_entry_key(entry));

                must(grant.identity == 1 ||
                     (grant.identity == 2 && grant_audience(grant.subject_kind) == AUDIENCE_USER));
                must(entry->token->value_size > 0 &&
                     entry->token->value_size <= settings.max_token_bytes);
                must(entry->token->expires_at_ms >= NOW_MS + FRESHNESS_LIVE_MIN_MS);
                must(entry->token->sent_at_ms <= NOW_MS);
                must(cache_peek(&broker->cache, cache_entry_key(entry), NOW_MS) == entry);
        }
}

/* What was believed is written as a snapshot that is believed again, and is as large as it was
 * then. */
static void check_again(const struct broker *broker, const struct restored *restored)
{
        const struct snapshot_stamp stamp = {.boot_id = "fifteen and one", .sequence = 1};
        const size_t size = broker_save(broker, &stamp, NOW_MS, NULL);
        struct broker *other;
        struct restored again;
        struct snapshot snapshot;
        uint8_t *bytes;

        must((size > 0) || (restored->tokens == 0 && restored->holds == 0));
        if (size == 0)
                return;
        bytes = malloc(size);
        must(bytes);
        must(broker_save(broker, &stamp, NOW_MS, bytes) == size);
        must(snapshot_open(&snapshot, bytes, size, boot_id, NOW_MS) == 0);
        other = new_broker();
        must(broker_restore(other, &snapshot, NOW_MS, &again) == 0);
        must(again.tokens == restored->tokens && again.holds == restored->holds);
        must(again.refusals == restored->refusals);
        must(again.ended == 0 && again.gone == 0 && again.no_room == 0);
        must(broker_save(other, &stamp, NOW_MS, NULL) == size);
        broker_free(other);
        free(bytes);
}

/* A process goes on with what it was left. */
static void live_on(struct broker *broker)
{
        uint64_t now_ms = NOW_MS;

        for (int i = 0; i < 20; i++) {
                broker_tick(broker, now_ms, (int64_t)now_ms);
                drain(broker, now_ms);
                if (broker_next_tick_ms(broker) == TIMERHEAP_NEVER)
                        break;
                if (broker_next_tick_ms(broker) > now_ms)
                        now_ms = broker_next_tick_ms(broker);
        }
        broker_abort(broker, now_ms);
        drain(broker, now_ms);
}

static void fix_up(uint8_t *bytes, size_t size)
{
        if (size < HEAD_BYTES + SNAPSHOT_DIGEST_BYTES)
                return;
        memcpy(bytes, magic, sizeof(magic));
        for (size_t i = 0; i < 8; i++)
                bytes[SIZE_AT + i] = (uint8_t)((uint64_t)size >> 8 * i);
        memcpy(bytes + BOOT_AT, boot_id, sizeof(boot_id));
        SHA256(bytes, size - SNAPSHOT_DIGEST_BYTES, bytes + size - SNAPSHOT_DIGEST_BYTES);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        struct snapshot snapshot;
        struct restored restored;
        struct broker *broker;
        uint8_t *bytes;
        int r;

        if (size < 1)
                return 0;
        bytes = (uint8_t *)copy_exactly(data + 1, size - 1);
        if (data[0] != 'r')
                fix_up(bytes, size - 1);
        r = snapshot_open(&snapshot, bytes, size - 1, boot_id, NOW_MS);
        must(r >= 0 && r <= SNAPSHOT_E_DUPLICATE);
        if (!r) {
                broker = new_broker();
                r = broker_restore(broker, &snapshot, NOW_MS, &restored);
                must(r >= 0 && r <= SNAPSHOT_E_DUPLICATE);
                if (r) {
                        must(broker->cache.n_entries == 0 && broker->memory.n == 0);
                        must(broker_save(broker, &snapshot.head.stamp, NOW_MS, NULL) == 0);
                } else {
                        check_limits(broker, &restored);
                        check_again(broker, &restored);
                }
                live_on(broker);
                broker_free(broker);
        }
        must(strlen(snapshot_fault(r)) > 0);
        free(bytes);
        return 0;
}
