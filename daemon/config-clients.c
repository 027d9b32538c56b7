/* SPDX-License-Identifier: MIT */

/*
 * The arrays of the configuration (clients, secrets) have the indices of the list in the file, also
 * where an entry is full of mistakes: so an entry's line is found by its index. What is missing in
 * such an entry is NULL; the whole configuration is thrown away in the end.
 *
 * Values that are, or may have been mistaken for, a secret are not shown in messages: URLs (which
 * could hold a password) and everything that is named client_secret….
 */

#include "config-clients.h"

#include <arpa/inet.h>
#include <curl/curl.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "../lib/error.h"
#include "../lib/request.h"
#include "config-text.h"
#include "secrets.h"

#define CLIENTS_MAX         1000
#define NAME_MAX_BYTES      64
#define CLIENT_ID_MAX_BYTES 255
#define URL_MAX_BYTES       2048
#define CREDENTIAL_MAX      255

/* What an entry is read into. */
struct entry {
        struct client_settings client;
        struct secret_source source; /* line 0: none was found yet */
};

static bool is_name(const char *value)
{
        size_t size = strlen(value);

        return size >= 1 && size <= NAME_MAX_BYTES &&
               strspn(value, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-") ==
                       size;
}

static bool is_client_id(const char *value)
{
        size_t size = strlen(value);

        return size >= 1 && size <= CLIENT_ID_MAX_BYTES && config_reader_is_printable(value);
}

/* 127.0.0.0/8 or ::1, written as an address. `host` is as curl tells it: IPv6 in brackets. */
static bool is_loopback(const char *host)
{
        struct in_addr address;

        if (strcmp(host, "[::1]") == 0)
                return true;
        return inet_pton(AF_INET, host, &address) == 1 && ntohl(address.s_addr) >> 24 == 127;
}

static bool has_part(CURLU *url, CURLUPart part)
{
        char *value = NULL;
        CURLUcode r;

        r = curl_url_get(url, part, &value, 0);
        curl_free(value);
        return r == CURLUE_OK;
}

static bool is_host_allowed(CURLU *url, bool is_https)
{
        char *host = NULL;
        bool allowed;

        if (curl_url_get(url, CURLUPART_HOST, &host, 0) != CURLUE_OK)
                return false;
        allowed = is_https || is_loopback(host);
        curl_free(host);
        return allowed;
}

/*
 * What curl will take the URL apart into when it is used is what is judged. Curl is generous (one
 * slash or three, a backslash in the user's name, port 0); the text is held to the plain form
 * first.
 */
static bool is_url(const char *value)
{
        bool is_https = strncasecmp(value, "https://", 8) == 0;
        bool is_http = strncasecmp(value, "http://", 7) == 0;
        CURLU *url;
        bool good;

        if ((!is_https && !is_http) || strlen(value) > URL_MAX_BYTES ||
            !config_reader_is_printable(value) || strpbrk(value, " \\#\"<>") ||
            value[is_https ? 8 : 7] == '/')
                return false;

        url = curl_url();
        good = url && curl_url_set(url, CURLUPART_URL, value, 0) == CURLUE_OK &&
               !has_part(url, CURLUPART_USER) && !has_part(url, CURLUPART_PASSWORD) &&
               is_host_allowed(url, is_https);
        if (good) {
                char *port = NULL;

                if (curl_url_get(url, CURLUPART_PORT, &port, 0) == CURLUE_OK)
                        good = strspn(port, "0") != strlen(port);
                curl_free(port);
        }
        curl_url_cleanup(url);
        return good;
}

static bool is_credential(const char *value)
{
        size_t size = strlen(value);

        return size >= 1 && size <= CREDENTIAL_MAX && config_reader_is_printable(value) &&
               !strchr(value, '/') && strcmp(value, ".") != 0 && strcmp(value, "..") != 0;
}

/* Refined by scope_canonicalise(), once there is a copy that it may rewrite. */
static bool is_scope(const char *value)
{
        char copy[REQUEST_SCOPE_MAX_BYTES + 1];
        size_t size = strlen(value);

        if (size > REQUEST_SCOPE_MAX_BYTES)
                return false;
        memcpy(copy, value, size + 1);
        return scope_canonicalise(copy, &size) == 0;
}

/* Notes which secret source an entry has. *ret_first: it is the first one. */
static int begin_source(struct config_reader *reader, config_setting_t *setting,
                        struct secret_source *source, enum secret_kind kind, bool *ret_first)
{
        int line = (int)config_setting_source_line(setting);

        *ret_first = source->line == 0;
        if (!*ret_first)
                return config_mistakes_add(
                        &reader->mistakes, line,
                        "'%s' is one secret too many: line %d names one, and exactly one of "
                        "'client_secret_file', 'client_secret_credential' and 'client_secret' is "
                        "expected",
                        config_setting_name(setting), source->line);
        source->kind = kind;
        source->line = line;
        return 0;
}

static int read_inline(struct config_reader *reader, config_setting_t *setting, void *target)
{
        struct config_word *word = config_text_word(setting);
        struct secret_source *source = &((struct entry *)target)->source;
        const char *fault;
        bool first;
        int r;

        r = begin_source(reader, setting, source, SECRET_KIND_INLINE, &first);
        if (r || !first)
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
        struct secret_source *source = &((struct entry *)target)->source;
        const char *value;
        bool first;
        int r;

        r = begin_source(reader, setting, source, kind, &first);
        if (r || !first)
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

#define URL_EXPECTATION \
        "an https:// URL without user, password or fragment (http:// only to 127.0.0.1 or [::1])"

static const struct config_option entry_options[] = {
        {"name", CONFIG_KIND_STRING, CONFIG_FIELD(struct entry, client.name), .check = is_name,
         .expected = "1 to 64 letters, digits, '.', '_' or '-'"},
        {"client_id", CONFIG_KIND_STRING, CONFIG_FIELD(struct entry, client.client_id),
         .check = is_client_id, .expected = "1 to 255 printable ASCII characters"},
        {"client_secret", CONFIG_KIND_OTHER, .read = read_inline},
        {"client_secret_file", CONFIG_KIND_OTHER, .read = read_file},
        {"client_secret_credential", CONFIG_KIND_OTHER, .read = read_credential},
        {"user_token_url", CONFIG_KIND_STRING,
         CONFIG_FIELD(struct entry, client.token_url[AUDIENCE_USER]), .check = is_url,
         .expected = URL_EXPECTATION, .quiet = true},
        {"customer_token_url", CONFIG_KIND_STRING,
         CONFIG_FIELD(struct entry, client.token_url[AUDIENCE_CUSTOMER]), .check = is_url,
         .expected = URL_EXPECTATION, .quiet = true},
        {"default_scope", CONFIG_KIND_STRING, CONFIG_FIELD(struct entry, client.default_scope),
         .check = is_scope,
         .expected = "scope values (RFC 6749, section 3.3) with single spaces between them"},
        {.name = NULL},
};

/* A new one each time; a reload will keep that of a client whose identity has not changed. */
static uint64_t next_identity(void)
{
        static uint64_t last;

        return ++last;
}

static int require(struct config_reader *reader, config_setting_t *setting, const char *name)
{
        if (config_setting_get_member(setting, name))
                return 0;
        return config_mistakes_add(&reader->mistakes, config_reader_line(setting, name),
                                   "an entry of 'clients' needs '%s'", name);
}

static int check_complete(struct config_reader *reader, config_setting_t *setting,
                          const struct entry *entry)
{
        int line = (int)config_setting_source_line(setting);
        int r;

        r = require(reader, setting, "name");
        if (!r)
                r = require(reader, setting, "client_id");
        if (!r && entry->source.line == 0)
                r = config_mistakes_add(&reader->mistakes, line,
                                        "an entry of 'clients' needs one of 'client_secret_file', "
                                        "'client_secret_credential' and 'client_secret'");
        if (!r && !config_setting_get_member(setting, "user_token_url") &&
            !config_setting_get_member(setting, "customer_token_url"))
                r = config_mistakes_add(&reader->mistakes, line,
                                        "an entry of 'clients' needs 'user_token_url', "
                                        "'customer_token_url' or both");
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
        entry->client.identity = next_identity();
        return check_complete(reader, setting, entry);
}

static bool same(const char *a, const char *b)
{
        return a && b && strcmp(a, b) == 0;
}

/* Callers name a client by either of the two, so each must lead to one client only. */
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
        config->secrets = calloc(n, sizeof(*config->secrets));
        if (!config->settings.clients || !config->secrets)
                return error_trace(-ENOMEM);

        for (size_t i = 0; i < n; i++) {
                struct entry entry = {.source.value = SECRET_INIT(SECRETS_MAX_BYTES)};

                r = read_entry(reader, config_setting_get_elem(setting, (unsigned int)i), &entry);
                config->settings.clients[i] = entry.client;
                config->secrets[i] = entry.source;
                config->settings.n_clients++;
                if (!r)
                        r = check_unique(reader, setting, config, i);
                if (r)
                        return error_trace(r);
        }
        return 0;
}
