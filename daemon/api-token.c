/* SPDX-License-Identifier: MIT */

/*
 * Tokens, and the record of who got which. The record comes before the answer: where it is required
 * and cannot be queued, the token stays here.
 */

#include <string.h>
#include <strings.h>

#include "../lib/error.h"
#include "api-private.h"
#include "describe.h"
#include "hot-answers.h"
#include "log.h"
#include "monitor.h"

/* What is known of a request however far it came. */
static struct audit_decision decision_about(const struct api_call *call)
{
        const struct token_request *request = &call->request;

        return (struct audit_decision){
                .action = call->route->action,
                .peer = call->peer,
                .has_subject = request->has_subject,
                .subject_kind = request->subject_kind,
                .subject = request->subject,
                .scope = request->scope,
        };
}

static int record(struct api *api, const struct audit_decision *decision)
{
        return audit_decide(api->audit, decision, api->loop->now_ms, api->loop->wall_ms);
}

void api_record_refusal(struct api *api, const struct api_call *call, enum reason reason)
{
        struct audit_decision decision = decision_about(call);

        decision.reason = reason;
        (void)record(api, &decision); /* only a token can be held back */
}

/* Has a reply say something else, since its token must stay here. */
static void withhold(struct reply *reply, enum reason reason)
{
        token_unref(reply->token);
        *reply = (struct reply){
                .reason = reason,
                .retry_after_s = reason_info(reason)->retry_after_s,
                .rule = reply->rule,
                .client = reply->client,
                .subject_kind = reply->subject_kind,
                .asked_scope = reply->asked_scope,
        };
}

/* Records the reply; where that is required and cannot be, it becomes another. */
static void record_reply(struct api *api, const struct api_call *call, struct reply *reply)
{
        struct audit_decision decision = decision_about(call);

        decision.subject_kind = reply->subject_kind;
        decision.reason = reply->reason;
        decision.detail = reply->detail;
        decision.token = reply->token;
        decision.cache_status = reply->cache_status;
        decision.collapsed = reply->collapsed;
        decision.rule = reply->rule ? reply->rule->name : NULL;
        decision.client = reply->client ? reply->client->name : NULL;
        if (reply->asked_scope.size > 0)
                decision.scope = reply->asked_scope;
        if (record(api, &decision) == AUDIT_E_FULL)
                withhold(reply, REASON_AUDIT_FULL);
}

static bool fits_header(const struct api_call *call, struct token *token)
{
        const size_t size = token_value(token).size;

        return size <= API_HEADER_TOKEN_MAX_BYTES && size <= call->header_room_bytes;
}

/* Of such replies nothing but the token, its format and the second tells one from another. */
static bool is_plain_hit(const struct reply *reply)
{
        return reply->reason == REASON_NONE && reply->cache_status == CACHE_STATUS_HIT &&
               !reply->collapsed && reply->detail == REASON_NONE;
}

static enum hot_form form_of(const struct api_call *call)
{
        if (call->route->fields)
                return HOT_HEADER;
        return call->bare ? HOT_BARE : HOT_JSON;
}

static int render(struct api *api, struct api_call *call, const struct reply *reply)
{
        char description[DESCRIBE_MAX_BYTES];

        /* While shutting down, every answer closes its connection. */
        if (is_plain_hit(reply) && !api->draining)
                call->answer = hot_answers_find(api->answers, reply->token, reply->expires_in_s,
                                                form_of(call));
        if (call->answer && call->answer->response)
                return 0;
        if (reply->reason == REASON_NONE && call->route->fields)
                return error_trace(render_authorization(&call->response, reply));
        if (reply->reason == REASON_NONE) {
                hot_answers_lend(api->answers, &call->response.body);
                return error_trace(render_token(&call->response, reply, call->bare));
        }
        return error_trace(render_error(&call->response, reply->reason,
                                        describe_reply(description, call, reply),
                                        reply->retry_after_s, NULL));
}

static int answer_reply(struct api *api, struct api_call *call, struct reply *reply)
{
        int r;

        if (call->route->fields && reply->token && !fits_header(call, reply->token))
                withhold(reply, REASON_LONG_TOKEN);
        record_reply(api, call, reply);
        call->reason = reply->reason;
        if (reply->token)
                metrics_count_token(&api->monitor->metrics, reply);
        r = render(api, call, reply);
        token_unref(reply->token);
        reply->token = NULL;
        return r ? error_trace(r) : API_ANSWER;
}

/* Those who migrate send the secret that they used to need. */
static void note_secret(struct api *api, const struct api_call *call)
{
        if (call->request.keys.n == 0)
                return;
        api->secrets_sent++;
        if (!api->secret_named && !policy_has_keys(broker_policy(api->broker))) {
                log_info("a caller sent a client_secret; callers no longer need one here, and it "
                         "was ignored (this is said once)");
                api->secret_named = true;
        }
}

/* What is asked for, from where this path has it. A query that would not be read may have been
 * meant to be, or is the work of somebody whose name was put into a URL as it is. */
static int read_request(struct api_call *call)
{
        if (!call->route->fields)
                return error_trace(
                        api_read_request(call, call->route->form ? REQUEST_BODY : REQUEST_QUERY));
        if (call->query_size > 0)
                return REASON_UNREAD_QUERY;
        if (!call->headers.plain)
                return REASON_ODD_HEAD;
        return error_trace(request_fields_parse(&call->request, &call->headers.fields));
}

int api_handle_token(struct api *api, struct api_call *call)
{
        struct reply reply;
        int r;

        r = read_request(call);
        note_secret(api, call);
        if (r) {
                api_record_refusal(api, call, reason_of_error(r));
                return api_answer_error(call, reason_of_error(r));
        }
        r = broker_ask(api->broker, &call->request, call->peer, api->loop->now_ms, &call->waiter,
                       &reply);
        if (r == BROKER_E_WAIT) {
                call->era = reload_hold(api->reload);
                return API_WAIT;
        }
        return error_trace(answer_reply(api, call, &reply));
}

/* Whether `type` is named at `item`, the next of the types accepted, with a weight over nothing. */
static bool accepts(const char *item, const char *type)
{
        const size_t size = strlen(type);
        const char *end, *at;

        if (strcspn(item, ",; \t") != size || strncasecmp(item, type, size) != 0)
                return false;
        end = item + strcspn(item, ",");
        at = item;
        while ((at = memchr(at, ';', (size_t)(end - at)))) {
                at += 1 + strspn(at + 1, " \t");
                if (strncasecmp(at, "q=0", 3) == 0) {
                        at += 3 + strspn(at + 3, ".0");
                        return *at >= '1' && *at <= '9';
                }
        }
        return true;
}

/* Whether text/plain is asked for: it is among the types accepted, and before JSON. */
static bool prefers_text(const char *accept)
{
        while (accept && *accept) {
                const char *item = accept + strspn(accept, " \t");

                if (accepts(item, "text/plain"))
                        return true;
                if (accepts(item, "application/json"))
                        return false;
                accept += strcspn(accept, ",");
                accept += *accept == ',';
        }
        return false;
}

int api_handle_v1_token(struct api *api, struct api_call *call)
{
        call->bare = prefers_text(call->headers.accept);
        return error_trace(api_handle_token(api, call));
}

int api_resume_token(struct api *api, struct api_call *call)
{
        return error_trace(answer_reply(api, call, &call->waiter.reply));
}
