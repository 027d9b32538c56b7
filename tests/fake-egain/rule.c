/* SPDX-License-Identifier: MIT */

/*
 * A rule comes as a JSON object and is checked whole before it counts: a table says what each field
 * must be, and what contradicts itself is refused, because a test with a misspelt rule must fail at
 * the rule and not somewhere behind it.
 *
 * A rule is referenced by the list for as long as it can still apply, and by every request that it
 * applies to. The list lets go of a rule when its count is used up.
 */

#include "rule.h"

#include <microhttpd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <json-c/json.h>

#include "error.h"

#define DELAY_MAX_MS 86400000

enum field_type {
        FIELD_NUMBER,
        FIELD_BOOL,
        FIELD_STRING,
        FIELD_HEADERS,
        FIELD_BODY,
        FIELD_BODY_BASE64,
        FIELD_OMIT,
};

static const struct field {
        const char *name;
        enum field_type type;
        size_t offset;
        int64_t low; /* bounds of a number */
        int64_t high;
} fields[] = {
        {"count", FIELD_NUMBER, offsetof(struct rule, count), 1, INT64_MAX},
        {"every", FIELD_NUMBER, offsetof(struct rule, every), 1, INT64_MAX},
        {"subject", FIELD_STRING, offsetof(struct rule, subject)},
        {"tenant", FIELD_STRING, offsetof(struct rule, tenant)},
        {"hold", FIELD_BOOL, offsetof(struct rule, hold)},
        {"stall", FIELD_BOOL, offsetof(struct rule, stall)},
        {"delay_ms", FIELD_NUMBER, offsetof(struct rule, delay_ms), 0, DELAY_MAX_MS},
        {"close", FIELD_BOOL, offsetof(struct rule, close)},
        {"close_after_headers", FIELD_BOOL, offsetof(struct rule, close_after_headers)},
        {"trickle_ms", FIELD_NUMBER, offsetof(struct rule, trickle_ms), 1, DELAY_MAX_MS},
        {"status", FIELD_NUMBER, offsetof(struct rule, status), 200, 599},
        {"headers", FIELD_HEADERS, 0},
        {"content_type", FIELD_STRING, offsetof(struct rule, content_type)},
        {"body", FIELD_BODY, 0},
        {"body_base64", FIELD_BODY_BASE64, 0},
        {"body_size", FIELD_NUMBER, offsetof(struct rule, body_size), 0, RULE_FILL_MAX},
        {"error", FIELD_STRING, offsetof(struct rule, error)},
        {"error_description", FIELD_STRING, offsetof(struct rule, error_description)},
        {"lifetime", FIELD_NUMBER, offsetof(struct rule, lifetime), INT64_MIN, INT64_MAX},
        {"jwt_lifetime", FIELD_NUMBER, offsetof(struct rule, jwt_lifetime), INT64_MIN, INT64_MAX},
        {"expires_in_json", FIELD_STRING, offsetof(struct rule, expires_in_json)},
        {"token_type", FIELD_STRING, offsetof(struct rule, token_type)},
        {"granted_scope", FIELD_STRING, offsetof(struct rule, granted_scope)},
        {"omit", FIELD_OMIT, 0},
        {"repeat_token", FIELD_BOOL, offsetof(struct rule, repeat_token)},
        {"remaining", FIELD_BOOL, offsetof(struct rule, remaining)},
        {"mint_subject", FIELD_STRING, offsetof(struct rule, mint_subject)},
};

#define N_FIELDS (sizeof(fields) / sizeof(fields[0]))

static int invalid(char *reason, const char *name, const char *what)
{
        (void)snprintf(reason, RULE_REASON_MAX, "%s: %s", name, what);
        return RULES_E_INVALID;
}

static void rule_free(struct rule *rule)
{
        for (size_t i = 0; i < N_FIELDS; i++) {
                if (fields[i].type == FIELD_STRING)
                        free(*(char **)(void *)((char *)rule + fields[i].offset));
        }
        json_object_put(rule->headers);
        text_deinit(&rule->body);
        free(rule);
}

void rule_unref(struct rule *rule)
{
        if (rule && --rule->refs == 0)
                rule_free(rule);
}

bool rule_is_literal(const struct rule *rule)
{
        return rule->status.given || rule->has_body || rule->body_size.given || rule->error;
}

static int read_number(const struct field *field, struct json_object *json, void *member,
                       char *reason)
{
        struct rule_number *number = member;

        if (!json_object_is_type(json, json_type_int))
                return invalid(reason, field->name, "must be an integer");
        number->given = true;
        number->value = json_object_get_int64(json);
        if (number->value < field->low || number->value > field->high)
                return invalid(reason, field->name, "out of range");
        return 0;
}

static int read_string(const struct field *field, struct json_object *json, char **member,
                       char *reason)
{
        const char *string = json_object_get_string(json);

        if (!json_object_is_type(json, json_type_string))
                return invalid(reason, field->name, "must be a string");
        if (strlen(string) != (size_t)json_object_get_string_len(json))
                return invalid(reason, field->name, "must not contain a NUL");
        *member = strdup(string);
        return *member ? 0 : error_trace(-ENOMEM);
}

static int read_body(const struct field *field, struct json_object *json, struct rule *rule,
                     char *reason)
{
        const char *string = json_object_get_string(json);
        size_t size;
        int r;

        if (!json_object_is_type(json, json_type_string))
                return invalid(reason, field->name, "must be a string");
        if (rule->has_body)
                return invalid(reason, field->name, "there is a body already");
        size = (size_t)json_object_get_string_len(json);
        rule->has_body = true;
        if (field->type == FIELD_BODY) {
                text_append(&rule->body, string, size);
                return error_trace(rule->body.error);
        }
        r = text_decode_base64(&rule->body, string, size);
        if (r == TEXT_E_MALFORMED)
                return invalid(reason, field->name, "must be base64 with padding");
        return error_trace(r);
}

static int read_headers(const struct field *field, struct json_object *json, struct rule *rule,
                        char *reason)
{
        struct json_object_iterator it;
        struct json_object_iterator end;
        struct MHD_Response *response;
        int r = 0;

        if (!json_object_is_type(json, json_type_object))
                return invalid(reason, field->name, "must be an object");
        /* libmicrohttpd knows best which headers it will not send. */
        response = MHD_create_response_from_buffer(0, NULL, MHD_RESPMEM_PERSISTENT);
        if (!response)
                return error_trace(-ENOMEM);
        it = json_object_iter_begin(json);
        end = json_object_iter_end(json);
        for (; !json_object_iter_equal(&it, &end) && !r; json_object_iter_next(&it)) {
                const char *name = json_object_iter_peek_name(&it);
                struct json_object *value = json_object_iter_peek_value(&it);

                if (!json_object_is_type(value, json_type_string))
                        r = invalid(reason, field->name, "every value must be a string");
                else if (!MHD_add_response_header(response, name, json_object_get_string(value)))
                        r = invalid(reason, name, "this header cannot be sent");
        }
        MHD_destroy_response(response);
        rule->headers = json_object_get(json);
        return r;
}

static int read_omit(const struct field *field, struct json_object *json, struct rule *rule,
                     char *reason)
{
        static const struct {
                const char *name;
                unsigned bit;
        } members[] = {
                {"access_token", RULE_OMIT_ACCESS_TOKEN},
                {"token_type", RULE_OMIT_TOKEN_TYPE},
                {"expires_in", RULE_OMIT_EXPIRES_IN},
                {"scope", RULE_OMIT_SCOPE},
        };

        if (!json_object_is_type(json, json_type_array))
                return invalid(reason, field->name, "must be an array");
        for (size_t i = 0; i < json_object_array_length(json); i++) {
                const char *name = json_object_get_string(json_object_array_get_idx(json, i));
                unsigned bit = 0;

                for (size_t k = 0; name && k < sizeof(members) / sizeof(members[0]); k++) {
                        if (strcmp(members[k].name, name) == 0)
                                bit = members[k].bit;
                }
                if (!bit)
                        return invalid(reason, field->name, "names something that is no member");
                rule->omit |= bit;
        }
        return 0;
}

static int read_field(const struct field *field, struct json_object *json, struct rule *rule,
                      char *reason)
{
        void *member = (char *)rule + field->offset;

        switch (field->type) {
        case FIELD_NUMBER: return read_number(field, json, member, reason);
        case FIELD_STRING: return read_string(field, json, member, reason);
        case FIELD_HEADERS: return read_headers(field, json, rule, reason);
        case FIELD_BODY:
        case FIELD_BODY_BASE64: return read_body(field, json, rule, reason);
        case FIELD_OMIT: return read_omit(field, json, rule, reason);
        case FIELD_BOOL: break;
        }
        if (!json_object_is_type(json, json_type_boolean))
                return invalid(reason, field->name, "must be true or false");
        *(bool *)member = json_object_get_boolean(json);
        return 0;
}

static int check(const struct rule *rule, char *reason)
{
        if (rule->hold + rule->stall + rule->delay_ms.given > 1)
                return invalid(reason, "hold, stall, delay_ms", "only one of them");
        if (rule->close + rule->close_after_headers + rule->trickle_ms.given > 1)
                return invalid(reason, "close, close_after_headers, trickle_ms",
                               "only one of them");
        if (rule->has_body + rule->body_size.given + (rule->error != NULL) > 1)
                return invalid(reason, "body, body_base64, body_size, error", "only one of them");
        if (rule->error_description && !rule->error)
                return invalid(reason, "error_description", "needs error");
        if (rule->remaining && !rule->repeat_token)
                return invalid(reason, "remaining", "needs repeat_token");
        return 0;
}

static int read_rule(struct rule *rule, struct json_object *json, char *reason)
{
        struct json_object_iterator it;
        struct json_object_iterator end;

        if (!json_object_is_type(json, json_type_object))
                return invalid(reason, "behaviour", "must be an object");
        it = json_object_iter_begin(json);
        end = json_object_iter_end(json);
        for (; !json_object_iter_equal(&it, &end); json_object_iter_next(&it)) {
                const char *name = json_object_iter_peek_name(&it);
                const struct field *field = NULL;
                int r;

                for (size_t i = 0; i < N_FIELDS && !field; i++) {
                        if (strcmp(fields[i].name, name) == 0)
                                field = &fields[i];
                }
                if (!field)
                        return invalid(reason, name, "unknown field");
                r = read_field(field, json_object_iter_peek_value(&it), rule, reason);
                if (r)
                        return error_trace(r);
        }
        return check(rule, reason);
}

void rules_init(struct rules *rules)
{
        *rules = (struct rules){.entries = LIST_INIT(rules->entries)};
}

static void drop(struct rules *rules, struct rule *rule)
{
        list_unlink(&rule->link);
        rules->n_entries--;
        rule_unref(rule);
}

void rules_clear(struct rules *rules)
{
        list_for_each_safe (it, &rules->entries) {
                drop(rules, list_entry(it, struct rule, link));
        }
}

void rules_remove(struct rules *rules, uint64_t id)
{
        list_for_each_safe (it, &rules->entries) {
                struct rule *rule = list_entry(it, struct rule, link);

                if (rule->id == id)
                        drop(rules, rule);
        }
}

int rules_add(struct rules *rules, struct json_object *json, uint64_t *ret_id,
              char reason[static RULE_REASON_MAX])
{
        struct rule *rule;
        int r;

        if (rules->n_entries == RULES_MAX)
                return RULES_E_FULL;
        rule = calloc(1, sizeof(*rule));
        if (!rule)
                return error_trace(-ENOMEM);
        rule->refs = 1;
        rule->body = TEXT_INIT;
        r = read_rule(rule, json, reason);
        if (r) {
                rule_unref(rule);
                return error_trace(r);
        }

        rule->id = ++rules->last_id;
        list_push_back(&rules->entries, &rule->link);
        rules->n_entries++;
        *ret_id = rule->id;
        return 0;
}

struct rule *rules_match(struct rules *rules, const char *tenant, const char *label)
{
        list_for_each (it, &rules->entries) {
                struct rule *rule = list_entry(it, struct rule, link);

                if (rule->tenant && strcmp(rule->tenant, tenant) != 0)
                        continue;
                if (rule->subject && (!label || strcmp(rule->subject, label) != 0))
                        continue;
                if (rule->every.given && ++rule->n_fitted < (uint64_t)rule->every.value)
                        continue;
                rule->n_fitted = 0;
                rule->refs++;
                if (rule->count.given && --rule->count.value == 0)
                        drop(rules, rule);
                return rule;
        }
        return NULL;
}
