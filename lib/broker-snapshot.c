/* SPDX-License-Identifier: MIT */

/*
 * The way of tokens, refusals and holds through a restart. What is known of failures stays behind:
 * a restart may be just what mended them. Where the issuer has spoken, the next process obeys.
 *
 * A snapshot is gone through twice, first to believe it, then to take it over. Only the second time
 * can it turn out that something is in it twice; what was taken over by then is dropped again.
 *
 * Tokens keep their end, their refresh point and their place in the order of eviction. One whose
 * refresh point has passed is due anew: the old process may have come to it while it was stopping,
 * when no fetch begins any more.
 */

#include "broker.h"

#include <assert.h>
#include <stdlib.h>

#include "broker-private.h"
#include "error.h"

/* No client of the settings. */
#define NOBODY UINT32_MAX

static uint32_t client_of(const struct broker *broker, uint64_t identity)
{
        for (size_t i = 0; i < broker->settings->n_clients; i++)
                if (broker->settings->clients[i].identity == identity)
                        return (uint32_t)i;
        return NOBODY;
}

static void save_holds(const struct broker *broker, struct snapshot_writer *writer, uint64_t now_ms)
{
        list_for_each (link, &broker->issuers.all) {
                const struct issuer *issuer = list_entry(link, struct issuer, link);
                const struct breaker *breaker = &issuer->breaker;

                if (breaker->state == BREAKER_OPEN && breaker->held &&
                    breaker->open.until_ms > now_ms)
                        snapshot_write_hold(
                                writer, &(struct snapshot_hold){.url = TEXT(issuer->url),
                                                                .until_ms = breaker->open.until_ms,
                                                                .step_ms = breaker->hold.step_ms});
        }
}

static bool is_refusal(enum reason reason)
{
        return reason == REASON_SUBJECT_REFUSED || reason == REASON_SCOPE_REFUSED ||
               reason == REASON_CLIENT_UNAUTHORIZED;
}

/* The key of digests ends with the process, and what is found by it ends, too. Of any subject token
 * there may be a memory: among kinds without a subject of their own, only that one names one. */
static bool is_of_exchange(const struct grant *grant)
{
        return grant->subject_kind == SUBJECT_EXCHANGE ||
               (grant->subject_kind == _SUBJECT_KIND_N && grant->subject.size > 0);
}

static void save_record(const struct broker *broker, struct snapshot_writer *writer,
                        const struct memory_record *record)
{
        const struct grant grant = grant_of_key(memory_record_key(record));
        struct snapshot_refusal refusal = {
                .client = client_of(broker, grant.identity),
                .any_subject = grant_key_is_any_subject(memory_record_key(record)),
                .kind = grant.subject_kind,
                .subject = grant.subject,
                .scope = grant.scope,
                .touched_at_ms = record->touched_at_ms,
                .rejection_until_ms = record->rejection.until_ms,
                .rejection_step_ms = record->rejection.step_ms,
        };

        if (record->refusal.step_ms > 0 && is_refusal(record->reason)) {
                refusal.reason = record->reason;
                refusal.refusal_until_ms = record->refusal.until_ms;
                refusal.refusal_step_ms = record->refusal.step_ms;
        }
        if (refusal.client != NOBODY && !is_of_exchange(&grant) &&
            (refusal.reason || refusal.rejection_step_ms > 0))
                snapshot_write_refusal(writer, &refusal);
}

static void save_entry(const struct broker *broker, struct snapshot_writer *writer,
                       const struct cache_entry *entry, uint64_t now_ms)
{
        const struct grant grant = grant_of_key(cache_entry_key(entry));
        const struct token *token = entry->token;
        const struct snapshot_token saved = {
                .client = client_of(broker, grant.identity),
                .kind = grant.subject_kind,
                .marks = cache_marks(&broker->cache, entry),
                .sent_at_ms = token->sent_at_ms,
                .refresh_at_ms = token->refresh_at_ms,
                .expires_at_ms = token->expires_at_ms,
                .subject = grant.subject,
                .scope = grant.scope,
                .value = token_value(token),
                .granted = token_scope(token),
        };

        if (saved.client != NOBODY && !is_of_exchange(&grant) && saved.expires_at_ms > now_ms &&
            !broker_is_purged(broker, entry))
                snapshot_write_token(writer, &saved);
}

size_t broker_save(const struct broker *broker, const struct snapshot_stamp *stamp, uint64_t now_ms,
                   void *bytes)
{
        const struct snapshot_head head = {
                .stamp = *stamp,
                .saved_at_ms = now_ms,
                .due_since_ms = broker->due_since_ms,
                .wall_ahead_ms = broker->wall_ahead_ms,
                .wall_known = broker->wall_known,
        };
        struct snapshot_writer writer;

        snapshot_begin(&writer, bytes, &head);
        for (size_t i = 0; i < broker->settings->n_clients; i++)
                snapshot_write_client(&writer, broker->settings->clients[i].identity_sha256);
        save_holds(broker, &writer, now_ms);
        list_for_each (link, &broker->memory.records)
                save_record(broker, &writer, list_entry(link, struct memory_record, link));
        for (const struct cache_entry *entry = cache_newer(&broker->cache, NULL); entry;
             entry = cache_newer(&broker->cache, entry))
                save_entry(broker, &writer, entry, now_ms);
        if (writer.head.n_holds + writer.head.n_refusals + writer.head.n_tokens == 0)
                return 0;
        return snapshot_end(&writer);
}

/* One snapshot being gone through. */
struct restoring {
        struct broker *broker;
        const struct snapshot *snapshot;
        struct snapshot_reader reader;
        uint32_t *clients; /* owned; by number in the snapshot: ours, or NOBODY */
        bool for_good;     /* take over what is read */
        bool hand;         /* the hand was at an entry that is no more, and goes to the next */
        uint64_t now_ms;
        struct restored *result;
};

static uint32_t client_with(const struct broker *broker, const uint8_t *digest)
{
        for (size_t i = 0; i < broker->settings->n_clients; i++)
                if (memcmp(broker->settings->clients[i].identity_sha256, digest,
                           SNAPSHOT_DIGEST_BYTES) == 0)
                        return (uint32_t)i;
        return NOBODY;
}

/* Each of ours is named once at most. Others do not matter. */
static int read_clients(struct restoring *restoring)
{
        for (uint32_t i = 0; i < restoring->snapshot->head.n_clients; i++) {
                const uint8_t *digest;
                int r;

                r = snapshot_read_client(&restoring->reader, &digest);
                if (r)
                        return r;
                restoring->clients[i] = client_with(restoring->broker, digest);
                for (uint32_t j = 0; j < i && restoring->clients[i] != NOBODY; j++)
                        if (restoring->clients[j] == restoring->clients[i])
                                return SNAPSHOT_E_DUPLICATE;
        }
        return 0;
}

static struct issuer *issuer_at(struct broker *broker, struct text url)
{
        list_for_each (link, &broker->issuers.all) {
                struct issuer *issuer = list_entry(link, struct issuer, link);

                if (text_equal(TEXT(issuer->url), url))
                        return issuer;
        }
        return NULL;
}

static int read_hold(struct restoring *restoring)
{
        struct snapshot_hold hold;
        struct issuer *issuer;
        int r;

        r = snapshot_read_hold(&restoring->reader, &hold);
        if (r || !restoring->for_good)
                return r;
        issuer = issuer_at(restoring->broker, hold.url);
        if (!issuer || hold.until_ms <= restoring->now_ms)
                return 0;
        if (issuer->breaker.state != BREAKER_CLOSED)
                return SNAPSHOT_E_DUPLICATE;
        breaker_hold_again(&issuer->breaker, hold.until_ms, hold.step_ms, restoring->now_ms);
        restoring->result->holds++;
        return 0;
}

static const struct client_settings *settings_of(const struct restoring *restoring, uint32_t client)
{
        const uint32_t ours = restoring->clients[client];

        return ours == NOBODY ? NULL : &restoring->broker->settings->clients[ours];
}

static int take_refusal(struct restoring *restoring, const struct snapshot_refusal *refusal,
                        const struct client_settings *client)
{
        struct memory *memory = &restoring->broker->memory;
        uint8_t buffer[GRANT_KEY_MAX_BYTES];
        const uint8_t *hash_key = restoring->broker->hash_key;
        const struct grant grant = {
                .identity = client->identity,
                .subject_kind = refusal->kind,
                .subject = refusal->subject,
                .scope = refusal->scope,
        };
        const struct grant_key key = refusal->any_subject
                                             ? grant_key_make_any_subject(buffer, hash_key, &grant)
                                             : grant_key_make(buffer, hash_key, &grant);
        struct memory_record *record;

        if (memory_find(memory, key, refusal->touched_at_ms))
                return SNAPSHOT_E_DUPLICATE;
        record = memory_touch(memory, key, refusal->touched_at_ms);
        if (!record)
                return error_trace(-ENOMEM);
        record->reason = refusal->reason;
        record->refusal.until_ms = refusal->refusal_until_ms;
        record->refusal.step_ms = refusal->refusal_step_ms;
        record->rejection.until_ms = refusal->rejection_until_ms;
        record->rejection.step_ms = refusal->rejection_step_ms;
        return 0;
}

static int read_refusal(struct restoring *restoring)
{
        const struct client_settings *client;
        struct snapshot_refusal refusal;
        int r;

        r = snapshot_read_refusal(&restoring->reader, &refusal);
        if (r)
                return r;
        client = settings_of(restoring, refusal.client);
        if (!client || !restoring->for_good ||
            restoring->now_ms - refusal.touched_at_ms >= MEMORY_KEEP_MS)
                return 0;
        return error_trace(take_refusal(restoring, &refusal, client));
}

/* Puts a token into the cache; what there is no room for goes as ever. */
static int store(struct restoring *restoring, const struct snapshot_token *saved,
                 const struct client_settings *client)
{
        struct cache *cache = &restoring->broker->cache;
        const unsigned int hand = restoring->hand ? CACHE_MARK_HAND : 0;
        uint8_t buffer[GRANT_KEY_MAX_BYTES];
        const struct grant grant = {
                .identity = client->identity,
                .subject_kind = saved->kind,
                .subject = saved->subject,
                .scope = saved->scope,
        };
        const struct grant_key key = grant_key_make(buffer, restoring->broker->hash_key, &grant);
        struct token *token;
        int r;

        if (cache_holds(cache, key))
                return SNAPSHOT_E_DUPLICATE;
        r = token_new(&token, saved->value, saved->granted, saved->sent_at_ms,
                      saved->expires_at_ms - saved->sent_at_ms);
        if (r)
                return error_trace(r);
        token->refresh_at_ms = saved->refresh_at_ms;
        token->exceeds = !scope_includes(saved->scope, saved->granted);
        token->n_purges = restoring->broker->n_purges_asked;
        r = cache_store(cache, key, token);
        token_unref(token);
        if (r)
                return r == CACHE_E_TOO_LARGE ? 0 : error_trace(r);
        cache_mark(cache, key, saved->marks | hand);
        restoring->hand = false;
        return 0;
}

static int read_token(struct restoring *restoring)
{
        const struct settings *settings = restoring->broker->settings;
        const struct client_settings *client;
        struct snapshot_token saved;
        int r;

        r = snapshot_read_token(&restoring->reader, &saved);
        if (r)
                return r;
        client = settings_of(restoring, saved.client);
        /* The digest covers token URLs, so that nobody asked where there is none now. */
        if (client && !client->token_url[grant_audience(saved.kind)])
                return SNAPSHOT_E_MALFORMED;
        if (!restoring->for_good)
                return 0;
        restoring->hand = restoring->hand || saved.marks & CACHE_MARK_HAND;
        if (!client)
                restoring->result->gone++;
        else if (restoring->now_ms + FRESHNESS_LIVE_MIN_MS > saved.expires_at_ms)
                restoring->result->ended++;
        else if (saved.value.size > settings->max_token_bytes)
                restoring->result->no_room++;
        else
                return error_trace(store(restoring, &saved, client));
        return 0;
}

/* 0, -ENOMEM or SNAPSHOT_E_… */
static int go_through(struct restoring *restoring, bool for_good)
{
        const struct snapshot_head *head = &restoring->snapshot->head;
        int r;

        restoring->for_good = for_good;
        snapshot_rewind(&restoring->reader, restoring->snapshot, for_good);
        r = read_clients(restoring);
        for (uint32_t i = 0; !r && i < head->n_holds; i++)
                r = read_hold(restoring);
        for (uint32_t i = 0; !r && i < head->n_refusals; i++)
                r = read_refusal(restoring);
        for (uint32_t i = 0; !r && i < head->n_tokens; i++)
                r = read_token(restoring);
        if (r)
                return error_trace(r);
        return snapshot_is_read(&restoring->reader) ? 0 : SNAPSHOT_E_MALFORMED;
}

/* Drops all that was taken over, as if nothing had been. */
static void forget_all(struct broker *broker)
{
        const struct cache_entry *entry;

        while ((entry = cache_newer(&broker->cache, NULL)))
                cache_remove(&broker->cache, cache_entry_key(entry));
        broker->cache.counters = (struct cache_counters){};
        while (!list_empty(&broker->memory.records))
                memory_forget(&broker->memory,
                              memory_record_key(list_entry(list_first(&broker->memory.records),
                                                           struct memory_record, link)));
        broker->memory.evicted = 0;
        list_for_each (link, &broker->issuers.all)
                list_entry(link, struct issuer, link)->breaker = (struct breaker){};
}

static void finish(struct restoring *restoring)
{
        const struct snapshot_head *head = &restoring->snapshot->head;
        struct broker *broker = restoring->broker;
        struct restored *result = restoring->result;

        broker->due_since_ms = head->due_since_ms;
        broker->wall_ahead_ms = head->wall_ahead_ms;
        broker->wall_known = head->wall_known;
        result->tokens = broker->cache.n_entries;
        result->no_room = head->n_tokens - result->tokens - result->ended - result->gone;
        list_for_each (link, &broker->memory.records) {
                const struct memory_record *record = list_entry(link, struct memory_record, link);

                result->refusals += backoff_holds(&record->refusal, restoring->now_ms);
        }
        broker->counters.restored += result->tokens;
}

int broker_restore(struct broker *broker, const struct snapshot *snapshot, uint64_t now_ms,
                   struct restored *ret)
{
        struct restoring restoring = {
                .broker = broker, .snapshot = snapshot, .now_ms = now_ms, .result = ret};
        int r;

        assert(broker->cache.n_entries == 0 && broker->memory.n == 0 &&
               broker->flights.n_flights == 0);

        *ret = (struct restored){};
        restoring.clients = calloc(snapshot->head.n_clients + (size_t)1, sizeof(uint32_t));
        if (!restoring.clients)
                return error_trace(-ENOMEM);
        r = go_through(&restoring, false);
        if (!r) {
                r = go_through(&restoring, true);
                if (r)
                        forget_all(broker);
                else
                        finish(&restoring);
        }
        free(restoring.clients);
        if (r)
                *ret = (struct restored){};
        return error_trace(r);
}
