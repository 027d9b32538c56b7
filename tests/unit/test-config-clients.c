/* SPDX-License-Identifier: MIT */

/*
 * The next secret of a client application, when its secrets end, and its certificate. What every
 * entry of `clients` has is tried by test-config.c. An entry here begins on line 1; what is tried
 * is on line 2.
 */

#include "../../daemon/config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define CLIENT(options)                                                           \
        "clients = ({ name = \"portal\"; client_id = \"id-1\"; user_token_url = " \
        "\"https://h/t\"; client_secret_file = \"/s\";\n" options " });"

static char *said; /* what the last parse said */

static int parse(const char *text, bool private, struct config **ret_config)
{
        size_t said_size;
        FILE *errors;
        int r;

        free(said);
        said = NULL;
        *ret_config = NULL;
        errors = open_memstream(&said, &said_size);
        assert_non_null(errors);
        r = config_parse(ret_config, "t.conf", text, strlen(text), private, errors);
        assert_int_equal(fclose(errors), 0);
        return r;
}

static struct config *good(const char *text)
{
        struct config *config;
        int r;

        r = parse(text, true, &config);
        assert_string_equal(said, "");
        assert_int_equal(r, 0);
        return config;
}

static void bad(const char *text, const char *expected)
{
        struct config *config;
        int r;

        r = parse(text, true, &config);
        assert_string_equal(said, expected);
        assert_int_equal(r, CONFIG_E_INVALID);
        assert_null(config);
}

static int tear_down(void **state)
{
        (void)state;
        free(said);
        said = NULL;
        return 0;
}

static void test_none(void **state)
{
        struct config *config = good(CLIENT(""));

        (void)state;
        assert_int_equal(config->secrets[0].kind, SECRET_KIND_FILE);
        assert_int_equal(config->secrets[1].kind, SECRET_KIND_NONE);
        assert_null(config->secrets[1].where);
        assert_int_equal(config->secrets[1].value.size, 0);
        assert_int_equal(config->secrets[1].line, 0);
        assert_int_equal(config->settings.clients[0].secret_expires_s[0], 0);
        assert_int_equal(config->settings.clients[0].secret_expires_s[1], 0);
        assert_null(config->tls[0].cert_file);
        assert_null(config->tls[0].key_file);
        config_free(config);
}

/* Each client's two secrets are beside each other, whichever comes first in the file. */
static void test_next_secrets(void **state)
{
        struct config *config = good(
                "clients = (\n"
                "{ name = \"a\"; client_id = \"1\"; user_token_url = \"https://h/\";\n"
                "  next_client_secret_file = \"/next\";\n"
                "  client_secret_credential = \"c\"; },\n"
                "{ name = \"b\"; client_id = \"2\"; user_token_url = \"https://h/\";\n"
                "  client_secret = \"hush\"; next_client_secret = \"hu\\\"sh\" \"er\"; },\n"
                "{ name = \"c\"; client_id = \"3\"; user_token_url = \"https://h/\";\n"
                "  client_secret_file = \"/s\"; },\n"
                "{ name = \"d\"; client_id = \"4\"; user_token_url = \"https://h/\";\n"
                "  client_secret_file = \"/s\"; next_client_secret_credential = \"n\"; });");
        const struct secret_source *secrets = config->secrets;

        (void)state;
        assert_int_equal(config->settings.n_clients, 4);
        assert_int_equal(secrets[0].kind, SECRET_KIND_CREDENTIAL);
        assert_string_equal(secrets[0].where, "c");
        assert_int_equal(secrets[0].line, 4);
        assert_int_equal(secrets[1].kind, SECRET_KIND_FILE);
        assert_string_equal(secrets[1].where, "/next");
        assert_int_equal(secrets[1].line, 3);
        assert_int_equal(secrets[2].kind, SECRET_KIND_INLINE);
        assert_string_equal(secrets[2].value.bytes, "hush");
        assert_int_equal(secrets[3].kind, SECRET_KIND_INLINE);
        assert_string_equal(secrets[3].value.bytes, "hu\"sher");
        assert_int_equal(secrets[3].value.size, 7);
        assert_int_equal(secrets[4].kind, SECRET_KIND_FILE);
        assert_int_equal(secrets[5].kind, SECRET_KIND_NONE);
        assert_int_equal(secrets[7].kind, SECRET_KIND_CREDENTIAL);
        assert_string_equal(secrets[7].where, "n");
        config_free(config);
}

#define ONE_OF_NEXT                                                       \
        "'next_client_secret_file', 'next_client_secret_credential' and " \
        "'next_client_secret'"

static void test_next_secrets_refused(void **state)
{
        struct config *config;

        (void)state;
        bad(CLIENT("next_client_secret = \"a\";\nnext_client_secret_file = \"/a\";"),
            "t.conf:3: 'next_client_secret_file' is one secret too many: line 2 names one, and at "
            "most one of " ONE_OF_NEXT " is expected\n");
        bad(CLIENT("client_secret = \"a\";"),
            "t.conf:2: 'client_secret' is one secret too many: line 1 names one, and exactly one "
            "of 'client_secret_file', 'client_secret_credential' and 'client_secret' is "
            "expected\n");
        bad(CLIENT("next_client_secret_file = \"a\";"),
            "t.conf:2: 'next_client_secret_file' must be an absolute path\n");
        bad(CLIENT("next_client_secret_credential = \"a/b\";"),
            "t.conf:2: 'next_client_secret_credential' must be the name of a systemd credential, "
            "which has no '/'\n");
        bad(CLIENT("next_client_secret = \"\";"),
            "t.conf:2: 'next_client_secret' is empty: a client secret was expected\n");
        bad(CLIENT("next_client_secret = \"a\\nb\";"),
            "t.conf:2: 'next_client_secret' holds a control character: one line of text was "
            "expected\n");
        bad(CLIENT("next_client_secret = 12345;"),
            "t.conf:2: 'next_client_secret' must be a string, not a number without quotes\n");
        bad("clients = ({ name = \"a\"; client_id = \"a\"; user_token_url = \"https://h/\";\n"
            "next_client_secret = \"hush\"; });",
            "t.conf:1: an entry of 'clients' needs one of 'client_secret_file', "
            "'client_secret_credential' and 'client_secret'\n");

        assert_int_equal(parse(CLIENT("next_client_secret = \"hush\";"), false, &config),
                         CONFIG_E_INVALID);
        assert_string_equal(said,
                            "t.conf:2: 'next_client_secret' is not safe in this file, which must "
                            "belong to root or to the daemon's user, be closed to others and not "
                            "writable by its group: chown root t.conf; chmod g-w,o= t.conf\n");
        assert_int_equal(parse(CLIENT("next_client_secret_file = \"/n\";"), false, &config), 0);
        config_free(config);
}

static void test_expiry(void **state)
{
        struct config *config = good(
                CLIENT("client_secret_expires = \"2027-11-01\"; next_client_secret_expires = "
                       "\"2999-12-31\"; next_client_secret_file = \"/n\";"));

        (void)state;
        assert_int_equal(config->settings.clients[0].secret_expires_s[0], 1825027200);
        assert_int_equal(config->settings.clients[0].secret_expires_s[1], 32503593600);
        config_free(config);

        config = good(CLIENT("client_secret_expires = \"2000-01-01\";"));
        assert_int_equal(config->settings.clients[0].secret_expires_s[0], 946684800);
        config_free(config);

        bad(CLIENT("next_client_secret_expires = \"2027-11-01\";"),
            "t.conf:2: 'next_client_secret_expires' needs a next secret: one of " ONE_OF_NEXT "\n");
}

static void test_expiry_refused(void **state)
{
        static const char *const wrong[] = {
                "\"1999-12-31\"", "\"3000-01-01\"",           "\"2027-02-29\"", "\"2027-11-1\"",
                "\"tomorrow\"",   "\"2027-11-01T00:00:00Z\"", "\"\"",           "\" 2027-11-01\"",
        };
        static const char *const names[] = {"client_secret_expires", "next_client_secret_expires"};
        char text[512], expected[512];

        (void)state;
        for (size_t i = 0; i < 2 * sizeof(wrong) / sizeof(*wrong); i++) {
                (void)snprintf(text, sizeof(text),
                               CLIENT("next_client_secret_file = \"/n\"; %s = %s;"), names[i % 2],
                               wrong[i / 2]);
                (void)snprintf(expected, sizeof(expected),
                               "t.conf:2: '%s' must be a date in quotes, \"YYYY-MM-DD\", from "
                               "\"2000-01-01\" to \"2999-12-31\"\n",
                               names[i % 2]);
                bad(text, expected);
        }
        bad(CLIENT("client_secret_expires = 2027-11-01;"),
            "t.conf:2: 'client_secret_expires' must be a date in quotes, \"YYYY-MM-DD\", from "
            "\"2000-01-01\" to \"2999-12-31\", not a number without quotes\n");
}

static void test_certificates(void **state)
{
        struct config *config = good(CLIENT("cert_file = \"/c.pem\";\nkey_file = \"/k.pem\";"));

        (void)state;
        assert_string_equal(config->tls[0].cert_file, "/c.pem");
        assert_string_equal(config->tls[0].key_file, "/k.pem");
        assert_int_equal(config->tls[0].line, 3);
        config_free(config);

        bad(CLIENT("cert_file = \"/c.pem\";"),
            "t.conf:2: 'cert_file' needs 'key_file' beside it\n");
        bad(CLIENT("key_file = \"/k.pem\";"), "t.conf:2: 'key_file' needs 'cert_file' beside it\n");
        bad(CLIENT("cert_file = \"c.pem\"; key_file = \"/k.pem\";"),
            "t.conf:2: 'cert_file' must be an absolute path, not \"c.pem\"\n");
        bad(CLIENT("cert_file = \"/c.pem\"; key_file = \"-----BEGIN PRIVATE KEY-----\";"),
            "t.conf:2: 'key_file' must be an absolute path\n");
        bad(CLIENT("cert_file = true; key_file = 5;"),
            "t.conf:2: 'cert_file' must be an absolute path, not true\n"
            "t.conf:2: 'key_file' must be an absolute path, not a number without quotes\n");
}

int main(void)
{
        static const struct CMUnitTest tests[] = {
                cmocka_unit_test_teardown(test_none, tear_down),
                cmocka_unit_test_teardown(test_next_secrets, tear_down),
                cmocka_unit_test_teardown(test_next_secrets_refused, tear_down),
                cmocka_unit_test_teardown(test_expiry, tear_down),
                cmocka_unit_test_teardown(test_expiry_refused, tear_down),
                cmocka_unit_test_teardown(test_certificates, tear_down),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
