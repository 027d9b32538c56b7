/* SPDX-License-Identifier: MIT */

/*
 * An explanation as JSON. There is nothing secret in it, so a library writes it. Times are whole
 * seconds, rounded up where they say how long something will last, so that 0 means "no longer".
 */

#include <json-c/json.h>
#include <string.h>

#include "../lib/error.h"
#include "render.h"

static int64_t up_to_seconds(uint64_t ms)
{
        return (int64_t)((ms + 999) / 1000);
}

static void add_text(json_object *object, const char *name, struct text text)
{
        json_object_object_add(object, name,
                               json_object_new_string_len(text.bytes, (int)text.size));
}

static void add_string(json_object *object, const char *name, const char *string)
{
        json_object_object_add(object, name, string ? json_object_new_string(string) : NULL);
}

static void add_seconds(json_object *object, const char *name, uint64_t ms)
{
        json_object_object_add(object, name, json_object_new_int64(up_to_seconds(ms)));
}

static void add_reason(json_object *object, const char *name, enum reason reason)
{
        add_string(object, name, reason ? reason_info(reason)->code : NULL);
}

static void add_bool(json_object *object, const char *name, bool value)
{
        json_object_object_add(object, name, json_object_new_boolean(value));
}

static json_object *outcome_of(const struct explanation *explanation)
{
        json_object *outcome = json_object_new_object();
        unsigned int status = 200;
        const bool from_memory = explanation->cache_status == CACHE_STATUS_HIT ||
                                 explanation->would_serve_old;
        const char *text;

        if (from_memory && explanation->exceeds) {
                text = reason_info(REASON_GRANTED_TOO_MUCH)->description;
                status = reason_info(REASON_GRANTED_TOO_MUCH)->status;
        } else if (explanation->cache_status == CACHE_STATUS_HIT) {
                text = "It is answered from memory.";
        } else if (explanation->would_wait) {
                text = explanation->in_flight ? "It waits for the fetch that is under way."
                                              : "It waits for a fetch.";
        } else if (explanation->would_serve_old) {
                text = "It is answered with the old token, because no new one can be fetched now.";
        } else {
                text = reason_info(explanation->blocked)->description;
                status = reason_info(explanation->blocked)->status;
        }
        json_object_object_add(outcome, "status", json_object_new_int((int)status));
        add_string(outcome, "text", text);
        add_reason(outcome, "blocked", explanation->blocked);
        add_seconds(outcome, "blocked_for", explanation->blocked_ms);
        return outcome;
}

static json_object *entry_of(const struct explanation *explanation)
{
        json_object *entry = json_object_new_object();

        add_string(entry, "state",
                   explanation->present ? freshness_name(explanation->freshness) : "absent");
        if (!explanation->present)
                return entry;
        json_object_object_add(entry, "age",
                               json_object_new_int64((int64_t)(explanation->age_ms / 1000)));
        json_object_object_add(entry, "expires_in",
                               json_object_new_int64((int64_t)(explanation->left_ms / 1000)));
        add_seconds(entry, "refresh_in", explanation->refresh_in_ms);
        add_bool(entry, "used", explanation->used);
        add_bool(entry, "rejected", explanation->rejected);
        return entry;
}

static json_object *memory_of(const struct explanation *explanation)
{
        json_object *memory = json_object_new_object();

        add_reason(memory, "reason", explanation->remembered);
        add_seconds(memory, "refusal_for", explanation->refusal_left_ms);
        add_seconds(memory, "failure_for", explanation->failure_left_ms);
        add_seconds(memory, "no_refresh_for", explanation->refresh_held_ms);
        add_seconds(memory, "no_fetch_for_rejection_for", explanation->rejection_held_ms);
        return memory;
}

static json_object *issuer_of(const struct explanation *explanation)
{
        static const char *const states[] = {
                [BREAKER_CLOSED] = "closed",
                [BREAKER_OPEN] = "open",
                [BREAKER_HALF_OPEN] = "half-open",
        };
        json_object *issuer = json_object_new_object();

        add_string(issuer, "token_url", explanation->url);
        add_string(issuer, "breaker", explanation->held ? "held" : states[explanation->breaker]);
        add_seconds(issuer, "open_for", explanation->breaker_left_ms);
        json_object_object_add(issuer, "failures_in_a_row",
                               json_object_new_int64(explanation->failures));
        add_reason(issuer, "last_failure", explanation->last_failure);
        if (explanation->last_failure) {
                add_string(issuer, "last_failure_text",
                           reason_info(explanation->last_failure)->description);
                add_seconds(issuer, "last_failure_ago", explanation->last_failure_ago_ms);
        }
        if (explanation->last_success_known)
                add_seconds(issuer, "last_success_ago", explanation->last_success_ago_ms);
        return issuer;
}

static json_object *client_of(const struct explanation *explanation, bool state)
{
        static const char *const names[] = {"secret_expires", "next_secret_expires"};
        json_object *client = json_object_new_object();

        add_string(client, "name", explanation->client);
        if (!state)
                return client;
        add_seconds(client, "held_for", explanation->client_held_ms);
        for (int i = 0; i < 2; i++)
                if (explanation->secret_expires_s[i])
                        json_object_object_add(
                                client, names[i],
                                json_object_new_int64(explanation->secret_expires_s[i]));
        return client;
}

/* What only those may see who monitor. */
static void add_state(json_object *object, const struct explanation *explanation)
{
        json_object_object_add(object, "entry", entry_of(explanation));
        add_bool(object, "in_flight", explanation->in_flight);
        json_object_object_add(object, "waiters",
                               json_object_new_int64((int64_t)explanation->waiters));
        json_object_object_add(object, "memory", memory_of(explanation));
        json_object_object_add(object, "issuer", issuer_of(explanation));
}

int render_explanation(struct response *ret, const struct explanation *explanation, bool state)
{
        json_object *object = json_object_new_object(), *subject = json_object_new_object();
        const char *text;
        int r = -ENOMEM;

        *ret = (struct response){
                .status = 200, .content_type = "application/json", .no_store = true};
        if (!object || !subject) {
                json_object_put(subject);
                goto out;
        }
        if (state)
                json_object_object_add(object, "outcome", outcome_of(explanation));
        add_bool(object, "permitted", true);
        add_string(object, "rule", explanation->rule->name);
        add_string(subject, "kind", subject_kind_name(explanation->grant.subject_kind));
        if (subject_kind_names(explanation->grant.subject_kind))
                add_text(subject, "value", explanation->grant.subject);
        else
                add_string(subject, "value", NULL);
        json_object_object_add(object, "subject", subject);
        add_text(object, "scope", explanation->grant.scope);
        json_object_object_add(object, "client", client_of(explanation, state));
        if (state)
                add_state(object, explanation);

        text = json_object_to_json_string_ext(object, JSON_C_TO_STRING_PRETTY |
                                                              JSON_C_TO_STRING_NOSLASHESCAPE);
        if (text)
                r = secret_append(&ret->body, text, strlen(text));
        if (r == 0)
                r = secret_append(&ret->body, "\n", 1);
out:
        json_object_put(object);
        if (r)
                response_deinit(ret);
        return error_trace(r);
}
