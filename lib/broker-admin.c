/* SPDX-License-Identifier: MIT */

/*
 * Administration: which entries there are, and away with some of them. Neither may stall the loop
 * where a million entries are, so both look at a bounded number of buckets at a time.
 *
 * A listing is paged, and a purge walks, by positions in the table (lib/table.h): an entry stays
 * where it is in their order, so it is seen once however much comes and goes between two pages or
 * turns, and also if the table grows.
 *
 * A purge holds from the moment it is asked for. Until its walk has come to an entry, lookups go
 * through broker_lookup(), which asks the purges under way. An entry belongs to a purge if its
 * token was sent for before, by the number of purges and not by the clock, which stands still in a
 * turn of the loop: what is fetched afterwards stays. What was sent for before and is still under
 * way never becomes an entry, since its flight is detached.
 */

#include "broker.h"

#include <assert.h>

#include "broker-private.h"
#include "client.h"

/* Purges under way at a time. */
#define PURGES_MAX 8

/* Buckets looked at in one turn, by purges and for a page. */
#define PURGE_BUCKETS_MAX 1024
#define PAGE_BUCKETS_MAX  4096

static bool matches(const struct broker *broker, const struct filter *filter, struct grant_key key)
{
        const struct grant grant = grant_of_key(key);

        if (filter->retired)
                return !broker_application_of(broker, grant.identity);
        return (!filter->by_client || grant.identity == filter->identity) &&
               (!filter->by_subject || (grant.subject_kind == filter->subject_kind &&
                                        text_equal(grant.subject, filter->subject))) &&
               scope_includes(grant.scope, filter->scope);
}

int broker_filter(const struct broker *broker, const struct token_request *request,
                  struct filter *ret)
{
        size_t client;
        int r;

        *ret = (struct filter){
                .by_client = request->client.size > 0,
                .by_subject = request->has_subject,
                .subject_kind = request->subject_kind,
                .subject = request->subject,
                .scope = request->scope,
        };
        if (!ret->by_client)
                return 0;
        r = client_find(broker->settings, request->client, &client);
        if (r)
                return r;
        ret->identity = broker->settings->clients[client].identity;
        ret->client = broker->settings->clients[client].name;
        return 0;
}

static bool is_purged_by(const struct broker *broker, const struct purge *purge,
                         const struct cache_entry *entry)
{
        return (int32_t)(entry->token->n_purges - purge->number) < 0 &&
               matches(broker, &purge->filter, cache_entry_key(entry));
}

static struct purge *purge_of(const struct broker *broker, const struct cache_entry *entry)
{
        list_for_each (link, &broker->purges) {
                struct purge *purge = list_entry(link, struct purge, link);

                if (is_purged_by(broker, purge, entry))
                        return purge;
        }
        return NULL;
}

bool broker_is_purged(const struct broker *broker, const struct cache_entry *entry)
{
        return purge_of(broker, entry);
}

static void take_out(struct broker *broker, struct purge *purge, const struct cache_entry *entry)
{
        cache_remove(&broker->cache, cache_entry_key(entry));
        purge->n_purged++;
        broker->counters.purged++;
}

struct cache_entry *broker_lookup(struct broker *broker, struct grant_key key, uint64_t now_ms)
{
        struct cache_entry *entry = cache_lookup(&broker->cache, key, now_ms);
        struct purge *purge;

        if (!entry || list_empty(&broker->purges))
                return entry;
        purge = purge_of(broker, entry);
        if (!purge)
                return entry;
        take_out(broker, purge, entry);
        return NULL;
}

const struct cache_entry *broker_peek(const struct broker *broker, struct grant_key key,
                                      uint64_t now_ms)
{
        const struct cache_entry *entry = cache_peek(&broker->cache, key, now_ms);

        return entry && broker_is_purged(broker, entry) ? NULL : entry;
}

/* Flights that will start only now may store a token before the walk comes to the one they replace:
 * that one is taken out, and counted, at once. */
static void take_out_early(struct broker *broker, uint64_t now_ms)
{
        list_for_each (link, &broker->flights.all) {
                const struct flight *flight = list_entry(link, struct flight, all_link);

                if (!flight->detached)
                        (void)broker_lookup(broker, flight->key, now_ms);
        }
}

/* Looks at the bucket of the cache that is at `position`; returns where it ends. */
static uint64_t purge_entries(struct broker *broker, struct purge *purge, uint64_t position)
{
        struct table *table = &broker->cache.table;
        struct table_node *node = *table_bucket(table, position), *next;

        for (; node; node = next) {
                next = node->next;
                if (is_purged_by(broker, purge, cache_entry_of(node)))
                        take_out(broker, purge, cache_entry_of(node));
        }
        return table_bucket_end(table, position);
}

/* The same of the memory. */
static uint64_t purge_memories(struct broker *broker, const struct purge *purge, uint64_t position)
{
        struct table *table = &broker->memory.table;
        struct table_node *node = *table_bucket(table, position), *next;

        for (; node; node = next) {
                const struct grant_key key = memory_record_key(memory_record_of(node));

                next = node->next;
                if (matches(broker, &purge->filter, key))
                        memory_forget(&broker->memory, key);
        }
        return table_bucket_end(table, position);
}

/* Looks at some buckets. Returns how many were left to look at of `n_buckets`. */
static size_t go_on(struct broker *broker, struct purge *purge, size_t n_buckets)
{
        for (; n_buckets > 0 && purge->next < 2 * TABLE_END; n_buckets--) {
                if (purge->next < TABLE_END)
                        purge->next = purge_entries(broker, purge, purge->next);
                else
                        purge->next = TABLE_END +
                                      purge_memories(broker, purge, purge->next - TABLE_END);
        }
        if (purge->next == 2 * TABLE_END) {
                list_unlink(&purge->link);
                if (purge == &broker->sweep)
                        return n_buckets;
                list_push_back(&broker->purged, &purge->link);
                broker->n_purges--;
        }
        return n_buckets;
}

void broker_tick_purges(struct broker *broker)
{
        size_t n_buckets = PURGE_BUCKETS_MAX;

        while (n_buckets > 0 && !list_empty(&broker->purges))
                n_buckets = go_on(broker,
                                  list_entry(list_first(&broker->purges), struct purge, link),
                                  n_buckets);
}

void broker_finish_purges(struct broker *broker)
{
        while (!list_empty(&broker->purges))
                broker_tick_purges(broker);
}

static void detach_flights(struct broker *broker, const struct filter *filter)
{
        list_for_each (link, &broker->flights.all) {
                struct flight *flight = list_entry(link, struct flight, all_link);

                if (flight->state == FLIGHT_RUNNING && !flight->detached &&
                    matches(broker, filter, flight->key))
                        flight_detach(&broker->flights, flight);
        }
}

int broker_purge(struct broker *broker, const struct filter *filter, uint64_t now_ms,
                 struct purge *purge)
{
        *purge = (struct purge){.filter = *filter};
        list_init(&purge->link);
        if (broker->draining)
                return REASON_SHUTTING_DOWN;
        if (broker->n_purges == PURGES_MAX) {
                broker->counters.purges_full++;
                return REASON_PURGES_FULL;
        }
        purge->number = ++broker->n_purges_asked;
        detach_flights(broker, filter);
        list_push_back(&broker->purges, &purge->link);
        broker->n_purges++;
        take_out_early(broker, now_ms);
        return BROKER_E_WAIT;
}

void broker_sweep_retired(struct broker *broker)
{
        list_unlink(&broker->sweep.link); /* from the beginning, should one be under way */
        broker->sweep = (struct purge){
                .filter = {.retired = true},
                .number = ++broker->n_purges_asked,
        };
        list_push_back(&broker->purges, &broker->sweep.link);
}

static void show(const struct broker *broker, const struct cache_entry *entry, uint64_t now_ms,
                 struct listed *ret)
{
        const struct grant grant = grant_of_key(cache_entry_key(entry));
        const struct token *token = entry->token;

        *ret = (struct listed){
                .client = broker_application_of(broker, grant.identity)->settings->name,
                .subject_kind = grant.subject_kind,
                .subject = grant.subject,
                .scope = grant.scope,
                .granted = token_scope(token),
                .freshness = broker_freshness(broker, token, now_ms),
                .age_ms = now_ms - token->sent_at_ms,
                .left_ms = token->expires_at_ms - now_ms,
                .used = entry->used,
                .rejected = entry->rejected,
        };
        if (token->refresh_at_ms > now_ms)
                ret->refresh_in_ms = token->refresh_at_ms - now_ms;
}

/* Shows the entries of one bucket from `from` to before `to`, if there is room for all of them. */
static bool show_range(const struct broker *broker, const struct filter *filter, uint64_t from,
                       uint64_t to, size_t room, uint64_t now_ms, struct page *page)
{
        const size_t n_before = page->n;

        for (struct table_node *node = *table_bucket(&broker->cache.table, from); node;
             node = node->next) {
                const struct cache_entry *entry = cache_entry_of(node);
                const uint64_t position = table_position(node->hash);

                if (position < from || position >= to ||
                    entry->token->expires_at_ms < now_ms + FRESHNESS_LIVE_MIN_MS ||
                    broker_is_purged(broker, entry) ||
                    !matches(broker, filter, cache_entry_key(entry)))
                        continue;
                if (page->n >= room) {
                        page->n = n_before;
                        return false;
                }
                show(broker, entry, now_ms, &page->entries[page->n++]);
        }
        return true;
}

/* Shows what there is room for of one bucket from `from`; returns where that ends. On an empty page
 * there is room for all at one position: two or three, since nobody outside can choose a hash. */
static uint64_t show_bucket(const struct broker *broker, const struct filter *filter, uint64_t from,
                            size_t limit, uint64_t now_ms, struct page *page)
{
        for (uint64_t to = table_bucket_end(&broker->cache.table, from); to > from;
             to = from + (to - from) / 2)
                if (show_range(broker, filter, from, to, limit, now_ms, page))
                        return to;
        if (page->n > 0)
                return from;
        (void)show_range(broker, filter, from, from + 1, BROKER_PAGE_MAX, now_ms, page);
        return from + 1;
}

void broker_list(struct broker *broker, const struct filter *filter, uint64_t after, uint64_t limit,
                 uint64_t now_ms, struct page *ret)
{
        uint64_t position = after < TABLE_END ? after : TABLE_END, before = TABLE_END;

        if (limit == 0 || limit > BROKER_PAGE_MAX)
                limit = BROKER_PAGE_MAX;
        ret->n = 0;
        for (size_t i = 0; i < PAGE_BUCKETS_MAX && position < TABLE_END && position != before;
             i++) {
                before = position;
                position = show_bucket(broker, filter, position, limit, now_ms, ret);
        }
        ret->next = position < TABLE_END ? position : 0;
}
