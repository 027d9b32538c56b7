/* SPDX-License-Identifier: MIT */

/*
 * Everything is checked here, so that the rest need not doubt its options. The address is taken by
 * comparing literals rather than by a resolver: an issuer that hands tokens to whoever knows a
 * test's secret has no business beyond loopback, and there are only two ways to write that.
 */

#include "options.h"

#include <arpa/inet.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "error.h"

#define LIFETIME_DEFAULT_S  3600
#define TOKEN_BYTES_DEFAULT 1400
#define TOKEN_BYTES_MAX     (16 << 20)

static const char usage[] =
        "usage: fake-egain --listen ADDRESS [options]\n"
        "\n"
        "An issuer of make-believe eGain tokens, for demonstration, tests and benchmarks.\n"
        "\n"
        "  --listen ADDRESS        127.0.0.1:PORT or [::1]:PORT; port 0 takes a free one\n"
        "  --port-file FILE        write the port to FILE once listening\n"
        "  --tls-cert FILE         serve HTTPS with this certificate chain (PEM)\n"
        "  --tls-key FILE          and this private key (PEM)\n"
        "  --client TENANT:CLIENT_ID:SECRET[:SECRET2]\n"
        "                          a client application; may be repeated\n"
        "  --scope SCOPE           a scope assigned to the applications; may be repeated\n"
        "                          (default: the two known on-behalf-of scopes)\n"
        "  --unknown-subject NAME  a subject that does not exist; may be repeated\n"
        "  --registration ID       the registration_id of an identity provider; may be repeated\n"
        "  --lifetime SECONDS      of a token (default 3600)\n"
        "  --token-bytes N         size of a token, roughly (default 1400)\n"
        "  --help, --version\n";

enum {
        OPTION_LISTEN = 1,
        OPTION_PORT_FILE,
        OPTION_TLS_CERT,
        OPTION_TLS_KEY,
        OPTION_CLIENT,
        OPTION_SCOPE,
        OPTION_UNKNOWN_SUBJECT,
        OPTION_REGISTRATION,
        OPTION_LIFETIME,
        OPTION_TOKEN_BYTES,
        OPTION_HELP,
        OPTION_VERSION,
};

static const struct option long_options[] = {
        {"listen", required_argument, NULL, OPTION_LISTEN},
        {"port-file", required_argument, NULL, OPTION_PORT_FILE},
        {"tls-cert", required_argument, NULL, OPTION_TLS_CERT},
        {"tls-key", required_argument, NULL, OPTION_TLS_KEY},
        {"client", required_argument, NULL, OPTION_CLIENT},
        {"scope", required_argument, NULL, OPTION_SCOPE},
        {"unknown-subject", required_argument, NULL, OPTION_UNKNOWN_SUBJECT},
        {"registration", required_argument, NULL, OPTION_REGISTRATION},
        {"lifetime", required_argument, NULL, OPTION_LIFETIME},
        {"token-bytes", required_argument, NULL, OPTION_TOKEN_BYTES},
        {"help", no_argument, NULL, OPTION_HELP},
        {"version", no_argument, NULL, OPTION_VERSION},
        {NULL, 0, NULL, 0},
};

static int complain(const char *what, const char *value)
{
        (void)fprintf(stderr, "fake-egain: %s%s%s (see --help)\n", what, value ? ": " : "",
                      value ? value : "");
        return OPTIONS_E_USAGE;
}

static bool parse_number(const char *text, int64_t limit, int64_t *ret_number)
{
        char *end;
        long long number;

        if (*text < '0' || *text > '9')
                return false;
        errno = 0;
        number = strtoll(text, &end, 10);
        if (errno || *end || number > limit)
                return false;
        *ret_number = number;
        return true;
}

static int parse_listen(struct options *options, const char *text)
{
        static const char ipv4[] = "127.0.0.1:";
        static const char ipv6[] = "[::1]:";
        struct sockaddr_in in = {.sin_family = AF_INET};
        struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
        bool is_ipv4 = strncmp(text, ipv4, sizeof(ipv4) - 1) == 0;
        int64_t port;

        if (!is_ipv4 && strncmp(text, ipv6, sizeof(ipv6) - 1) != 0)
                return complain("--listen takes 127.0.0.1:PORT or [::1]:PORT", text);
        if (!parse_number(text + (is_ipv4 ? sizeof(ipv4) : sizeof(ipv6)) - 1, UINT16_MAX, &port))
                return complain("not a port", text);

        in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        in.sin_port = htons((uint16_t)port);
        in6.sin6_port = htons((uint16_t)port);
        options->address_size = is_ipv4 ? sizeof(in) : sizeof(in6);
        memcpy(&options->address, is_ipv4 ? (const void *)&in : (const void *)&in6,
               options->address_size);
        return 0;
}

static int parse_client(struct clients *clients, const char *text)
{
        char *copy = strdup(text);
        char *rest = copy;
        char *parts[2 + CLIENTS_SECRETS_MAX];
        size_t n_parts = 0;
        int r = 0;

        if (!copy)
                return error_trace(-ENOMEM);
        for (char *part; (part = strsep(&rest, ":"));) {
                if (!*part || n_parts == sizeof(parts) / sizeof(parts[0])) {
                        n_parts = 0;
                        break;
                }
                parts[n_parts++] = part;
        }
        if (n_parts < 3)
                r = complain("--client takes TENANT:CLIENT_ID:SECRET[:SECRET2]", NULL);
        else
                r = clients_put(clients, parts[0], parts[1], (const char *const *)parts + 2,
                                n_parts - 2);
        if (r == CLIENTS_E_FULL)
                r = complain("too many --client options", NULL);
        free(copy);
        return r;
}

static int add_name(struct options_names *names, const char *name)
{
        if (!*name)
                return complain("a name must not be empty", NULL);
        if (names->n_names == OPTIONS_NAMES_MAX)
                return complain("too many names, beginning at", name);
        names->names[names->n_names++] = name;
        return 0;
}

static int parse_option(struct options *options, struct clients *clients, int option,
                        const char *value)
{
        int64_t number;

        switch (option) {
        case OPTION_LISTEN: return parse_listen(options, value);
        case OPTION_PORT_FILE: options->port_file = value; return 0;
        case OPTION_TLS_CERT: options->tls_cert = value; return 0;
        case OPTION_TLS_KEY: options->tls_key = value; return 0;
        case OPTION_CLIENT: return parse_client(clients, value);
        case OPTION_SCOPE: return add_name(&options->scopes, value);
        case OPTION_UNKNOWN_SUBJECT: return add_name(&options->unknown_subjects, value);
        case OPTION_REGISTRATION: return add_name(&options->registrations, value);
        case OPTION_LIFETIME:
                if (!parse_number(value, INT64_MAX, &options->lifetime_s))
                        return complain("not a number of seconds", value);
                return 0;
        case OPTION_TOKEN_BYTES:
                if (!parse_number(value, TOKEN_BYTES_MAX, &number))
                        return complain("not a size, or more than 16 MiB", value);
                options->token_bytes = (size_t)number;
                return 0;
        case OPTION_HELP: (void)fputs(usage, stdout); return OPTIONS_E_DONE;
        case OPTION_VERSION: (void)puts("fake-egain " PROJECT_VERSION); return OPTIONS_E_DONE;
        default: return OPTIONS_E_USAGE; /* getopt has said why */
        }
}

int options_parse(struct options *options, struct clients *clients, int argc, char **argv)
{
        int option;

        *options = (struct options){
                .lifetime_s = LIFETIME_DEFAULT_S,
                .token_bytes = TOKEN_BYTES_DEFAULT,
        };
        while ((option = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
                int r = parse_option(options, clients, option, optarg);

                if (r)
                        return error_trace(r);
        }

        if (optind < argc)
                return complain("unexpected argument", argv[optind]);
        if (options->address_size == 0)
                return complain("--listen is required", NULL);
        if (!options->tls_cert != !options->tls_key)
                return complain("--tls-cert and --tls-key go together", NULL);
        if (options->scopes.n_names == 0) {
                (void)add_name(&options->scopes, "knowledge.portalmgr.onbehalfof.read");
                (void)add_name(&options->scopes, "knowledge.portalmgr.onbehalfof.manage");
        }
        return 0;
}

bool options_names_have(const struct options_names *names, const char *name, size_t size)
{
        for (size_t i = 0; i < names->n_names; i++) {
                if (strlen(names->names[i]) == size && memcmp(names->names[i], name, size) == 0)
                        return true;
        }
        return false;
}
