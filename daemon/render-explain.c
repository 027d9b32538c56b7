/* SPDX-License-Identifier: MIT */

/*
 * An explanation as JSON. Times are whole seconds, rounded up where they say how long something
 * will last, so that 0 means "no longer".
 */

#include "../lib/error.h"
#include "json-writer.h"
#include "render.h"

static int64_t up_to_seconds(uint64_t ms)
{
        return (int64_t)((ms + 999) / 1000);
}

static void add_seconds(struct json_writer *out, const char *name, uint64_t ms)
{
        json_writer_int(out, name, up_to_seconds(ms));
}

static void add_reason(struct json_writer *out, const char *name, enum reason reason)
{
        json_writer_string(out, name, reason ? reason_info(reason)->code : NULL);
}

static void add_outcome(struct json_writer *out, const struct explanation *explanation)
{
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
        json_writer_begin(out, "outcome", '{');
        json_writer_int(out, "status", (int64_t)status);
        json_writer_string(out, "text", text);
        add_reason(out, "blocked", explanation->blocked);
        add_seconds(out, "blocked_for", explanation->blocked_ms);
        json_writer_end(out, '}');
}

static void add_entry(struct json_writer *out, const struct explanation *explanation)
{
        json_writer_begin(out, "entry", '{');
        json_writer_string(out, "state",
                           explanation->present ? freshness_name(explanation->freshness)
                                                : "absent");
        if (explanation->present) {
                json_writer_uint(out, "age", explanation->age_ms / 1000);
                json_writer_uint(out, "expires_in", explanation->left_ms / 1000);
                add_seconds(out, "refresh_in", explanation->refresh_in_ms);
                json_writer_bool(out, "used", explanation->used);
                json_writer_bool(out, "rejected", explanation->rejected);
        }
        json_writer_end(out, '}');
}

static void add_memory(struct json_writer *out, const struct explanation *explanation)
{
        json_writer_begin(out, "memory", '{');
        add_reason(out, "reason", explanation->remembered);
        add_seconds(out, "refusal_for", explanation->refusal_left_ms);
        add_seconds(out, "failure_for", explanation->failure_left_ms);
        add_seconds(out, "no_refresh_for", explanation->refresh_held_ms);
        add_seconds(out, "no_fetch_for_rejection_for", explanation->rejection_held_ms);
        json_writer_end(out, '}');
}

static void add_issuer(struct json_writer *out, const struct explanation *explanation)
{
        static const char *const states[] = {
                [BREAKER_CLOSED] = "closed",
                [BREAKER_OPEN] = "open",
                [BREAKER_HALF_OPEN] = "half-open",
        };

        json_writer_begin(out, "issuer", '{');
        json_writer_string(out, "token_url", explanation->url);
        json_writer_string(out, "breaker",
                           explanation->held ? "held" : states[explanation->breaker]);
        add_seconds(out, "open_for", explanation->breaker_left_ms);
        json_writer_int(out, "failures_in_a_row", explanation->failures);
        add_reason(out, "last_failure", explanation->last_failure);
        if (explanation->last_failure) {
                json_writer_string(out, "last_failure_text",
                                   reason_info(explanation->last_failure)->description);
                add_seconds(out, "last_failure_ago", explanation->last_failure_ago_ms);
        }
        if (explanation->last_success_known)
                add_seconds(out, "last_success_ago", explanation->last_success_ago_ms);
        json_writer_end(out, '}');
}

static void add_client(struct json_writer *out, const struct explanation *explanation, bool state)
{
        static const char *const names[] = {"secret_expires", "next_secret_expires"};

        json_writer_begin(out, "client", '{');
        json_writer_string(out, "name", explanation->client);
        if (state)
                add_seconds(out, "held_for", explanation->client_held_ms);
        for (int i = 0; state && i < 2; i++)
                if (explanation->secret_expires_s[i])
                        json_writer_int(out, names[i], explanation->secret_expires_s[i]);
        json_writer_end(out, '}');
}

/* What only those may see who monitor. */
static void add_state(struct json_writer *out, const struct explanation *explanation)
{
        add_entry(out, explanation);
        json_writer_bool(out, "in_flight", explanation->in_flight);
        json_writer_uint(out, "waiters", explanation->waiters);
        add_memory(out, explanation);
        add_issuer(out, explanation);
}

int render_explanation(struct response *ret, const struct explanation *explanation, bool state)
{
        const enum subject_kind kind = explanation->grant.subject_kind;
        struct json_writer out;
        int r;

        *ret = (struct response){
                .status = 200, .content_type = "application/json", .no_store = true};
        json_writer_init(&out, &ret->body);
        json_writer_begin(&out, NULL, '{');
        if (state)
                add_outcome(&out, explanation);
        json_writer_bool(&out, "permitted", true);
        json_writer_string(&out, "rule", explanation->rule->name);
        json_writer_begin(&out, "subject", '{');
        json_writer_string(&out, "kind", subject_kind_name(kind));
        if (subject_kind_names(kind))
                json_writer_text(&out, "value", explanation->grant.subject);
        else
                json_writer_null(&out, "value");
        json_writer_end(&out, '}');
        json_writer_text(&out, "scope", explanation->grant.scope);
        add_client(&out, explanation, state);
        if (state)
                add_state(&out, explanation);
        json_writer_end(&out, '}');
        r = json_writer_finish(&out);
        if (r)
                response_deinit(ret);
        return error_trace(r);
}
