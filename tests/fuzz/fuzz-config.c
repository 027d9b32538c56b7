/* SPDX-License-Identifier: MIT */

/*
 * The configuration reader on any bytes. Beyond not crashing and not leaking: what it accepts it
 * has nothing to say about but warnings, what it refuses it refuses with a word, and what we take
 * out of the text is what libconfig finds missing. No file is touched (names of users and groups
 * are looked up): a key file holds its own name.
 */

#include "../../daemon/config.h"

#include <stdbool.h>
#include <string.h>

#include "../../daemon/config-keys.h"
#include "../../lib/client.h"
#include "fuzz.h"

/* Said alone, where what was taken out of the text does not fit what libconfig has found in it. */
#define MISMATCH "fuzz.conf: cannot be understood"

const char *__lsan_default_suppressions(void);

/* libconfig 1.5 loses a string that it has just read when what follows it is a syntax error. */
const char *__lsan_default_suppressions(void)
{
        return "leak:strbuf_append\nleak:libconfig_yylex\n";
}

/* In place of the daemon's. */
int config_keys_read(struct config_reader *reader, int line, const char *path, size_t min_bytes,
                     struct secret *ret)
{
        if (strlen(path) < min_bytes)
                return config_mistakes_add(&reader->mistakes, line, "too short");
        return secret_assign(ret, path, strlen(path));
}

static void check_rule(const struct rule *rule, const struct settings *settings)
{
        must(rule->name && rule->line > 0);
        must(rule->user || rule->group || rule->unit);
        must(!rule->everything);
        must(!rule->unit || strlen(rule->unit) > strlen(".scope"));
        must(rule->fetches.count > 0 && rule->fetches.period_ms > 0);
        for (size_t i = 0; i < rule->n_clients; i++)
                must(rule->clients[i] < settings->n_clients);
        for (size_t i = 0; i < rule->n_subjects; i++)
                must(rule->subjects[i].kind < _SUBJECT_KIND_N && *rule->subjects[i].pattern);
        for (size_t i = 0; i < rule->n_scopes; i++)
                must(*rule->scopes[i] && !strchr(rule->scopes[i], ' '));
}

static void check_audit(const struct audit_config *audit)
{
        must((audit->target == AUDIT_TO_FILE) == (audit->file != NULL));
        must((audit->key_file != NULL) == (audit->key.size > 0));
        must(audit->subjects == AUDIT_SUBJECTS_CLEAR || audit->key_file);
        must(!audit->required || audit->fold_ms == 0);
        must(audit->max_records > 0);
}

static void check_credential(const struct credential_config *entry, const struct settings *settings)
{
        const struct rule *rule = &entry->rule;

        must(entry->id && entry->subject && *entry->subject && entry->scope && *entry->scope);
        must(rule->name && rule->unit && rule->line > 0 && rule->fetches.count == 0);
        must(!rule->user && !rule->group && !rule->has_key && !rule->monitor && !rule->admin);
        must(rule->n_clients == 1 && rule->n_subjects == 1 && rule->n_scopes > 0);
        must(rule->clients[0] < settings->n_clients);
        must(!strchr(rule->subjects[0].pattern, '*'));
        must(policy_check_subject(rule, entry->subject_kind, TEXT(entry->subject)) == 0);
        must(policy_check_scope(rule, TEXT(entry->scope)) == 0);
        for (size_t i = 0; i < rule->n_scopes; i++)
                must(!strchr(rule->scopes[i], '*'));
}

/* Whether each line is a warning. */
static bool only_warns(const char *said)
{
        for (const char *line = said; *line; line = strchr(line, '\n') + 1) {
                const char *warning = strstr(line, ": warning: ");

                if (!warning || warning > strchr(line, '\n'))
                        return false;
        }
        return true;
}

static void check_source(const struct secret_source *source)
{
        must((source->kind == SECRET_KIND_NONE) == (source->line == 0));
        must((source->kind == SECRET_KIND_INLINE) == (source->value.size > 0));
        must((source->kind == SECRET_KIND_FILE || source->kind == SECRET_KIND_CREDENTIAL) ==
             (source->where != NULL));
}

/* What others rely on in a configuration that was accepted. */
static void check(const struct config *config)
{
        const struct settings *settings = &config->settings;

        must(settings->n_clients > 0 && config->n_listeners > 0);
        must(settings->max_entries > 0 && settings->max_waiters_per_flight > 0);
        must(settings->max_waiters_per_flight <= settings->max_waiters);
        must(settings->max_in_flight > 0 && settings->max_memories > 0);
        must(settings->upstream_timeout_ms == config->upstream.timeout_ms);
        must(settings->max_in_flight <= settings->max_in_flight_total);
        must(config->upstream.connect_timeout_ms > 0);
        must(config->upstream.connect_timeout_ms <= config->upstream.timeout_ms);
        must(settings->max_token_bytes <= config->upstream.max_response_bytes);
        must(config->log_level <= LOG_LEVEL_DEBUG);
        for (size_t i = 0; i < config->policy.n_rules; i++)
                check_rule(&config->policy.rules[i], settings);
        for (size_t i = 0; i < config->n_credentials; i++)
                check_credential(&config->credentials[i], settings);
        check_audit(&config->audit);
        for (size_t i = 0; i < settings->n_clients; i++) {
                const struct client_settings *client = &settings->clients[i];
                const struct secret_source *sources = &config->secrets[2 * i];
                const struct client_tls *tls = &config->tls[i];

                must(client->name && client->identity > 0);
                must(client->client_id || client_is_anonymous(client));
                must(client_is_anonymous(client) ==
                     (!client->token_url[AUDIENCE_USER] && !client->token_url[AUDIENCE_CUSTOMER]));
                must(sources[0].kind != SECRET_KIND_NONE);
                check_source(&sources[0]);
                check_source(&sources[1]);
                must(client->secret_expires_s[0] >= 0 && client->secret_expires_s[1] >= 0);
                must(client->secret_expires_s[1] == 0 || sources[1].kind != SECRET_KIND_NONE);
                must((tls->cert_file != NULL) == (tls->key_file != NULL));
        }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        struct config *config = NULL;
        char *said = NULL;
        size_t said_size;
        FILE *errors;
        int r;

        errors = open_memstream(&said, &said_size);
        must(errors);
        /* The first byte, which no sensible file begins with, also decides who can read it. */
        r = config_parse(&config, "fuzz.conf", (const char *)data, size,
                         size == 0 || data[0] != '\t', errors);
        must(fclose(errors) == 0);

        must(r == 0 ? only_warns(said) : said_size > 0);
        must((r == 0) == (config != NULL));
        must(r >= 0);
        must(strncmp(said, MISMATCH, strlen(MISMATCH)) != 0);
        if (config)
                check(config);
        config_free(config);
        free(said);
        return 0;
}
