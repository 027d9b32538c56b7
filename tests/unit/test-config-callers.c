/* SPDX-License-Identifier: MIT */

/*
 * The rules of `callers`: what each option makes of what is written, every mistake with its message
 * and its line, and what rules have to do with each other. The client applications are on line 1;
 * what is tried begins on line 2.
 */

#include "../../daemon/config.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <openssl/sha.h>
#include <pwd.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define CLIENT(name)                                       \
        "{ name = \"" name "\"; client_id = \"id-" name    \
        "\"; client_secret_file = \"/s\"; user_token_url " \
        "= \"https://h/t\"; }"
#define CLIENTS "clients = (" CLIENT("portal") ", " CLIENT("mobile") ");\n"
#define GIVES   "clients = [ \"portal\" ]; subjects = [ \"username:*\" ]; scopes = [ \"*\" ]; "

/* A rule that can be used, with these options before its rights. */
#define RULE(name, options) "{ name = \"" name "\"; " options " " GIVES "}"
#define CALLERS(rules)      CLIENTS "callers = (\n" rules " );"

/* In place of the C library's, so that no test depends on the users of this machine. */

static int name_error;

static const struct {
        const char *name;
        unsigned int id;
} names[] = {{"root", 0},       {"crm", 1001},   {"web", 1002},         {"customer", 1001},
             {"nobody", 65534}, {"dyn", 61200},  {"borderline", 61183}, {"staff", 50},
             {"old", 65535},    {"past", 65520}, {"last", 65519},       {"huge", 4711}};

static int find(const char *name, size_t size, unsigned int *ret_id)
{
        if (name_error)
                return name_error;
        if (strcmp(name, "huge") == 0 && size < 65536)
                return ERANGE;
        for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
                if (strcmp(name, names[i].name) == 0) {
                        *ret_id = names[i].id;
                        return -1;
                }
        }
        return 0;
}

int getpwnam_r(const char *name, struct passwd *user, char *buffer, size_t size,
               struct passwd **ret_user)
{
        int r = find(name, size, &user->pw_uid);

        *ret_user = r < 0 ? user : NULL;
        return r < 0 ? 0 : r;
}

int getgrnam_r(const char *name, struct group *group, char *buffer, size_t size,
               struct group **ret_group)
{
        int r = find(name, size, &group->gr_gid);

        *ret_group = r < 0 ? group : NULL;
        return r < 0 ? 0 : r;
}

/* Helpers. */

static char directory[] = "/tmp/test-config-callers-XXXXXX";
static char key_path[64], other_key_path[64];
static char *said; /* what the last parse said */

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
        assert_non_null(config);
        return config;
}

static struct config *good(const char *text)
{
        return warned(text, "");
}

static void accepted(const char *text)
{
        config_free(good(text));
}

static void warns(const char *text, const char *expected)
{
        config_free(warned(text, expected));
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

/* `format` has one %s, for which `word` stands. */
__attribute__((format(printf, 1, 0))) static char *with(const char *format, const char *word)
{
        char *text;

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
        assert_true(asprintf(&text, format, word, word, word) >= 0);
#pragma GCC diagnostic pop
        return text;
}

static void write_file(const char *path, const char *text, mode_t mode)
{
        int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

        assert_true(fd >= 0);
        assert_int_equal(write(fd, text, strlen(text)), strlen(text));
        assert_int_equal(fchmod(fd, mode), 0);
        close(fd);
}

static int set_up_all(void **state)
{
        (void)state;
        if (!mkdtemp(directory))
                return -1;
        (void)snprintf(key_path, sizeof(key_path), "%s/key", directory);
        (void)snprintf(other_key_path, sizeof(other_key_path), "%s/other", directory);
        return 0;
}

static int tear_down_all(void **state)
{
        (void)state;
        return rmdir(directory);
}

static int tear_down(void **state)
{
        (void)state;
        free(said);
        said = NULL;
        name_error = 0;
        (void)unlink(key_path);
        (void)unlink(other_key_path);
        return 0;
}

/* What is read */

static void test_none(void **state)
{
        struct config *config = good(CLIENTS);

        (void)state;
        assert_int_equal(config->policy.n_rules, 0);
        assert_int_equal(config->policy.own_uid, geteuid());
        config_free(config);
        bad(CLIENTS "callers = ();",
            "t.conf:2: 'callers' must have 1 to 1000 entries, ( { name = value; } ), not 0\n");
        bad(CLIENTS "callers = {};",
            "t.conf:2: 'callers' must be a list of groups, ( { name = value; } ), not a group\n");
        bad(CLIENTS "callers = ( 5 );",
            "t.conf:2: an entry of 'callers' must be a group, { name = value; }, not 5\n");
}

static void test_everything(void **state)
{
        struct config *config = good(
                "callers = (\n"
                "  { name = \"crm\"; user = \"crm\"; group = \"staff\"; unit = \"w@*.service\";\n"
                "    clients = [ \"mobile\", \"portal\" ];\n"
                "    subjects = [ \"username:*\", \"email:*@example.com\", \"userid:7\" ];\n"
                "    scopes = ( \"a.b\", \"c*\" );\n"
                "    monitor = true; admin = false; fetches = \"5/2s\"; },\n"
                "  { name = \"ops\"; group = \"huge\"; monitor = true; admin = true; }\n"
                ");\n" CLIENTS);
        const struct rule *rule = &config->policy.rules[0];

        (void)state;
        assert_int_equal(config->policy.n_rules, 2);
        assert_string_equal(rule->name, "crm");
        assert_int_equal(rule->line, 2);
        assert_string_equal(rule->user, "crm");
        assert_int_equal(rule->uid, 1001);
        assert_string_equal(rule->group, "staff");
        assert_int_equal(rule->gid, 50);
        assert_string_equal(rule->unit, "w@*.service");
        assert_false(rule->has_key);
        assert_int_equal(rule->n_clients, 2);
        assert_int_equal(rule->clients[0], 1);
        assert_int_equal(rule->clients[1], 0);
        assert_int_equal(rule->n_subjects, 3);
        assert_int_equal(rule->subjects[0].kind, SUBJECT_USERNAME);
        assert_string_equal(rule->subjects[0].pattern, "*");
        assert_int_equal(rule->subjects[1].kind, SUBJECT_EMAIL);
        assert_string_equal(rule->subjects[1].pattern, "*@example.com");
        assert_int_equal(rule->subjects[2].kind, SUBJECT_USERID);
        assert_int_equal(rule->n_scopes, 2);
        assert_string_equal(rule->scopes[1], "c*");
        assert_true(rule->monitor);
        assert_false(rule->admin);
        assert_false(rule->everything);
        assert_int_equal(rule->fetches.count, 5);
        assert_int_equal(rule->fetches.period_ms, 2000);

        rule = &config->policy.rules[1];
        assert_int_equal(rule->line, 7);
        assert_null(rule->user);
        assert_null(rule->unit);
        assert_int_equal(rule->gid, 4711);
        assert_int_equal(rule->n_clients + rule->n_subjects + rule->n_scopes, 0);
        assert_true(rule->monitor && rule->admin);
        assert_int_equal(rule->fetches.count, 600);
        assert_int_equal(rule->fetches.period_ms, 60000);
        config_free(config);
}

static void test_types(void **state)
{
        (void)state;
        bad(CALLERS("{ name = \"a b\"; user = 5; group = true; unit = 7; key_file = \"x\";\n"
                    "monitor = \"yes\"; admin = 1; fetches = 600; clients = \"portal\";\n"
                    "subjects = { }; scopes = [ 1, 2 ]; colour = 1; }"),
            "t.conf:3: 'name' must be 1 to 64 letters, digits, '.', '_' or '-', not \"a b\"\n"
            "t.conf:3: 'user' must be the name of a user, or their number, in quotes, not 5\n"
            "t.conf:3: 'group' must be the name of a group, or its number, in quotes, not true\n"
            "t.conf:3: 'unit' must be the name of a systemd unit, such as \"crm-sync.service\", at "
            "most 255 letters, digits, ':', '-', '_', '.', '\\' and '@', not 7\n"
            "t.conf:3: 'key_file' must be an absolute path\n"
            "t.conf:4: 'monitor' must be true or false, without quotes, not \"yes\"\n"
            "t.conf:4: 'admin' must be true or false, without quotes, not 1\n"
            "t.conf:4: 'fetches' must be a count and a duration in quotes with a '/' between them, "
            "from 1 to 1000000 in \"1s\" to \"1d\", such as \"600/1m\", not 600\n"
            "t.conf:4: 'clients' must be an array of strings, such as [ \"portal\" ], not "
            "\"portal\"\n"
            "t.conf:5: 'subjects' must be an array of strings, such as [ \"username:*\" ], not a "
            "group\n"
            "t.conf:5: an entry of 'scopes' must be a string, not 1\n"
            "t.conf:5: an entry of 'scopes' must be a string, not 2\n"
            "t.conf:5: unknown option 'colour' in 'callers'\n");
}

static void test_too_many(void **state)
{
        const size_t capacity = 100000;
        char *text = malloc(capacity);
        size_t size;

        (void)state;
        assert_non_null(text);
        size = (size_t)snprintf(text, capacity,
                                "%scallers = ( { name = \"u0\"; user = \"0\"; "
                                "monitor = true; }",
                                CLIENTS);
        for (int i = 1; i < 1000; i++)
                size += (size_t)snprintf(text + size, capacity - size,
                                         ", { name = \"u%d\"; user = \"%d\"; monitor = true; }", i,
                                         i);
        (void)snprintf(text + size, capacity - size, ");");
        accepted(text);
        (void)snprintf(text + size, capacity - size, ", { });");
        bad(text, "t.conf:2: 'callers' must have 1 to 1000 entries, ( { name = value; } ), not "
                  "1001\n");

        size = (size_t)snprintf(text, capacity,
                                "%scallers = ( { name = \"a\"; user = \"0\"; clients = [ "
                                "\"portal\" ]; scopes = [ \"*\" ];\nsubjects = [ \"email:0\"",
                                CLIENTS);
        for (int i = 1; i < 1000; i++)
                size += (size_t)snprintf(text + size, capacity - size, ", \"email:%d\"", i);
        (void)snprintf(text + size, capacity - size, " ]; } );");
        accepted(text);
        (void)snprintf(text + size, capacity - size, ", \"email:x\" ]; } );");
        bad(text, "t.conf:3: 'subjects' must have at most 1000 entries, not 1001\n");
        free(text);
}

static void test_fetches(void **state)
{
        static const char *const refused[] = {
                "",           "600",    "/",
                "600/",       "/1m",    "0/1m",
                "1000001/1m", "600/1",  "600/999ms",
                "600/25h",    "600/2d", "600 / 1m",
                "-1/1m",      "6e2/1m", "0600/1m",
                "600/1m/1m",  "600/0s", "10000000000000000000000/1m",
                "600/1y",
        };
        struct config *config;

        (void)state;
        config = good(CALLERS(RULE("a", "user = \"crm\"; fetches = \"1/1s\";") ",\n" RULE(
                "b", "user = \"web\"; fetches = \"1000000/1d\";")));
        assert_int_equal(config->policy.rules[0].fetches.count, 1);
        assert_int_equal(config->policy.rules[0].fetches.period_ms, 1000);
        assert_int_equal(config->policy.rules[1].fetches.count, 1000000);
        assert_int_equal(config->policy.rules[1].fetches.period_ms, 86400000);
        config_free(config);

        for (size_t i = 0; i < sizeof(refused) / sizeof(*refused); i++) {
                char *text = with(CALLERS(RULE("a", "user = \"crm\"; fetches = \"%s\";")),
                                  refused[i]);
                char *expected = with(
                        "t.conf:3: 'fetches' must be a count and a duration in quotes with a '/' "
                        "between them, from 1 to 1000000 in \"1s\" to \"1d\", such as \"600/1m\", "
                        "not \"%s\"\n",
                        refused[i]);

                bad(text, expected);
                free(expected);
                free(text);
        }
}

/* Whom a rule is for */

static void test_incomplete(void **state)
{
        (void)state;
        bad(CALLERS("{ user = \"crm\"; " GIVES "}"),
            "t.conf:3: an entry of 'callers' needs 'name'\n");
        bad(CALLERS("{ name = \"\"; user = \"crm\"; " GIVES "}"),
            "t.conf:3: 'name' must be 1 to 64 letters, digits, '.', '_' or '-', not \"\"\n");
        bad(CALLERS("{ name = \"a\";\n" GIVES "}"),
            "t.conf:3: an entry of 'callers' needs at least one of 'user', 'group' and 'unit'\n");
}

static void test_key_alone(void **state)
{
        char *text = with(CALLERS("{ name = \"a\";\nkey_file = \"%s\";\n" GIVES "}"), key_path);

        (void)state;
        write_file(key_path, "0123456789abcdef", 0600);
        bad(text, "t.conf:4: an entry of 'callers' needs at least one of 'user', 'group' and "
                  "'unit': a key alone proves nothing, it only narrows whom these select\n");
        free(text);
}

static void test_users_and_groups(void **state)
{
        static const char unknown[] = CALLERS(RULE("a", "\nuser = \"jim\";"));
        struct config *config;

        (void)state;
        config = good(CALLERS(
                RULE("a", "user = \"1234\";") ",\n" RULE("b", "group = \"61183\";") ",\n" RULE(
                        "c",
                        "user = \"borderline\";") ",\n" RULE("d",
                                                             "user = \"past\";") ",\n" RULE("e",
                                                                                            "user "
                                                                                            "= "
                                                                                            "\"6553"
                                                                                            "3\"; "
                                                                                            "group "
                                                                                            "= "
                                                                                            "\"root"
                                                                                            "\""
                                                                                            ";")));
        assert_int_equal(config->policy.rules[0].uid, 1234);
        assert_string_equal(config->policy.rules[0].user, "1234");
        assert_int_equal(config->policy.rules[1].gid, 61183);
        assert_int_equal(config->policy.rules[2].uid, 61183);
        assert_int_equal(config->policy.rules[3].uid, 65520);
        assert_int_equal(config->policy.rules[4].uid, 65533);
        assert_int_equal(config->policy.rules[4].gid, 0);
        config_free(config);

        bad(unknown, "t.conf:4: there is no user \"jim\": create it, or name another in 'user'\n");
        bad(CALLERS(RULE("a", "\ngroup = \"wheel\";")),
            "t.conf:4: there is no group \"wheel\": create it, or name another in 'group'\n");
        bad(CALLERS(RULE("a", "user = \"\";")),
            "t.conf:3: 'user' must be the name of a user, or their number, in quotes, not \"\"\n");
        bad(CALLERS(RULE("a", "user = \"4294967295\";")),
            "t.conf:3: 'user' must be a number from 0 to 4294967294, not \"4294967295\"\n");
        bad(CALLERS(RULE("a", "user = \"007\";")),
            "t.conf:3: 'user' must be a number from 0 to 4294967294, not \"007\"\n");

        name_error = EIO;
        assert_int_equal(parse(unknown, &config), CONFIG_E_NAME_SERVICE);
        assert_null(config);
        assert_string_equal(said, "t.conf:4: the user \"jim\" cannot be looked up just now: "
                                  "Input/output error\n");
        bad(CALLERS(RULE("a", "user = \"jim\"; unit = \"x\";")),
            "t.conf:3: 'unit' must be the full name of a systemd unit, with \".service\" at its "
            "end, not \"x\"\n"
            "t.conf:3: the user \"jim\" cannot be looked up just now: Input/output error\n");
}

#define RECYCLED                                                                                \
        " is one of those that systemd gives to one service after the other (61184 to 65519): " \
        "name the service in 'unit' instead\n"
#define NOBODYS " stands for ids that cannot be told: it may be anybody's\n"

static void test_ids_that_prove_nothing(void **state)
{
        (void)state;
        bad(CALLERS(RULE("a", "user = \"61184\";")),
            "t.conf:3: the user \"61184\", number 61184," RECYCLED);
        bad(CALLERS(RULE("a", "user = \"dyn\";")),
            "t.conf:3: the user \"dyn\", number 61200," RECYCLED);
        bad(CALLERS(RULE("a", "group = \"last\";")),
            "t.conf:3: the group \"last\", number 65519," RECYCLED);
        bad(CALLERS(RULE("a", "user = \"nobody\";")),
            "t.conf:3: the user \"nobody\", number 65534," NOBODYS);
        bad(CALLERS(RULE("a", "group = \"65534\";")),
            "t.conf:3: the group \"65534\", number 65534," NOBODYS);
        bad(CALLERS(RULE("a", "group = \"old\";")),
            "t.conf:3: the group \"old\", number 65535," NOBODYS);
}

static void unit_is_refused(const char *unit, const char *expectation)
{
        char *text, *expected;

        text = with(CALLERS(RULE("a", "\nunit = \"%s\";")), unit);
        assert_true(asprintf(&expected, "t.conf:4: 'unit' must be %s, not \"%s\"\n", expectation,
                             unit) >= 0);
        bad(text, expected);
        free(expected);
        free(text);
}

#define NOT_A_UNIT                                                                                \
        "the name of a systemd unit, such as \"crm-sync.service\", at most 255 letters, digits, " \
        "':', '-', '_', '.', '\\' and '@'"
#define STRAY_STAR                                                                           \
        "the name of a systemd unit with '*' in the name of the instance only, between the " \
        "first '@' and the last '.', such as \"worker@*.service\""
#define NO_PROCESSES \
        "the name of a systemd unit that has processes, which ends in .service or .scope"
#define TEMPLATE                                                                                  \
        "an instance or all instances of a template, such as \"worker@*.service\" (the template " \
        "itself never runs)"

static void test_units(void **state)
{
        static const char *const fine[] = {"crm-sync.service",   "session-3.scope",
                                           "worker@*.service",   "worker@a*b*.service",
                                           "worker@a.b.service", "user@1000.service",
                                           "a@b@*.service",      "x\\\\x2dy.service"};
        char name[300], *text;

        (void)state;
        for (size_t i = 0; i < sizeof(fine) / sizeof(*fine); i++) {
                text = with(CALLERS(RULE("a", "unit = \"%s\";")), fine[i]);
                accepted(text);
                free(text);
        }
        unit_is_refused("", NOT_A_UNIT);
        unit_is_refused("crm sync.service", NOT_A_UNIT);
        unit_is_refused("/crm.service", NOT_A_UNIT);
        unit_is_refused("crm-sync",
                        "the full name of a systemd unit, with \".service\" at its end");
        unit_is_refused("crm.timer", NO_PROCESSES);
        unit_is_refused("user.slice", NO_PROCESSES);
        unit_is_refused(".service", NO_PROCESSES);
        unit_is_refused("*.service", STRAY_STAR);
        unit_is_refused("crm*.service", STRAY_STAR);
        unit_is_refused("crm*@x.service", STRAY_STAR);
        unit_is_refused("worker@.service", TEMPLATE);
        unit_is_refused("worker@x.service*", NO_PROCESSES);

        memset(name, 'u', sizeof(name));
        (void)snprintf(name + 255 - strlen(".service"), 32, ".service");
        text = with(CALLERS(RULE("a", "unit = \"%s\";")), name);
        accepted(text);
        free(text);
        (void)snprintf(name + 256 - strlen(".service"), 32, ".service");
        name[255 - strlen(".service")] = 'u';
        text = with(CALLERS(RULE("a", "unit = \"%s\";")), name);
        bad(text, "t.conf:3: 'unit' must be " NOT_A_UNIT
                  ", not \"uuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuu...\"\n");
        free(text);
}

/* Keys */

static void test_keys(void **state)
{
        static const char key[] = "0123456789abcdef";
        char *text = with(CALLERS(RULE("a", "user = \"crm\";\nkey_file = \"%s\";")), key_path);
        uint8_t digest[REQUEST_SHA256_BYTES];
        struct config *config;
        char *expected;

        (void)state;
        write_file(key_path, "0123456789abcdef\n", 0640);
        config = good(text);
        assert_true(config->policy.rules[0].has_key);
        SHA256((const unsigned char *)key, strlen(key), digest);
        assert_memory_equal(config->policy.rules[0].key_sha256, digest, sizeof(digest));
        config_free(config);

        write_file(key_path, "0123456789abcde\n", 0600);
        expected = with("t.conf:4: the key in %s is too short: at least 16 bytes were expected, "
                        "such as `openssl rand -hex 32` makes\n",
                        key_path);
        bad(text, expected);
        free(expected);
        write_file(key_path, "0123456789abcdef\n0123456789abcdef\n", 0600);
        expected = with("t.conf:4: the key in %s holds a control character: one line of text was "
                        "expected\n",
                        key_path);
        bad(text, expected);
        free(expected);
        write_file(key_path, key, 0604);
        expected = with("t.conf:4: %s holds a secret but its mode, 0604, lets its group write it "
                        "or others use it: chmod g-w,o= %s\n",
                        key_path);
        bad(text, expected);
        free(expected);
        assert_int_equal(unlink(key_path), 0);
        expected = with("t.conf:4: the key in %s cannot be opened: No such file or directory\n",
                        key_path);
        bad(text, expected);
        free(expected);
        free(text);
}

static void test_two_rules_with_one_key(void **state)
{
        char *text, *expected;

        (void)state;
        write_file(key_path, "0123456789abcdef", 0600);
        write_file(other_key_path, "0123456789abcdef\n", 0600);
        assert_true(asprintf(&text,
                             CALLERS(RULE("a", "user = \"crm\";\nkey_file = \"%s\";") ",\n" RULE(
                                     "b", "user = \"web\";\nkey_file = \"%s\";")),
                             key_path, other_key_path) >= 0);
        bad(text, "t.conf:6: the key in 'key_file' is that of rule \"a\" already, in line 4: a key "
                  "of its own was expected\n");
        write_file(other_key_path, "fedcba9876543210", 0600);
        accepted(text);
        free(text);

        /* Equal but for their keys: which one it is, the key tells. */
        assert_true(
                asprintf(&text,
                         CALLERS(RULE("a", "user = \"crm\"; key_file = \"%s\";") ",\n" RULE(
                                 "b", "user = \"crm\"; key_file = \"%s\";") ",\n" RULE("c",
                                                                                       "user = "
                                                                                       "\"crm\";")),
                         key_path, other_key_path) >= 0);
        accepted(text);
        free(text);

        text = with(CALLERS(RULE("a", "user = \"crm\";") ",\n" RULE(
                            "b", "user = \"crm\"; key_file = \"%s\";")),
                    key_path);
        expected = with("t.conf:4: warning: this rule is never selected: rule \"a\" in line %s is "
                        "selected first for everybody whom it is for; put the narrower one before "
                        "it\n",
                        "3");
        warns(text, expected);
        free(expected);
        free(text);
}

/* What a rule gives */

static void test_clients(void **state)
{
        (void)state;
#define NAMING(clients)                                                                   \
        CALLERS("{ name = \"a\"; user = \"crm\"; subjects = [ \"email:*\" ]; scopes = [ " \
                "\"*\" ];\nclients = " clients "; }")
        accepted(NAMING("[ \"portal\" ]"));
        accepted(NAMING("( \"portal\", \"mobile\" )"));
        bad(NAMING("[ \"portl\" ]"), "t.conf:4: there is no client application \"portl\" in the "
                                     "list 'clients'; did you mean \"portal\"?\n");
        bad(NAMING("[ \"portal\",\n\"crm\" ]"),
            "t.conf:5: there is no client application \"crm\" in the list 'clients'\n");
        bad(NAMING("[ \"id-mobile\" ]"),
            "t.conf:4: a client application is named by its name here, not by its client_id: "
            "\"mobile\" was expected\n");
        bad(NAMING("[ ]"),
            "t.conf:4: 'clients' is empty: strings were expected, such as [ \"portal\" ]; without "
            "the option there are none\n");
        bad(NAMING("[ \"\" ]"),
            "t.conf:4: an entry of 'clients' must be the name of a client application: 1 to 64 "
            "letters, digits, '.', '_' or '-', not \"\"\n");
        bad(NAMING("[ \"*\" ]"),
            "t.conf:4: an entry of 'clients' must be the name of a client application: 1 to 64 "
            "letters, digits, '.', '_' or '-', not \"*\"\n");
        bad(NAMING("( true, { } )"),
            "t.conf:4: an entry of 'clients' must be the name of a client application: 1 to 64 "
            "letters, digits, '.', '_' or '-', not true\n"
            "t.conf:4: an entry of 'clients' must be the name of a client application: 1 to 64 "
            "letters, digits, '.', '_' or '-', not a group\n");
        bad("callers = (" RULE("a", "user = \"crm\";") ");",
            "t.conf: there are no 'clients': at least one client application is expected\n");
#undef NAMING
}

static void test_subjects(void **state)
{
        char text[1024];
        char pattern[REQUEST_SUBJECT_MAX_BYTES + 2];

        (void)state;
#define NAMING(subjects)                                                                \
        CALLERS("{ name = \"a\"; user = \"crm\"; clients = [ \"portal\" ]; scopes = [ " \
                "\"*\" ];\nsubjects = " subjects "; }")
#define NO_KIND                                                                                   \
        "t.conf:4: an entry of 'subjects' must be a kind (username, userid, email, application, " \
        "anonymous or exchange), a colon and a pattern, such as \"username:*\", not "
#define EMPTY                                                                                 \
        "t.conf:4: an entry of 'subjects' must be a kind, a colon and a pattern that is not " \
        "empty (\"username:*\" is every username), not "
#define NO_SUBJECT(kind)                                                                       \
        "t.conf:4: an entry of 'subjects' must be \"" kind ":*\": there is no subject that a " \
        "pattern could tell from others, not "
#define NOT_PLAIN                                                                          \
        "t.conf:4: an entry of 'subjects' must be a kind, a colon and a pattern in UTF-8 " \
        "without control characters, not "
        accepted(NAMING("[ \"username:*\", \"email:a:b\", \"userid: \xc3\xa4[?\\\\\" ]"));
        bad(NAMING("[ \"pa\" ]"), NO_KIND "\"pa\"\n");
        bad(NAMING("[ \"*\" ]"), NO_KIND "\"*\"\n");
        bad(NAMING("[ \":pa\" ]"), NO_KIND "\":pa\"\n");
        bad(NAMING("[ \"user:pa\" ]"), NO_KIND "\"user:pa\"\n");
        bad(NAMING("[ \"Username:pa\" ]"), NO_KIND "\"Username:pa\"\n");
        bad(NAMING("[ \"\" ]"), NO_KIND "\"\"\n");
        bad(NAMING("[ \"username:\" ]"), EMPTY "\"username:\"\n");
        bad(NAMING("[ \"email:a\\nb\" ]"), NOT_PLAIN "\"email:a\\x0ab\"\n");
        bad(NAMING("[ \"email:\\x7f\" ]"), NOT_PLAIN "\"email:\\x7f\"\n");
        bad(NAMING("[ \"email:\xc2\x85\" ]"), NOT_PLAIN "\"email:\\xc2\\x85\"\n");
        bad(NAMING("[ \"email:\xff\" ]"), NOT_PLAIN "\"email:\\xff\"\n");
        accepted(NAMING("[ \"application:*\", \"anonymous:*\", \"exchange:okta-*\" ]"));
        bad(NAMING("[ \"application:\" ]"), NO_SUBJECT("application") "\"application:\"\n");
        bad(NAMING("[ \"application:p*\" ]"), NO_SUBJECT("application") "\"application:p*\"\n");
        bad(NAMING("[ \"application:**\" ]"), NO_SUBJECT("application") "\"application:**\"\n");
        bad(NAMING("[ \"application\" ]"), NO_KIND "\"application\"\n");
        bad(NAMING("[ \"anonymous:guest\" ]"), NO_SUBJECT("anonymous") "\"anonymous:guest\"\n");
        bad(NAMING("[ \"exchange:\" ]"), EMPTY "\"exchange:\"\n");
        bad(NAMING("[ ]"),
            "t.conf:4: 'subjects' is empty: strings were expected, such as [ \"username:*\" ]; "
            "without the option there are none\n");
        bad(NAMING("[ true ]"), "t.conf:4: an entry of 'subjects' must be a string, not true\n");

        memset(pattern, 'p', sizeof(pattern));
        pattern[REQUEST_SUBJECT_MAX_BYTES] = '\0';
        (void)snprintf(text, sizeof(text), NAMING("[ \"email:%s\" ]"), pattern);
        accepted(text);
        pattern[REQUEST_SUBJECT_MAX_BYTES] = 'p';
        pattern[REQUEST_SUBJECT_MAX_BYTES + 1] = '\0';
        (void)snprintf(text, sizeof(text), NAMING("[ \"email:%s\" ]"), pattern);
        bad(text,
            "t.conf:4: an entry of 'subjects' must be a kind, a colon and a pattern of at most 256 "
            "bytes, not \"email:pppppppppppppppppppppppppppppppppppppppppppppppppppppp...\"\n");
        pattern[REQUEST_REGISTRATION_MAX_BYTES] = '\0';
        (void)snprintf(text, sizeof(text), NAMING("[ \"exchange:%s\" ]"), pattern);
        accepted(text);
        pattern[REQUEST_REGISTRATION_MAX_BYTES] = 'p';
        pattern[REQUEST_REGISTRATION_MAX_BYTES + 1] = '\0';
        (void)snprintf(text, sizeof(text), NAMING("[ \"exchange:%s\" ]"), pattern);
        bad(text, "t.conf:4: an entry of 'subjects' must be \"exchange:\" and a pattern of "
                  "registration_ids of at most 128 bytes, not "
                  "\"exchange:ppppppppppppppppppppppppppppppppppppppppppppppppppp...\"\n");
#undef NAMING
}

static void test_scopes(void **state)
{
        static const char *const wrong[] = {"a\\\"b", "a\\\\b", "a\\tb", "\xc3\xa4", "\\x7f"};

        (void)state;
#define NAMING(scopes)                                                                    \
        CALLERS("{ name = \"a\"; user = \"crm\"; clients = [ \"portal\" ]; subjects = [ " \
                "\"email:*\" ];\nscopes = " scopes "; }")
        accepted(NAMING("[ \"!#[]~\", \"a.*.b\", \"*\" ]"));
        bad(NAMING("[ \"\" ]"), "t.conf:4: an entry of 'scopes' must be a pattern that is not "
                                "empty (\"*\" is every scope), not \"\"\n");
        bad(NAMING("[ \"a b\" ]"),
            "t.conf:4: an entry of 'scopes' must be one scope value without spaces: write two "
            "values as two strings, not \"a b\"\n");
        bad(NAMING("[ ]"), "t.conf:4: 'scopes' is empty: strings were expected, such as [ "
                           "\"knowledge.portalmgr.*\" ]; without the option there are none\n");
        for (size_t i = 0; i < sizeof(wrong) / sizeof(*wrong); i++) {
                char *text = with(NAMING("[ \"%s\" ]"), wrong[i]);
                struct config *config;

                assert_int_equal(parse(text, &config), CONFIG_E_INVALID);
                assert_non_null(strstr(said, "t.conf:4: an entry of 'scopes' must be a scope value "
                                             "(RFC 6749, section 3.3: "));
                free(text);
        }
#undef NAMING
}

static void test_rights_that_are_none(void **state)
{
        (void)state;
        warns(CALLERS("{ name = \"a\"; user = \"crm\"; }"),
              "t.conf:3: warning: this rule gives nothing to whom it selects: it has neither "
              "'clients', 'subjects' and 'scopes' nor 'monitor' nor 'admin'\n");
        warns(CALLERS("{ name = \"a\"; user = \"crm\"; subjects = [ \"email:*\" ];\n"
                      "clients = [ \"portal\" ]; monitor = true; }"),
              "t.conf:3: warning: this rule hands out no token, because it names no 'scopes': "
              "'clients', 'subjects' and 'scopes' that are left out mean none\n");
        accepted(CALLERS("{ name = \"a\"; user = \"crm\"; admin = true; }"));

        /* Warnings stand among the mistakes, in the order of lines. */
        bad(CALLERS("{ name = \"a\"; user = \"crm\"; },\n{ name = \"a\"; user = \"web\"; },\n"
                    "{ name = \"c\"; user = \"0\"; }"),
            "t.conf:3: warning: this rule gives nothing to whom it selects: it has neither "
            "'clients', 'subjects' and 'scopes' nor 'monitor' nor 'admin'\n"
            "t.conf:4: warning: this rule gives nothing to whom it selects: it has neither "
            "'clients', 'subjects' and 'scopes' nor 'monitor' nor 'admin'\n"
            "t.conf:4: the name \"a\" is taken already, by line 3\n"
            "t.conf:5: warning: this rule gives nothing to whom it selects: it has neither "
            "'clients', 'subjects' and 'scopes' nor 'monitor' nor 'admin'\n");
}

/* Rules and rules */

#define TWO(first, second) CALLERS(RULE("a", first) ",\n" RULE("b", second))
#define SHADOWED                                                                                  \
        "t.conf:4: warning: this rule is never selected: rule \"a\" in line 3 is selected first " \
        "for everybody whom it is for; put the narrower one before it\n"
#define EQUAL                                                                                   \
        "t.conf:4: the conditions of this rule are those of rule \"a\" in line 3, which alone " \
        "would ever be selected: make one of the two, or let a condition tell them apart\n"

static void test_equal_conditions(void **state)
{
        (void)state;
        bad(TWO("user = \"crm\";", "user = \"crm\";"), EQUAL);
        bad(TWO("user = \"crm\";", "user = \"1001\";"), EQUAL);
        bad(TWO("user = \"crm\";", "user = \"customer\";"), EQUAL);
        bad(TWO("unit = \"x@*.service\";", "unit = \"x@*.service\";"), EQUAL);
        bad(TWO("group = \"staff\"; user = \"0\"; unit = \"x.service\";",
                "unit = \"x.service\"; user = \"root\"; group = \"50\";"),
            EQUAL);
        accepted(TWO("user = \"crm\";", "group = \"crm\";"));

        /* What is not known is not compared. */
        bad(TWO("user = \"jim\"; unit = \"x.service\";", "unit = \"x.service\";"),
            "t.conf:3: there is no user \"jim\": create it, or name another in 'user'\n");
}

static void test_shadowed(void **state)
{
        (void)state;
        warns(TWO("user = \"crm\";", "user = \"crm\"; unit = \"x.service\";"), SHADOWED);
        warns(TWO("unit = \"w@*.service\";", "unit = \"w@1.service\";"), SHADOWED);
        warns(TWO("unit = \"w@*.service\";", "unit = \"w@a*.service\"; group = \"staff\";"),
              SHADOWED);
        warns(TWO("group = \"staff\";", "user = \"crm\"; group = \"50\";"), SHADOWED);
        accepted(TWO("user = \"crm\"; unit = \"x.service\";", "user = \"crm\";"));
        accepted(TWO("unit = \"w@a*.service\";", "unit = \"w@*.service\";"));
        accepted(TWO("unit = \"w@1.service\";", "unit = \"w@*.service\";"));
        accepted(TWO("user = \"crm\";", "unit = \"x.service\";"));
        accepted(TWO("user = \"crm\"; group = \"staff\";", "user = \"crm\"; group = \"web\";"));

        /* Once for each rule, with the first that is in its way. */
        warns(CALLERS(RULE("a", "user = \"crm\";") ",\n" RULE(
                      "b", "user = \"crm\"; group = "
                           "\"staff\";") ",\n" RULE("c", "user = \"crm\"; group = \"staff\"; unit "
                                                         "= \"x.service\";")),
              SHADOWED "t.conf:5: warning: this rule is never selected: rule \"a\" in line 3 is "
                       "selected first for everybody whom it is for; put the narrower one before "
                       "it\n");
}

static void test_tcp_only(void **state)
{
        static const char rules[] = RULE("a", "group = \"staff\";") ",\n" RULE(
                "b", "user = \"crm\";\nunit = \"x.service\";") ",\n"
                                                               "{ name = \"c\"; user = "
                                                               "\"crm\";\nadmin = true; },\n" RULE(
                                                                       "d", "user = \"web\";");
        char *text;

        (void)state;
        text = with(CLIENTS "listen = ({ tcp = \"127.0.0.1:8471\"; }); callers = (\n%s );", rules);
        warns(text,
              "t.conf:3: warning: a rule with 'group' is never selected over TCP, where only the "
              "user is known, and 'listen' has no Unix socket\n"
              "t.conf:5: warning: a rule with 'unit' is never selected over TCP, where only the "
              "user is known, and 'listen' has no Unix socket\n"
              "t.conf:7: warning: 'admin' means nothing over TCP, and 'listen' has no Unix "
              "socket\n");
        free(text);
        text = with(CLIENTS "listen = ({ tcp = \"127.0.0.1:8471\"; }, { unix = \"/s\"; }); "
                            "callers = (\n%s );",
                    rules);
        warns(text,
              "t.conf:3: warning: over TCP, where only the user is known, the rule 'a' is never "
              "selected, and its callers may get what the rule 'c' in line 6 gives\n"
              "t.conf:4: warning: over TCP, where only the user is known, the rule 'b' is never "
              "selected, and its callers may get what the rule 'c' in line 6 gives\n");
        free(text);
        text = with(CLIENTS "listen = ({ unix = \"/s\"; }); callers = (\n%s );", rules);
        accepted(text);
        free(text);
}

int main(void)
{
        static const struct CMUnitTest tests[] = {
                cmocka_unit_test_teardown(test_none, tear_down),
                cmocka_unit_test_teardown(test_everything, tear_down),
                cmocka_unit_test_teardown(test_types, tear_down),
                cmocka_unit_test_teardown(test_too_many, tear_down),
                cmocka_unit_test_teardown(test_fetches, tear_down),
                cmocka_unit_test_teardown(test_incomplete, tear_down),
                cmocka_unit_test_teardown(test_key_alone, tear_down),
                cmocka_unit_test_teardown(test_users_and_groups, tear_down),
                cmocka_unit_test_teardown(test_ids_that_prove_nothing, tear_down),
                cmocka_unit_test_teardown(test_units, tear_down),
                cmocka_unit_test_teardown(test_keys, tear_down),
                cmocka_unit_test_teardown(test_two_rules_with_one_key, tear_down),
                cmocka_unit_test_teardown(test_clients, tear_down),
                cmocka_unit_test_teardown(test_subjects, tear_down),
                cmocka_unit_test_teardown(test_scopes, tear_down),
                cmocka_unit_test_teardown(test_rights_that_are_none, tear_down),
                cmocka_unit_test_teardown(test_equal_conditions, tear_down),
                cmocka_unit_test_teardown(test_shadowed, tear_down),
                cmocka_unit_test_teardown(test_tcp_only, tear_down),
        };

        return cmocka_run_group_tests(tests, set_up_all, tear_down_all);
}
