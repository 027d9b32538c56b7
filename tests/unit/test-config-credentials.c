/* SPDX-License-Identifier: MIT */

/*
 * The entries of `credentials`, and the listener for them. Client applications and listeners are on
 * line 1; what is tried begins on line 2.
 */

#include "../../daemon/config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#include <cmocka.h>

#define CLIENTS                                                                                 \
        "clients = ({ name = \"portal\"; client_id = \"id-p\"; client_secret_file = \"/s\"; "   \
        "user_token_url = \"https://h/t\"; default_scope = \"b a\"; }, { name = \"staff\"; "    \
        "client_id = \"id-s\"; client_secret_file = \"/s\"; user_token_url = \"https://h/t\"; " \
        "}); "
#define LISTEN   "listen = ({ credentials = \"/run/c\"; });"
#define PREAMBLE CLIENTS LISTEN "\n"

#define REST    "client = \"portal\"; subject = \"username:pa\"; "
#define GOOD    "id = \"t\"; unit = \"a.service\"; " REST
#define LIST(x) PREAMBLE "credentials = (\n" x ");"

static char *said;

static int parse(const char *text, struct config **ret_config)
{
        size_t said_size;
        FILE *errors;
        int r;

        free(said);
        said = NULL;
        *ret_config = NULL;
        errors = open_memstream(&said, &said_size);
        assert_non_null(errors);
        r = config_parse(ret_config, "t.conf", text, strlen(text), true, errors);
        assert_int_equal(fclose(errors), 0);
        return r;
}

static struct config *warned(const char *text, const char *expected)
{
        struct config *config;
        int r;

        r = parse(text, &config);
        assert_string_equal(said, expected);
        assert_int_equal(r, 0);
        return config;
}

static struct config *good(const char *text)
{
        return warned(text, "");
}

static void bad(const char *text, const char *expected)
{
        struct config *config;
        int r;

        r = parse(text, &config);
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
        struct config *config = good(CLIENTS);

        (void)state;
        assert_int_equal(config->n_credentials, 0);
        assert_false(config->listeners[0].credentials);
        config_free(config);
}

static void test_everything(void **state)
{
        struct config *config = good(
                LIST("{ " GOOD "},\n{ id = \"u\"; unit = \"w@*.service\"; client = \"staff\"; "
                     "subject = \"userid:47:11\"; scope = \"z y z\"; }"));
        const struct credential_config *entry = &config->credentials[0];

        (void)state;
        assert_int_equal(config->n_credentials, 2);
        assert_string_equal(entry->id, "t");
        assert_string_equal(entry->subject, "pa");
        assert_int_equal(entry->subject_kind, SUBJECT_USERNAME);
        assert_string_equal(entry->scope, "a b"); /* the client's, canonical */
        assert_string_equal(entry->rule.name, "credential:t");
        assert_string_equal(entry->rule.unit, "a.service");
        assert_int_equal(entry->rule.line, 3);
        assert_int_equal(entry->rule.n_scopes, 2);

        entry++;
        assert_string_equal(entry->scope, "y z");
        assert_string_equal(entry->subject, "47:11");
        assert_int_equal(entry->subject_kind, SUBJECT_USERID);

        /* It gives what it names, and nothing beside it. */
        assert_int_equal(policy_check_client(&entry->rule, 1), 0);
        assert_int_equal(policy_check_client(&entry->rule, 0), REASON_CLIENT_NOT_PERMITTED);
        assert_int_equal(policy_check_subject(&entry->rule, SUBJECT_USERID, TEXT("47:11")), 0);
        assert_int_equal(policy_check_subject(&entry->rule, SUBJECT_USERNAME, TEXT("47:11")),
                         REASON_SUBJECT_NOT_PERMITTED);
        assert_int_equal(policy_check_subject(&entry->rule, SUBJECT_USERID, TEXT("47:111")),
                         REASON_SUBJECT_NOT_PERMITTED);
        assert_int_equal(policy_check_scope(&entry->rule, TEXT("z")), 0);
        assert_int_equal(policy_check_scope(&entry->rule, TEXT("y z zz")),
                         REASON_SCOPE_NOT_PERMITTED);
        assert_false(entry->rule.monitor || entry->rule.admin || entry->rule.everything);
        config_free(config);
}

static void test_listener(void **state)
{
        struct config *config = good(CLIENTS "listen = ({ unix = \"/run/a\"; }, { credentials = "
                                             "\"/run/b\"; group = \"4711\"; mode = \"0620\"; });"
                                             "credentials = ({ " GOOD "});");
        struct sockaddr_un un;

        (void)state;
        assert_false(config->listeners[0].credentials);
        assert_true(config->listeners[1].credentials);
        assert_int_equal(config->listeners[1].mode, 0620);
        assert_int_equal(config->listeners[1].gid, 4711);
        memcpy(&un, &config->listeners[1].address, sizeof(un));
        assert_string_equal(un.sun_path, "/run/b");
        config_free(config);

        config = good(LIST("{ " GOOD "}"));
        assert_int_equal(config->listeners[0].mode, 0600);
        config_free(config);

        bad(CLIENTS "listen = (\n{ credentials = \"/run/a\"; unix = \"/run/b\"; },\n"
                    "{ credentials = \"/run/a\"; tcp = \"localhost:1\"; },\n"
                    "{ credentials = \"run/a\"; });",
            "t.conf:2: an entry of 'listen' needs one, not several, of 'unix', 'tcp' and "
            "'credentials'\n"
            "t.conf:3: an entry of 'listen' needs one, not several, of 'unix', 'tcp' and "
            "'credentials'\n"
            "t.conf:4: 'credentials' must be an absolute path of at most 107 bytes that names a "
            "file, not \"run/a\"\n");
        bad(CLIENTS "listen = ({ unix = \"/run/a\"; },\n{ credentials = \"/run/a\"; });"
                    "credentials = ({ " GOOD "});",
            "t.conf:2: /run/a is listened on already, by line 1\n");
}

static void test_one_without_the_other(void **state)
{
        (void)state;
        config_free(warned(CLIENTS "\ncredentials = (\n{ " GOOD "});",
                           "t.conf:3: warning: no unit can ask for what is in 'credentials', "
                           "because 'listen' has no entry with 'credentials'\n"));
        config_free(warned(CLIENTS "\n" LISTEN,
                           "t.conf:2: warning: nothing is handed out on this socket, because there "
                           "is no list 'credentials'\n"));
        /* It is no socket for callers. */
        config_free(warned(CLIENTS "listen = ({ tcp = \"localhost:1\"; }, { credentials = "
                                   "\"/run/c\"; }); credentials = ({ " GOOD "}); callers = (\n"
                                   "{ name = \"a\"; unit = \"a.service\"; clients = [\"portal\"]; "
                                   "subjects = [\"userid:*\"]; scopes = [\"*\"]; });",
                           "t.conf:2: warning: a rule with 'unit' is never selected over TCP, "
                           "where only the user is known, and 'listen' has no Unix socket\n"));
}

static void test_incomplete(void **state)
{
        (void)state;
        bad(LIST("{ }"), "t.conf:3: an entry of 'credentials' needs 'id'\n"
                         "t.conf:3: an entry of 'credentials' needs 'unit'\n"
                         "t.conf:3: an entry of 'credentials' needs 'client'\n"
                         "t.conf:3: an entry of 'credentials' needs 'subject'\n");
        bad(PREAMBLE "credentials = ( );",
            "t.conf:2: 'credentials' must have 1 to 1000 entries, ( { name = value; } ), not 0\n");
}

static void test_ids(void **state)
{
        static const char *const ids[] = {"", ".", "..", "a/b", "a:b", "\\x01", "\\xc3\\xbc"};
        char text[2048];
        struct config *config;

        (void)state;
        for (size_t i = 0; i < sizeof(ids) / sizeof(*ids); i++) {
                (void)snprintf(text, sizeof(text),
                               PREAMBLE "credentials = ({ id = \"%s\"; unit = \"a.service\"; " REST
                                        "});",
                               ids[i]);
                assert_int_equal(parse(text, &config), CONFIG_E_INVALID);
                assert_non_null(strstr(said, "t.conf:2: 'id' must be what systemd takes for the "
                                             "name of a credential"));
        }
        config_free(good(LIST("{ id = \"egain token.1_-\"; unit = \"a.service\"; " REST "}")));
}

/* systemd puts both names into an address of 107 bytes. */
static void test_names_that_are_too_long(void **state)
{
        static const char unit[] = "w@*.service"; /* the star may stand for nothing */
        char id[128], text[2048];
        struct config *config;
        int r;

        (void)state;
        for (size_t size = 72; size <= 75; size++) {
                memset(id, 'i', size);
                id[size] = '\0';
                (void)snprintf(text, sizeof(text), LIST("{ id = \"%s\";\nunit = \"%s\"; " REST "}"),
                               id, unit);
                r = parse(text, &config);
                assert_int_equal(r, size <= 73 ? 0 : CONFIG_E_INVALID);
                if (r)
                        assert_non_null(strstr(said, "t.conf:3: 'unit' and 'id' have "));
                config_free(config);
        }
}

static void test_units(void **state)
{
        struct config *config;

        (void)state;
        bad(LIST("{ id = \"t\"; " REST "\nunit = \"a.scope\"; }"),
            "t.conf:4: systemd starts no program in a scope, and so hands it no credential: a unit "
            "that ends in .service was expected\n");
        assert_int_equal(parse(LIST("{ id = \"t\"; unit = \"*.service\"; " REST "}"), &config),
                         CONFIG_E_INVALID);
        assert_non_null(strstr(said, "with '*' in the name of the instance only"));
}

static void test_clients(void **state)
{
        (void)state;
        bad(LIST("{ id = \"t\"; unit = \"a.service\"; subject = \"userid:1\";\n"
                 "client = \"portall\"; }"),
            "t.conf:4: there is no client application \"portall\" in the list 'clients'; did you "
            "mean \"portal\"?\n");
        bad(LIST("{ id = \"t\"; unit = \"a.service\"; client = \"portal\";\n"
                 "subject = \"email:a@b\"; }"),
            "t.conf:4: the client application \"portal\" has no 'customer_token_url', which a "
            "subject by email needs\n");
}

static void test_subjects(void **state)
{
        static const char *const subjects[] = {"pa", "username:", "name:pa", "username:*",
                                               "username:\\x01"};
        char text[2048];
        struct config *config;

        (void)state;
        for (size_t i = 0; i < sizeof(subjects) / sizeof(*subjects); i++) {
                (void)snprintf(text, sizeof(text),
                               LIST("{ id = \"t\"; unit = \"a.service\"; client = \"portal\";\n"
                                    "subject = \"%s\"; }"),
                               subjects[i]);
                assert_int_equal(parse(text, &config), CONFIG_E_INVALID);
                assert_non_null(strstr(said, "t.conf:4: 'subject' must be a kind (username, userid "
                                             "or email), a colon and one subject"));
        }
}

#define LOBBY                                                                    \
        "clients = ({ name = \"lobby\"; anonymous_token_url = \"https://h/a\"; " \
        "default_scope = \"a\"; }, { name = \"portal\"; client_id = \"id-p\"; "  \
        "client_secret_file = \"/s\"; customer_token_url = \"https://h/t\"; "    \
        "default_scope = \"a\"; });" LISTEN "\n"

/* Of an application, and of customers whom nobody knows. */
static void test_no_subjects(void **state)
{
        static const char *const wrong[] = {"application:x", "anonymous:*", "exchange:okta",
                                            "exchange:",     "application", "anonymous"};
        struct config *config;
        char text[2048];

        (void)state;
        config = good(LIST("{ id = \"t\"; unit = \"a.service\"; client = \"portal\"; "
                           "subject = \"application:\"; }"));
        assert_int_equal(config->credentials[0].subject_kind, SUBJECT_APPLICATION);
        assert_string_equal(config->credentials[0].subject, "");
        assert_int_equal(policy_check_subject(&config->credentials[0].rule, SUBJECT_APPLICATION,
                                              (struct text){}),
                         0);
        assert_int_equal(policy_check_subject(&config->credentials[0].rule, SUBJECT_ANONYMOUS,
                                              (struct text){}),
                         REASON_SUBJECT_NOT_PERMITTED);
        config_free(config);
        config = good(LOBBY "credentials = ({ id = \"t\"; unit = \"a.service\"; "
                            "client = \"lobby\"; subject = \"anonymous:\"; });");
        assert_int_equal(config->credentials[0].subject_kind, SUBJECT_ANONYMOUS);
        config_free(config);
        bad(LOBBY "credentials = ({ id = \"t\"; unit = \"a.service\"; client = \"lobby\";\n"
                  "subject = \"application:\"; });",
            "t.conf:3: the client application \"lobby\" has no 'user_token_url', which a subject "
            "by application needs\n");
        bad(LOBBY "credentials = ({ id = \"t\"; unit = \"a.service\"; client = \"portal\";\n"
                  "subject = \"anonymous:\"; });",
            "t.conf:3: the client application \"portal\" has no 'anonymous_token_url', which a "
            "subject by anonymous needs\n");
        for (size_t i = 0; i < sizeof(wrong) / sizeof(*wrong); i++) {
                (void)snprintf(text, sizeof(text),
                               LIST("{ id = \"t\"; unit = \"a.service\"; client = \"portal\";\n"
                                    "subject = \"%s\"; }"),
                               wrong[i]);
                assert_int_equal(parse(text, &config), CONFIG_E_INVALID);
                assert_non_null(strstr(said, "t.conf:4: 'subject' must be a kind (username, userid "
                                             "or email), a colon and one subject"));
        }
}

static void test_scopes(void **state)
{
        (void)state;
        bad(LIST("{ id = \"t\"; unit = \"a.service\"; client = \"staff\"; subject = \"userid:1\"; "
                 "}"),
            "t.conf:3: an entry of 'credentials' needs 'scope' where its client application has no "
            "'default_scope'\n");
        bad(LIST("{ " GOOD "\nscope = \"a.*\"; }"),
            "t.conf:4: a scope that is asked for is no pattern: scope values without '*' were "
            "expected\n");
        bad(LIST("{ " GOOD "\nscope = \"a  b\"; }"),
            "t.conf:4: 'scope' must be scope values (RFC 6749, section 3.3) with single spaces "
            "between them, not \"a  b\"\n");
}

static void test_overlap(void **state)
{
        (void)state;
        bad(LIST("{ " GOOD "},\n{ id = \"t2\"; unit = \"a.service\"; " REST "},\n{ " GOOD "}"),
            "t.conf:5: the credential \"t\" of a.service is given by line 3 already\n");
        config_free(warned(LIST("{ id = \"t\"; unit = \"w@*.service\"; " REST "},\n"
                                "{ id = \"t\"; unit = \"w@a.service\"; " REST "}"),
                           "t.conf:4: warning: this entry is never used: line 3 gives the "
                           "credential \"t\" to every unit that it is for; put the narrower one "
                           "before it\n"));
        config_free(good(LIST("{ id = \"t\"; unit = \"w@a.service\"; " REST "},\n"
                              "{ id = \"t\"; unit = \"w@*.service\"; " REST "}")));
}

int main(void)
{
        static const struct CMUnitTest tests[] = {
                cmocka_unit_test_teardown(test_none, tear_down),
                cmocka_unit_test_teardown(test_everything, tear_down),
                cmocka_unit_test_teardown(test_listener, tear_down),
                cmocka_unit_test_teardown(test_one_without_the_other, tear_down),
                cmocka_unit_test_teardown(test_incomplete, tear_down),
                cmocka_unit_test_teardown(test_ids, tear_down),
                cmocka_unit_test_teardown(test_names_that_are_too_long, tear_down),
                cmocka_unit_test_teardown(test_units, tear_down),
                cmocka_unit_test_teardown(test_clients, tear_down),
                cmocka_unit_test_teardown(test_subjects, tear_down),
                cmocka_unit_test_teardown(test_no_subjects, tear_down),
                cmocka_unit_test_teardown(test_scopes, tear_down),
                cmocka_unit_test_teardown(test_overlap, tear_down),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
