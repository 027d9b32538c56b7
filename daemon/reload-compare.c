/* SPDX-License-Identifier: MIT */

#include "reload-compare.h"

#include <stdio.h>
#include <string.h>

static bool same_string(const char *a, const char *b)
{
        return a == b || (a && b && strcmp(a, b) == 0);
}

bool reload_same_listeners(const struct config *a, const struct config *b)
{
        if (a->n_listeners != b->n_listeners)
                return false;
        for (size_t i = 0; i < a->n_listeners; i++) {
                const struct listener_config *x = &a->listeners[i], *y = &b->listeners[i];

                if (x->address_size != y->address_size || x->mode != y->mode || x->gid != y->gid ||
                    x->credentials != y->credentials ||
                    memcmp(&x->address, &y->address, x->address_size) != 0)
                        return false;
        }
        return true;
}

bool reload_same_audit(const struct audit_config *a, const struct audit_config *b)
{
        return a->target == b->target && a->subjects == b->subjects && a->fold_ms == b->fold_ms &&
               a->required == b->required && a->max_records == b->max_records &&
               same_string(a->file, b->file) && same_string(a->key_file, b->key_file);
}

static bool same_identity(const struct config *a, size_t i, const struct config *b, size_t j)
{
        const struct client_settings *x = &a->settings.clients[i], *y = &b->settings.clients[j];

        return memcmp(x->identity_sha256, y->identity_sha256, sizeof(x->identity_sha256)) == 0;
}

void reload_keep_identities(struct config *config, const struct config *before)
{
        for (size_t i = 0; i < config->settings.n_clients; i++)
                for (size_t j = 0; j < before->settings.n_clients; j++)
                        if (same_identity(config, i, before, j))
                                config->settings.clients[i].identity =
                                        before->settings.clients[j].identity;
}

static bool same_sources(const struct config *a, const struct config *b, size_t i)
{
        for (size_t k = 2 * i; k < 2 * i + 2; k++)
                if (a->secrets[k].kind != b->secrets[k].kind ||
                    !same_string(a->secrets[k].where, b->secrets[k].where))
                        return false;
        return same_string(a->tls[i].key_file, b->tls[i].key_file);
}

static bool same_clients(const struct config *a, const struct config *b)
{
        if (a->settings.n_clients != b->settings.n_clients)
                return false;
        for (size_t i = 0; i < a->settings.n_clients; i++) {
                const struct client_settings *x = &a->settings.clients[i];
                const struct client_settings *y = &b->settings.clients[i];

                if (!same_identity(a, i, b, i) || !same_sources(a, b, i) ||
                    !same_string(x->name, y->name) ||
                    !same_string(x->default_scope, y->default_scope) ||
                    memcmp(x->secret_expires_s, y->secret_expires_s, sizeof(x->secret_expires_s)) !=
                            0)
                        return false;
        }
        return true;
}

static bool same_rule(const struct rule *a, const struct rule *b)
{
        if (!same_string(a->name, b->name) || !same_string(a->user, b->user) || a->uid != b->uid ||
            !same_string(a->group, b->group) || a->gid != b->gid ||
            !same_string(a->unit, b->unit) || a->has_key != b->has_key ||
            memcmp(a->key_sha256, b->key_sha256, sizeof(a->key_sha256)) != 0 ||
            a->n_clients != b->n_clients || a->n_subjects != b->n_subjects ||
            a->n_scopes != b->n_scopes || a->monitor != b->monitor || a->admin != b->admin ||
            a->fetches.count != b->fetches.count || a->fetches.period_ms != b->fetches.period_ms)
                return false;
        for (size_t i = 0; i < a->n_clients; i++)
                if (a->clients[i] != b->clients[i])
                        return false;
        for (size_t i = 0; i < a->n_subjects; i++)
                if (a->subjects[i].kind != b->subjects[i].kind ||
                    !same_string(a->subjects[i].pattern, b->subjects[i].pattern))
                        return false;
        for (size_t i = 0; i < a->n_scopes; i++)
                if (!same_string(a->scopes[i], b->scopes[i]))
                        return false;
        return true;
}

static bool same_callers(const struct policy *a, const struct policy *b)
{
        if (a->n_rules != b->n_rules)
                return false;
        for (size_t i = 0; i < a->n_rules; i++)
                if (!same_rule(&a->rules[i], &b->rules[i]))
                        return false;
        return true;
}

static bool same_credentials(const struct config *a, const struct config *b)
{
        if (a->n_credentials != b->n_credentials)
                return false;
        for (size_t i = 0; i < a->n_credentials; i++) {
                const struct credential_config *x = &a->credentials[i], *y = &b->credentials[i];

                if (!same_rule(&x->rule, &y->rule) || !same_string(x->id, y->id) ||
                    x->subject_kind != y->subject_kind || !same_string(x->subject, y->subject) ||
                    !same_string(x->scope, y->scope))
                        return false;
        }
        return true;
}

static bool same_limits(const struct config *a, const struct config *b)
{
        struct settings x = a->settings, y = b->settings;

        /* All members are words: there is nothing between them. */
        x.clients = y.clients = NULL;
        x.n_clients = y.n_clients = 0;
        return memcmp(&x, &y, sizeof(x)) == 0 && a->max_connections == b->max_connections &&
               a->header_timeout_ms == b->header_timeout_ms &&
               a->idle_timeout_ms == b->idle_timeout_ms &&
               a->drain_timeout_ms == b->drain_timeout_ms;
}

static bool same_upstream(const struct upstream_config *a, const struct upstream_config *b)
{
        return a->connect_timeout_ms == b->connect_timeout_ms && a->timeout_ms == b->timeout_ms &&
               a->max_response_bytes == b->max_response_bytes &&
               same_string(a->ca_file, b->ca_file) && same_string(a->proxy, b->proxy) &&
               same_string(a->no_proxy, b->no_proxy);
}

void reload_name_changes(char out[RELOAD_CHANGES_MAX_BYTES], const struct config *a,
                         const struct config *b)
{
        const struct {
                bool same;
                const char *name;
        } parts[] = {
                {same_clients(a, b), "clients"},
                {same_callers(&a->policy, &b->policy), "callers"},
                {same_credentials(a, b), "credentials"},
                {same_upstream(&a->upstream, &b->upstream), "upstream"},
                {same_limits(a, b), "limits and time-outs"},
                {a->log_level == b->log_level && a->log_format == b->log_format, "log"},
        };
        size_t size = 0;

        for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++)
                if (!parts[i].same)
                        size += (size_t)snprintf(out + size, RELOAD_CHANGES_MAX_BYTES - size,
                                                 "%s%s", size > 0 ? ", " : "", parts[i].name);
        if (size == 0)
                (void)snprintf(out, RELOAD_CHANGES_MAX_BYTES, "nothing");
}
