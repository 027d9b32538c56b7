/* SPDX-License-Identifier: MIT */

/*
 * - GET /_control/stats: the statistics.
 * - GET /_control/wait?field=NAME&at_least=N&at_most=N&timeout_ms=N: the statistics, as soon as the
 *   counter is within its bounds; with 408 if it never was.
 * - POST /_control/behaviour: one rule more, see struct rule in rule.h; tells its id.
 * - POST /_control/release, [{"count": n}]: lets held requests go, the oldest first.
 * - GET /_control/counters: the numbers of the statistics alone.
 * - POST /_control/forget, [{"id": n}]: takes a rule out, or all, and lets go what waits for it.
 * - PUT /_control/clock, {"offset_s": n}: our wall clock is so far ahead of the host's.
 * - POST /_control/reset: as if just started, but for clients and serial numbers.
 * - PUT /_control/clients, {"tenant", "client_id", "secrets"}: a client application, new or with
 *   other secrets.
 *
 * Bodies and answers are JSON. What is not understood to the last field is refused with 400.
 *
 * Whoever waits for a counter gets the statistics of the moment when it was there, although the
 * answer goes out a turn later: short-lived values are seen, too.
 */

#include "control.h"

#include <stdlib.h>
#include <string.h>

#include <json-c/json.h>

#include "endpoint.h"
#include "error.h"
#include "reply.h"
#include "request.h"

#define JSON_DEPTH_MAX          8
#define WAIT_TIMEOUT_DEFAULT_MS 10000
#define WAIT_TIMEOUT_MAX_MS     600000
#define CLOCK_OFFSET_MAX_S      INT64_C(316224000) /* ten years */

static enum MHD_Result refuse(struct request *request, unsigned status, const char *why)
{
        struct reply reply = {.body = TEXT_INIT};

        reply_error(&reply, status, why, NULL);
        return reply_send(&reply, request);
}

/* Takes `json`, which may be NULL for want of memory. */
static enum MHD_Result respond(struct request *request, unsigned status, struct json_object *json)
{
        struct reply reply = {
                .status = status,
                .body = TEXT_INIT,
                .content_type = "application/json",
        };
        const char *string = NULL;

        if (json)
                string = json_object_to_json_string_ext(json, JSON_C_TO_STRING_PLAIN);
        if (string)
                text_append_str(&reply.body, string);
        json_object_put(json);
        return string ? reply_send(&reply, request) : MHD_NO;
}

/* {"<name>": number} */
static enum MHD_Result respond_number(struct request *request, const char *name, uint64_t number)
{
        struct json_object *json = json_object_new_object();
        struct json_object *value = json_object_new_uint64(number);

        if (!json || !value || json_object_object_add(json, name, value) < 0) {
                json_object_put(value);
                json_object_put(json);
                return MHD_NO;
        }
        return respond(request, 200, json);
}

/* NULL: not JSON, or nothing at all. The caller owns it. */
static struct json_object *parse_body(const struct request *request)
{
        struct json_tokener *tokener = json_tokener_new_ex(JSON_DEPTH_MAX);
        struct json_object *json;

        if (!tokener)
                return NULL;
        json_tokener_set_flags(tokener, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
        json = json_tokener_parse_ex(tokener, request->body.bytes ? request->body.bytes : "",
                                     (int)request->body.size);
        if (json_tokener_get_error(tokener) != json_tokener_success) {
                json_object_put(json);
                json = NULL;
        }
        json_tokener_free(tokener);
        return json;
}

static enum MHD_Result get_stats(struct request *request)
{
        return respond(request, 200, stats_render(&request->server->stats));
}

static enum MHD_Result get_counters(struct request *request)
{
        return respond(request, 200, stats_render_counters(&request->server->stats));
}

static enum MHD_Result post_behaviour(struct request *request)
{
        struct json_object *json = parse_body(request);
        char reason[RULE_REASON_MAX] = "";
        uint64_t id;
        int r;

        if (!json)
                return refuse(request, 400, "the body is not JSON");
        r = rules_add(&request->server->rules, json, &id, reason);
        json_object_put(json);
        switch (r) {
        case 0: return respond_number(request, "id", id);
        case RULES_E_INVALID: return refuse(request, 400, reason);
        case RULES_E_FULL: return refuse(request, 507, "too many rules");
        default: return MHD_NO;
        }
}

/* Whether the body is an object of just this integer. */
static bool read_integer(const struct request *request, const char *name, int64_t *ret_integer)
{
        struct json_object *json = parse_body(request);
        struct json_object *value = NULL;
        bool given;

        given = json_object_is_type(json, json_type_object) &&
                json_object_object_length(json) == 1 &&
                json_object_object_get_ex(json, name, &value) &&
                json_object_is_type(value, json_type_int);
        if (given)
                *ret_integer = json_object_get_int64(value);
        json_object_put(json);
        return given;
}

static enum MHD_Result post_forget(struct request *request)
{
        struct server *server = request->server;
        int64_t id = 0;

        if (request->body.size > 0 && (!read_integer(request, "id", &id) || id < 1))
                return refuse(request, 400, "takes nothing or {\"id\": n}");
        if (id)
                rules_remove(&server->rules, (uint64_t)id);
        else
                rules_clear(&server->rules);
        endpoint_forget(server, (uint64_t)id);
        return respond(request, 200, json_object_new_object());
}

static enum MHD_Result put_clock(struct request *request)
{
        int64_t offset_s;

        if (!read_integer(request, "offset_s", &offset_s) || offset_s > CLOCK_OFFSET_MAX_S ||
            offset_s < -CLOCK_OFFSET_MAX_S)
                return refuse(request, 400, "takes {\"offset_s\": n}, of at most ten years");
        request->server->clock_offset_s = offset_s;
        return respond(request, 200, json_object_new_object());
}

static enum MHD_Result post_release(struct request *request)
{
        int64_t limit = INT64_MAX;

        if (request->body.size > 0 && (!read_integer(request, "count", &limit) || limit < 1))
                return refuse(request, 400, "takes nothing or {\"count\": n}");
        return respond_number(request, "released",
                              endpoint_release(request->server, (size_t)limit));
}

static enum MHD_Result post_reset(struct request *request)
{
        if (request->body.size > 0)
                return refuse(request, 400, "takes nothing");
        rules_clear(&request->server->rules);
        endpoint_forget(request->server, 0);
        request->server->clock_offset_s = 0;
        if (stats_reset(&request->server->stats))
                return MHD_NO;
        return respond(request, 200, json_object_new_object());
}

/* A string without NUL and not empty, or NULL. */
static const char *get_string(struct json_object *json)
{
        const char *string;

        if (!json_object_is_type(json, json_type_string))
                return NULL;
        string = json_object_get_string(json);
        if (!*string || strlen(string) != (size_t)json_object_get_string_len(json))
                return NULL;
        return string;
}

/* 0, -ENOMEM, CLIENTS_E_FULL, or -EINVAL when the object is not as it should be. */
static int put_client(struct clients *clients, struct json_object *json)
{
        const char *strings[CLIENTS_SECRETS_MAX];
        struct json_object *tenant;
        struct json_object *client_id;
        struct json_object *secrets;
        size_t n_strings;

        if (!json_object_is_type(json, json_type_object) || json_object_object_length(json) != 3 ||
            !json_object_object_get_ex(json, "tenant", &tenant) || !get_string(tenant) ||
            !json_object_object_get_ex(json, "client_id", &client_id) || !get_string(client_id) ||
            !json_object_object_get_ex(json, "secrets", &secrets) ||
            !json_object_is_type(secrets, json_type_array))
                return -EINVAL;
        n_strings = json_object_array_length(secrets);
        if (n_strings > CLIENTS_SECRETS_MAX)
                return -EINVAL;
        for (size_t i = 0; i < n_strings; i++) {
                strings[i] = get_string(json_object_array_get_idx(secrets, i));
                if (!strings[i])
                        return -EINVAL;
        }
        return clients_put(clients, get_string(tenant), get_string(client_id), strings, n_strings);
}

static enum MHD_Result put_clients(struct request *request)
{
        struct json_object *json = parse_body(request);
        int r = put_client(&request->server->clients, json);

        json_object_put(json);
        switch (r) {
        case 0: return respond(request, 200, json_object_new_object());
        case -EINVAL:
                return refuse(request, 400, "takes tenant, client_id and at most two secrets");
        case CLIENTS_E_FULL: return refuse(request, 507, "too many clients");
        default: return MHD_NO;
        }
}

static bool parse_number(const char *text, uint64_t *ret_number)
{
        char *end;

        if (*text < '0' || *text > '9')
                return false;
        errno = 0;
        *ret_number = strtoull(text, &end, 10);
        return !errno && !*end;
}

/* NULL, or what is wrong. */
static const char *read_wait(struct request *request, const struct form *form, uint64_t *timeout_ms)
{
        bool bounded = false;

        request->at_least = 0;
        request->at_most = UINT64_MAX;
        *timeout_ms = WAIT_TIMEOUT_DEFAULT_MS;
        for (size_t i = 0; i < form->n_parameters; i++) {
                const char *name = form->parameters[i].name;
                const char *value = form->parameters[i].value;
                uint64_t *number = NULL;

                if (strcmp(name, "field") == 0) {
                        request->counter = stats_counter(&request->server->stats, value);
                        if (!request->counter)
                                return "field: no such counter";
                        continue;
                }
                if (strcmp(name, "at_least") == 0)
                        number = &request->at_least;
                else if (strcmp(name, "at_most") == 0)
                        number = &request->at_most;
                else if (strcmp(name, "timeout_ms") == 0)
                        number = timeout_ms;
                if (!number || !parse_number(value, number))
                        return "takes field, at_least, at_most and timeout_ms";
                bounded = bounded || number != timeout_ms;
        }
        if (!request->counter || !bounded)
                return "field and one of at_least and at_most are required";
        if (*timeout_ms > WAIT_TIMEOUT_MAX_MS)
                return "timeout_ms: too long";
        return NULL;
}

static bool is_reached(const struct request *request)
{
        return *request->counter >= request->at_least && *request->counter <= request->at_most;
}

static enum MHD_Result get_wait(struct request *request)
{
        const char *query = request->query ? request->query : "";
        const char *wrong = "the query is malformed";
        struct form form;
        uint64_t timeout_ms;
        int r;

        r = form_parse(&form, query, strlen(query));
        if (r < 0)
                return MHD_NO;
        if (!r)
                wrong = read_wait(request, &form, &timeout_ms);
        form_deinit(&form);
        if (wrong)
                return refuse(request, 400, wrong);

        if (is_reached(request))
                return get_stats(request);
        return request_wait(request, REQUEST_WAIT_COUNTER, pause_now_ms() + timeout_ms) ? MHD_YES
                                                                                        : MHD_NO;
}

void control_notice(struct server *server)
{
        list_for_each_safe (it, &server->watchers) {
                struct request *request = list_entry(it, struct request, waiting);

                if (!is_reached(request))
                        continue;
                request->outcome = stats_render(&server->stats);
                request_wake(request);
        }
}

enum MHD_Result control_resume(struct request *request)
{
        struct json_object *outcome = request->outcome;

        request_wake(request);
        if (request->server->pauses.closed || request->pause.client_gone)
                return MHD_NO;
        request->outcome = NULL;
        if (outcome)
                return respond(request, 200, outcome);
        return respond(request, 408, stats_render(&request->server->stats));
}

static const struct route {
        const char *method;
        const char *path;
        enum MHD_Result (*handle)(struct request *request);
} routes[] = {
        {"GET", "/_control/stats", get_stats},
        {"GET", "/_control/wait", get_wait},
        {"GET", "/_control/counters", get_counters},
        {"POST", "/_control/behaviour", post_behaviour},
        {"POST", "/_control/forget", post_forget},
        {"PUT", "/_control/clock", put_clock},
        {"POST", "/_control/release", post_release},
        {"POST", "/_control/reset", post_reset},
        {"PUT", "/_control/clients", put_clients},
};

enum MHD_Result control_receive(struct request *request)
{
        struct reply reply = {.body = TEXT_INIT};

        if (request->body_too_long)
                return refuse(request, 413, "the body is too long");
        for (size_t i = 0; i < sizeof(routes) / sizeof(routes[0]); i++) {
                if (strcmp(routes[i].path, request->path) != 0)
                        continue;
                if (strcmp(routes[i].method, request->method) == 0)
                        return routes[i].handle(request);
                reply_error(&reply, 405, "wrong method", NULL);
                reply.allow = routes[i].method;
                return reply_send(&reply, request);
        }
        return refuse(request, 404, "there is nothing at this path");
}
