/* SPDX-License-Identifier: MIT */

/*
 * New rules for callers, while some of them wait. A right that was taken away is gone at once:
 * those who wait are judged again, and so are those whose answer is complete and was not fetched
 * yet.
 */

#include "broker.h"

#include <stdlib.h>
#include <string.h>

#include "broker-private.h"
#include "error.h"

const struct policy *broker_policy(const struct broker *broker)
{
        return broker->policy;
}

static bool same_quota(const struct rule *a, const struct rule *b)
{
        return strcmp(a->name, b->name) == 0 && a->fetches.count == b->fetches.count &&
               a->fetches.period_ms == b->fetches.period_ms;
}

/* What each rule has used, where it was there before. NULL: memory is out. */
static struct quota *carry_quotas(const struct broker *broker, const struct policy *policy)
{
        struct quota *quotas = calloc(policy->n_rules + 1, sizeof(*quotas));

        if (!quotas)
                return NULL;
        for (size_t i = 0; i < policy->n_rules; i++)
                for (size_t j = 0; j < broker->policy->n_rules; j++)
                        if (same_quota(&policy->rules[i], &broker->policy->rules[j]))
                                quotas[i] = broker->quotas[j];
        return quotas;
}

/* 0 or the reason why this one is not served any more; its reply's rule is a present one. */
static int judge_again(struct broker *broker, struct waiter *waiter)
{
        struct question question = {.request = waiter->request, .peer = waiter->peer};
        uint8_t key_bytes[GRANT_KEY_MAX_BYTES];
        int r;

        r = broker_judge_request(broker, &question, key_bytes);
        waiter->reply.rule = question.rule;
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

int broker_set_policy(struct broker *broker, const struct policy *policy, uint64_t now_ms)
{
        struct quota *quotas = carry_quotas(broker, policy);

        if (!quotas)
                return error_trace(-ENOMEM);
        free(broker->quotas);
        broker->quotas = quotas;
        broker->policy = policy;

        /* In this order, since those who waited will be among the replies. */
        list_for_each (link, &broker->replies)
                judge_reply(broker, list_entry(link, struct waiter, link));
        list_for_each_safe (link, &broker->flights.all)
                judge_waiters(broker, list_entry(link, struct flight, all_link), now_ms);
        return 0;
}
