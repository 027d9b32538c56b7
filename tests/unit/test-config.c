/* SPDX-License-Identifier: MIT */

/*
 * The configuration reader: each option at, below and above its range, each mistake with its exact
 * message, and the traps of libconfig. Most files here begin with a line of a good client, so that
 * what is tried is on line 2.
 */

#include "../../daemon/config.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <netinet/in.h>
#include <pwd.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#define REST   "client_id = \"id-1\"; client_secret_file = \"/s\"; user_token_url = \"https://h/t\";"
#define CLIENT "clients = ({ name = \"portal\"; " REST " });\n"
#define SIXTY  "abcdefghijklmnopqrstuvwxyz0123456789abcdefghijklmnopqrstuvwx"
#define URL_WANTED                                                                               \
        "must be an https:// URL without user, password or fragment (http:// only to 127.0.0.1 " \
        "or [::1])"

/* In place of the C library's, so that no test depends on the users and groups of this machine. */

static int group_error;

int getgrnam_r(const char *name, struct group *group, char *buffer, size_t size,
               struct group **ret_group)
{
        *ret_group = NULL;
        if (group_error)
                return group_error;
        if (strcmp(name, "huge") == 0 && size < 65536)
                return ERANGE;
        if (strcmp(name, "boundless") == 0)
                return ERANGE;
        if (strcmp(name, "egain-token") == 0 || strcmp(name, "huge") == 0) {
                memset(buffer, 'x', size);
                group->gr_gid = 4711;
                *ret_group = group;
        }
        if (strcmp(name, "crm") == 0 || strcmp(name, "sudo") == 0) {
                group->gr_gid = 1002;
                *ret_group = group;
        }
        return 0;
}

int getpwnam_r(const char *name, struct passwd *user, char *buffer, size_t size,
               struct passwd **ret_user)
{
        *ret_user = NULL;
        if (strcmp(name, "crm") == 0) {
                user->pw_uid = 1001;
                *ret_user = user;
        }
        return 0;
}

/* Helpers. */

static char *said; /* what the last parse said */

static int parse_bytes(const char *text, size_t size, bool private, struct config **ret_config)
{
        size_t said_size;
        FILE *errors;
        int r;

        free(said);
        said = NULL;
        *ret_config = NULL;
        errors = open_memstream(&said, &said_size);
        assert_non_null(errors);
        r = config_parse(ret_config, "t.conf", text, size, private, errors);
        assert_int_equal(fclose(errors), 0);
        return r;
}

static struct config *good(const char *text)
{
        struct config *config;
        int r;

        r = parse_bytes(text, strlen(text), true, &config);
        assert_string_equal(said, "");
        assert_int_equal(r, 0);
        assert_non_null(config);
        return config;
}

static void bad(const char *text, const char *expected)
{
        struct config *config;
        int r;

        r = parse_bytes(text, strlen(text), true, &config);
        assert_string_equal(said, expected);
        assert_int_equal(r, CONFIG_E_INVALID);
        assert_null(config);
}

static void accepted(const char *text)
{
        config_free(good(text));
}

static int tear_down(void **state)
{
        (void)state;
        free(said);
        said = NULL;
        group_error = 0;
        return 0;
}

/* Numbers: all of them are handled alike, so a table tries them alike. */

struct number {
        const char *group; /* NULL: none */
        const char *name;
        size_t offset;
        const char *fallback;
        uint64_t fallback_value;
        const char *min;
        uint64_t min_value;
        const char *max;
        uint64_t max_value;
        const char *below;
        const char *above;
        const char *wanted;
        const char *company; /* what must be given beside it at its bounds */
};

#define AT(member) offsetof(struct config, member)
#define S          1000ULL
#define M          (60 * S)
#define K_BYTES    1024ULL
#define M_BYTES    (1024 * K_BYTES)

static const struct number numbers[] = {
        {"cache", "max_entries", AT(settings.max_entries), "100000", 100000, "1", 1, "10000000",
         10000000, "0", "10000001", "a whole number from 1 to 10000000", ""},
        {"cache", "max_memory", AT(settings.max_memory_bytes), "\"256M\"", 256ULL * M_BYTES,
         "\"1M\"", M_BYTES, "\"64G\"", 64ULL * 1024 * M_BYTES, "\"1048575\"", "\"65537M\"",
         "a size in quotes from \"1M\" to \"64G\", such as \"256M\"", ""},
        {"cache", "expiry_margin", AT(settings.expiry_margin_ms), "\"30s\"", 30 * S, "\"1s\"", S,
         "\"5m\"", 5 * M, "\"999ms\"", "\"301s\"",
         "a duration in quotes from \"1s\" to \"5m\", such as \"30s\"", ""},
        {"cache", "default_lifetime", AT(settings.default_lifetime_ms), "\"1h\"", 60 * M, "\"10s\"",
         10 * S, "\"1d\"", 24ULL * 60 * M, "\"9999ms\"", "\"25h\"",
         "a duration in quotes from \"10s\" to \"1d\", such as \"1h\"", ""},
        {"upstream", "connect_timeout", AT(upstream.connect_timeout_ms), "\"5s\"", 5 * S,
         "\"100ms\"", 100, "\"1m\"", M, "\"99ms\"", "\"60001ms\"",
         "a duration in quotes from \"100ms\" to \"1m\", such as \"5s\"", "timeout = \"1m\";"},
        {"upstream", "timeout", AT(upstream.timeout_ms), "\"15s\"", 15 * S, "\"100ms\"", 100,
         "\"5m\"", 5 * M, "\"99ms\"", "\"6m\"",
         "a duration in quotes from \"100ms\" to \"5m\", such as \"15s\"", ""},
        {"upstream", "max_in_flight", AT(settings.max_in_flight), "32", 32, "1", 1, "10000", 10000,
         "0", "10001", "a whole number from 1 to 10000", "max_in_flight_total = 10000;"},
        {"upstream", "max_in_flight_total", AT(settings.max_in_flight_total), "128", 128, "1", 1,
         "10000", 10000, "0", "10001", "a whole number from 1 to 10000", ""},
        {"audit", "fold", AT(audit.fold_ms), "\"1m\"", M, "\"0s\"", 0, "\"1h\"", 60 * M, "\"-1s\"",
         "\"61m\"", "a duration in quotes from \"0s\" to \"1h\", such as \"1m\"", ""},
        {"audit", "max_records", AT(audit.max_records), "4096", 4096, "16", 16, "1000000", 1000000,
         "15", "1000001", "a whole number from 16 to 1000000", ""},
        {NULL, "request_timeout", AT(settings.request_timeout_ms), "\"20s\"", 20 * S, "\"100ms\"",
         100, "\"10m\"", 10 * M, "\"99ms\"", "\"11m\"",
         "a duration in quotes from \"100ms\" to \"10m\", such as \"20s\"", ""},
        {NULL, "drain_timeout", AT(drain_timeout_ms), "\"5s\"", 5 * S, "\"0s\"", 0, "\"5m\"", 5 * M,
         "\"-1s\"", "\"6m\"", "a duration in quotes from \"0s\" to \"5m\", such as \"5s\"", ""},
        {"limits", "max_connections", AT(max_connections), "4096", 4096, "16", 16, "100000", 100000,
         "15", "100001", "a whole number from 16 to 100000", ""},
        {"limits", "max_waiters", AT(settings.max_waiters), "8192", 8192, "1", 1, "1000000",
         1000000, "0", "1000001", "a whole number from 1 to 1000000", ""},
        {"limits", "max_waiters_per_flight", AT(settings.max_waiters_per_flight), "4096", 4096, "1",
         1, "1000000", 1000000, "0", "1000001", "a whole number from 1 to 1000000",
         "max_waiters = 1000000;"},
        {"limits", "max_flights", AT(settings.max_flights), "1024", 1024, "1", 1, "100000", 100000,
         "0", "100001", "a whole number from 1 to 100000", ""},
        {"limits", "max_memories", AT(settings.max_memories), "10000", 10000, "1", 1, "1000000",
         1000000, "0", "1000001", "a whole number from 1 to 1000000", ""},
        {"limits", "max_token_size", AT(settings.max_token_bytes), "\"16K\"", 16 * K_BYTES,
         "\"1K\"", K_BYTES, "\"1M\"", M_BYTES, "\"1023\"", "\"1025K\"",
         "a size in quotes from \"1K\" to \"1M\", such as \"16K\"", ""},
        {"limits", "max_response_size", AT(upstream.max_response_bytes), "\"1M\"", M_BYTES,
         "\"4K\"", 4 * K_BYTES, "\"1M\"", M_BYTES, "\"4095\"", "\"1048577\"",
         "a size in quotes from \"4K\" to \"1M\", such as \"1M\"", ""},
        {"limits", "header_timeout", AT(header_timeout_ms), "\"10s\"", 10 * S, "\"100ms\"", 100,
         "\"1m\"", M, "\"99ms\"", "\"2m\"",
         "a duration in quotes from \"100ms\" to \"1m\", such as \"10s\"", ""},
        {"limits", "idle_timeout", AT(idle_timeout_ms), "\"60s\"", 60 * S, "\"100ms\"", 100,
         "\"1h\"", 60 * M, "\"99ms\"", "\"61m\"",
         "a duration in quotes from \"100ms\" to \"1h\", such as \"60s\"", ""},
};

#define N_NUMBERS (sizeof(numbers) / sizeof(*numbers))

static char *write_number(const struct number *number, const char *value)
{
        char *text;
        int r;

        if (number->group)
                r = asprintf(&text, "%s%s = { %s = %s; %s };", CLIENT, number->group, number->name,
                             value, number->company);
        else
                r = asprintf(&text, "%s%s = %s;", CLIENT, number->name, value);
        assert_true(r >= 0);
        return text;
}

static uint64_t number_in(const struct config *config, const struct number *number)
{
        uint64_t value;

        memcpy(&value, (const char *)config + number->offset, sizeof(value));
        return value;
}

static void number_is(const struct number *number, const char *value, uint64_t expected)
{
        char *text = write_number(number, value);
        struct config *config = good(text);

        assert_int_equal(number_in(config, number), expected);
        config_free(config);
        free(text);
}

static void number_is_refused(const struct number *number, const char *value)
{
        char *text = write_number(number, value), *expected;

        assert_true(asprintf(&expected, "t.conf:2: '%s' must be %s, not %s\n", number->name,
                             number->wanted, value) >= 0);
        bad(text, expected);
        free(expected);
        free(text);
}

static void test_number_ranges(void **state)
{
        (void)state;
        for (size_t i = 0; i < N_NUMBERS; i++) {
                const struct number *number = &numbers[i];

                number_is(number, number->min, number->min_value);
                number_is(number, number->fallback, number->fallback_value);
                number_is(number, number->max, number->max_value);
                number_is_refused(number, number->below);
                number_is_refused(number, number->above);
        }
}

static void test_number_types(void **state)
{
        static const char *const wrong[] = {"true", "5.5", "0x10", "5L", "-1", "4294967296", "010"};

        (void)state;
        for (size_t i = 0; i < N_NUMBERS; i++)
                for (size_t j = 0; j < sizeof(wrong) / sizeof(*wrong); j++)
                        number_is_refused(&numbers[i], wrong[j]);
}

static void test_defaults(void **state)
{
        struct config *config = good(CLIENT);
        const struct sockaddr_un *address;

        (void)state;
        for (size_t i = 0; i < N_NUMBERS; i++)
                assert_int_equal(number_in(config, &numbers[i]), numbers[i].fallback_value);
        assert_int_equal(config->log_level, LOG_LEVEL_INFO);
        assert_int_equal(config->log_format, LOG_FORMAT_TEXT);
        assert_null(config->upstream.ca_file);
        assert_null(config->upstream.proxy);
        assert_null(config->upstream.no_proxy);
        assert_int_equal(config->settings.upstream_timeout_ms, 15 * S);
        assert_string_equal(config->path, "t.conf");
        assert_int_equal(config->policy.own_uid, geteuid());

        assert_int_equal(config->n_listeners, 1);
        address = (const struct sockaddr_un *)&config->listeners[0].address;
        assert_int_equal(address->sun_family, AF_UNIX);
        assert_string_equal(address->sun_path, "/run/egain-tokend/token.sock");
        assert_int_equal(config->listeners[0].mode, 0660);
        assert_int_equal(config->listeners[0].gid, (gid_t)-1);
        assert_int_equal(config->listeners[0].line, 0);
        config_free(config);

        /* Groups without options change nothing. */
        config = good(CLIENT "cache = {}; upstream = {}; limits = {}; audit = {};");
        for (size_t i = 0; i < N_NUMBERS; i++)
                assert_int_equal(number_in(config, &numbers[i]), numbers[i].fallback_value);
        config_free(config);
}

/* libconfig reads 0, 1, −1 and INT_MIN here, without a word. */
static void test_integers_that_wrap(void **state)
{
        static const char *const values[] = {
                "4294967296",
                "4294967297",
                "2147483648",
                "99999999999999999999",
                "-4294967295",
                "18446744073709551617",
                "9223372036854775808L",
                "0xffffffffff",
                "0x100000001",
                "+5",
                "1e3",
                ".",
                "-",
                "5abc",
                "1_000",
        };
        const struct number *number = &numbers[0];

        (void)state;
        for (size_t i = 0; i < sizeof(values) / sizeof(*values); i++)
                number_is_refused(number, values[i]);
        bad(CLIENT "cache = { max_entries = "
                   "11111111111111111111111111111111111111111111111111111111111111111; };",
            "t.conf:2: 'max_entries' must be a whole number from 1 to 10000000, not "
            "111111111111111111111111111111111111111111111111111111111111...\n");
}

static void test_units(void **state)
{
        static const char *const durations[] = {
                "\"30\"",
                "\"1.5s\"",
                "\"s\"",
                "\"\"",
                "\"30 s\"",
                "\" 30s\"",
                "\"30s \"",
                "\"30S\"",
                "\"+3s\"",
                "\"1h1m\"",
                "\"030s\"",
                "30s",
                "30",
                "\"18446744073709551617ms\"",
                "\"18446744073709551615d\"",
        };
        static const char *const sizes[] = {
                "\"256m\"",
                "\"256MB\"",
                "\"0.5G\"",
                "\"-1M\"",
                "\"M\"",
                "268435456",
                "256M",
                "\"17179869184G\"",
                "\"18446744073709551616\"",
        };
        struct config *config;

        (void)state;
        for (size_t i = 0; i < sizeof(durations) / sizeof(*durations); i++)
                number_is_refused(&numbers[2], durations[i]);
        for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++)
                number_is_refused(&numbers[1], sizes[i]);

        config = good(CLIENT "cache = { default_lifetime = \"2h\"; max_memory = \"4194304\"; };"
                             "limits = { idle_timeout = \"1500ms\"; };");
        assert_int_equal(config->settings.default_lifetime_ms, 120 * M);
        assert_int_equal(config->settings.max_memory_bytes, 4 * M_BYTES);
        assert_int_equal(config->idle_timeout_ms, 1500);
        config_free(config);
}

static void test_bounds_between_options(void **state)
{
        struct config *config;

        (void)state;
        bad(CLIENT "upstream = {\nconnect_timeout = \"10s\";\ntimeout = \"9s\";\n};",
            "t.conf:3: 'connect_timeout' must be at most 'timeout' (\"9s\"), not \"10s\"\n");
        bad(CLIENT "upstream = { connect_timeout = \"16s\"; };",
            "t.conf:2: 'connect_timeout' must be at most 'timeout' (15s, the default), not "
            "\"16s\"\n");
        bad(CLIENT "upstream = { max_in_flight_total = 10; max_in_flight = 11; };",
            "t.conf:2: 'max_in_flight' must be at most 'max_in_flight_total' (10), not 11\n");
        bad(CLIENT "limits = { max_waiters = 9; max_waiters_per_flight = 10; };",
            "t.conf:2: 'max_waiters_per_flight' must be at most 'max_waiters' (9), not 10\n");
        bad(CLIENT "limits = { max_token_size = \"1M\"; max_response_size = \"512K\"; };",
            "t.conf:2: 'max_token_size' must be at most 'max_response_size' (\"512K\"), not "
            "\"1M\"\n");

        /* A mistake in one of the two is said once. */
        bad(CLIENT "upstream = { connect_timeout = \"10s\"; timeout = \"9\"; };",
            "t.conf:2: 'timeout' must be a duration in quotes from \"100ms\" to \"5m\", such as "
            "\"15s\", not \"9\"\n");

        /* A default gives way. */
        config = good(CLIENT "upstream = { timeout = \"2s\"; max_in_flight_total = 4; };"
                             "limits = { max_waiters = 7; max_response_size = \"8K\"; };");
        assert_int_equal(config->upstream.connect_timeout_ms, 2000);
        assert_int_equal(config->settings.max_in_flight, 4);
        assert_int_equal(config->settings.max_waiters_per_flight, 7);
        assert_int_equal(config->settings.max_token_bytes, 8192);
        config_free(config);
}

static void test_log_level(void **state)
{
        static const char *const names[] = {"error", "warning", "info", "debug"};

        (void)state;
        for (size_t i = 0; i < 4; i++) {
                struct config *config;
                char text[512];

                (void)snprintf(text, sizeof(text), CLIENT "log_level = \"%s\";", names[i]);
                config = good(text);
                assert_int_equal(config->log_level, i);
                config_free(config);
        }
        bad(CLIENT "log_level = \"loud\";",
            "t.conf:2: 'log_level' must be \"error\", \"warning\", \"info\" or \"debug\", not "
            "\"loud\"\n");
        bad(CLIENT "log_level = 3;",
            "t.conf:2: 'log_level' must be \"error\", \"warning\", \"info\" or \"debug\", not 3\n");
}

static void test_log_format(void **state)
{
        struct config *config = good(CLIENT "log_format = \"json\";");

        (void)state;
        assert_int_equal(config->log_format, LOG_FORMAT_JSON);
        config_free(config);
        config = good(CLIENT "log_format = \"text\";");
        assert_int_equal(config->log_format, LOG_FORMAT_TEXT);
        config_free(config);
        bad(CLIENT "log_format = \"journal\";",
            "t.conf:2: 'log_format' must be \"text\" or \"json\", not \"journal\"\n");
}

static void test_lock_memory(void **state)
{
        struct config *config = good(CLIENT);

        assert_int_equal(config->lock_memory, PROTECT_LOCK_AUTO);
        config_free(config);
        config = good(CLIENT "lock_memory = \"on\";");
        assert_int_equal(config->lock_memory, PROTECT_LOCK_ON);
        config_free(config);
        config = good(CLIENT "lock_memory = \"off\";");
        assert_int_equal(config->lock_memory, PROTECT_LOCK_OFF);
        config_free(config);
        bad(CLIENT "lock_memory = true;",
            "t.conf:2: 'lock_memory' must be \"auto\", \"on\" or \"off\", not true\n");
}

static void test_ca_file(void **state)
{
        struct config *config = good(CLIENT "upstream = { ca_file = \"/etc/ca.pem\"; };");

        (void)state;
        assert_string_equal(config->upstream.ca_file, "/etc/ca.pem");
        config_free(config);
        bad(CLIENT "upstream = { ca_file = \"ca.pem\"; };",
            "t.conf:2: 'ca_file' must be an absolute path, not \"ca.pem\"\n");
        bad(CLIENT "upstream = { ca_file = \"/a\\nb\"; };",
            "t.conf:2: 'ca_file' must be an absolute path, not \"/a\\x0ab\"\n");
        bad(CLIENT "upstream = { ca_file = (); };",
            "t.conf:2: 'ca_file' must be an absolute path, not a list\n");
}

/* What a proxy may be is test-config-url's. */
static void test_proxy(void **state)
{
        static const char *const wrong[] = {" h", "h ", "h\\n", "\xc3\xa4"};
        const char *wanted = "must be an http:// or https:// URL of a host and a port, without "
                             "user, password, path, query or fragment, or \"\" for none";
        char text[512], expected[512], *long_text;
        struct config *config;

        (void)state;
        config = good(CLIENT "upstream = { proxy = \"http://p.example:3128\"; no_proxy = "
                             "\"localhost, .example.com,10.0.0.0/8\"; };");
        assert_string_equal(config->upstream.proxy, "http://p.example:3128");
        assert_string_equal(config->upstream.no_proxy, "localhost, .example.com,10.0.0.0/8");
        config_free(config);

        /* Empty is not the same as absent. */
        config = good(CLIENT "upstream = { proxy = \"\"; no_proxy = \"\"; };");
        assert_string_equal(config->upstream.proxy, "");
        assert_string_equal(config->upstream.no_proxy, "");
        config_free(config);

        /* A password in it is not repeated. */
        (void)snprintf(expected, sizeof(expected), "t.conf:2: 'proxy' %s\n", wanted);
        bad(CLIENT "upstream = { proxy = \"http://me:hush@p.example:3128\"; };", expected);
        (void)snprintf(expected, sizeof(expected), "t.conf:2: 'proxy' %s, not %s\n", wanted,
                       "a number without quotes");
        bad(CLIENT "upstream = { proxy = 3128; };", expected);

        for (size_t i = 0; i < sizeof(wrong) / sizeof(*wrong); i++) {
                (void)snprintf(text, sizeof(text), "%supstream = { no_proxy = \"%s\"; };", CLIENT,
                               wrong[i]);
                (void)snprintf(expected, sizeof(expected),
                               "t.conf:2: 'no_proxy' must be hosts, domains and networks with "
                               "commas between them, such as \"localhost,.example.com,10.0.0.0/8\""
                               ", or \"\" for none, not \"%s\"\n",
                               i == 2   ? "h\\x0a"
                               : i == 3 ? "\\xc3\\xa4"
                                        : wrong[i]);
                bad(text, expected);
        }

        for (int size = 4096; size <= 4097; size++) {
                assert_true(asprintf(&long_text, "%supstream = { no_proxy = \"%0*d\"; };", CLIENT,
                                     size, 0) >= 0);
                if (size == 4096)
                        accepted(long_text);
                else
                        assert_int_equal(parse_bytes(long_text, strlen(long_text), true, &config),
                                         CONFIG_E_INVALID);
                free(long_text);
        }
}

/* The core is told how long a fetch may take. */
static void test_upstream_timeout(void **state)
{
        struct config *config = good("upstream = { timeout = \"7s\"; };\n" CLIENT);

        (void)state;
        assert_int_equal(config->upstream.timeout_ms, 7 * S);
        assert_int_equal(config->settings.upstream_timeout_ms, 7 * S);
        config_free(config);
}

static void test_unknown_options(void **state)
{
        (void)state;
        bad(CLIENT "cache = { max_entrys = 1; };",
            "t.conf:2: unknown option 'max_entrys' in 'cache'; did you mean 'max_entries'?\n");
        bad(CLIENT "request_timeuot = \"1s\";",
            "t.conf:2: unknown option 'request_timeuot'; did you mean 'request_timeout'?\n");
        bad(CLIENT "calers = ();", "t.conf:2: unknown option 'calers'; did you mean 'callers'?\n");
        bad(CLIENT "tls = 1;", "t.conf:2: unknown option 'tls'\n");
        bad(CLIENT "Cache = {};", "t.conf:2: unknown option 'Cache'; did you mean 'cache'?\n");
        bad(CLIENT "listen = ({ tpc = \"localhost:1\"; });",
            "t.conf:2: unknown option 'tpc' in 'listen'\n"
            "t.conf:2: an entry of 'listen' needs one of 'unix', 'tcp' and 'credentials'\n");
        bad(CLIENT "listen = ({ unix = \"/a\"; grop = \"0\"; });",
            "t.conf:2: unknown option 'grop' in 'listen'; did you mean 'group'?\n");
        bad("clients = ({ name = \"a\"; client_secrte = \"hush\"; " REST " });",
            "t.conf:1: unknown option 'client_secrte' in 'clients'; did you mean "
            "'client_secret'?\n");
        bad(CLIENT "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa = 1;",
            "t.conf:2: unknown option "
            "'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa...'\n");
}

static void test_group_types(void **state)
{
        (void)state;
        bad(CLIENT "cache = 5;", "t.conf:2: 'cache' must be a group, { name = value; }, not 5\n");
        bad(CLIENT "cache = ();",
            "t.conf:2: 'cache' must be a group, { name = value; }, not a list\n");
        bad(CLIENT "cache = [];",
            "t.conf:2: 'cache' must be a group, { name = value; }, not an array\n");
        bad(CLIENT "cache = \"x\\\"y\";",
            "t.conf:2: 'cache' must be a group, { name = value; }, not \"x\\x22y\"\n");
        bad(CLIENT "cache = false;",
            "t.conf:2: 'cache' must be a group, { name = value; }, not false\n");
        bad(CLIENT "listen = {};",
            "t.conf:2: 'listen' must be a list of groups, ( { name = value; } ), not a group\n");
        bad(CLIENT "listen = (5);",
            "t.conf:2: an entry of 'listen' must be a group, { name = value; }, not 5\n");
        bad("clients = [ \"a\" ];",
            "t.conf:1: 'clients' must be a list of groups, ( { name = value; } ), not an array\n");
        bad("clients = ( (), 5 );",
            "t.conf:1: an entry of 'clients' must be a group, { name = value; }, not a list\n"
            "t.conf:1: an entry of 'clients' must be a group, { name = value; }, not 5\n");
        bad("clients = ();",
            "t.conf:1: 'clients' must have 1 to 1000 entries, ( { name = value; } ), not 0\n");
        bad("", "t.conf: there are no 'clients': at least one client application is expected\n");
        bad(CLIENT "\n\nlog_level = \"\xc3\xa4\x01\";",
            "t.conf:4: 'log_level' must be \"error\", \"warning\", \"info\" or \"debug\", not "
            "\"\\xc3\\xa4\\x01\"\n");
}

static void test_several_mistakes(void **state)
{
        (void)state;
        bad("log_level = \"loud\";\n"
            "cache = {\n"
            "  max_entrys = 5;\n"
            "  max_memory = 1.5;\n"
            "};\n"
            "upstream = { timeout = \"9s\";\n"
            "  connect_timeout = \"10s\"; max_in_flight = 0;\n"
            "};\n"
            "listen = ();\n"
            "clients = (\n"
            "  { name = \"a b\";\n"
            "    client_id = \"i\"; client_secret_file = \"/s\"; },\n"
            "  { name = \"i\"; }\n"
            ");\n",
            "t.conf:1: 'log_level' must be \"error\", \"warning\", \"info\" or \"debug\", not "
            "\"loud\"\n"
            "t.conf:3: unknown option 'max_entrys' in 'cache'; did you mean 'max_entries'?\n"
            "t.conf:4: 'max_memory' must be a size in quotes from \"1M\" to \"64G\", such as "
            "\"256M\", not 1.5\n"
            "t.conf:7: 'max_in_flight' must be a whole number from 1 to 10000, not 0\n"
            "t.conf:7: 'connect_timeout' must be at most 'timeout' (\"9s\"), not \"10s\"\n"
            "t.conf:9: 'listen' must have 1 to 64 entries, ( { name = value; } ), not 0\n"
            "t.conf:11: 'name' must be 1 to 64 letters, digits, '.', '_' or '-', not \"a b\"\n"
            "t.conf:11: an entry of 'clients' needs 'user_token_url', 'customer_token_url' or "
            "both, or 'anonymous_token_url' alone\n"
            "t.conf:13: an entry of 'clients' needs 'client_id'\n"
            "t.conf:13: an entry of 'clients' needs one of 'client_secret_file', "
            "'client_secret_credential' and 'client_secret'\n"
            "t.conf:13: an entry of 'clients' needs 'user_token_url', 'customer_token_url' or "
            "both, or 'anonymous_token_url' alone\n"
            "t.conf:13: the name \"i\" is the client_id of another client, in line 12\n");
}

static void test_mistakes_are_capped(void **state)
{
        size_t size = 0, lines = 0;
        char *text = malloc((size_t)20 * 1005);
        struct config *config;

        (void)state;
        assert_non_null(text);
        for (int i = 0; i < 1003; i++)
                size += (size_t)sprintf(text + size, "u%d = 1;\n", i);
        assert_int_equal(parse_bytes(text, size, true, &config), CONFIG_E_INVALID);
        for (const char *c = said; *c; c++)
                lines += *c == '\n';
        assert_int_equal(lines, 1001);
        assert_non_null(strstr(said, "\nt.conf: 4 more mistakes are not shown\n"));
        free(text);
}

/* What libconfig or we refuse to read at all: the first one is said. */

static void test_syntax(void **state)
{
        (void)state;
        bad("a = ;\n", "t.conf:1: syntax error here, or just before: name = value; was expected\n");
        bad(CLIENT "cache = {\n\n",
            "t.conf:4: syntax error here, or just before: name = value; was expected\n");
        bad(CLIENT "log_level = info;",
            "t.conf:2: syntax error here, or just before: name = value; was expected\n");
        bad(CLIENT "x = [ 1, \"a\" ];",
            "t.conf:2: mismatched element type in array here, or just before: name = value; was "
            "expected\n");
        bad(CLIENT "drain_timeout = \"1s\";\n\ndrain_timeout = \"1s\";",
            "t.conf:4: 'drain_timeout' is given for the second time here: each option is expected "
            "once\n");
        bad(CLIENT "cache = {};\ncache = {};",
            "t.conf:3: 'cache' is given for the second time here: each option is expected once\n");
        bad("clients = ({ name = \"a\";\nname = \"b\"; });",
            "t.conf:2: 'name' is given for the second time here: each option is expected once\n");
        bad(CLIENT
            "cache = { max_entries = 1; max = 2; }; cache1 = {}; request_timeout = \"cache\"; "
            "cache = {}; cache1 = {};",
            "t.conf:2: 'cache' is given for the second time here: each option is expected once\n");
        bad(CLIENT SIXTY "zz = 1; " SIXTY "zz = 1;",
            "t.conf:2: '" SIXTY "...' is given for the second time here: each option is expected "
            "once\n");
        bad(CLIENT "\xef\xbb\xbf",
            "t.conf:2: syntax error here, or just before: name = value; was expected\n");
}

/* What is put in place of a value must not become part of the word before it. */
static void test_glued_values(void **state)
{
        static const char *const texts[] = {
                "request_timeout+5 = \"1s\";",
                "request_timeout.5 = \"1s\";",
                "a = 5\"x\";",
                "a = \"x\"5;",
                "b = { client_secret\"x\" };",
                "b = { client_secret = \"\"5; };",
                "b = { client_secret = 5\"\"; };",
                "a = true\"x\";",
        };

        (void)state;
        for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++) {
                char text[512];

                (void)snprintf(text, sizeof(text), "%s%s", CLIENT, texts[i]);
                bad(text, "t.conf:2: a value stands right behind a word: name = value; was "
                          "expected\n");
        }
        accepted(CLIENT "log_level=\"in\"\"fo\"drain_timeout=\"1s\"cache={max_entries=5/**/}");
}

static void test_include(void **state)
{
        static const char message[] = "t.conf:2: @include is not supported: all options must be in "
                                      "this file, whose permissions are checked\n";

        (void)state;
        bad(CLIENT "@include \"/etc/passwd\"\n", message);
        bad(CLIENT "  @include \"/etc/passwd\"\n", message);
        bad(CLIENT "cache = { @include \"/etc/passwd\" };\n", message);
        accepted(CLIENT "// @include \"x\"\n#@include \"x\"\n");
}

static void test_open_ends(void **state)
{
        (void)state;
        bad(CLIENT "/* open\n\n" CLIENT, "t.conf:2: a comment is not closed: '*/' was expected\n");
        bad(CLIENT "/*/", "t.conf:2: a comment is not closed: '*/' was expected\n");
        bad(CLIENT "log_level = \"info;\n\n\"",
            "t.conf:2: a string is not closed: its '\"' was expected on the same line\n");
        bad(CLIENT "log_level = \"info\" \"",
            "t.conf:2: a string is not closed: its '\"' was expected on the same line\n");
        bad(CLIENT "log_level = \"info\\\"",
            "t.conf:2: a string is not closed: its '\"' was expected on the same line\n");
        bad(CLIENT "log_level = \"in\\x00fo\";",
            "t.conf:2: a string holds a NUL byte (\\x00), which no option may\n");
}

static void test_nul(void **state)
{
        static const char text[] = CLIENT "\nlog_level = \0\"info\";";
        struct config *config;

        (void)state;
        assert_int_equal(parse_bytes(text, sizeof(text) - 1, true, &config), CONFIG_E_INVALID);
        assert_string_equal(said, "t.conf:3: a NUL byte: this is no text file\n");
        assert_int_equal(parse_bytes(CLIENT, sizeof(CLIENT), true, &config), CONFIG_E_INVALID);
        assert_string_equal(said, "t.conf:2: a NUL byte: this is no text file\n");
        assert_int_equal(parse_bytes(NULL, 0, true, &config), CONFIG_E_INVALID);
}

static void test_size_cap(void **state)
{
        const size_t size = (size_t)1024 * 1024;
        char *text = malloc(size + 1);
        struct config *config;

        (void)state;
        assert_non_null(text);
        memset(text, ' ', size + 1);
        memcpy(text, CLIENT, sizeof(CLIENT) - 1);
        assert_int_equal(parse_bytes(text, size, true, &config), 0);
        config_free(config);
        assert_int_equal(parse_bytes(text, size + 1, true, &config), CONFIG_E_INVALID);
        assert_string_equal(said, "t.conf: is larger than 1 MiB: this is no configuration\n");

        /* So deep that libconfig gives up. */
        memset(text, '(', size);
        text[0] = 'a';
        text[1] = '=';
        assert_int_equal(parse_bytes(text, size, true, &config), CONFIG_E_INVALID);
        assert_string_equal(said, "t.conf:1: memory exhausted here, or just before: name = value; "
                                  "was expected\n");
        free(text);
}

static void test_forms(void **state)
{
        struct config *config;

        (void)state;
        config = good("/* a */ # b\r\n" CLIENT
                      "cache:{max_entries:5,expiry_margin=\"1\" /* and */ \"0s\"}// c \"\n"
                      "log_level = \"\\x64ebug\"\n"
                      "drain_timeout = \"1s\"");
        assert_int_equal(config->settings.max_entries, 5);
        assert_int_equal(config->settings.expiry_margin_ms, 10000);
        assert_int_equal(config->log_level, LOG_LEVEL_DEBUG);
        assert_int_equal(config->drain_timeout_ms, 1000);
        config_free(config);

        /* A line that is all comment ends where the line does. */
        bad(CLIENT "# \\\nx = 1;", "t.conf:3: unknown option 'x'\n");
        bad(CLIENT "/* \n */ x = 1;", "t.conf:3: unknown option 'x'\n");
}

/* listen */

static const struct sockaddr_in *tcp4(const struct listener_config *listener)
{
        return (const struct sockaddr_in *)&listener->address;
}

static const struct sockaddr_in6 *tcp6(const struct listener_config *listener)
{
        return (const struct sockaddr_in6 *)&listener->address;
}

static void test_listen(void **state)
{
        struct config *config;
        const struct sockaddr_un *local;

        (void)state;
        config = good(CLIENT "listen = (\n"
                             "  { unix = \"/run/a.sock\"; mode = \"0600\"; group = \"1000\"; },\n"
                             "  { tcp = \"localhost:8471\"; },\n"
                             "  { tcp = \"127.0.0.1:1\"; },\n"
                             "  { tcp = \"[::1]:65535\"; },\n"
                             "  { unix = \"/b\"; group = \"egain-token\"; } );");
        assert_int_equal(config->n_listeners, 6);

        local = (const struct sockaddr_un *)&config->listeners[0].address;
        assert_int_equal(local->sun_family, AF_UNIX);
        assert_string_equal(local->sun_path, "/run/a.sock");
        assert_int_equal(config->listeners[0].address_size,
                         offsetof(struct sockaddr_un, sun_path) + sizeof("/run/a.sock"));
        assert_int_equal(config->listeners[0].mode, 0600);
        assert_int_equal(config->listeners[0].gid, 1000);
        assert_int_equal(config->listeners[0].line, 3);

        assert_int_equal(tcp4(&config->listeners[1])->sin_family, AF_INET);
        assert_int_equal(tcp4(&config->listeners[1])->sin_addr.s_addr, htonl(INADDR_LOOPBACK));
        assert_int_equal(tcp4(&config->listeners[1])->sin_port, htons(8471));
        assert_int_equal(config->listeners[1].address_size, sizeof(struct sockaddr_in));
        assert_int_equal(config->listeners[1].line, 4);
        assert_int_equal(tcp6(&config->listeners[2])->sin6_family, AF_INET6);
        assert_memory_equal(&tcp6(&config->listeners[2])->sin6_addr, &in6addr_loopback,
                            sizeof(in6addr_loopback));
        assert_int_equal(tcp6(&config->listeners[2])->sin6_port, htons(8471));
        assert_int_equal(config->listeners[2].address_size, sizeof(struct sockaddr_in6));
        assert_int_equal(config->listeners[2].line, 4);

        assert_int_equal(tcp4(&config->listeners[3])->sin_port, htons(1));
        assert_int_equal(tcp6(&config->listeners[4])->sin6_port, htons(65535));
        assert_int_equal(config->listeners[5].mode, 0660);
        assert_int_equal(config->listeners[5].gid, 4711);
        config_free(config);
}

static void test_listen_tcp_refused(void **state)
{
        static const char *const values[] = {
                "localhost",
                "localhost:",
                "localhost:0",
                "localhost:65536",
                "localhost:-1",
                "localhost:+1",
                "localhost:08471",
                "localhost:8471 ",
                ":8471",
                "8471",
                "*:8471",
                "0.0.0.0:8471",
                "[::]:8471",
                "127.0.0.2:8471",
                "::1:8471",
                "LOCALHOST:8471",
                "10.0.0.1:8471",
                "example.com:443",
                "",
        };

        (void)state;
        for (size_t i = 0; i < sizeof(values) / sizeof(*values); i++) {
                char text[512], expected[512];

                (void)snprintf(text, sizeof(text), CLIENT "listen = ({ tcp = \"%s\"; });",
                               values[i]);
                (void)snprintf(expected, sizeof(expected),
                               "t.conf:2: 'tcp' must be \"localhost:PORT\", \"127.0.0.1:PORT\" or "
                               "\"[::1]:PORT\" with a PORT from 1 to 65535 (only on loopback can "
                               "the kernel tell who is asking), not \"%s\"\n",
                               values[i]);
                bad(text, expected);
        }
}

static void test_listen_refused(void **state)
{
        char text[512], path[110];

        (void)state;
        bad(CLIENT "listen = ();",
            "t.conf:2: 'listen' must have 1 to 64 entries, ( { name = value; } ), not 0\n");
        bad(CLIENT "listen = ({});",
            "t.conf:2: an entry of 'listen' needs one of 'unix', 'tcp' and 'credentials'\n");
        bad(CLIENT "listen = ({ unix = \"/a\";\ntcp = \"localhost:1\"; });",
            "t.conf:3: an entry of 'listen' needs one, not several, of 'unix', 'tcp' and "
            "'credentials'\n");
        bad(CLIENT "listen = ({ tcp = \"localhost:1\";\nmode = \"0660\";\ngroup = \"0\"; });",
            "t.conf:3: 'mode' goes with 'unix', not with 'tcp'\n"
            "t.conf:4: 'group' goes with 'unix', not with 'tcp'\n");
        bad(CLIENT "listen = ({ unix = \"a\"; group = \"nobody-here\"; });",
            "t.conf:2: 'unix' must be an absolute path of at most 107 bytes that names a file, not "
            "\"a\"\n"
            "t.conf:2: there is no group \"nobody-here\": create it, or name another in "
            "'group'\n");
        bad(CLIENT "listen = ({ unix = \"/a/\"; });",
            "t.conf:2: 'unix' must be an absolute path of at most 107 bytes that names a file, not "
            "\"/a/\"\n");
        bad(CLIENT "listen = ({ unix = \"@abstract\"; });",
            "t.conf:2: 'unix' must be an absolute path of at most 107 bytes that names a file, not "
            "\"@abstract\"\n");

        memset(path, 'p', sizeof(path));
        path[0] = '/';
        path[107] = '\0';
        (void)snprintf(text, sizeof(text), CLIENT "listen = ({ unix = \"%s\"; });", path);
        accepted(text);
        path[107] = 'p';
        path[108] = '\0';
        (void)snprintf(text, sizeof(text), CLIENT "listen = ({ unix = \"%s\"; });", path);
        path[60] = '\0';
        {
                char expected[512];

                (void)snprintf(expected, sizeof(expected),
                               "t.conf:2: 'unix' must be an absolute path of at most 107 bytes "
                               "that names a file, not \"%s...\"\n",
                               path);
                bad(text, expected);
        }
}

static void test_listen_too_many(void **state)
{
        char *text = malloc((size_t)65 * 64), *end;

        (void)state;
        if (!text)
                abort(); /* gcc does not know that assert_non_null() ends the test */
        for (int n = 64; n <= 65; n++) {
                end = text + sprintf(text, CLIENT "listen = (");
                for (int i = 1; i <= n; i++)
                        end += sprintf(end, "%s{ tcp = \"127.0.0.1:%d\"; }", i > 1 ? "," : "", i);
                (void)sprintf(end, ");");
                if (n == 64)
                        accepted(text);
                else
                        bad(text, "t.conf:2: 'listen' must have 1 to 64 entries, ( { name = value; "
                                  "} ), not 65\n");
        }
        free(text);
}

static void test_listen_twice(void **state)
{
        (void)state;
        bad(CLIENT "listen = ({ unix = \"/a\"; },\n{ unix = \"/a\"; mode = \"0600\"; });",
            "t.conf:3: /a is listened on already, by line 2\n");
        bad(CLIENT "listen = ({ tcp = \"localhost:80\"; },\n{ tcp = \"127.0.0.1:80\"; },\n"
                   "{ tcp = \"[::1]:80\"; },\n{ tcp = \"localhost:80\"; });",
            "t.conf:3: 127.0.0.1:80 is listened on already, by line 2\n"
            "t.conf:4: [::1]:80 is listened on already, by line 2\n"
            "t.conf:5: 127.0.0.1:80 is listened on already, by line 2\n"
            "t.conf:5: [::1]:80 is listened on already, by line 2\n");
        accepted(CLIENT "listen = ({ tcp = \"127.0.0.1:80\"; }, { tcp = \"[::1]:80\"; },"
                        "{ tcp = \"localhost:81\"; });");
}

static void test_listen_mode(void **state)
{
        static const char *const values[] = {"\"\"",     "\"66\"",  "\"00660\"", "\"0668\"",
                                             "\"1660\"", "\"rw-\"", "\"-660\"",  "\"0x1f\"",
                                             "0660",     "true",    "\"0660 \""};
        struct config *config;

        (void)state;
        for (size_t i = 0; i < sizeof(values) / sizeof(*values); i++) {
                char text[512], expected[512];

                (void)snprintf(text, sizeof(text),
                               CLIENT "listen = ({ unix = \"/a\"; mode = %s; });", values[i]);
                (void)snprintf(expected, sizeof(expected),
                               "t.conf:2: 'mode' must be an octal mode in quotes, such as "
                               "\"0660\", not %s\n",
                               values[i]);
                bad(text, expected);
        }
        config = good(CLIENT "listen = ({ unix = \"/a\"; mode = \"777\"; },"
                             "{ unix = \"/b\"; mode = \"0000\"; });");
        assert_int_equal(config->listeners[0].mode, 0777);
        assert_int_equal(config->listeners[1].mode, 0);
        config_free(config);
}

static void test_listen_group(void **state)
{
        static const char text[] = CLIENT "listen = ({ unix = \"/a\"; group = \"staff\"; });";
        struct config *config;

        (void)state;
        config = good(CLIENT "listen = ({ unix = \"/a\"; group = \"0\"; },"
                             "{ unix = \"/b\"; group = \"4294967294\"; },"
                             "{ unix = \"/c\"; group = \"huge\"; });");
        assert_int_equal(config->listeners[0].gid, 0);
        assert_int_equal(config->listeners[1].gid, 4294967294U);
        assert_int_equal(config->listeners[2].gid, 4711);
        config_free(config);

        bad(text, "t.conf:2: there is no group \"staff\": create it, or name another in 'group'\n");
        bad(CLIENT "listen = ({ unix = \"/a\"; group = \"4294967295\"; });",
            "t.conf:2: 'group' must be a number from 0 to 4294967294, not \"4294967295\"\n");
        bad(CLIENT "listen = ({ unix = \"/a\"; group = 1000; });",
            "t.conf:2: 'group' must be the name of a group, or its number, in quotes, not 1000\n");
        bad(CLIENT "listen = ({ unix = \"/a\"; group = \"\"; });",
            "t.conf:2: 'group' must be the name of a group, or its number, in quotes, not \"\"\n");

        group_error = ENOENT;
        bad(text, "t.conf:2: there is no group \"staff\": create it, or name another in 'group'\n");

        group_error = EIO;
        assert_int_equal(parse_bytes(text, strlen(text), true, &config), CONFIG_E_NAME_SERVICE);
        assert_null(config);
        assert_string_equal(said, "t.conf:2: the group \"staff\" cannot be looked up just now: "
                                  "Input/output error\n");

        /* A mistake in the file counts for more: it will not go away by itself. */
        bad(CLIENT "listen = ({ unix = \"/a\"; group = \"staff\"; });\nx = 1;",
            "t.conf:2: the group \"staff\" cannot be looked up just now: Input/output error\n"
            "t.conf:3: unknown option 'x'\n");

        group_error = 0;
        assert_int_equal(parse_bytes(CLIENT "listen = ({ unix = \"/a\"; group = \"boundless\"; });",
                                     strlen(CLIENT) + 49, true, &config),
                         CONFIG_E_NAME_SERVICE);
}

/* clients */

static void test_clients(void **state)
{
        struct config *config, *again;
        const struct client_settings *clients;

        (void)state;
        config = good("clients = (\n"
                      "  { name = \"a.B_1-\"; client_id = \"~ !\";\n"
                      "    client_secret_file = \"/etc/s\";\n"
                      "    user_token_url = \"https://h/t?x=%41&y\";\n"
                      "    customer_token_url = \"http://127.0.0.1:8/c\";\n"
                      "    default_scope = \"b a b c\"; },\n"
                      "  { name = \"two\"; client_id = \"two\"; client_secret_credential = \"c\";\n"
                      "    customer_token_url = \"https://h/c\"; },\n"
                      "  { name = \"three\"; client_id = \"3\"; client_secret = \"hu\\\"sh\";\n"
                      "    user_token_url = \"https://h/t\"; }\n"
                      ");");
        clients = config->settings.clients;
        assert_int_equal(config->settings.n_clients, 3);
        assert_string_equal(clients[0].name, "a.B_1-");
        assert_string_equal(clients[0].client_id, "~ !");
        assert_string_equal(clients[0].token_url[AUDIENCE_USER], "https://h/t?x=%41&y");
        assert_string_equal(clients[0].token_url[AUDIENCE_CUSTOMER], "http://127.0.0.1:8/c");
        assert_string_equal(clients[0].default_scope, "a b c");
        assert_null(clients[1].token_url[AUDIENCE_USER]);
        assert_string_equal(clients[1].token_url[AUDIENCE_CUSTOMER], "https://h/c");
        assert_null(clients[1].default_scope);
        assert_null(clients[2].token_url[AUDIENCE_CUSTOMER]);

        assert_int_equal(config->secrets[0].kind, SECRET_KIND_FILE);
        assert_string_equal(config->secrets[0].where, "/etc/s");
        assert_int_equal(config->secrets[0].line, 3);
        assert_int_equal(config->secrets[2].kind, SECRET_KIND_CREDENTIAL);
        assert_string_equal(config->secrets[2].where, "c");
        assert_int_equal(config->secrets[2].line, 7);
        assert_int_equal(config->secrets[4].kind, SECRET_KIND_INLINE);
        assert_null(config->secrets[4].where);
        assert_string_equal(config->secrets[4].value.bytes, "hu\"sh");
        assert_int_equal(config->secrets[4].value.size, 5);
        assert_int_equal(config->secrets[4].line, 9);

        /* An identity is never given twice. */
        again = good(CLIENT);
        assert_true(clients[0].identity > 0);
        assert_true(clients[1].identity > clients[0].identity);
        assert_true(clients[2].identity > clients[1].identity);
        assert_true(again->settings.clients[0].identity > clients[2].identity);
        config_free(again);
        config_free(config);
}

static void test_clients_incomplete(void **state)
{
        (void)state;
        bad("clients = ({});",
            "t.conf:1: an entry of 'clients' needs 'name'\n"
            "t.conf:1: an entry of 'clients' needs 'client_id'\n"
            "t.conf:1: an entry of 'clients' needs one of 'client_secret_file', "
            "'client_secret_credential' and 'client_secret'\n"
            "t.conf:1: an entry of 'clients' needs 'user_token_url', 'customer_token_url' or "
            "both, or 'anonymous_token_url' alone\n");
        bad("clients = ({ name = \"a\"; client_id = \"a\"; user_token_url = \"https://h/\";\n"
            "client_secret = \"hush\";\nclient_secret_file = \"/s\";\n"
            "client_secret_credential = \"c\"; });",
            "t.conf:3: 'client_secret_file' is one secret too many: line 2 names one, and exactly "
            "one of 'client_secret_file', 'client_secret_credential' and 'client_secret' is "
            "expected\n"
            "t.conf:4: 'client_secret_credential' is one secret too many: line 2 names one, and "
            "exactly one of 'client_secret_file', 'client_secret_credential' and 'client_secret' "
            "is expected\n");
}

#define LOBBY_URL "https://h/t?user_type=customer&domain_hint=T"

static void test_anonymous_clients(void **state)
{
        static const char *const others[] = {
                "user_token_url = \"https://h/\"",
                "customer_token_url = \"https://h/\"",
                "client_secret = \"hush\"",
                "client_secret_file = \"/s\"",
                "client_secret_credential = \"c\"",
                "client_secret_expires = \"2027-11-01\"",
                "next_client_secret_file = \"/s\"",
                "next_client_secret_expires = \"2027-11-01\"",
                "cert_file = \"/c\"",
                "key_file = \"/k\"",
        };
        struct config *config;
        char text[1024], said_of_it[1024];

        (void)state;
        config = good("clients = (\n"
                      "  { name = \"a\"; anonymous_token_url = \"" LOBBY_URL "\";\n"
                      "    default_scope = \"b a\"; },\n"
                      "  { name = \"b\"; client_id = \"x\";\n"
                      "    anonymous_token_url = \"" LOBBY_URL "\"; }\n"
                      ");");
        assert_null(config->settings.clients[0].client_id);
        assert_null(config->settings.clients[0].token_url[AUDIENCE_USER]);
        assert_null(config->settings.clients[0].token_url[AUDIENCE_CUSTOMER]);
        assert_string_equal(config->settings.clients[0].token_url[AUDIENCE_ANONYMOUS], LOBBY_URL);
        assert_string_equal(config->settings.clients[0].default_scope, "a b");
        assert_string_equal(config->settings.clients[1].client_id, "x");
        /* What the issuer documents for everybody. */
        for (size_t i = 0; i < 2; i++) {
                assert_int_equal(config->secrets[2 * i].kind, SECRET_KIND_INLINE);
                assert_string_equal(config->secrets[2 * i].value.bytes, "clientSecret");
                assert_int_equal(config->secrets[2 * i + 1].kind, SECRET_KIND_NONE);
        }
        assert_memory_not_equal(config->settings.clients[0].identity_sha256,
                                config->settings.clients[1].identity_sha256, 32);
        config_free(config);

        for (size_t i = 0; i < sizeof(others) / sizeof(*others); i++) {
                const int size = (int)strcspn(others[i], " ");

                (void)snprintf(text, sizeof(text),
                               "clients = ({ name = \"a\"; client_id = \"a\";\n"
                               "anonymous_token_url = \"" LOBBY_URL "\";\n%s; });",
                               others[i]);
                (void)snprintf(said_of_it, sizeof(said_of_it),
                               "t.conf:3: '%.*s' is not for anonymous customers, whom "
                               "'anonymous_token_url' in line 2 is for: an entry of 'clients' of "
                               "its own was expected\n",
                               size, others[i]);
                bad(text, said_of_it);
        }
        bad("clients = ({ anonymous_token_url = \"" LOBBY_URL "\"; });",
            "t.conf:1: an entry of 'clients' needs 'name'\n");
        bad("clients = ({ name = \"a\"; anonymous_token_url = \"http://h/\"; });",
            "t.conf:1: 'anonymous_token_url' must be an https:// URL without user, password or "
            "fragment (http:// only to 127.0.0.1 or [::1])\n");
        bad("clients = ({ name = \"a\"; anonymous_token_url = \"" LOBBY_URL "\"; },\n"
            "  { name = \"b\"; anonymous_token_url = \"" LOBBY_URL "\"; });",
            "t.conf:2: this client application is the one of line 1 once more: the same "
            "'anonymous_token_url', and no 'client_id'\n");
        accepted("clients = ({ name = \"a\"; anonymous_token_url = \"" LOBBY_URL "\"; },\n"
                 "  { name = \"b\"; anonymous_token_url = \"" LOBBY_URL "2\"; });");
}

static void test_client_names(void **state)
{
        static const char name65[] =
                "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
        char text[1024], id[257];

        (void)state;
        (void)snprintf(text, sizeof(text), "clients = ({ name = \"%.64s\"; " REST " });", name65);
        accepted(text);
        (void)snprintf(text, sizeof(text), "clients = ({ name = \"%s\"; " REST " });", name65);
        bad(text, "t.conf:1: 'name' must be 1 to 64 letters, digits, '.', '_' or '-', not "
                  "\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa...\"\n");
        bad("clients = ({ name = \"\"; " REST " });",
            "t.conf:1: 'name' must be 1 to 64 letters, digits, '.', '_' or '-', not \"\"\n");
        bad("clients = ({ name = \"\xc3\xa4\"; " REST " });",
            "t.conf:1: 'name' must be 1 to 64 letters, digits, '.', '_' or '-', not "
            "\"\\xc3\\xa4\"\n");
        bad("clients = ({ name = 5; " REST " });",
            "t.conf:1: 'name' must be 1 to 64 letters, digits, '.', '_' or '-', not 5\n");

        memset(id, 'i', sizeof(id));
        id[255] = '\0';
        (void)snprintf(text, sizeof(text),
                       "clients = ({ name = \"a\"; client_id = \"%s\"; client_secret_file = "
                       "\"/s\"; user_token_url = \"https://h/\"; });",
                       id);
        accepted(text);
        id[255] = 'i';
        id[256] = '\0';
        (void)snprintf(text, sizeof(text),
                       "clients = ({ name = \"a\"; client_id = \"%s\"; client_secret_file = "
                       "\"/s\"; user_token_url = \"https://h/\"; });",
                       id);
        bad(text, "t.conf:1: 'client_id' must be 1 to 255 printable ASCII characters, not "
                  "\"iiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiii...\"\n");
        bad("clients = ({ name = \"a\"; client_id = \"\\t\"; client_secret_file = \"/s\";"
            "user_token_url = \"https://h/\"; });",
            "t.conf:1: 'client_id' must be 1 to 255 printable ASCII characters, not \"\\x09\"\n");
}

static void test_clients_unique(void **state)
{
#define ONE(name, id)                                                                  \
        "{ name = \"" name "\"; client_id = \"" id "\"; client_secret_file = \"/s\"; " \
        "user_token_url = \"https://h/\"; }"

        (void)state;
        accepted("clients = (" ONE("a", "a") "," ONE("b", "b") ");");
        bad("clients = (" ONE("a", "1") ",\n" ONE("b", "2") ",\n" ONE("a", "3") ");",
            "t.conf:3: the name \"a\" is taken already, by line 1\n");
        bad("clients = (" ONE("a", "1") ",\n" ONE("b", "1") ");",
            "t.conf:2: the client_id \"1\" is taken already, by line 1\n");
        bad("clients = (" ONE("a", "1") ",\n" ONE("1", "2") ");",
            "t.conf:2: the name \"1\" is the client_id of another client, in line 1\n");
        bad("clients = (" ONE("a", "1") ",\n" ONE("b", "a") ");",
            "t.conf:2: the client_id \"a\" is the name of another client, in line 1\n");
#undef ONE
}

static void test_clients_too_many(void **state)
{
        char *text = malloc((size_t)1001 * 160), *end;

        (void)state;
        if (!text)
                abort(); /* gcc does not know that assert_non_null() ends the test */
        for (int n = 1000; n <= 1001; n++) {
                end = text + sprintf(text, "clients = (");
                for (int i = 0; i < n; i++)
                        end += sprintf(end,
                                       "%s{ name = \"n%d\"; client_id = \"i%d\"; "
                                       "client_secret_file = \"/s\"; "
                                       "user_token_url = \"https://h/\"; }",
                                       i > 0 ? "," : "", i, i);
                (void)sprintf(end, ");");
                if (n == 1000)
                        accepted(text);
                else
                        bad(text, "t.conf:1: 'clients' must have 1 to 1000 entries, ( { name = "
                                  "value; } ), not 1001\n");
        }
        free(text);
}

static void test_urls(void **state)
{
        static const char *const right[] = {
                "https://ai.egain.cloud/system/auth/TMPRODB88619984-U/oauth2/token",
                "https://h",
                "HTTPS://h:8443/",
                "https://h?q=1",
                "https://10.0.0.1/",
                "https://[2001:db8::1]:1/t",
                "http://127.0.0.1/t",
                "http://127.255.255.254:8080",
                "http://[::1]/t",
                "http://[::1]:80/t?a=b&c=%20",
        };
        static const char *const wrong[] = {
                "",
                "h",
                "//h/t",
                "ftp://h/t",
                "file:///etc/passwd",
                "https:h",
                "https:/h",
                "https:///h",
                "https://",
                "https://?x",
                "https://h/#",
                "https://h/t#f",
                "https://user@h/",
                "https://user:hunter2@h/",
                "https://@h/",
                "https://:@h/",
                "https://h\\@evil/",
                "https://h/a b",
                "https://h/\\n",
                "https://h/\xc3\xa4",
                "https://h:0/",
                "https://h:99999/",
                "https://h:x/",
                "https://%00/",
                "https://[::1/",
                "http://h/",
                "http://localhost/",
                "http://127.0.0.1.evil/",
                "http://127.0.0.1@evil/",
                "http://127.0.0.256/",
                "http://128.0.0.1/",
                "http://0.0.0.0/",
                "http://[::]/",
                "http://[::ffff:127.0.0.1]/",
                "http://10.0.0.1/",
        };
        char text[4096], url[2050];

        (void)state;
        for (size_t i = 0; i < sizeof(right) / sizeof(*right); i++) {
                struct config *config;

                (void)snprintf(text, sizeof(text),
                               "clients = ({ name = \"a\"; client_id = \"a\"; client_secret_file = "
                               "\"/s\"; customer_token_url = \"%s\"; });",
                               right[i]);
                config = good(text);
                assert_string_equal(config->settings.clients[0].token_url[AUDIENCE_CUSTOMER],
                                    right[i]);
                config_free(config);
        }
        for (size_t i = 0; i < sizeof(wrong) / sizeof(*wrong); i++) {
                (void)snprintf(text, sizeof(text),
                               "clients = ({ name = \"a\"; client_id = \"a\"; client_secret_file = "
                               "\"/s\"; customer_token_url = \"%s\"; });",
                               wrong[i]);
                bad(text, "t.conf:1: 'customer_token_url' " URL_WANTED "\n");
        }

        memset(url, 'u', sizeof(url));
        memcpy(url, "https://h/", 10);
        for (int size = 2048; size <= 2049; size++) {
                url[size] = '\0';
                (void)snprintf(text, sizeof(text),
                               "clients = ({ name = \"a\"; client_id = \"a\"; client_secret_file = "
                               "\"/s\"; user_token_url = \"%s\"; });",
                               url);
                if (size == 2048)
                        accepted(text);
                else
                        bad(text, "t.conf:1: 'user_token_url' " URL_WANTED "\n");
                url[size] = 'u';
        }
        bad("clients = ({ name = \"a\"; client_id = \"a\"; client_secret_file = \"/s\";\n"
            "user_token_url = 5; });",
            "t.conf:2: 'user_token_url' " URL_WANTED ", not a number without quotes\n");
}

static void test_default_scope(void **state)
{
        static const char *const wrong[] = {"", " ", "a  b", " a", "a ", "a\\tb", "a\\\"b", "\xc3"};
        char text[512], expected[512];

        (void)state;
        for (size_t i = 0; i < sizeof(wrong) / sizeof(*wrong); i++) {
                (void)snprintf(text, sizeof(text),
                               "clients = ({ name = \"a\"; default_scope = \"%s\"; " REST " });",
                               wrong[i]);
                (void)snprintf(expected, sizeof(expected),
                               "t.conf:1: 'default_scope' must be scope values (RFC 6749, section "
                               "3.3) with single spaces between them, not \"%s\"\n",
                               strcmp(wrong[i], "a\\tb") == 0    ? "a\\x09b"
                               : strcmp(wrong[i], "a\\\"b") == 0 ? "a\\x22b"
                               : strcmp(wrong[i], "\xc3") == 0   ? "\\xc3"
                                                                 : wrong[i]);
                bad(text, expected);
        }
}

/* Secrets */

static char *with_secret(const char *value)
{
        char *text;

        assert_true(asprintf(&text,
                             "clients = ({ name = \"a\"; client_id = \"a\"; user_token_url = "
                             "\"https://h/\";\nclient_secret = %s; });",
                             value) >= 0);
        return text;
}

static void secret_is(const char *value, const char *expected)
{
        char *text = with_secret(value);
        struct config *config = good(text);

        assert_int_equal(config->secrets[0].value.size, strlen(expected));
        assert_string_equal(config->secrets[0].value.bytes, expected);
        config_free(config);
        free(text);
}

static void secret_is_refused(const char *value, const char *expected)
{
        char *text = with_secret(value);

        bad(text, expected);
        free(text);
}

/* The string never reaches libconfig, but is read as libconfig would. */
static void test_inline_secret(void **state)
{
        (void)state;
        secret_is("\"hush\"", "hush");
        secret_is("\"\\\"\\\\\\x41\\X42\\q\\x4g\\'\"", "\"\\AB\\q\\x4g\\'");
        secret_is("\"one\" /* and \" */ \"two\"\n// three\n\"four\"", "onetwofour");
        secret_is("\"\" \"x\"", "x");
        secret_is("\"\xc3\xa4 # // /*\"", "\xc3\xa4 # // /*");
        secret_is("\"5\"", "5");
        secret_is_refused("\"\"", "t.conf:2: 'client_secret' is empty: a client secret was "
                                  "expected\n");
        secret_is_refused("\"a\\nb\"", "t.conf:2: 'client_secret' holds a control character: one "
                                       "line of text was expected\n");
        secret_is_refused("\"a\\x7f\"", "t.conf:2: 'client_secret' holds a control character: one "
                                        "line of text was expected\n");
        secret_is_refused("\"a\\x00b\"",
                          "t.conf:2: a string holds a NUL byte (\\x00), which no option may\n");
        secret_is_refused("12345",
                          "t.conf:2: 'client_secret' must be a string, not a number without "
                          "quotes\n");
        secret_is_refused("true", "t.conf:2: 'client_secret' must be a string, not true\n");
        secret_is_refused("( \"a\" )", "t.conf:2: 'client_secret' must be a string, not a list\n");
        secret_is_refused("[ \"a\", \"b\" ]",
                          "t.conf:2: 'client_secret' must be a string, not an array\n");
        secret_is_refused("{ x = \"hush\"; }",
                          "t.conf:2: 'client_secret' must be a string, not a group\n");
        secret_is_refused("\"hush\" 5", "t.conf:2: syntax error here, or just before: name = "
                                        "value; was expected\n");
}

static void test_inline_secret_length(void **state)
{
        char value[4100];

        (void)state;
        memset(value, 's', sizeof(value));
        value[0] = '"';
        value[4097] = '"';
        value[4098] = '\0';
        {
                char *text = with_secret(value);

                accepted(text);
                free(text);
        }
        value[4097] = 's';
        value[4098] = '"';
        value[4099] = '\0';
        secret_is_refused(value, "t.conf:2: 'client_secret' is too long: at most 4096 bytes are "
                                 "expected\n");
}

static void test_inline_secret_in_open_file(void **state)
{
        char *text = with_secret("\"hush\"");
        struct config *config;

        (void)state;
        assert_int_equal(parse_bytes(text, strlen(text), false, &config), CONFIG_E_INVALID);
        assert_string_equal(said, "t.conf:2: 'client_secret' is not safe in this file, which must "
                                  "belong to root or to the daemon's user, be closed to others and "
                                  "not writable by its group: chown root t.conf; chmod g-w,o= "
                                  "t.conf\n");
        free(text);
        assert_int_equal(parse_bytes(CLIENT, strlen(CLIENT), false, &config), 0);
        config_free(config);
}

/* Wherever a secret ends up by mistake, no message repeats it. */
static void test_no_message_tells_a_secret(void **state)
{
        static const char *const texts[] = {
                "client_secret = \"hunter2\"; client_secret_file = \"hunter2\";",
                "client_secret_file = \"hunter2\"; client_secret = 5;",
                "client_secret_credential = \"x/hunter2\";",
                "client_secret = ( \"hunter2\" );",
                "client_secret = \"hunter2\\n\";",
                "client_secret = \"hunter2;",
                "client_secret = \"hunter2\" x;",
                "client_secret = \"hunter2\"; client_secret = \"hunter2\";",
                "client_secrets = \"hunter2\";",
                "user_token_url = \"https://a:hunter2@h/\";",
                "user_token_url = \"http://h/?key=hunter2\";",
                "x = { client_secret = \"hunter2\"; };",
                "next_client_secret = \"hunter2\"; next_client_secret_file = \"hunter2\";",
                "next_client_secret = ( \"hunter2\" );",
                "next_client_secret = \"hunter2\\n\";",
                "next_client_secret_credential = \"x/hunter2\";",
                "client_secret_expires = \"hunter2\";",
                "key_file = \"hunter2\";",
        };
        struct config *config;

        (void)state;
        for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++) {
                char text[512];

                (void)snprintf(text, sizeof(text), "clients = ({ %s });", texts[i]);
                assert_int_equal(parse_bytes(text, strlen(text), true, &config), CONFIG_E_INVALID);
                assert_null(strstr(said, "hunter2"));
                assert_true(strlen(said) > 0);
        }
}

static void test_secret_places(void **state)
{
        (void)state;
#define WITH(secret)                                                                             \
        "clients = ({ name = \"a\"; client_id = \"a\"; user_token_url = \"https://h/\"; " secret \
        " });"
        bad(WITH("client_secret_file = \"s\";"),
            "t.conf:1: 'client_secret_file' must be an absolute path\n");
        bad(WITH("client_secret_file = 5;"), "t.conf:1: 'client_secret_file' must be an absolute "
                                             "path, not a number without quotes\n");
        bad(WITH("client_secret_credential = \"a/b\";"),
            "t.conf:1: 'client_secret_credential' must be the name of a systemd credential, which "
            "has no '/'\n");
        bad(WITH("client_secret_credential = \"..\";"),
            "t.conf:1: 'client_secret_credential' must be the name of a systemd credential, which "
            "has no '/'\n");
        bad(WITH("client_secret_credential = \"\";"),
            "t.conf:1: 'client_secret_credential' must be the name of a systemd credential, which "
            "has no '/'\n");
#undef WITH
}

/* Files */

static int load(const char *path, struct config **ret_config)
{
        size_t said_size;
        FILE *errors;
        int r;

        free(said);
        said = NULL;
        *ret_config = NULL;
        errors = open_memstream(&said, &said_size);
        assert_non_null(errors);
        r = config_load(ret_config, path, errors);
        assert_int_equal(fclose(errors), 0);
        return r;
}

static void write_file(const char *path, const char *text, mode_t mode)
{
        int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

        assert_true(fd >= 0);
        assert_int_equal(write(fd, text, strlen(text)), strlen(text));
        assert_int_equal(fchmod(fd, mode), 0);
        close(fd);
}

static void test_load(void **state)
{
        char directory[] = "/tmp/test-config-XXXXXX", path[64], expected[256];
        char *text = with_secret("\"hush\"");
        struct config *config;

        (void)state;
        assert_non_null(mkdtemp(directory));
        (void)snprintf(path, sizeof(path), "%s/c.conf", directory);

        assert_int_equal(load(path, &config), CONFIG_E_INVALID);
        (void)snprintf(expected, sizeof(expected),
                       "%s: cannot be opened: No such file or directory\n", path);
        assert_string_equal(said, expected);

        assert_int_equal(load(directory, &config), CONFIG_E_INVALID);
        (void)snprintf(expected, sizeof(expected), "%s: is not a regular file, as was expected\n",
                       directory);
        assert_string_equal(said, expected);

        assert_int_equal(mkfifo(path, 0600), 0);
        assert_int_equal(load(path, &config), CONFIG_E_INVALID);
        assert_non_null(strstr(said, "is not a regular file"));
        assert_int_equal(unlink(path), 0);

        for (int mode = 0; mode <= 0777; mode++) {
                bool private = !(mode & 0027);

                if ((mode & 0700) != 0600)
                        continue;
                write_file(path, text, (mode_t)mode);
                assert_int_equal(load(path, &config), private ? 0 : CONFIG_E_INVALID);
                if (mode & 0022)
                        assert_non_null(strstr(said, "chmod go-w "));
                else
                        assert_true(private || strstr(said, "chmod g-w,o= "));
                config_free(config);
        }
        write_file(path, CLIENT, 0666);
        assert_int_equal(load(path, &config), CONFIG_E_INVALID);
        write_file(path, CLIENT, 0644);
        assert_int_equal(load(path, &config), 0);
        assert_string_equal(config->path, path);
        config_free(config);

        assert_int_equal(truncate(path, 1024L * 1024 + 1), 0);
        assert_int_equal(load(path, &config), CONFIG_E_INVALID);
        assert_non_null(strstr(said, "is larger than 1 MiB"));

        assert_int_equal(unlink(path), 0);
        assert_int_equal(rmdir(directory), 0);
        free(text);
}

static char *read_whole(const char *path)
{
        FILE *file = fopen(path, "re");
        char *text = calloc(1, 65536);

        assert_non_null(file);
        assert_non_null(text);
        assert_true(fread(text, 1, 65535, file) > 0);
        assert_int_equal(fclose(file), 0);
        return text;
}

/* Whether a line of the text is this option with this value. */
static bool has_option(const char *text, const char *name, const char *value)
{
        for (const char *line = text; line; line = strchr(line, '\n')) {
                const char *c;

                line += strspn(line, "\n ");
                if (strncmp(line, name, strlen(name)) != 0)
                        continue;
                c = line + strlen(name);
                c += strspn(c, " ");
                if (c[0] == '=' && strncmp(c + 2, value, strlen(value)) == 0)
                        return true;
        }
        return false;
}

static void test_sample(void **state)
{
        struct config *config;
        char *text = read_whole(TEST_SAMPLE_CONFIG);

        (void)state;
        assert_int_equal(load(TEST_SAMPLE_CONFIG, &config), 0);
        assert_string_equal(said, "");
        assert_int_equal(config->n_listeners, 3);
        assert_int_equal(config->settings.n_clients, 1);
        config_free(config);

        /* "#name" and "#   name" are options at their defaults; "# Words" are prose. */
        for (char *line = text; line; line = strchr(line, '\n')) {
                line += *line == '\n';
                if (line[0] == '#' && (line[1] >= 'a' || strncmp(line, "#   ", 4) == 0))
                        line[0] = ' ';
        }
        config = good(text);
        for (size_t i = 0; i < N_NUMBERS; i++) {
                assert_int_equal(number_in(config, &numbers[i]), numbers[i].fallback_value);
                assert_true(has_option(text, numbers[i].name, numbers[i].fallback));
        }
        assert_true(has_option(text, "log_level", "\"info\""));
        assert_true(has_option(text, "log_format", "\"text\""));
        assert_true(has_option(text, "lock_memory", "\"auto\""));
        assert_true(has_option(text, "to", "\"journal\""));
        assert_true(has_option(text, "subjects", "\"clear\""));
        assert_true(has_option(text, "required", "false"));
        assert_int_equal(config->audit.target, AUDIT_TO_JOURNAL);
        assert_int_equal(config->audit.subjects, AUDIT_SUBJECTS_CLEAR);
        assert_false(config->audit.required);
        assert_int_equal(config->listeners[0].gid, (gid_t)-1);
        assert_int_equal(config->policy.n_rules, 0);
        config_free(config);
        free(text);
}

/* Takes the two slashes off the lines of a list in the sample. */
static void uncomment(char *text, const char *begin)
{
        char *line = strstr(text, begin), *end;

        assert_non_null(line);
        end = strstr(line, "\n//);");
        assert_non_null(end);
        for (; line && line <= end; line = strchr(line + 1, '\n')) {
                assert_memory_equal(line + 1, "//", 2);
                line[1] = line[2] = ' ';
        }
}

static void test_sample_of_credentials(void **state)
{
        static const char *const options[] = {"id", "unit", "client", "subject", "scope"};
        char *text = read_whole(TEST_SAMPLE_CONFIG), *listener;
        struct config *config;

        (void)state;
        uncomment(text, "\n//credentials = (");
        listener = strstr(text, "// , { credentials = ");
        assert_non_null(listener);
        listener[0] = listener[1] = ' ';
        config = good(text);
        for (size_t i = 0; i < sizeof(options) / sizeof(*options); i++)
                assert_true(has_option(text, options[i], ""));
        assert_int_equal(config->n_credentials, 1);
        assert_string_equal(config->credentials[0].id, "egain-token");
        assert_true(config->listeners[3].credentials);
        config_free(config);
        free(text);
}

/* The example of rules holds, too, without the slashes at each line. */
static void test_sample_of_rules(void **state)
{
        static const char *const options[] = {
                "name",   "user",     "group",   "unit",    "// key_file", "clients",
                "scopes", "subjects", "fetches", "monitor", "admin",
        };
        char *text = read_whole(TEST_SAMPLE_CONFIG);
        const struct rule *rules;
        struct config *config;

        (void)state;
        uncomment(text, "\n//callers = (");
        config = good(text);
        for (size_t i = 0; i < sizeof(options) / sizeof(*options); i++)
                assert_true(has_option(text, options[i], ""));
        rules = config->policy.rules;
        assert_int_equal(config->policy.n_rules, 2);
        assert_string_equal(rules[0].name, "crm");
        assert_int_equal(rules[0].uid, 1001);
        assert_int_equal(rules[0].n_subjects, 3);
        assert_int_equal(rules[0].fetches.count, rules[1].fetches.count);
        assert_int_equal(rules[0].fetches.period_ms, rules[1].fetches.period_ms);
        assert_true(rules[1].monitor && rules[1].admin);
        config_free(config);
        free(text);
}

/* The manual tells of each option in a heading "*name* (type…)", and its examples hold. */
static void test_man_page(void **state)
{
        static const char *const others[] = {
                "listen",
                "clients",
                "callers",
                "credentials",
                "id",
                "anonymous_token_url",
                "client",
                "subject",
                "scope",
                "request_timeout",
                "drain_timeout",
                "log_level",
                "log_format",
                "lock_memory",
                "unix",
                "tcp",
                "mode",
                "group",
                "name",
                "client_id",
                "default_scope",
                "cert_file",
                "key_file",
                "ca_file",
                "proxy",
                "no_proxy",
                "user",
                "unit",
                "subjects",
                "scopes",
                "fetches",
                "monitor",
                "admin",
                "to",
                "required",
                "user_token_url",
                "customer_token_url",
        };
        char *page = read_whole(TEST_MAN_PAGE), *text = calloc(1, 65536), heading[64];

        (void)state;
        assert_non_null(text);
        for (size_t i = 0; i < N_NUMBERS; i++) {
                (void)snprintf(heading, sizeof(heading), "\n*%s* (", numbers[i].name);
                assert_non_null(strstr(page, heading));
        }
        for (size_t i = 0; i < sizeof(others) / sizeof(*others); i++) {
                (void)snprintf(heading, sizeof(heading), "\n*%s* (", others[i]);
                assert_non_null(strstr(page, heading));
        }

        for (char *block = strstr(page, "\n```\n"); block; block = strstr(block, "\n```\n")) {
                char *end = strstr(block + 5, "\n```\n");

                assert_non_null(end);
                strncat(text, block + 5, (size_t)(end - block - 4));
                block = end + 5;
        }
        accepted(text);
        assert_non_null(strstr(text, "callers"));
        free(text);
        free(page);
}

static void test_free_null(void **state)
{
        (void)state;
        config_free(NULL);
}

int main(void)
{
        static const struct CMUnitTest tests[] = {
                cmocka_unit_test_teardown(test_number_ranges, tear_down),
                cmocka_unit_test_teardown(test_number_types, tear_down),
                cmocka_unit_test_teardown(test_defaults, tear_down),
                cmocka_unit_test_teardown(test_integers_that_wrap, tear_down),
                cmocka_unit_test_teardown(test_units, tear_down),
                cmocka_unit_test_teardown(test_bounds_between_options, tear_down),
                cmocka_unit_test_teardown(test_log_level, tear_down),
                cmocka_unit_test_teardown(test_log_format, tear_down),
                cmocka_unit_test_teardown(test_lock_memory, tear_down),
                cmocka_unit_test_teardown(test_ca_file, tear_down),
                cmocka_unit_test_teardown(test_proxy, tear_down),
                cmocka_unit_test_teardown(test_upstream_timeout, tear_down),
                cmocka_unit_test_teardown(test_unknown_options, tear_down),
                cmocka_unit_test_teardown(test_group_types, tear_down),
                cmocka_unit_test_teardown(test_several_mistakes, tear_down),
                cmocka_unit_test_teardown(test_mistakes_are_capped, tear_down),
                cmocka_unit_test_teardown(test_syntax, tear_down),
                cmocka_unit_test_teardown(test_glued_values, tear_down),
                cmocka_unit_test_teardown(test_include, tear_down),
                cmocka_unit_test_teardown(test_open_ends, tear_down),
                cmocka_unit_test_teardown(test_nul, tear_down),
                cmocka_unit_test_teardown(test_size_cap, tear_down),
                cmocka_unit_test_teardown(test_forms, tear_down),
                cmocka_unit_test_teardown(test_listen, tear_down),
                cmocka_unit_test_teardown(test_listen_tcp_refused, tear_down),
                cmocka_unit_test_teardown(test_listen_refused, tear_down),
                cmocka_unit_test_teardown(test_listen_too_many, tear_down),
                cmocka_unit_test_teardown(test_listen_twice, tear_down),
                cmocka_unit_test_teardown(test_listen_mode, tear_down),
                cmocka_unit_test_teardown(test_listen_group, tear_down),
                cmocka_unit_test_teardown(test_clients, tear_down),
                cmocka_unit_test_teardown(test_clients_incomplete, tear_down),
                cmocka_unit_test_teardown(test_anonymous_clients, tear_down),
                cmocka_unit_test_teardown(test_client_names, tear_down),
                cmocka_unit_test_teardown(test_clients_unique, tear_down),
                cmocka_unit_test_teardown(test_clients_too_many, tear_down),
                cmocka_unit_test_teardown(test_urls, tear_down),
                cmocka_unit_test_teardown(test_default_scope, tear_down),
                cmocka_unit_test_teardown(test_inline_secret, tear_down),
                cmocka_unit_test_teardown(test_inline_secret_length, tear_down),
                cmocka_unit_test_teardown(test_inline_secret_in_open_file, tear_down),
                cmocka_unit_test_teardown(test_no_message_tells_a_secret, tear_down),
                cmocka_unit_test_teardown(test_secret_places, tear_down),
                cmocka_unit_test_teardown(test_load, tear_down),
                cmocka_unit_test_teardown(test_sample, tear_down),
                cmocka_unit_test_teardown(test_sample_of_rules, tear_down),
                cmocka_unit_test_teardown(test_sample_of_credentials, tear_down),
                cmocka_unit_test_teardown(test_man_page, tear_down),
                cmocka_unit_test_teardown(test_free_null, tear_down),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
