/* SPDX-License-Identifier: MIT */

/*
 * The rules have the order of the list in the file, also where an entry is full of mistakes: so an
 * entry's line is found by its index. A rule of which one condition was refused loses the others,
 * too: it would be compared with other rules as something that it is not. The whole configuration
 * is thrown away in the end.
 *
 * Of a key only its digest stays.
 */

#include "config-callers.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "../lib/error.h"
#include "../lib/sha256.h"
#include "config-keys.h"
#include "config-names.h"
#include "config-nearest.h"
#include "config-overlap.h"
#include "config-patterns.h"
#include "config-units.h"
#include "secrets.h"

#define CALLERS_MAX          1000
#define CLIENTS_MAX          1000 /* of one rule */
#define KEY_MIN_BYTES        16
#define FETCHES_MAX          1000000
#define FETCHES_PERIOD_MIN   1000
#define FETCHES_PERIOD_MAX   (24ULL * 60 * 60 * 1000)
#define FETCHES_DEFAULT      "600/1m"
#define FETCHES_COUNT_DIGITS 7

/* What an entry is read into. */
struct entry {
        struct rule rule;
        char *key_file; /* owned */
};

_Static_assert(offsetof(struct entry, rule) == 0, "some rows take the entry for its rule");

/* "600/1m" */
static bool parse_rate(const char *value, struct rate *ret)
{
        const char *slash = strchr(value, '/');
        char count[FETCHES_COUNT_DIGITS + 1];
        size_t size = slash ? (size_t)(slash - value) : sizeof(count);

        if (size >= sizeof(count))
                return false;
        memcpy(count, value, size);
        count[size] = '\0';
        return config_units_parse(CONFIG_UNIT_COUNT, count, &ret->count) == 0 && ret->count >= 1 &&
               ret->count <= FETCHES_MAX &&
               config_units_parse(CONFIG_UNIT_DURATION, slash + 1, &ret->period_ms) == 0 &&
               ret->period_ms >= FETCHES_PERIOD_MIN && ret->period_ms <= FETCHES_PERIOD_MAX;
}

static bool is_rate(const char *value)
{
        struct rate rate;

        return parse_rate(value, &rate);
}

static int read_fetches(struct config_reader *reader, config_setting_t *setting, void *target)
{
        static const struct config_option option = {
                .check = is_rate,
                .expected = "a count and a duration in quotes with a '/' between them, from 1 to "
                            "1000000 in \"1s\" to \"1d\", such as \"" FETCHES_DEFAULT "\""};
        struct rule *rule = target;
        const char *value;
        int r;

        r = config_reader_string(reader, setting, &option, &value);
        if (r || !value)
                return error_trace(r);
        (void)parse_rate(value, &rule->fetches); /* was tried before */
        return 0;
}

/* The client applications may stand behind this list: see config_callers_resolve(). */
static int pass_over(struct config_reader *reader, config_setting_t *setting, void *target)
{
        return 0;
}

static const struct config_option entry_options[] = {
        {"name", CONFIG_KIND_STRING, CONFIG_FIELD(struct entry, rule.name),
         .check = config_reader_is_name, .expected = CONFIG_NAME_EXPECTED},
        {"user", CONFIG_KIND_STRING, CONFIG_FIELD(struct entry, rule.user),
         .check = config_names_is_name, .expected = CONFIG_NAMES_USER_EXPECTED},
        {"group", CONFIG_KIND_STRING, CONFIG_FIELD(struct entry, rule.group),
         .check = config_names_is_name, .expected = CONFIG_NAMES_GROUP_EXPECTED},
        {"unit", CONFIG_KIND_OTHER, .read = config_patterns_read_unit},
        {"key_file", CONFIG_KIND_STRING, CONFIG_FIELD(struct entry, key_file),
         .check = config_reader_is_path, .expected = "an absolute path", .quiet = true},
        {"clients", CONFIG_KIND_OTHER, .read = pass_over},
        {"subjects", CONFIG_KIND_OTHER, .read = config_patterns_read_subjects},
        {"scopes", CONFIG_KIND_OTHER, .read = config_patterns_read_scopes},
        {"monitor", CONFIG_KIND_BOOL, CONFIG_FIELD(struct entry, rule.monitor)},
        {"admin", CONFIG_KIND_BOOL, CONFIG_FIELD(struct entry, rule.admin)},
        {"fetches", CONFIG_KIND_OTHER, .read = read_fetches},
        {.name = NULL},
};

static bool has(config_setting_t *setting, const char *name)
{
        return config_setting_get_member(setting, name);
}

/* Conditions */

/* `what` is "user" or "group"; *known becomes false if a mistake was noted. */
static int judge_id(struct config_reader *reader, int line, const char *what, const char *name,
                    unsigned int id, bool *known)
{
        const char *fault = *known ? config_names_fault(id) : NULL;

        if (!fault)
                return 0;
        *known = false;
        return config_mistakes_add(&reader->mistakes, line, "the %s \"%.64s\", number %u, %s", what,
                                   name, id, fault);
}

static int read_user(struct config_reader *reader, config_setting_t *setting, struct rule *rule,
                     bool *ret_known)
{
        int line = config_reader_line(setting, "user");
        int r;

        r = config_names_user(reader, line, rule->user, &rule->uid, ret_known);
        if (!r)
                r = judge_id(reader, line, "user", rule->user, rule->uid, ret_known);
        return error_trace(r);
}

static int read_group(struct config_reader *reader, config_setting_t *setting, struct rule *rule,
                      bool *ret_known)
{
        int line = config_reader_line(setting, "group");
        int r;

        r = config_names_group(reader, line, rule->group, &rule->gid, ret_known);
        if (!r)
                r = judge_id(reader, line, "group", rule->group, rule->gid, ret_known);
        return error_trace(r);
}

static int read_key(struct config_reader *reader, config_setting_t *setting, struct entry *entry)
{
        struct secret key = SECRET_INIT(SECRETS_MAX_BYTES);
        int r;

        r = config_keys_read(reader, config_reader_line(setting, "key_file"), entry->key_file,
                             KEY_MIN_BYTES, &key);
        if (!r && key.size > 0) {
                sha256(key.bytes, key.size, entry->rule.key_sha256);
                entry->rule.has_key = true;
        }
        secret_deinit(&key);
        return error_trace(r);
}

static void forget_conditions(struct rule *rule)
{
        free(rule->user);
        free(rule->group);
        free(rule->unit);
        rule->user = rule->group = rule->unit = NULL;
}

static int read_conditions(struct config_reader *reader, config_setting_t *setting,
                           struct entry *entry)
{
        struct rule *rule = &entry->rule;
        bool user_known = !has(setting, "user"), group_known = !has(setting, "group");
        int r = 0;

        if (rule->user)
                r = read_user(reader, setting, rule, &user_known);
        if (!r && rule->group)
                r = read_group(reader, setting, rule, &group_known);
        if (!r && entry->key_file)
                r = read_key(reader, setting, entry);
        if (r)
                return error_trace(r);
        if (!user_known || !group_known || !rule->unit != !has(setting, "unit") ||
            !rule->has_key != !has(setting, "key_file"))
                forget_conditions(rule);
        return 0;
}

static int check_complete(struct config_reader *reader, config_setting_t *setting)
{
        int r = 0;

        if (!has(setting, "name"))
                r = config_mistakes_add(&reader->mistakes, (int)config_setting_source_line(setting),
                                        "an entry of 'callers' needs 'name'");
        if (!r && !has(setting, "user") && !has(setting, "group") && !has(setting, "unit"))
                r = config_mistakes_add(
                        &reader->mistakes, config_reader_line(setting, "key_file"),
                        "an entry of 'callers' needs at least one of 'user', 'group' and 'unit'%s",
                        has(setting, "key_file") ? ": a key alone proves nothing, it only narrows "
                                                   "whom these select"
                                                 : "");
        return error_trace(r);
}

static int read_entry(struct config_reader *reader, config_setting_t *setting, struct entry *entry)
{
        int r;

        r = config_reader_group(reader, setting, entry_options, entry);
        if (r || !config_setting_is_group(setting))
                return error_trace(r);
        entry->rule.line = (int)config_setting_source_line(setting);
        r = read_conditions(reader, setting, entry);
        if (r)
                return error_trace(r);
        return check_complete(reader, setting);
}

int config_callers_read(struct config_reader *reader, config_setting_t *setting, void *target)
{
        struct policy *policy = &((struct config *)target)->policy;
        size_t n;
        int r;

        r = config_reader_list(reader, setting, CALLERS_MAX, &n);
        if (r || n == 0)
                return error_trace(r);
        policy->rules = calloc(n, sizeof(*policy->rules));
        if (!policy->rules)
                return error_trace(-ENOMEM);

        for (size_t i = 0; i < n; i++) {
                struct entry entry = {.key_file = NULL};

                (void)parse_rate(FETCHES_DEFAULT, &entry.rule.fetches);
                r = read_entry(reader, config_setting_get_elem(setting, (unsigned int)i), &entry);
                policy->rules[policy->n_rules++] = entry.rule;
                free(entry.key_file);
                if (r)
                        return error_trace(r);
        }
        return 0;
}

/* Once the whole file was read */

static int reject_client(struct config_reader *reader, config_setting_t *setting, const char *name,
                         const struct settings *settings)
{
        struct config_nearest nearest = {.wanted = name};

        for (size_t i = 0; i < settings->n_clients; i++) {
                const struct client_settings *client = &settings->clients[i];

                if (client->name && client->client_id && strcmp(name, client->client_id) == 0)
                        return config_mistakes_add(
                                &reader->mistakes, (int)config_setting_source_line(setting),
                                "a client application is named by its name here, not by its "
                                "client_id: \"%s\" was expected",
                                client->name);
                if (client->name)
                        config_nearest_consider(&nearest, client->name);
        }
        return config_mistakes_add(&reader->mistakes, (int)config_setting_source_line(setting),
                                   "there is no client application \"%.64s\" in the list "
                                   "'clients'%s%s%s",
                                   name, nearest.name ? "; did you mean \"" : "",
                                   nearest.name ? nearest.name : "", nearest.name ? "\"?" : "");
}

int config_callers_find_client(struct config_reader *reader, config_setting_t *setting,
                               const struct settings *settings, size_t *ret, bool *ret_found)
{
        static const struct config_option option = {
                .check = config_reader_is_name,
                .expected = "the name of a client application: " CONFIG_NAME_EXPECTED};
        const char *name;
        int r;

        *ret_found = false;
        r = config_reader_string(reader, setting, &option, &name);
        if (r || !name)
                return error_trace(r);
        for (size_t i = 0; i < settings->n_clients; i++) {
                if (settings->clients[i].name && strcmp(settings->clients[i].name, name) == 0) {
                        *ret = i;
                        *ret_found = true;
                        return 0;
                }
        }
        /* Without any, that is what was said already. */
        return settings->n_clients > 0 ? reject_client(reader, setting, name, settings) : 0;
}

static int read_client(struct config_reader *reader, config_setting_t *setting,
                       const struct settings *settings, struct rule *rule)
{
        bool found;
        int r;

        r = config_callers_find_client(reader, setting, settings, &rule->clients[rule->n_clients],
                                       &found);
        if (!r && found)
                rule->n_clients++;
        return error_trace(r);
}

static int read_clients(struct config_reader *reader, config_setting_t *setting,
                        const struct settings *settings, struct rule *rule)
{
        size_t n;
        int r;

        r = config_reader_strings(reader, setting, CLIENTS_MAX, "\"portal\"", &n);
        if (r || n == 0)
                return error_trace(r);
        rule->clients = calloc(n, sizeof(*rule->clients));
        if (!rule->clients)
                return error_trace(-ENOMEM);
        for (size_t i = 0; !r && i < n; i++)
                r = read_client(reader, config_setting_get_elem(setting, (unsigned int)i), settings,
                                rule);
        return error_trace(r);
}

/* What is not named is not given. */
static int check_rights(struct config_reader *reader, config_setting_t *setting,
                        const struct rule *rule)
{
        bool clients = has(setting, "clients"), subjects = has(setting, "subjects"),
             scopes = has(setting, "scopes");

        if (clients && subjects && scopes)
                return 0;
        if (clients || subjects || scopes)
                return config_mistakes_warn(
                        &reader->mistakes, rule->line,
                        "this rule hands out no token, because it names no '%s': 'clients', "
                        "'subjects' and 'scopes' that are left out mean none",
                        !clients    ? "clients"
                        : !subjects ? "subjects"
                                    : "scopes");
        if (rule->monitor || rule->admin)
                return 0;
        return config_mistakes_warn(&reader->mistakes, rule->line,
                                    "this rule gives nothing to whom it selects: it has neither "
                                    "'clients', 'subjects' and 'scopes' nor 'monitor' nor 'admin'");
}

/* A socket for credentials is not one for callers. */
static bool listens_on_tcp_only(const struct config *config)
{
        bool tcp = false;

        for (size_t i = 0; i < config->n_listeners; i++) {
                const struct listener_config *listener = &config->listeners[i];

                if (listener->address.ss_family != AF_UNIX)
                        tcp = true;
                else if (!listener->credentials)
                        return false;
        }
        return tcp;
}

static int check_reach(struct config_reader *reader, config_setting_t *setting,
                       const struct rule *rule)
{
        const char *name = has(setting, "unit") ? "unit" : "group";

        if (has(setting, name))
                return config_mistakes_warn(&reader->mistakes, config_reader_line(setting, name),
                                            "a rule with '%s' is never selected over TCP, where "
                                            "only the user is known, and 'listen' has no Unix "
                                            "socket",
                                            name);
        if (rule->admin)
                return config_mistakes_warn(&reader->mistakes, config_reader_line(setting, "admin"),
                                            "'admin' means nothing over TCP, and 'listen' has no "
                                            "Unix socket");
        return 0;
}

static bool listens_on_tcp(const struct config *config)
{
        for (size_t i = 0; i < config->n_listeners; i++)
                if (config->listeners[i].address.ss_family != AF_UNIX)
                        return true;
        return false;
}

/* A rule that is not selected over TCP, before one that may be selected there in its place. */
static int check_bypass(struct config_reader *reader, const struct policy *policy, size_t i)
{
        const struct rule *rule = &policy->rules[i];

        if (!rule->unit && !rule->group)
                return 0;
        for (size_t j = i + 1; j < policy->n_rules; j++) {
                const struct rule *later = &policy->rules[j];

                if (later->unit || later->group || !later->user ||
                    (rule->user && rule->uid != later->uid))
                        continue;
                return config_mistakes_warn(
                        &reader->mistakes, rule->line,
                        "over TCP, where only the user is known, the rule '%s' is never selected, "
                        "and its callers may get what the rule '%s' in line %d gives",
                        rule->name, later->name, later->line);
        }
        return 0;
}

int config_callers_resolve(struct config_reader *reader, config_setting_t *setting,
                           struct config *config)
{
        const bool tcp_only = listens_on_tcp_only(config), tcp = listens_on_tcp(config);
        int r = 0;

        for (size_t i = 0; !r && i < config->policy.n_rules; i++) {
                config_setting_t *entry = config_setting_get_elem(setting, (unsigned int)i);
                config_setting_t *clients = config_setting_get_member(entry, "clients");
                struct rule *rule = &config->policy.rules[i];

                if (!config_setting_is_group(entry))
                        continue;
                if (clients)
                        r = read_clients(reader, clients, &config->settings, rule);
                if (!r)
                        r = check_rights(reader, entry, rule);
                if (!r && tcp_only)
                        r = check_reach(reader, entry, rule);
                else if (!r && tcp)
                        r = check_bypass(reader, &config->policy, i);
        }
        if (r || config->policy.n_rules == 0)
                return error_trace(r);
        return config_overlap_check(reader, setting, &config->policy);
}
