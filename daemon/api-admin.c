/* SPDX-License-Identifier: MIT */

/* Looking on (explain, tokens), away with tokens, and a new configuration. But for explain this is
 * administration, and is recorded like a token that goes out. */

#include "../lib/error.h"
#include "api-private.h"
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
                        .subject_kind = explanation.grant.subject_kind,
                        .asked_scope = explanation.grant.scope,
                };
                call->reason = refusal.reason;
                r = render_error(&call->response, refusal.reason,
                                 describe_reply(description, call, &refusal), 0, NULL);
                return r ? error_trace(r) : API_ANSWER;
        }
        state = policy_check_right(broker_policy(api->broker), call->peer, &call->request.keys,
                                   RIGHT_MONITOR, NULL) == 0;
        r = render_explanation(&call->response, &explanation, state);
        return r ? error_trace(r) : API_ANSWER;
}

/* An administrator's request, as far as it was understood. */
struct deed {
        enum audit_action action;
        const struct rule *rule; /* that decided; NULL: none */
        struct filter filter;
};

/* Who did what to which tokens, or was kept from it. */
static void record(struct api *api, const struct api_call *call, const struct deed *deed,
                   enum reason reason, uint64_t count)
{
        const struct token_request *request = &call->request;
        const struct audit_decision decision = {
                .action = deed->action,
                .reason = reason,
                .peer = call->peer,
                .rule = deed->rule ? deed->rule->name : NULL,
                .client = deed->filter.client,
                .has_subject = request->has_subject,
                .subject_kind = request->subject_kind,
                .subject = request->subject,
                .scope = request->scope,
                .count = count,
        };

        (void)audit_decide(api->audit, &decision, api->loop->now_ms, api->loop->wall_ms);
}

/* What is meant, and whether this caller may. 0, -ENOMEM or a reason. */
static int read_deed(struct api *api, struct api_call *call, struct deed *deed)
{
        int r;

        r = api_read_request(call, REQUEST_FILTER);
        if (r == 0)
                r = policy_check_right(broker_policy(api->broker), call->peer, &call->request.keys,
                                       RIGHT_ADMIN, &deed->rule);
        if (r == 0)
                r = broker_filter(api->broker, &call->request, &deed->filter);
        return error_trace(r);
}

static int refuse(struct api *api, struct api_call *call, const struct deed *deed, int r)
{
        const enum reason reason = reason_of_error(r);

        record(api, call, deed, reason, 0);
        return error_trace(api_answer_error(call, reason));
}

int api_handle_list(struct api *api, struct api_call *call)
{
        struct deed deed = {.action = AUDIT_ACTION_LIST};
        struct page page;
        int r;

        r = read_deed(api, call, &deed);
        if (r)
                return refuse(api, call, &deed, r);
        broker_list(api->broker, &deed.filter, call->request.after, call->request.limit,
                    api->loop->now_ms, &page);
        record(api, call, &deed, REASON_NONE, page.n);
        r = render_page(&call->response, &page);
        return r ? error_trace(r) : API_ANSWER;
}

int api_handle_purge(struct api *api, struct api_call *call)
{
        struct deed deed = {.action = AUDIT_ACTION_PURGE};
        const struct filter *filter = &deed.filter;
        int r;

        r = read_deed(api, call, &deed);
        if (r == 0 && !filter->by_client && !filter->by_subject && filter->scope.size == 0)
                r = REASON_MISSING_FILTER;
        if (r == 0)
                r = broker_purge(api->broker, filter, api->loop->now_ms, &call->purge);
        if (r != BROKER_E_WAIT)
                return refuse(api, call, &deed, r);
        call->waits_for = API_WAIT_PURGE;
        call->era = reload_hold(api->reload); /* the filter names the client application */
        return API_WAIT;
}

/* The rule is looked for again: it may be another since the purge began. */
int api_resume_purge(struct api *api, struct api_call *call)
{
        struct deed deed = {.action = AUDIT_ACTION_PURGE, .filter = call->purge.filter};
        int r;

        (void)policy_check_right(broker_policy(api->broker), call->peer, &call->request.keys,
                                 RIGHT_ADMIN, &deed.rule);
        record(api, call, &deed, REASON_NONE, call->purge.n_purged);
        r = render_purged(&call->response, call->purge.n_purged);
        return r ? error_trace(r) : API_ANSWER;
}

int api_handle_reload(struct api *api, struct api_call *call)
{
        struct deed deed = {.action = AUDIT_ACTION_RELOAD};
        int r;

        r = call->headers.authorization
                    ? request_authorization(&call->request, call->headers.authorization)
                    : 0;
        if (r == 0)
                r = policy_check_right(broker_policy(api->broker), call->peer, &call->request.keys,
                                       RIGHT_ADMIN, &deed.rule);
        if (r == 0 && api->draining)
                r = REASON_SHUTTING_DOWN;
        if (r)
                return refuse(api, call, &deed, r);
        call->waits_for = API_WAIT_RELOAD;
        call->era = reload_hold(api->reload);
        call->reload_rule = deed.rule;
        reload_wait(api->reload, &call->reload_wait);
        return API_WAIT;
}

/* What is recorded is the rule that let the caller in; the new configuration may have another. */
int api_resume_reload(struct api *api, struct api_call *call)
{
        const struct reload_wait *wait = &call->reload_wait;
        const struct deed deed = {.action = AUDIT_ACTION_RELOAD, .rule = call->reload_rule};
        int r;

        call->reason = wait->good ? REASON_NONE : REASON_CONFIG_NOT_TAKEN_OVER;
        record(api, call, &deed, call->reason, 0);
        r = render_reload(&call->response, wait->good, api->reload->n_done + 1,
                          wait->messages ? wait->messages : "");
        return r ? error_trace(r) : API_ANSWER;
}
