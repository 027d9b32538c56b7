/* SPDX-License-Identifier: MIT */

/* Looking on (explain, tokens), and away with tokens. Listing and purging are administration, and
 * are recorded like a token that goes out. */

#include "../lib/error.h"
#include "api-private.h"
#include "audit.h"
#include "describe.h"

int api_handle_explain(struct api *api, struct api_call *call)
{
        struct explanation explanation;
        struct reply refusal;
        bool state;
        int r;

        r = api_read_request(call, REQUEST_QUERY);
        if (r)
                return error_trace(api_answer_error(call, reason_of_error(r)));
        broker_explain(api->broker, &call->request, call->peer, api->loop->now_ms, &explanation);
        if (explanation.refused) {
                char description[DESCRIBE_MAX_BYTES];

                refusal = (struct reply){
                        .reason = explanation.refused,
                        .rule = explanation.rule,
                        .client = explanation.client_settings,
                };
                call->reason = refusal.reason;
                r = render_error(&call->response, refusal.reason,
                                 describe_reply(description, call, &refusal), 0, NULL);
                return r ? error_trace(r) : API_ANSWER;
        }
        state = policy_check_right(broker_policy(api->broker), call->peer, &call->request.keys,
                                   RIGHT_MONITOR) == 0;
        r = render_explanation(&call->response, &explanation, state);
        return r ? error_trace(r) : API_ANSWER;
}

/* Who did what to which tokens, or was kept from it. */
static void record(struct api *api, const struct api_call *call, enum audit_action action,
                   enum reason reason, uint64_t count)
{
        const struct token_request *request = &call->request;
        const struct rule *rule = NULL;
        const struct audit_decision decision = {
                .action = action,
                .reason = reason,
                .peer = call->peer,
                .rule = policy_select(broker_policy(api->broker), call->peer, &request->keys,
                                      &rule) == 0
                                ? rule->name
                                : NULL,
                .client = NULL,
                .has_subject = request->has_subject,
                .subject_kind = request->subject_kind,
                .subject = request->subject,
                .scope = request->scope,
                .count = count,
        };

        (void)audit_decide(api->audit, &decision, api->loop->now_ms, api->loop->wall_ms);
}

/* What is meant, and whether this caller may. 0, -ENOMEM or a reason. */
static int read_filter(struct api *api, struct api_call *call, struct filter *ret)
{
        int r;

        r = api_read_request(call, REQUEST_FILTER);
        if (r == 0)
                r = policy_check_right(broker_policy(api->broker), call->peer, &call->request.keys,
                                       RIGHT_ADMIN);
        if (r == 0)
                r = broker_filter(api->broker, &call->request, ret);
        return error_trace(r);
}

static int refuse(struct api *api, struct api_call *call, enum audit_action action, int r)
{
        const enum reason reason = reason_of_error(r);

        record(api, call, action, reason, 0);
        return error_trace(api_answer_error(call, reason));
}

int api_handle_list(struct api *api, struct api_call *call)
{
        struct filter filter;
        struct page page;
        int r;

        r = read_filter(api, call, &filter);
        if (r)
                return refuse(api, call, AUDIT_ACTION_LIST, r);
        broker_list(api->broker, &filter, call->request.after, call->request.limit,
                    api->loop->now_ms, &page);
        record(api, call, AUDIT_ACTION_LIST, REASON_NONE, page.n);
        r = render_page(&call->response, &page);
        return r ? error_trace(r) : API_ANSWER;
}

int api_handle_purge(struct api *api, struct api_call *call)
{
        struct filter filter;
        int r;

        r = read_filter(api, call, &filter);
        if (r == 0 && !filter.by_client && !filter.by_subject && filter.scope.size == 0)
                r = REASON_MISSING_FILTER;
        if (r == 0)
                r = broker_purge(api->broker, &filter, api->loop->now_ms, &call->purge);
        if (r == BROKER_E_WAIT) {
                call->purging = true;
                return API_WAIT;
        }
        if (r)
                return refuse(api, call, AUDIT_ACTION_PURGE, r);
        return error_trace(api_resume_purge(api, call));
}

int api_resume_purge(struct api *api, struct api_call *call)
{
        int r;

        record(api, call, AUDIT_ACTION_PURGE, REASON_NONE, call->purge.n_purged);
        r = render_purged(&call->response, call->purge.n_purged);
        return r ? error_trace(r) : API_ANSWER;
}
