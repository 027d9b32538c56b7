/* SPDX-License-Identifier: MIT */

/*
 * The tables below are the list of options: a plain one is a row, with its range and its default. A
 * list of groups (listen, clients, callers) has a file of its own.
 *
 * The way of a file: read whole through one descriptor, whose permissions are what is judged
 * (config_load) → numbers and secrets taken out of the text (config-text) → libconfig's tree → the
 * tables walked over it (config-reader), names looked up (config-names) and keys read
 * (config-keys), mistakes collected (config-mistakes). Nothing of libconfig survives the call (but
 * for a string that libconfig 1.5 loses at some syntax errors), and the text is wiped.
 */

#include "config.h"

#include <ctype.h>
#include <fcntl.h>
#include <libconfig.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../lib/error.h"
#include "config-audit.h"
#include "config-callers.h"
#include "config-clients.h"
#include "config-credentials.h"
#include "config-listen.h"
#include "config-mistakes.h"
#include "config-reader.h"
#include "config-text.h"
#include "config-url.h"
#include "secrets.h"
#include "sources.h"

#define FILE_MAX_BYTES     ((size_t)1024 * 1024)
#define NO_PROXY_MAX_BYTES 4096
#define NAME_SHOWN_MAX     ((size_t)60) /* bytes of a name that a message shows */

/* What libconfig makes of a text takes less. */
#define PARSING_BYTES  ((size_t)1024 * 1024)
#define PARSING_FACTOR 32

#define FIELD(member) CONFIG_FIELD(struct config, member)

static const struct config_option cache_options[] = {
        {"max_entries", CONFIG_KIND_COUNT, FIELD(settings.max_entries), "1", "10000000", "100000"},
        {"max_memory", CONFIG_KIND_SIZE, FIELD(settings.max_memory_bytes), "1M", "64G", "256M"},
        {"expiry_margin", CONFIG_KIND_DURATION, FIELD(settings.expiry_margin_ms), "1s", "5m",
         "30s"},
        {"default_lifetime", CONFIG_KIND_DURATION, FIELD(settings.default_lifetime_ms), "10s", "1d",
         "1h"},
        {.name = NULL},
};

/* Nothing but what libcurl could make something of; what it is, libcurl judges. */
static bool is_host_list(const char *value)
{
        size_t size = strlen(value);

        return size <= NO_PROXY_MAX_BYTES && config_reader_is_printable(value) &&
               (size == 0 || (value[0] != ' ' && value[size - 1] != ' '));
}

static const struct config_option upstream_options[] = {
        {"connect_timeout", CONFIG_KIND_DURATION, FIELD(upstream.connect_timeout_ms), "100ms", "1m",
         "5s", .at_most = "timeout"},
        {"timeout", CONFIG_KIND_DURATION, FIELD(upstream.timeout_ms), "100ms", "5m", "15s"},
        {"max_in_flight", CONFIG_KIND_COUNT, FIELD(settings.max_in_flight), "1", "10000", "32",
         .at_most = "max_in_flight_total"},
        {"max_in_flight_total", CONFIG_KIND_COUNT, FIELD(settings.max_in_flight_total), "1",
         "10000", "128"},
        {"ca_file", CONFIG_KIND_STRING, FIELD(upstream.ca_file), .check = config_reader_is_path,
         .expected = "an absolute path"},
        {"proxy", CONFIG_KIND_STRING, FIELD(upstream.proxy), .check = config_url_is_proxy,
         .expected = "an http:// or https:// URL of a host and a port, without user, password, "
                     "path, query or fragment, or \"\" for none",
         .quiet = true},
        {"no_proxy", CONFIG_KIND_STRING, FIELD(upstream.no_proxy), .check = is_host_list,
         .expected = "hosts, domains and networks with commas between them, such as "
                     "\"localhost,.example.com,10.0.0.0/8\", or \"\" for none"},
        {.name = NULL},
};

static const struct config_option limits_options[] = {
        {"max_connections", CONFIG_KIND_COUNT, FIELD(max_connections), "16", "100000", "4096"},
        {"max_waiters", CONFIG_KIND_COUNT, FIELD(settings.max_waiters), "1", "1000000", "8192"},
        {"max_waiters_per_flight", CONFIG_KIND_COUNT, FIELD(settings.max_waiters_per_flight), "1",
         "1000000", "4096", .at_most = "max_waiters"},
        {"max_flights", CONFIG_KIND_COUNT, FIELD(settings.max_flights), "1", "100000", "1024"},
        {"max_memories", CONFIG_KIND_COUNT, FIELD(settings.max_memories), "1", "1000000", "10000"},
        {"max_token_size", CONFIG_KIND_SIZE, FIELD(settings.max_token_bytes), "1K", "1M", "16K",
         .at_most = "max_response_size"},
        {"max_response_size", CONFIG_KIND_SIZE, FIELD(upstream.max_response_bytes), "4K", "1M",
         "1M"},
        {"header_timeout", CONFIG_KIND_DURATION, FIELD(header_timeout_ms), "100ms", "1m", "10s"},
        {"idle_timeout", CONFIG_KIND_DURATION, FIELD(idle_timeout_ms), "100ms", "1h", "60s"},
        {.name = NULL},
};

/* In the order of enum log_level. */
static const char *const log_levels[] = {"error", "warning", "info", "debug", NULL};

/* In the order of enum protect_lock. */
static const char *const locks[] = {"auto", "on", "off", NULL};

/* In the order of enum log_format. */
static const char *const log_formats[] = {"text", "json", NULL};

static const struct config_option options[] = {
        {"listen", CONFIG_KIND_OTHER, .read = config_listen_read},
        {"clients", CONFIG_KIND_OTHER, .read = config_clients_read},
        {"callers", CONFIG_KIND_OTHER, .read = config_callers_read},
        {"credentials", CONFIG_KIND_OTHER, .read = config_credentials_read},
        {"audit", CONFIG_KIND_GROUP, .options = config_audit_options},
        {"cache", CONFIG_KIND_GROUP, .options = cache_options},
        {"upstream", CONFIG_KIND_GROUP, .options = upstream_options},
        {"limits", CONFIG_KIND_GROUP, .options = limits_options},
        {"request_timeout", CONFIG_KIND_DURATION, FIELD(settings.request_timeout_ms), "100ms",
         "10m", "20s"},
        {"drain_timeout", CONFIG_KIND_DURATION, FIELD(drain_timeout_ms), "0s", "5m", "5s"},
        {"log_level", CONFIG_KIND_CHOICE, FIELD(log_level), .fallback = "info",
         .choices = log_levels},
        {"log_format", CONFIG_KIND_CHOICE, FIELD(log_format), .fallback = "text",
         .choices = log_formats},
        {"lock_memory", CONFIG_KIND_CHOICE, FIELD(lock_memory), .fallback = "auto",
         .choices = locks},
        {.name = NULL},
};

/* The tree of a text that was accepted is read into `config`. */
static int read_tree(struct config_reader *reader, config_setting_t *root, struct config *config)
{
        int r;

        r = config_reader_group(reader, root, options, config);
        if (r)
                return error_trace(r);
        config->settings.upstream_timeout_ms = config->upstream.timeout_ms;
        if (!config_setting_get_member(root, "clients")) {
                r = config_mistakes_add(&reader->mistakes, 0,
                                        "there are no 'clients': at least one client application "
                                        "is expected");
                if (r)
                        return error_trace(r);
        }
        if (!config_setting_get_member(root, "listen")) {
                r = config_listen_default(config);
                if (r)
                        return error_trace(r);
        }
        r = config_audit_resolve(reader, config_setting_get_member(root, "audit"), config);
        if (r)
                return error_trace(r);
        r = config_callers_resolve(reader, config_setting_get_member(root, "callers"), config);
        if (r)
                return error_trace(r);
        return config_credentials_resolve(reader, config_setting_get_member(root, "credentials"),
                                          config);
}

static bool is_duplicate(const config_t *tree)
{
        const char *text = config_error_text(tree);

        return text && strcmp(text, "duplicate setting name") == 0;
}

static bool is_of_name(char c)
{
        return isalnum((unsigned char)c) || c == '-' || c == '_' || c == '*';
}

/* Where the name ends that `at` is in. */
static size_t end_of_name(const struct secret *text, size_t at)
{
        while (at < text->size && is_of_name(text->bytes[at]))
                at++;
        return at;
}

/* Whether libconfig has found an option for the second time by the first `size` bytes. */
static bool has_duplicate(struct secret *text, size_t size)
{
        const char kept = text->bytes[size];
        config_t tree;
        bool found;

        text->bytes[size] = '\0';
        config_init(&tree);
        found = config_read_string(&tree, text->bytes) != CONFIG_TRUE && is_duplicate(&tree);
        config_destroy(&tree);
        text->bytes[size] = kept;
        return found;
}

/* libconfig does not say which option it is that it has found for the second time: the one at the
 * end of the shortest beginning of the text in which it finds one. */
static int reject_duplicate(struct config_reader *reader, int line, struct secret *text)
{
        size_t low = 0, high = text->size, size = 0;

        while (low < high) {
                const size_t middle = low + (high - low) / 2;

                if (has_duplicate(text, end_of_name(text, middle)))
                        high = middle;
                else
                        low = middle + 1;
        }
        high = end_of_name(text, high);
        while (size < high && is_of_name(text->bytes[high - size - 1]))
                size++;
        return config_mistakes_add(&reader->mistakes, line,
                                   "'%.*s%s' is given for the second time here: each option is "
                                   "expected once",
                                   (int)(size > NAME_SHOWN_MAX ? NAME_SHOWN_MAX : size),
                                   text->bytes + high - size, size > NAME_SHOWN_MAX ? "..." : "");
}

/* libconfig tells a line and a word or two. */
static int reject_syntax(struct config_reader *reader, const config_t *tree, struct secret *masked)
{
        const char *text = config_error_text(tree);
        int line = config_error_line(tree);

        if (is_duplicate(tree))
                return reject_duplicate(reader, line, masked);
        return config_mistakes_add(&reader->mistakes, line,
                                   "%s here, or just before: name = value; was expected",
                                   text ? text : "syntax error");
}

/* libconfig 1.5 uses what it is given without looking whether it is NULL, so that it is asked for
 * nothing unless there is plenty. */
static bool is_memory_ample(size_t size)
{
        void *volatile probe = malloc(PARSING_BYTES + size * PARSING_FACTOR);
        const bool ample = probe;

        free(probe);
        return ample;
}

/* Nor does it notice a copy that it could not make: a string would be none, which means something
 * else, and a member would have no name. */
static bool is_whole(const config_setting_t *setting)
{
        const int type = config_setting_type(setting);

        if (type == CONFIG_TYPE_STRING)
                return config_setting_get_string(setting);
        if (type != CONFIG_TYPE_GROUP && type != CONFIG_TYPE_LIST && type != CONFIG_TYPE_ARRAY)
                return true;
        for (int i = 0; i < config_setting_length(setting); i++) {
                const config_setting_t *element = config_setting_get_elem(setting, (unsigned int)i);

                if (!element || !is_whole(element) ||
                    (type == CONFIG_TYPE_GROUP && !config_setting_name(element)))
                        return false;
        }
        return true;
}

static int read_text(struct config_reader *reader, const char *bytes, size_t size,
                     struct config *config)
{
        struct config_text text = CONFIG_TEXT_INIT;
        config_t tree;
        int r;

        if (!is_memory_ample(size))
                return error_trace(-ENOMEM);
        config_init(&tree);
        r = config_text_read(&text, bytes, size, &reader->mistakes);
        if (r || reader->mistakes.n_found > 0)
                goto out;
        if (config_read_string(&tree, text.masked.bytes) != CONFIG_TRUE) {
                r = reject_syntax(reader, &tree, &text.masked);
                goto out;
        }
        if (!is_whole(config_root_setting(&tree))) {
                r = error_trace(-ENOMEM);
                goto out;
        }
        if (config_text_attach(&text, config_root_setting(&tree)) != 0) {
                r = config_mistakes_add(&reader->mistakes, 0,
                                        "cannot be understood for certain; please report this");
                goto out;
        }
        r = read_tree(reader, config_root_setting(&tree), config);

out:
        config_destroy(&tree);
        config_text_deinit(&text);
        return error_trace(r);
}

static struct config *config_new(const char *path)
{
        struct config *config = calloc(1, sizeof(*config));

        if (!config)
                return NULL;
        config->path = strdup(path);
        if (!config->path) {
                free(config);
                return NULL;
        }
        config->policy.own_uid = geteuid();
        secret_init(&config->audit.key, SECRETS_MAX_BYTES);
        config_reader_defaults(options, config);
        return config;
}

int config_parse(struct config **ret, const char *path, const char *text, size_t text_size,
                 bool text_private, FILE *errors)
{
        struct config_reader reader = {.path = path, .text_private = text_private};
        struct config *config = config_new(path);
        int r;

        if (!config)
                return error_trace(-ENOMEM);

        if (text_size > FILE_MAX_BYTES)
                r = config_mistakes_add(&reader.mistakes, 0,
                                        "is larger than 1 MiB: this is no configuration");
        else
                r = read_text(&reader, text, text_size, config);

        if (!r)
                config_mistakes_print(&reader.mistakes, path, errors);
        if (!r && reader.mistakes.n_found > 0)
                r = reader.mistakes.n_found > reader.n_name_service ? CONFIG_E_INVALID
                                                                    : CONFIG_E_NAME_SERVICE;
        config_mistakes_deinit(&reader.mistakes);
        if (r) {
                config_free(config);
                return error_trace(r);
        }
        *ret = config;
        return 0;
}

/* The whole file, up to one byte more than is allowed. 0 or a negative errno. */
static int read_file(int fd, struct secret *text)
{
        int r;

        r = secret_reserve(text, FILE_MAX_BYTES + 1);
        if (r)
                return error_trace(r);
        while (text->size <= FILE_MAX_BYTES) {
                ssize_t n = read(fd, text->bytes + text->size, FILE_MAX_BYTES + 1 - text->size);

                if (n < 0 && errno != EINTR)
                        return -errno;
                if (n == 0)
                        break;
                if (n > 0)
                        text->size += (size_t)n;
        }
        return 0;
}

static int reject_file(const char *path, FILE *errors, const char *what)
{
        fprintf(errors, "%s: %s\n", path, what);
        return CONFIG_E_INVALID;
}

/* Who can write the file says who may have tokens. 0 or CONFIG_E_INVALID. */
static int check_owner(const char *path, const struct stat *status, FILE *errors)
{
        if (status->st_uid != 0 && status->st_uid != geteuid()) {
                fprintf(errors,
                        "%s: says who may have tokens, but belongs to uid %u, neither to root nor "
                        "to the daemon's user: chown root %s\n",
                        path, (unsigned int)status->st_uid, path);
                return CONFIG_E_INVALID;
        }
        if (status->st_mode & (S_IWGRP | S_IWOTH)) {
                fprintf(errors,
                        "%s: says who may have tokens, but its mode, %04o, lets others write it: "
                        "chmod go-w %s\n",
                        path, (unsigned int)status->st_mode & 07777, path);
                return CONFIG_E_INVALID;
        }
        return 0;
}

int config_load(struct config **ret, const char *path, FILE *errors)
{
        struct secret text = SECRET_INIT(0);
        struct stat status;
        bool private;
        int fd, r;

        /* Without waiting, should it be a FIFO: it is refused below. */
        fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
        if (fd < 0) {
                fprintf(errors, "%s: cannot be opened: %s\n", path, strerror(errno));
                return CONFIG_E_INVALID;
        }
        if (fstat(fd, &status) < 0 || !S_ISREG(status.st_mode)) {
                r = reject_file(path, errors, "is not a regular file, as was expected");
                goto out;
        }

        r = check_owner(path, &status, errors);
        if (r)
                goto out;
        r = read_file(fd, &text);
        if (r == -ENOMEM)
                goto out;
        if (r < 0) {
                r = reject_file(path, errors, "cannot be read");
                goto out;
        }
        private = secrets_check_file(fd, path, geteuid(), "", NULL) == 0;
        r = config_parse(ret, path, text.bytes, text.size, private, errors);

out:
        secret_deinit(&text);
        close(fd);
        return error_trace(r);
}

static void client_deinit(struct client_settings *client)
{
        free(client->name);
        free(client->client_id);
        for (size_t i = 0; i < _AUDIENCE_N; i++)
                free(client->token_url[i]);
        free(client->default_scope);
}

static void source_deinit(struct secret_source *source)
{
        free(source->where);
        secret_deinit(&source->value);
}

void config_free(struct config *config)
{
        if (!config)
                return;
        for (size_t i = 0; i < config->settings.n_clients; i++) {
                client_deinit(&config->settings.clients[i]);
                source_deinit(&config->secrets[2 * i]);
                source_deinit(&config->secrets[2 * i + 1]);
                free(config->tls[i].cert_file);
                free(config->tls[i].key_file);
        }
        free(config->settings.clients);
        free(config->secrets);
        sources_free(config->sources);
        free(config->tls);
        free(config->listeners);
        policy_deinit(&config->policy);
        for (size_t i = 0; i < config->n_credentials; i++)
                config_credentials_deinit(&config->credentials[i]);
        free(config->credentials);
        free(config->audit.file);
        free(config->audit.key_file);
        secret_deinit(&config->audit.key);
        free(config->upstream.ca_file);
        free(config->upstream.proxy);
        free(config->upstream.no_proxy);
        free(config->path);
        free(config);
}
