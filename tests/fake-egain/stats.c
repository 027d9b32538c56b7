/* SPDX-License-Identifier: MIT */

/*
 * Counters are plain numbers with a table of their names, which serves both the rendering and those
 * who wait for one of them. Subjects are counted in a JSON object right away: it is a hash table
 * and wants to be rendered.
 *
 * The last request is kept as raw bytes and understood only when somebody looks, because one comes
 * every fifty microseconds and nearly nobody does. client_secret is left out at that point.
 *
 * A reset begins a new epoch. Requests of an older one may still be under way; their owners compare
 * epochs and leave these numbers alone, so that a test never sees the answers of the one before.
 */

#include "stats.h"

#include <stdio.h>
#include <string.h>

#include <json-c/json.h>

#include "error.h"
#include "form.h"

static const struct {
        const char *name;
        size_t offset;
        bool gauge; /* outlives a reset */
} counters[] = {
        {"requests", offsetof(struct stats, requests), false},
        {"tokens", offsetof(struct stats, tokens), false},
        {"in_flight", offsetof(struct stats, in_flight), false},
        {"max_in_flight", offsetof(struct stats, max_in_flight), false},
        {"held", offsetof(struct stats, held), false},
        {"cut", offsetof(struct stats, cut), false},
        {"twins", offsetof(struct stats, twins), false},
        {"abandoned", offsetof(struct stats, abandoned), false},
        {"connections", offsetof(struct stats, connections), true},
        {"connections_total", offsetof(struct stats, connections_total), false},
        {"token_connections", offsetof(struct stats, token_connections), true},
        {"token_connections_total", offsetof(struct stats, token_connections_total), false},
};

#define N_COUNTERS (sizeof(counters) / sizeof(counters[0]))

static const char *const text_names[] = {
        "method", "path", "query", "http_version", "content_type", "user_agent",
};

#define N_TEXTS (sizeof(text_names) / sizeof(text_names[0]))

_Static_assert(N_TEXTS == sizeof(((struct stats *)NULL)->last.given), "a text has no name");

int stats_init(struct stats *stats)
{
        *stats = (struct stats){0};
        return error_trace(stats_reset(stats));
}

void stats_deinit(struct stats *stats)
{
        json_object_put(stats->by_subject);
        stats->by_subject = NULL;
        for (size_t i = 0; i < N_TEXTS; i++)
                secret_deinit(&stats->last.texts[i]);
        secret_deinit(&stats->last.body);
}

int stats_reset(struct stats *stats)
{
        struct json_object *by_subject = json_object_new_object();

        if (!by_subject)
                return error_trace(-ENOMEM);
        json_object_put(stats->by_subject);
        stats->by_subject = by_subject;

        for (size_t i = 0; i < N_COUNTERS; i++) {
                if (!counters[i].gauge)
                        *(uint64_t *)(void *)((char *)stats + counters[i].offset) = 0;
        }
        memset(stats->by_status, 0, sizeof(stats->by_status));
        memset(stats->by_grant, 0, sizeof(stats->by_grant));
        stats->last.seen = false;
        stats->epoch++;
        return 0;
}

static int count_subject(struct stats *stats, const char *label)
{
        struct json_object *number;

        if (json_object_object_get_ex(stats->by_subject, label, &number)) {
                (void)json_object_int_inc(number, 1);
                return 0;
        }
        if (json_object_object_length(stats->by_subject) >= STATS_SUBJECTS_MAX) {
                static const char others[] = "(others)";

                if (strcmp(label, others) != 0)
                        return error_trace(count_subject(stats, others));
        }
        number = json_object_new_int64(1);
        if (!number || json_object_object_add(stats->by_subject, label, number) < 0) {
                json_object_put(number);
                return error_trace(-ENOMEM);
        }
        return 0;
}

int stats_receive(struct stats *stats, const struct stats_request *request, enum stats_grant grant,
                  const char *label)
{
        const char *texts[] = {
                request->method,       request->path,         request->query,
                request->http_version, request->content_type, request->user_agent,
        };
        int r;

        stats->requests++;
        stats->by_grant[grant]++;
        stats->in_flight++;
        if (stats->in_flight > stats->max_in_flight)
                stats->max_in_flight = stats->in_flight;

        for (size_t i = 0; i < N_TEXTS; i++) {
                stats->last.given[i] = texts[i] != NULL;
                r = secret_assign(&stats->last.texts[i], texts[i] ? texts[i] : "",
                                  texts[i] ? strlen(texts[i]) : 0);
                if (r)
                        return error_trace(r);
        }
        r = secret_assign(&stats->last.body, request->body, request->body_bytes);
        if (r)
                return error_trace(r);
        stats->last.seen = true;
        return label ? error_trace(count_subject(stats, label)) : 0;
}

void stats_answer(struct stats *stats, unsigned status)
{
        if (status <= STATS_STATUS_MAX)
                stats->by_status[status]++;
}

void stats_finish(struct stats *stats)
{
        stats->in_flight--;
}

void stats_mint(struct stats *stats)
{
        stats->tokens++;
}

const uint64_t *stats_counter(const struct stats *stats, const char *name)
{
        for (size_t i = 0; i < N_COUNTERS; i++) {
                if (strcmp(counters[i].name, name) == 0)
                        return (const void *)((const char *)stats + counters[i].offset);
        }
        return NULL;
}

/* Takes `value`, which may be NULL for want of memory. */
static int add(struct json_object *object, const char *name, struct json_object *value)
{
        if (!value || json_object_object_add(object, name, value) < 0) {
                json_object_put(value);
                return error_trace(-ENOMEM);
        }
        return 0;
}

static int render_parameters(const struct stats *stats, struct json_object *object)
{
        struct json_object *parameters = json_object_new_object();
        struct json_object *order = json_object_new_array();
        struct form form = {0};
        int r;

        r = add(object, "parameters", parameters);
        if (add(object, "order", order) || r)
                return error_trace(-ENOMEM);

        r = form_parse(&form, stats->last.body.bytes, stats->last.body.size);
        if (r)
                return r < 0 ? error_trace(r) : 0;
        for (size_t i = 0; i < form.n_parameters && !r; i++) {
                const char *name = form.parameters[i].name;
                const char *value = form.parameters[i].value;
                struct json_object *item = json_object_new_string(name);

                if (strcmp(name, "client_secret") == 0)
                        value = "***";
                r = add(parameters, name, json_object_new_string(value));
                if (!item || json_object_array_add(order, item) < 0) {
                        json_object_put(item);
                        r = -ENOMEM;
                }
        }
        form_deinit(&form);
        return error_trace(r);
}

static int render_last(const struct stats *stats, struct json_object *root)
{
        struct json_object *object;
        int r;

        if (!stats->last.seen)
                return json_object_object_add(root, "last_request", NULL) < 0 ? -ENOMEM : 0;
        object = json_object_new_object();
        r = add(root, "last_request", object);
        for (size_t i = 0; i < N_TEXTS && !r; i++) {
                if (stats->last.given[i])
                        r = add(object, text_names[i],
                                json_object_new_string(stats->last.texts[i].bytes));
                else if (json_object_object_add(object, text_names[i], NULL) < 0)
                        r = -ENOMEM;
        }
        return error_trace(r ? r : render_parameters(stats, object));
}

static int render_by_status(const struct stats *stats, struct json_object *root)
{
        struct json_object *object = json_object_new_object();
        int r = add(root, "by_status", object);

        for (unsigned status = 0; status <= STATS_STATUS_MAX && !r; status++) {
                char name[12];

                if (!stats->by_status[status])
                        continue;
                (void)snprintf(name, sizeof(name), "%u", status);
                r = add(object, name, json_object_new_uint64(stats->by_status[status]));
        }
        return error_trace(r);
}

static int render_by_grant(const struct stats *stats, struct json_object *root)
{
        static const char *const names[_STATS_GRANT_N] = {
                [STATS_GRANT_OTHER] = "other",
                [STATS_GRANT_PASSWORD] = "password",
                [STATS_GRANT_APPLICATION] = "application",
                [STATS_GRANT_ANONYMOUS] = "anonymous",
                [STATS_GRANT_EXCHANGE] = "exchange",
        };
        struct json_object *object = json_object_new_object();
        int r = add(root, "by_grant", object);

        for (size_t i = 0; i < _STATS_GRANT_N && !r; i++)
                if (stats->by_grant[i])
                        r = add(object, names[i], json_object_new_uint64(stats->by_grant[i]));
        return error_trace(r);
}

struct json_object *stats_render_counters(const struct stats *stats)
{
        struct json_object *root = json_object_new_object();
        int r = root ? 0 : -ENOMEM;

        for (size_t i = 0; i < N_COUNTERS && !r; i++) {
                const uint64_t *counter = stats_counter(stats, counters[i].name);

                r = add(root, counters[i].name, json_object_new_uint64(*counter));
        }
        if (!r)
                r = render_by_status(stats, root);
        if (!r)
                r = render_by_grant(stats, root);
        if (r) {
                json_object_put(root);
                return NULL;
        }
        return root;
}

struct json_object *stats_render(const struct stats *stats)
{
        struct json_object *root = stats_render_counters(stats);
        int r = root ? 0 : -ENOMEM;

        if (!r)
                r = add(root, "by_subject", json_object_get(stats->by_subject));
        if (!r)
                r = render_last(stats, root);
        if (r) {
                json_object_put(root);
                return NULL;
        }
        return root;
}
