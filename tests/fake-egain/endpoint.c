/* SPDX-License-Identifier: MIT */

/*
 * A request is judged when it is complete: its credentials count as they were then. Then the first
 * rule that fits decides whether it waits, and what becomes of it afterwards. A token is minted at
 * the moment of the answer, so that what was held and then reset gets a normal one, and serials
 * tell the order of answers.
 */

#include "endpoint.h"

#include <string.h>
#include <sys/socket.h>

#include "error.h"
#include "reply.h"
#include "request.h"

static const struct rule normal; /* what a request without a rule goes by */

static const struct rule *rule_of(const struct request *request)
{
        return request->rule ? request->rule : &normal;
}

static bool is_counted(const struct request *request)
{
        return request->counted && request->epoch == request->server->stats.epoch;
}

/* Begins a member of the token answer, unless the rule leaves it out. */
static bool begin_member(struct text *body, unsigned omit, unsigned bit, const char *name)
{
        if (omit & bit)
                return false;
        text_append_str(body, body->bytes.size > 1 ? ",\"" : "\"");
        text_append_str(body, name);
        text_append_str(body, "\":");
        return true;
}

static int write_token(const struct request *request, struct text *body)
{
        const struct rule *rule = rule_of(request);
        const struct grant *grant = &request->grant;
        struct mint *mint = &request->server->mint;
        int64_t lifetime_s = rule->lifetime.given ? rule->lifetime.value
                                                  : request->server->options->lifetime_s;
        const int64_t jwt_lifetime_s = rule->jwt_lifetime.given ? rule->jwt_lifetime.value
                                                                : lifetime_s;
        struct mint_order order = {
                .tenant = grant->tenant,
                .client_id = grant->client_id,
                .kind = grant->kind,
                .subject = grant->subject,
                .scope = grant->scope,
                .exchanged = grant->exchanged[0] ? grant->exchanged : NULL,
                .other_subject = rule->mint_subject,
                .now_s = server_wall_s(request->server),
                .now_ms = pause_now_ms(),
                .lifetime_s = rule->omit & RULE_OMIT_EXPIRES_IN ? jwt_lifetime_s : lifetime_s,
                .jwt_lifetime_s = jwt_lifetime_s,
                .secret_number = grant->secret_number,
                .repeat = rule->repeat_token,
                .repeat_live = rule->remaining,
        };
        int64_t left_s = lifetime_s;
        int r;

        text_append_str(body, "{");
        if (begin_member(body, rule->omit, RULE_OMIT_ACCESS_TOKEN, "access_token")) {
                text_append_str(body, "\"");
                r = mint_token(mint, &order, body, &left_s);
                if (r)
                        return error_trace(r);
                text_append_str(body, "\"");
        }
        if (begin_member(body, rule->omit, RULE_OMIT_TOKEN_TYPE, "token_type"))
                text_append_json(body, rule->token_type ? rule->token_type : "Bearer");
        if (begin_member(body, rule->omit, RULE_OMIT_EXPIRES_IN, "expires_in")) {
                if (rule->expires_in_json)
                        text_append_str(body, rule->expires_in_json);
                else
                        text_append_number(body, rule->remaining ? left_s : lifetime_s);
        }
        if (begin_member(body, rule->omit, RULE_OMIT_SCOPE, "scope"))
                text_append_json(body, rule->granted_scope ? rule->granted_scope : grant->scope);
        if (grant->type == GRANT_TYPE_TOKEN_EXCHANGE &&
            begin_member(body, 0, 0, "issued_token_type"))
                text_append_json(body, "urn:ietf:params:oauth:token-type:access_token");
        text_append_str(body, "}");
        return error_trace(body->error);
}

static int write_normal(struct request *request, struct reply *reply)
{
        const struct grant *grant = &request->grant;
        int r;

        if (grant->error) {
                reply_error(reply, grant->status, grant->error, grant->description);
                reply->allow = grant->status == 405 ? "POST" : NULL;
                return 0;
        }
        reply->status = 200;
        reply->content_type = "application/json";
        r = write_token(request, &reply->body);
        if (r)
                return error_trace(r);
        if (is_counted(request))
                stats_mint(&request->server->stats);
        return 0;
}

static void write_literal(const struct rule *rule, struct reply *reply)
{
        unsigned status = rule->status.given ? (unsigned)rule->status.value : 0;

        if (rule->error) {
                reply_error(reply, status ? status : 400, rule->error, rule->error_description);
                return;
        }
        reply->status = status ? status : 200;
        text_append(&reply->body, rule->body.bytes.bytes, rule->body.bytes.size);
        reply->fill_bytes = rule->body_size.given ? (uint64_t)rule->body_size.value : 0;
        if (reply->body.bytes.size || reply->fill_bytes)
                reply->content_type = "application/json";
}

/* Ends the connection with an RST, which dissolving a TCP association does at once. */
static enum MHD_Result cut(struct request *request)
{
        static const struct sockaddr nowhere = {.sa_family = AF_UNSPEC};
        const union MHD_ConnectionInfo *info;

        info = MHD_get_connection_info(request->connection, MHD_CONNECTION_INFO_CONNECTION_FD);
        (void)connect(info->connect_fd, &nowhere, sizeof(nowhere));
        if (is_counted(request))
                request->server->stats.cut++;
        request->state = REQUEST_ANSWERED;
        return MHD_NO;
}

static enum MHD_Result answer(struct request *request)
{
        const struct rule *rule = rule_of(request);
        struct reply reply = {.body = TEXT_INIT};
        int r = 0;

        if (rule->close)
                return cut(request);
        if (rule_is_literal(rule))
                write_literal(rule, &reply);
        else
                r = write_normal(request, &reply);
        if (r) {
                text_deinit(&reply.body);
                return MHD_NO;
        }

        if (rule->content_type)
                reply.content_type = rule->content_type;
        reply.headers = rule->headers;
        if (rule->close_after_headers)
                reply.delivery = REPLY_CUT;
        if (rule->trickle_ms.given) {
                reply.delivery = REPLY_TRICKLE;
                reply.trickle_ms = (uint64_t)rule->trickle_ms.value;
        }
        if (is_counted(request))
                stats_answer(&request->server->stats, reply.status);
        return reply_send(&reply, request);
}

/* What a request is counted under. */
static enum stats_grant name_grant(const struct grant *grant)
{
        switch (grant->type) {
        case GRANT_TYPE_PASSWORD: return STATS_GRANT_PASSWORD;
        case GRANT_TYPE_CLIENT_CREDENTIALS:
                return grant->endpoint == GRANT_ENDPOINT_ANONYMOUS ? STATS_GRANT_ANONYMOUS
                                                                   : STATS_GRANT_APPLICATION;
        case GRANT_TYPE_TOKEN_EXCHANGE: return STATS_GRANT_EXCHANGE;
        default: return STATS_GRANT_OTHER;
        }
}

static int judge(struct request *request)
{
        struct server *server = request->server;
        struct grant_request facts = {
                .method = request->method,
                .content_type = request_header(request, "Content-Type"),
                .authorization = request_header(request, "Authorization"),
                .body = request->body.bytes,
                .body_bytes = request->body.size,
                .body_too_long = request->body_too_long,
        };
        struct stats_request seen = {
                .method = request->method,
                .path = request->path,
                .query = request->query,
                .http_version = request->version,
                .content_type = facts.content_type,
                .user_agent = request_header(request, "User-Agent"),
                .body = request->body.bytes,
                .body_bytes = request->body.size,
        };
        int r;

        r = grant_judge(&request->grant, &facts, server->options, &server->clients,
                        server_wall_s(server));
        if (r)
                return error_trace(r);
        request->counted = true;
        request->epoch = server->stats.epoch;
        r = stats_receive(&server->stats, &seen, name_grant(&request->grant), request->grant.label);
        if (r)
                return error_trace(r);
        server_mark_connection(request->connection, &server->stats);
        return 0;
}

static bool is_same(const char *a, const char *b)
{
        return a && b ? strcmp(a, b) == 0 : a == b;
}

/* Whether two requests ask for the same token. */
static bool are_twins(const struct grant *a, const struct grant *b)
{
        return a->endpoint == b->endpoint && strcmp(a->tenant, b->tenant) == 0 &&
               is_same(a->client_id, b->client_id) && is_same(a->label, b->label) &&
               is_same(a->scope, b->scope) && strcmp(a->exchanged, b->exchanged) == 0;
}

/* Counts a request if one that asks for the same is waiting, and its client for it. */
static void count_twin(struct request *request)
{
        list_for_each (it, &request->server->waiting) {
                const struct request *other = list_entry(it, struct request, waiting);

                if (are_twins(&other->grant, &request->grant) && pause_is_awaited(&other->pause)) {
                        request->server->stats.twins++;
                        return;
                }
        }
}

enum MHD_Result endpoint_receive(struct request *request)
{
        enum request_wait wait = REQUEST_WAIT_NONE;
        uint64_t due_ms = PAUSE_FOREVER;
        const struct rule *rule;
        int r;

        r = grant_parse_path(&request->grant, request->path, request->query);
        if (r < 0)
                return MHD_NO;
        if (r) {
                struct reply reply = {.body = TEXT_INIT};

                reply_error(&reply, 404, "not_found", "there is nothing at this path");
                return reply_send(&reply, request);
        }
        if (judge(request))
                return MHD_NO;

        count_twin(request);
        request->rule = rules_match(&request->server->rules, request->grant.tenant,
                                    request->grant.label);
        rule = rule_of(request);
        if (rule->hold) {
                wait = REQUEST_WAIT_HELD;
        } else if (rule->stall) {
                wait = REQUEST_WAIT_STALLED;
        } else if (rule->delay_ms.given) {
                wait = REQUEST_WAIT_DELAYED;
                due_ms = pause_now_ms() + (uint64_t)rule->delay_ms.value;
        }
        if (wait == REQUEST_WAIT_NONE)
                return answer(request);
        return request_wait(request, wait, due_ms) ? MHD_YES : MHD_NO;
}

enum MHD_Result endpoint_resume(struct request *request)
{
        request_wake(request);
        if (request->server->pauses.closed || request->pause.client_gone)
                return MHD_NO;
        return answer(request);
}

void endpoint_finish(struct request *request)
{
        if (!is_counted(request))
                return;
        stats_finish(&request->server->stats);
        if (request->state == REQUEST_WAITING)
                request->server->stats.abandoned++;
}

size_t endpoint_release(struct server *server, size_t limit)
{
        size_t n = 0;

        list_for_each_safe (it, &server->waiting) {
                struct request *request = list_entry(it, struct request, waiting);

                if (n == limit)
                        break;
                if (request->wait != REQUEST_WAIT_HELD)
                        continue;
                request_wake(request);
                n++;
        }
        return n;
}

void endpoint_forget(struct server *server, uint64_t rule_id)
{
        list_for_each_safe (it, &server->waiting) {
                struct request *request = list_entry(it, struct request, waiting);

                if (rule_id && (!request->rule || request->rule->id != rule_id))
                        continue;
                rule_unref(request->rule);
                request->rule = NULL;
                request_wake(request);
        }
}
