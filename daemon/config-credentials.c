/* SPDX-License-Identifier: MIT */

/*
 * An entry becomes a rule of its own that gives one client application, one subject and the values
 * of one scope, and nothing else; so what decides about callers decides about units, too. A rule
 * holds patterns. Neither subject nor scope may have a '*' in it, and so each stands for itself.
 *
 * The entries have the order of the list in the file, also where one is full of mistakes: so an
 * entry's line is found by its index, as in config-callers.c.
 */

#include "config-credentials.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "../lib/client.h"
#include "../lib/error.h"
#include "../lib/grant.h"
#include "../lib/pattern.h"
#include "config-callers.h"
#include "config-clients.h"
#include "config-patterns.h"
#include "credential-address.h"

#define ENTRIES_MAX 1000

/* Of the name of a rule: no entry of `callers` can have it, since a colon is in it. */
#define RULE_PREFIX "credential:"

_Static_assert(offsetof(struct credential_config, rule) == 0, "the unit is read into the rule");

static bool is_id(const char *value)
{
        return credential_address_is_id(TEXT(value));
}

/* Splits "username:pa"; _SUBJECT_KIND_N if it does not begin with a kind. */
static enum subject_kind split_subject(const char *value, const char **ret_subject)
{
        const char *colon = strchr(value, ':');

        for (int kind = 0; colon && kind < _SUBJECT_KIND_N; kind++) {
                const char *name = subject_kind_name((enum subject_kind)kind);

                if (strlen(name) == (size_t)(colon - value) &&
                    strncmp(name, value, strlen(name)) == 0) {
                        *ret_subject = colon + 1;
                        return (enum subject_kind)kind;
                }
        }
        return _SUBJECT_KIND_N;
}

/* Nobody is there to bring a subject token. */
static bool is_subject(const char *value)
{
        const char *subject;
        const enum subject_kind kind = split_subject(value, &subject);

        if (kind == _SUBJECT_KIND_N || kind == SUBJECT_EXCHANGE)
                return false;
        if (!subject_kind_names(kind))
                return *subject == '\0';
        return *subject && strlen(subject) <= REQUEST_SUBJECT_MAX_BYTES && !strchr(subject, '*') &&
               text_is_plain_utf8(TEXT(subject));
}

static int read_subject(struct config_reader *reader, config_setting_t *setting, void *target)
{
        static const struct config_option option = {
                .check = is_subject,
                .expected = "a kind (username, userid or email), a colon and one subject of 1 to "
                            "256 bytes, without '*', such as \"username:pa\"; or "
                            "\"application:\" or \"anonymous:\" with nothing behind it"};
        struct credential_config *entry = target;
        const char *value, *subject = "";
        int r;

        r = config_reader_string(reader, setting, &option, &value);
        if (r || !value)
                return error_trace(r);
        entry->subject_kind = split_subject(value, &subject);
        entry->subject = strdup(subject);
        return entry->subject ? 0 : error_trace(-ENOMEM);
}

/* The client applications may stand behind this list. */
static int pass_over(struct config_reader *reader, config_setting_t *setting, void *target)
{
        return 0;
}

static const struct config_option entry_options[] = {
        {"id", CONFIG_KIND_STRING, CONFIG_FIELD(struct credential_config, id), .check = is_id,
         .expected = "what systemd takes for the name of a credential: printable ASCII without "
                     "'/' and ':', and neither \".\" nor \"..\""},
        {"unit", CONFIG_KIND_OTHER, .read = config_patterns_read_unit},
        {"client", CONFIG_KIND_OTHER, .read = pass_over},
        {"subject", CONFIG_KIND_OTHER, .read = read_subject},
        {"scope", CONFIG_KIND_STRING, CONFIG_FIELD(struct credential_config, scope),
         .check = config_clients_is_scope, .expected = CONFIG_SCOPE_EXPECTED},
        {.name = NULL},
};

static int check_complete(struct config_reader *reader, config_setting_t *setting)
{
        static const char *const needed[] = {"id", "unit", "client", "subject"};
        int r = 0;

        for (size_t i = 0; !r && i < sizeof(needed) / sizeof(*needed); i++)
                if (!config_setting_get_member(setting, needed[i]))
                        r = config_mistakes_add(&reader->mistakes,
                                                (int)config_setting_source_line(setting),
                                                "an entry of 'credentials' needs '%s'", needed[i]);
        return error_trace(r);
}

int config_credentials_read(struct config_reader *reader, config_setting_t *setting, void *target)
{
        struct config *config = target;
        size_t n;
        int r;

        r = config_reader_list(reader, setting, ENTRIES_MAX, &n);
        if (r || n == 0)
                return error_trace(r);
        config->credentials = calloc(n, sizeof(*config->credentials));
        if (!config->credentials)
                return error_trace(-ENOMEM);
        for (size_t i = 0; i < n; i++) {
                config_setting_t *element = config_setting_get_elem(setting, (unsigned int)i);
                struct credential_config *entry = &config->credentials[config->n_credentials++];

                entry->rule.line = (int)config_setting_source_line(element);
                r = config_reader_group(reader, element, entry_options, entry);
                if (!r && config_setting_is_group(element))
                        r = check_complete(reader, element);
                if (r)
                        return error_trace(r);
        }
        return 0;
}

void config_credentials_deinit(struct credential_config *entry)
{
        rule_deinit(&entry->rule);
        free(entry->id);
        free(entry->subject);
        free(entry->scope);
        *entry = (struct credential_config){.id = NULL};
}

/* Once the whole file was read */

/* What no unit of that name could ask for. */
static int check_unit(struct config_reader *reader, config_setting_t *setting,
                      const struct credential_config *entry)
{
        const char *unit = entry->rule.unit;
        size_t size = strlen(unit), stars = 0;

        if (size > strlen(".scope") && strcmp(unit + size - strlen(".scope"), ".scope") == 0)
                return config_mistakes_add(&reader->mistakes, config_reader_line(setting, "unit"),
                                           "systemd starts no program in a scope, and so hands it "
                                           "no credential: a unit that ends in .service was "
                                           "expected");
        for (const char *c = unit; *c; c++)
                stars += *c == '*';
        if (!entry->id || size - stars + strlen(entry->id) <= CREDENTIAL_ADDRESS_NAMES_MAX)
                return 0;
        return config_mistakes_add(&reader->mistakes, config_reader_line(setting, "id"),
                                   "'unit' and 'id' have %zu bytes together: systemd cannot "
                                   "connect for more than %d, because it puts both into the "
                                   "address of its socket",
                                   size - stars + strlen(entry->id), CREDENTIAL_ADDRESS_NAMES_MAX);
}

static int check_url(struct config_reader *reader, config_setting_t *setting,
                     const struct credential_config *entry, const struct client_settings *client)
{
        static const char *const options[] = {
                [AUDIENCE_USER] = "user_token_url",
                [AUDIENCE_CUSTOMER] = "customer_token_url",
                [AUDIENCE_ANONYMOUS] = "anonymous_token_url",
        };
        const enum audience audience = grant_audience(entry->subject_kind);

        /* Without any URL, that was said already. */
        if (!entry->subject || client->token_url[audience] ||
            (!client->token_url[AUDIENCE_USER] && !client->token_url[AUDIENCE_CUSTOMER] &&
             !client_is_anonymous(client)))
                return 0;
        return config_mistakes_add(&reader->mistakes, config_reader_line(setting, "subject"),
                                   "the client application \"%s\" has no '%s', which a subject by "
                                   "%s needs",
                                   client->name, options[audience],
                                   subject_kind_name(entry->subject_kind));
}

/* The entry's scope, or that of its client; canonical. */
static int settle_scope(struct config_reader *reader, config_setting_t *setting,
                        struct credential_config *entry, const struct client_settings *client)
{
        size_t size;

        if (!entry->scope) {
                if (config_setting_get_member(setting, "scope"))
                        return 0; /* it was refused */
                if (!client->default_scope)
                        return config_mistakes_add(
                                &reader->mistakes, entry->rule.line,
                                "an entry of 'credentials' needs 'scope' where its client "
                                "application has no 'default_scope'");
                entry->scope = strdup(client->default_scope);
                if (!entry->scope)
                        return error_trace(-ENOMEM);
        }
        if (strchr(entry->scope, '*'))
                return config_mistakes_add(&reader->mistakes, config_reader_line(setting, "scope"),
                                           "a scope that is asked for is no pattern: scope values "
                                           "without '*' were expected");
        size = strlen(entry->scope);
        (void)scope_canonicalise(entry->scope, &size); /* was tried before */
        entry->scope[size] = '\0';
        return 0;
}

/* Puts together what the entry gives. */
static int make_rule(struct credential_config *entry, size_t client)
{
        const struct text scope = TEXT(entry->scope);
        struct rule *rule = &entry->rule;
        struct text value;
        size_t at = 0;

        if (asprintf(&rule->name, RULE_PREFIX "%s", entry->id) < 0) {
                rule->name = NULL;
                return error_trace(-ENOMEM);
        }
        rule->clients = calloc(1, sizeof(*rule->clients));
        rule->subjects = calloc(1, sizeof(*rule->subjects));
        rule->scopes = calloc(REQUEST_SCOPE_MAX_VALUES, sizeof(*rule->scopes));
        if (!rule->clients || !rule->subjects || !rule->scopes)
                return error_trace(-ENOMEM);
        rule->clients[rule->n_clients++] = client;
        rule->subjects[0].kind = entry->subject_kind;
        rule->subjects[0].pattern = strdup(entry->subject);
        if (!rule->subjects[0].pattern)
                return error_trace(-ENOMEM);
        rule->n_subjects = 1;
        while ((value = scope_next(scope, &at)).size > 0) {
                rule->scopes[rule->n_scopes] = strndup(value.bytes, value.size);
                if (!rule->scopes[rule->n_scopes])
                        return error_trace(-ENOMEM);
                rule->n_scopes++;
        }
        return 0;
}

static int resolve(struct config_reader *reader, config_setting_t *setting,
                   struct credential_config *entry, const struct settings *settings)
{
        config_setting_t *name = config_setting_get_member(setting, "client");
        const struct client_settings *client;
        bool found = false;
        size_t index;
        int r = 0;

        if (entry->rule.unit)
                r = check_unit(reader, setting, entry);
        if (!r && name)
                r = config_callers_find_client(reader, name, settings, &index, &found);
        if (r || !found)
                return error_trace(r);
        client = &settings->clients[index];
        r = check_url(reader, setting, entry, client);
        if (!r)
                r = settle_scope(reader, setting, entry, client);
        if (!r && entry->id && entry->rule.unit && entry->subject && entry->scope)
                r = make_rule(entry, index);
        return error_trace(r);
}

/* The first that fits decides, as in `callers`. */
static int check_overlap(struct config_reader *reader, const struct config *config, size_t j)
{
        const struct credential_config *later = &config->credentials[j];

        for (size_t i = 0; later->rule.name && i < j; i++) {
                const struct credential_config *earlier = &config->credentials[i];

                if (!earlier->rule.name || strcmp(earlier->id, later->id) != 0)
                        continue;
                if (strcmp(earlier->rule.unit, later->rule.unit) == 0)
                        return config_mistakes_add(
                                &reader->mistakes, later->rule.line,
                                "the credential \"%s\" of %s is given by line %d already",
                                later->id, later->rule.unit, earlier->rule.line);
                /* A star of the later one can only be matched by one of the earlier. */
                if (pattern_matches(earlier->rule.unit, TEXT(later->rule.unit)))
                        return config_mistakes_warn(
                                &reader->mistakes, later->rule.line,
                                "this entry is never used: line %d gives the credential \"%s\" to "
                                "every unit that it is for; put the narrower one before it",
                                earlier->rule.line, later->id);
        }
        return 0;
}

static const struct listener_config *find_listener(const struct config *config)
{
        for (size_t i = 0; i < config->n_listeners; i++)
                if (config->listeners[i].credentials)
                        return &config->listeners[i];
        return NULL;
}

static int check_reach(struct config_reader *reader, const struct config *config)
{
        const struct listener_config *listener = find_listener(config);

        if (listener && config->n_credentials == 0)
                return config_mistakes_warn(&reader->mistakes, listener->line,
                                            "nothing is handed out on this socket, because there "
                                            "is no list 'credentials'");
        if (!listener && config->n_credentials > 0)
                return config_mistakes_warn(&reader->mistakes, config->credentials[0].rule.line,
                                            "no unit can ask for what is in 'credentials', because "
                                            "'listen' has no entry with 'credentials'");
        return 0;
}

int config_credentials_resolve(struct config_reader *reader, config_setting_t *setting,
                               struct config *config)
{
        int r = 0;

        for (size_t i = 0; !r && i < config->n_credentials; i++) {
                config_setting_t *element = config_setting_get_elem(setting, (unsigned int)i);

                if (!config_setting_is_group(element))
                        continue;
                r = resolve(reader, element, &config->credentials[i], &config->settings);
                if (!r)
                        r = check_overlap(reader, config, i);
        }
        /* What is missing beside a mistake may be what was mistaken. */
        if (r || reader->mistakes.n_found > 0)
                return error_trace(r);
        return error_trace(check_reach(reader, config));
}
