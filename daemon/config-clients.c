/* SPDX-License-Identifier: MIT */

/*
 * The arrays of the configuration (clients, secrets, tls) have the order of the list in the file,
 * also where an entry is full of mistakes: so an entry's line is found by its index. What is
 * missing in such an entry is NULL; the whole configuration is thrown away in the end.
 *
 * The options of the current secret and those of the next one are read by the same functions: the
 * name that an option has in the file tells which of the two it is about.
 *
 * Values that are, or may have been mistaken for, a secret are not shown in messages: URLs (which
 * could hold a password), key_file and everything that is named client_secret….
 */

#include "config-clients.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "../lib/client.h"
#include "../lib/error.h"
#include "../lib/request.h"
#include "config-text.h"
#include "config-url.h"
#include "secrets.h"

#define CLIENTS_MAX         1000
#define CLIENT_ID_MAX_BYTES 255
#define CREDENTIAL_MAX      255
#define NEXT                "next_" /* begins the options of the next secret */

/* What an entry is read into. */
struct entry {
        struct client_settings client;
        struct secret_source sources[2]; /* the current one, the next one */
        struct client_tls tls;
};

static bool is_client_id(const char *value)
{
        size_t size = strlen(value);

        return size >= 1 && size <= CLIENT_ID_MAX_BYTES && config_reader_is_printable(value);
}

static bool is_credential(const char *value)
{
        size_t size = strlen(value);

        return size >= 1 && size <= CREDENTIAL_MAX && config_reader_is_printable(value) &&
               !strchr(value, '/') && strcmp(value, ".") != 0 && strcmp(value, "..") != 0;
}

/* Refined by scope_canonicalise(), once there is a copy that it may rewrite. */
bool config_clients_is_scope(const char *value)
{
        char copy[REQUEST_SCOPE_MAX_BYTES + 1];
        size_t size = strlen(value);

        if (size > REQUEST_SCOPE_MAX_BYTES)
                return false;
        memcpy(copy, value, size + 1);
        return scope_canonicalise(copy, &size) == 0;
}

/*
 * Notes where a secret of an entry is from: *ret_source is the current one or the next one, as the
 * option's name says. NULL: it had one before, and a mistake was noted.
 */
static int begin_source(struct config_reader *reader, config_setting_t *setting, void *target,
                        enum secret_kind kind, struct secret_source **ret_source)
{
        const char *name = config_setting_name(setting);
        bool is_next = strncmp(name, NEXT, strlen(NEXT)) == 0;
        struct secret_source *source = &((struct entry *)target)->sources[is_next];
        const char *prefix = is_next ? NEXT : "";
        int line = (int)config_setting_source_line(setting);

        *ret_source = NULL;
        if (source->kind != SECRET_KIND_NONE)
                return config_mistakes_add(
                        &reader->mistakes, line,
                        "'%s' is one secret too many: line %d names one, and %s one of "
                        "'%sclient_secret_file', '%sclient_secret_credential' and "
                        "'%sclient_secret' is expected",
                        name, source->line, is_next ? "at most" : "exactly", prefix, prefix,
                        prefix);
        source->kind = kind;
        source->line = line;
        *ret_source = source;
        return 0;
}

static int read_inline(struct config_reader *reader, config_setting_t *setting, void *target)
{
        struct config_word *word = config_text_word(setting);
        struct secret_source *source;
        const char *fault;
        int r;

        r = begin_source(reader, setting, target, SECRET_KIND_INLINE, &source);
        if (r || !source)
                return error_trace(r);
        if (!word || !word->is_secret)
                return config_reader_reject(reader, setting, true, "a string");

        fault = secrets_fault(word->secret.bytes, word->secret.size);
        if (fault)
                return config_mistakes_add(&reader->mistakes, source->line, "'%s' %s",
                                           config_setting_name(setting), fault);
        if (!reader->text_private)
                return config_mistakes_add(
                        &reader->mistakes, source->line,
                        "'%s' is not safe in this file, which must belong to root or to the "
                        "daemon's user, be closed to others and not writable by its group: chown "
                        "root %s; chmod g-w,o= %s",
                        config_setting_name(setting), reader->path, reader->path);
        secret_move(&source->value, &word->secret);
        return 0;
}

static int read_where(struct config_reader *reader, config_setting_t *setting, void *target,
                      enum secret_kind kind, const struct config_option *option)
{
        struct secret_source *source;
        const char *value;
        int r;

        r = begin_source(reader, setting, target, kind, &source);
        if (r || !source)
                return error_trace(r);
        r = config_reader_string(reader, setting, option, &value);
        if (r || !value)
                return error_trace(r);
        source->where = strdup(value);
        return source->where ? 0 : error_trace(-ENOMEM);
}

static int read_file(struct config_reader *reader, config_setting_t *setting, void *target)
{
        static const struct config_option option = {
                .check = config_reader_is_path, .expected = "an absolute path", .quiet = true};

        return read_where(reader, setting, target, SECRET_KIND_FILE, &option);
}

static int read_credential(struct config_reader *reader, config_setting_t *setting, void *target)
{
        static const struct config_option option = {
                .check = is_credential,
                .expected = "the name of a systemd credential, which has no '/'",
                .quiet = true};

        return read_where(reader, setting, target, SECRET_KIND_CREDENTIAL, &option);
}

#define DATE_MIN "2000-01-01"
#define DATE_MAX "2999-12-31"

#define URL_EXPECTATION \
        "an https:// URL without user, password or fragment (http:// only to 127.0.0.1 or [::1])"

static const struct config_option entry_options[] = {
        {"name", CONFIG_KIND_STRING, CONFIG_FIELD(struct entry, client.name),
         .check = config_reader_is_name, .expected = CONFIG_NAME_EXPECTED},
        {"client_id", CONFIG_KIND_STRING, CONFIG_FIELD(struct entry, client.client_id),
         .check = is_client_id, .expected = "1 to 255 printable ASCII characters"},
        {"client_secret", CONFIG_KIND_OTHER, .read = read_inline},
        {"client_secret_file", CONFIG_KIND_OTHER, .read = read_file},
        {"client_secret_credential", CONFIG_KIND_OTHER, .read = read_credential},
        {"client_secret_expires", CONFIG_KIND_DATE,
         CONFIG_FIELD(struct entry, client.secret_expires_s[0]), DATE_MIN, DATE_MAX, .quiet = true},
        {"next_client_secret", CONFIG_KIND_OTHER, .read = read_inline},
        {"next_client_secret_file", CONFIG_KIND_OTHER, .read = read_file},
        {"next_client_secret_credential", CONFIG_KIND_OTHER, .read = read_credential},
        {"next_client_secret_expires", CONFIG_KIND_DATE,
         CONFIG_FIELD(struct entry, client.secret_expires_s[1]), DATE_MIN, DATE_MAX, .quiet = true},
        {"cert_file", CONFIG_KIND_STRING, CONFIG_FIELD(struct entry, tls.cert_file),
         .check = config_reader_is_path, .expected = "an absolute path"},
        {"key_file", CONFIG_KIND_STRING, CONFIG_FIELD(struct entry, tls.key_file),
         .check = config_reader_is_path, .expected = "an absolute path", .quiet = true},
        {"user_token_url", CONFIG_KIND_STRING,
         CONFIG_FIELD(struct entry, client.token_url[AUDIENCE_USER]),
         .check = config_url_is_token_url, .expected = URL_EXPECTATION, .quiet = true},
        {"customer_token_url", CONFIG_KIND_STRING,
         CONFIG_FIELD(struct entry, client.token_url[AUDIENCE_CUSTOMER]),
         .check = config_url_is_token_url, .expected = URL_EXPECTATION, .quiet = true},
        {"anonymous_token_url", CONFIG_KIND_STRING,
         CONFIG_FIELD(struct entry, client.token_url[AUDIENCE_ANONYMOUS]),
         .check = config_url_is_token_url, .expected = URL_EXPECTATION, .quiet = true},
        {"default_scope", CONFIG_KIND_STRING, CONFIG_FIELD(struct entry, client.default_scope),
         .check = config_clients_is_scope, .expected = CONFIG_SCOPE_EXPECTED},
        {.name = NULL},
};

/* A new one each time; a reload will keep that of a client whose identity has not changed. It may
 * be read in a thread of its own. */
static uint64_t next_identity(void)
{
        static _Atomic uint64_t last;

        return atomic_fetch_add(&last, 1) + 1;
}

static int require(struct config_reader *reader, config_setting_t *setting, const char *name)
{
        if (config_setting_get_member(setting, name))
                return 0;
        return config_mistakes_add(&reader->mistakes, config_reader_line(setting, name),
                                   "an entry of 'clients' needs '%s'", name);
}

/* An option that means nothing without another one. */
static int require_with(struct config_reader *reader, config_setting_t *setting, const char *name,
                        const char *needed)
{
        if (!config_setting_get_member(setting, name) || config_setting_get_member(setting, needed))
                return 0;
        return config_mistakes_add(&reader->mistakes, config_reader_line(setting, name),
                                   "'%s' needs '%s' beside it", name, needed);
}

/* Everything that an anonymous client application cannot have. */
static int check_anonymous(struct config_reader *reader, config_setting_t *setting)
{
        static const char *const others[] = {
                "user_token_url",
                "customer_token_url",
                "client_secret",
                "client_secret_file",
                "client_secret_credential",
                "client_secret_expires",
                "next_client_secret",
                "next_client_secret_file",
                "next_client_secret_credential",
                "next_client_secret_expires",
                "cert_file",
                "key_file",
        };
        int r;

        r = require(reader, setting, "name");
        for (size_t i = 0; !r && i < sizeof(others) / sizeof(*others); i++)
                if (config_setting_get_member(setting, others[i]))
                        r = config_mistakes_add(
                                &reader->mistakes, config_reader_line(setting, others[i]),
                                "'%s' is not for anonymous customers, whom 'anonymous_token_url' "
                                "in line %d is for: an entry of 'clients' of its own was expected",
                                others[i], config_reader_line(setting, "anonymous_token_url"));
        return error_trace(r);
}

/* An anonymous client application has the secret that the issuer documents for everybody. */
static int fill_in_anonymous(struct config_reader *reader, config_setting_t *setting,
                             struct entry *entry)
{
        struct secret_source *source = &entry->sources[0];

        if (source->kind != SECRET_KIND_NONE)
                return 0; /* a mistake */
        source->kind = SECRET_KIND_INLINE;
        source->line = config_reader_line(setting, "anonymous_token_url");
        return error_trace(secret_assign(&source->value, CLIENT_PLACEHOLDER_SECRET,
                                         strlen(CLIENT_PLACEHOLDER_SECRET)));
}

static int check_complete(struct config_reader *reader, config_setting_t *setting,
                          const struct entry *entry)
{
        int line = (int)config_setting_source_line(setting);
        int r;

        if (config_setting_get_member(setting, "anonymous_token_url"))
                return error_trace(check_anonymous(reader, setting));
        r = require(reader, setting, "name");
        if (!r)
                r = require(reader, setting, "client_id");
        if (!r && entry->sources[0].kind == SECRET_KIND_NONE)
                r = config_mistakes_add(&reader->mistakes, line,
                                        "an entry of 'clients' needs one of 'client_secret_file', "
                                        "'client_secret_credential' and 'client_secret'");
        if (!r && !config_setting_get_member(setting, "user_token_url") &&
            !config_setting_get_member(setting, "customer_token_url"))
                r = config_mistakes_add(&reader->mistakes, line,
                                        "an entry of 'clients' needs 'user_token_url', "
                                        "'customer_token_url' or both, or "
                                        "'anonymous_token_url' alone");
        if (!r && entry->sources[1].kind == SECRET_KIND_NONE &&
            config_setting_get_member(setting, "next_client_secret_expires"))
                r = config_mistakes_add(&reader->mistakes,
                                        config_reader_line(setting, "next_client_secret_expires"),
                                        "'next_client_secret_expires' needs a next secret: one of "
                                        "'next_client_secret_file', "
                                        "'next_client_secret_credential' and "
                                        "'next_client_secret'");
        if (!r)
                r = require_with(reader, setting, "cert_file", "key_file");
        if (!r)
                r = require_with(reader, setting, "key_file", "cert_file");
        return error_trace(r);
}

static int read_entry(struct config_reader *reader, config_setting_t *setting, struct entry *entry)
{
        int r;

        r = config_reader_group(reader, setting, entry_options, entry);
        if (r || !config_setting_is_group(setting))
                return error_trace(r);

        if (entry->client.default_scope) {
                size_t size = strlen(entry->client.default_scope);

                (void)scope_canonicalise(entry->client.default_scope, &size); /* was tried before */
                entry->client.default_scope[size] = '\0';
        }
        entry->tls.line = config_reader_line(setting, "key_file");
        entry->client.identity = next_identity();
        client_digest(entry->client.identity_sha256, &entry->client, entry->tls.cert_file);
        r = check_complete(reader, setting, entry);
        if (!r && client_is_anonymous(&entry->client))
                r = fill_in_anonymous(reader, setting, entry);
        return error_trace(r);
}

static bool same(const char *a, const char *b)
{
        return a && b && strcmp(a, b) == 0;
}

/* Callers name a client by either of the two, so each must lead to one client only; and where there
 * is no client_id, the token URL alone tells one from the other. */
static int check_unique(struct config_reader *reader, config_setting_t *list,
                        const struct config *config, size_t i)
{
        config_setting_t *setting = config_setting_get_elem(list, (unsigned int)i);
        const struct client_settings *client = &config->settings.clients[i];
        int r = 0;

        for (size_t j = 0; !r && j < i; j++) {
                config_setting_t *earlier = config_setting_get_elem(list, (unsigned int)j);
                const struct client_settings *other = &config->settings.clients[j];

                if (same(client->name, other->name))
                        r = config_mistakes_add(&reader->mistakes,
                                                config_reader_line(setting, "name"),
                                                "the name \"%s\" is taken already, by line %d",
                                                client->name, config_reader_line(earlier, "name"));
                if (!r && same(client->client_id, other->client_id))
                        r = config_mistakes_add(
                                &reader->mistakes, config_reader_line(setting, "client_id"),
                                "the client_id \"%s\" is taken already, by line %d",
                                client->client_id, config_reader_line(earlier, "client_id"));
                if (!r && !client->client_id && !other->client_id &&
                    same(client->token_url[AUDIENCE_ANONYMOUS],
                         other->token_url[AUDIENCE_ANONYMOUS]))
                        r = config_mistakes_add(
                                &reader->mistakes,
                                config_reader_line(setting, "anonymous_token_url"),
                                "this client application is the one of line %d once more: the "
                                "same 'anonymous_token_url', and no 'client_id'",
                                config_reader_line(earlier, "anonymous_token_url"));
                if (!r && same(client->name, other->client_id))
                        r = config_mistakes_add(
                                &reader->mistakes, config_reader_line(setting, "name"),
                                "the name \"%s\" is the client_id of another client, in line %d",
                                client->name, config_reader_line(earlier, "client_id"));
                if (!r && same(client->client_id, other->name))
                        r = config_mistakes_add(
                                &reader->mistakes, config_reader_line(setting, "client_id"),
                                "the client_id \"%s\" is the name of another client, in line %d",
                                client->client_id, config_reader_line(earlier, "name"));
        }
        return error_trace(r);
}

int config_clients_read(struct config_reader *reader, config_setting_t *setting, void *target)
{
        struct config *config = target;
        size_t n;
        int r;

        r = config_reader_list(reader, setting, CLIENTS_MAX, &n);
        if (r || n == 0)
                return error_trace(r);
        config->settings.clients = calloc(n, sizeof(*config->settings.clients));
        config->secrets = calloc(n, 2 * sizeof(*config->secrets));
        config->tls = calloc(n, sizeof(*config->tls));
        if (!config->settings.clients || !config->secrets || !config->tls)
                return error_trace(-ENOMEM);

        for (size_t i = 0; i < n; i++) {
                struct entry entry = {.sources = {{.value = SECRET_INIT(SECRETS_MAX_BYTES)},
                                                  {.value = SECRET_INIT(SECRETS_MAX_BYTES)}}};

                r = read_entry(reader, config_setting_get_elem(setting, (unsigned int)i), &entry);
                config->settings.clients[i] = entry.client;
                config->secrets[2 * i] = entry.sources[0];
                config->secrets[2 * i + 1] = entry.sources[1];
                config->tls[i] = entry.tls;
                config->settings.n_clients++;
                if (!r)
                        r = check_unique(reader, setting, config, i);
                if (r)
                        return error_trace(r);
        }
        return 0;
}
