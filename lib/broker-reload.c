/* SPDX-License-Identifier: MIT */

/*
 * Another configuration, while callers wait. Everything that can fail is done before anything is
 * changed. Tables that are to hold more grow in steps, in the turns that follow.
 *
 * A client application whose identity stays keeps its tokens, secrets and flights, whatever else of
 * it has changed. One whose identity is gone is retired: its requests under way are detached, so
 * that those who wait for them are answered and nothing is kept; those that were not sent yet are
 * given up; its entries are invisible at once, since no key of a configured client can equal
 * theirs, and are swept out little by little.
 *
 * Rights that were taken away are gone at once: those who wait are judged again, and so are those
 * whose answer is complete and was not fetched yet. They are judged for what they wait for, not for
 * what their words would mean now.
 */

#include "broker.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "broker-private.h"
#include "error.h"

/* Buckets of each table that one turn moves into a larger one. */
#define GROW_BUCKETS_MAX 1024

const struct policy *broker_policy(const struct broker *broker)
{
        return broker->policy;
}

static bool same_quota(const struct rule *a, const struct rule *b)
{
        return strcmp(a->name, b->name) == 0 && a->fetches.count == b->fetches.count &&
               a->fetches.period_ms == b->fetches.period_ms;
}

/* The rule with the same quota; NULL: there is none. */
static const struct rule *find_same(const struct policy *policy, const struct rule *rule)
{
        for (size_t i = 0; i < policy->n_rules; i++)
                if (same_quota(&policy->rules[i], rule))
                        return &policy->rules[i];
        return NULL;
}

/* What each rule has used, where it was there before, and what is set aside for flights. */
static void carry_quotas(const struct broker *broker, const struct policy *policy,
                         struct quota *quotas)
{
        const struct rule *before;

        for (size_t i = 0; i < policy->n_rules; i++) {
                before = find_same(broker->policy, &policy->rules[i]);
                if (before)
                        quotas[i].full_at_us =
                                broker->quotas[before - broker->policy->rules].full_at_us;
        }
        list_for_each (link, &broker->flights.all) {
                struct flight *flight = list_entry(link, struct flight, all_link);

                if (flight->payer)
                        flight->payer = find_same(policy, flight->payer);
                if (flight->payer && flight->n_sent == 0)
                        quotas[flight->payer - policy->rules].n_reserved++;
        }
}

/* What the caller waits for, or waited for; NULL: it is not configured any more, and what the
 * caller's words mean now decides. */
static const struct application *awaited(const struct broker *broker, const struct waiter *waiter)
{
        const struct client_settings *client = waiter->reply.client;

        if (waiter->flight)
                return waiter->flight->application->retired ? NULL : waiter->flight->application;
        return client ? broker_application_of(broker, client->identity) : NULL;
}

/* 0 or the reason why this one is not served any more; its reply's rule is a present one. */
static int judge_again(struct broker *broker, struct waiter *waiter)
{
        struct reply *reply = &waiter->reply;
        const struct application *application = awaited(broker, waiter);
        struct token_request request = *waiter->request; /* only to be judged: it owns nothing */
        struct question question = {.request = &request, .peer = waiter->peer};
        uint8_t key_bytes[GRANT_KEY_MAX_BYTES];
        int r;

        request.scope = reply->asked_scope;
        request.verdict = NULL;
        if (application) {
                request.client = TEXT(application->settings->name);
                request.basic_client = (struct text){};
                request.basic_client_raw = (struct text){};
        }
        r = broker_judge_request(broker, &question, key_bytes);
        /* Both are of the present configuration: those before it may go. */
        reply->rule = question.rule;
        reply->client = question.client_settings;
        return r;
}

static void judge_waiters(struct broker *broker, struct flight *flight, uint64_t now_ms)
{
        bool left = false;
        int r;

        list_for_each_safe (link, &flight->waiters) {
                struct waiter *waiter = list_entry(link, struct waiter, link);

                r = judge_again(broker, waiter);
                if (!r)
                        continue;
                broker->counters.rights_lost++;
                broker_reply_reason(&waiter->reply, reason_of_error(r), 0);
                broker_release_waiter(broker, waiter);
                left = true;
        }
        if (left)
                broker_drop_if_unwanted(broker, flight, now_ms);
}

/* The answer is there, and is taken back where need be. */
static void judge_reply(struct broker *broker, struct waiter *waiter)
{
        struct reply *reply = &waiter->reply;
        struct token *token = reply->token;
        int r;

        r = judge_again(broker, waiter);
        if (r)
                broker->counters.rights_lost++;
        if (!r && token && token->exceeds &&
            !policy_covers_scope(reply->rule, token_scope(token))) {
                broker->counters.granted_too_much++;
                r = REASON_GRANTED_TOO_MUCH;
        }
        if (!r)
                return;
        broker_take_back(reply);
        broker_reply_reason(reply, reason_of_error(r), 0);
}

static void use_policy(struct broker *broker, const struct policy *policy, struct quota *quotas,
                       uint64_t now_ms)
{
        carry_quotas(broker, policy, quotas);
        free(broker->quotas);
        broker->quotas = quotas;
        broker->policy = policy;
        broker->generation++;

        /* In this order, since those who waited will be among the replies. */
        list_for_each (link, &broker->replies)
                judge_reply(broker, list_entry(link, struct waiter, link));
        list_for_each_safe (link, &broker->flights.all)
                judge_waiters(broker, list_entry(link, struct flight, all_link), now_ms);
}

/* The applications of other settings: those that are there, and new ones. 0 or -ENOMEM. */
static int gather_applications(struct broker *broker, const struct settings *settings,
                               struct application **ret)
{
        int r;

        for (size_t i = 0; i < settings->n_clients; i++) {
                ret[i] = broker_application_of(broker, settings->clients[i].identity);
                if (ret[i])
                        continue;
                r = application_new(&ret[i], &broker->issuers, &settings->clients[i], i);
                if (r)
                        return error_trace(r);
        }
        return 0;
}

/* Frees those that were made in vain. */
static void forget_applications(struct broker *broker, struct application **applications, size_t n)
{
        for (size_t i = 0; applications && i < n && applications[i]; i++)
                if (!broker_application_of(broker, applications[i]->settings->identity))
                        application_free(applications[i], &broker->issuers);
        free(applications);
}

static void retire(struct broker *broker, struct application *application, uint64_t now_ms)
{
        application->settings = NULL;
        list_unlink(&application->credentials.link);
        list_push_back(&broker->retired, &application->link);
        application->n_flights++; /* it is looked at until the end of this */
        broker_give_up_client(broker, application, REASON_CLIENT_CHANGED, 0, now_ms);
        list_for_each (link, &broker->flights.all) {
                struct flight *flight = list_entry(link, struct flight, all_link);

                if (flight->application == application && flight->state == FLIGHT_RUNNING &&
                    !flight->detached)
                        flight_detach(&broker->flights, flight);
        }
        broker_release_application(broker, application);
}

/* What is to be said of applications that stay is said by their present names; what is to be said
 * of others is of no use any more. */
static void settle_notes(struct broker *broker)
{
        size_t n = 0;

        for (size_t i = 0; i < broker->n_notes; i++) {
                struct pending_note pending = broker->notes[(broker->first_note + i) % NOTES_MAX];

                if (pending.application->retired)
                        continue;
                pending.note.client = pending.application->settings->name;
                broker->notes[(broker->first_note + n++) % NOTES_MAX] = pending;
        }
        broker->n_notes = n;
}

/* Puts the applications of other settings in place, and retires those that are not among them. */
static void use_applications(struct broker *broker, const struct settings *settings,
                             struct application **applications, uint64_t now_ms)
{
        struct application **const before = broker->applications;
        const size_t n_before = broker->settings->n_clients;

        for (size_t i = 0; i < n_before; i++)
                before[i]->retired = true;
        for (size_t i = 0; i < settings->n_clients; i++) {
                applications[i]->retired = false;
                applications[i]->settings = &settings->clients[i];
                applications[i]->index = i;
        }
        broker->settings = settings;
        broker->applications = applications;

        settle_notes(broker);

        /* First of all, so that nobody is given an old token that is on its way out. */
        broker_sweep_retired(broker);
        for (size_t i = 0; i < n_before; i++)
                if (before[i]->retired)
                        retire(broker, before[i], now_ms);
        free(before);
}

static int grow(struct broker *broker, const struct settings *settings)
{
        int r;

        r = timerheap_grow(&broker->deadlines, (uint32_t)settings->max_waiters);
        if (r == 0)
                r = timerheap_grow(&broker->pauses, (uint32_t)settings->max_flights);
        if (r == 0)
                r = flights_reserve(&broker->flights, settings->max_flights);
        if (r == 0)
                r = memory_reserve(&broker->memory, settings->max_memories);
        if (r == 0)
                r = cache_set_limits(&broker->cache, settings->max_entries,
                                     settings->max_memory_bytes);
        return error_trace(r);
}

static void use_limits(struct broker *broker, const struct settings *settings, uint64_t now_ms)
{
        flights_set_limits(&broker->flights, settings->max_flights, settings->max_waiters,
                           settings->max_waiters_per_flight);
        memory_set_limit(&broker->memory, settings->max_memories);
        issuers_set_limits(&broker->issuers, settings, now_ms);
        broker->trimming = true; /* the next tick sees whether there is anything to trim */
}

bool broker_is_growing(const struct broker *broker)
{
        return table_is_growing(&broker->cache.table) || table_is_growing(&broker->memory.table) ||
               table_is_growing(&broker->flights.table);
}

void broker_tick_growth(struct broker *broker)
{
        table_step(&broker->cache.table, GROW_BUCKETS_MAX);
        table_step(&broker->memory.table, GROW_BUCKETS_MAX);
        table_step(&broker->flights.table, GROW_BUCKETS_MAX);
}

int broker_reconfigure(struct broker *broker, const struct settings *settings,
                       const struct policy *policy, uint64_t now_ms)
{
        struct application **applications = calloc(settings->n_clients + 1,
                                                   sizeof(struct application *));
        struct quota *quotas = calloc(policy->n_rules + 1, sizeof(*quotas));
        int r = applications && quotas ? 0 : -ENOMEM;

        if (r == 0)
                r = gather_applications(broker, settings, applications);
        if (r == 0)
                r = grow(broker, settings);
        if (r) {
                forget_applications(broker, applications, settings->n_clients);
                free(quotas);
                return error_trace(r);
        }
        use_limits(broker, settings, now_ms);
        use_applications(broker, settings, applications, now_ms);
        use_policy(broker, policy, quotas, now_ms);
        broker_start_flights(broker, now_ms);
        return 0;
}
