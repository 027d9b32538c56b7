/* SPDX-License-Identifier: MIT */

/* The group `audit`. Its numbers are tried by test-config.c with all the others; what is tried here
 * is on line 2. */

#include "../../daemon/config.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define CLIENTS                                                                       \
        "clients = ({ name = \"portal\"; client_id = \"id-1\"; client_secret_file = " \
        "\"/s\"; user_token_url = \"https://h/t\"; });\n"
#define AUDIT(options) CLIENTS "audit = { " options " };"
#define KEY            "0123456789abcdef0123456789abcdef"

static char key_path[] = "/tmp/test-config-audit-XXXXXX";
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

static void write_key(const char *text, mode_t mode)
{
        int fd = open(key_path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

        assert_true(fd >= 0);
        assert_int_equal(write(fd, text, strlen(text)), strlen(text));
        assert_int_equal(fchmod(fd, mode), 0);
        close(fd);
}

static int set_up_all(void **state)
{
        int fd = mkstemp(key_path);

        (void)state;
        if (fd < 0)
                return -1;
        close(fd);
        return 0;
}

static int tear_down_all(void **state)
{
        (void)state;
        return unlink(key_path);
}

static int tear_down(void **state)
{
        (void)state;
        free(said);
        said = NULL;
        return 0;
}

static void test_defaults(void **state)
{
        static const char *const texts[] = {CLIENTS, AUDIT(""), AUDIT("to = \"journal\";"),
                                            AUDIT("required = false; subjects = \"clear\";")};

        (void)state;
        for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++) {
                struct config *config = good(texts[i]);

                assert_int_equal(config->audit.target, AUDIT_TO_JOURNAL);
                assert_null(config->audit.file);
                assert_int_equal(config->audit.subjects, AUDIT_SUBJECTS_CLEAR);
                assert_null(config->audit.key_file);
                assert_int_equal(config->audit.key.size, 0);
                assert_int_equal(config->audit.fold_ms, 60000);
                assert_false(config->audit.required);
                assert_int_equal(config->audit.max_records, 4096);
                config_free(config);
        }
}

#define TARGET_WANTED "\"journal\", \"stderr\" or the absolute path of a file"

static void test_to(void **state)
{
        struct config *config;

        (void)state;
        config = good(AUDIT("to = \"stderr\";"));
        assert_int_equal(config->audit.target, AUDIT_TO_STDERR);
        config_free(config);
        config = good(AUDIT("to = \"/var/log/egain-tokend/audit.jsonl\";"));
        assert_int_equal(config->audit.target, AUDIT_TO_FILE);
        assert_string_equal(config->audit.file, "/var/log/egain-tokend/audit.jsonl");
        config_free(config);

        bad(AUDIT("to = \"syslog\";"),
            "t.conf:2: 'to' must be " TARGET_WANTED ", not \"syslog\"\n");
        bad(AUDIT("to = \"audit.log\";"),
            "t.conf:2: 'to' must be " TARGET_WANTED ", not \"audit.log\"\n");
        bad(AUDIT("to = \"\";"), "t.conf:2: 'to' must be " TARGET_WANTED ", not \"\"\n");
        bad(AUDIT("to = \"/var/log/\";"),
            "t.conf:2: 'to' must be " TARGET_WANTED ", not \"/var/log/\"\n");
        bad(AUDIT("to = \"/a\\nb\";"),
            "t.conf:2: 'to' must be " TARGET_WANTED ", not \"/a\\x0ab\"\n");
        bad(AUDIT("to = 1;"), "t.conf:2: 'to' must be " TARGET_WANTED ", not 1\n");
        bad(CLIENTS "audit = \"journal\";",
            "t.conf:2: 'audit' must be a group, { name = value; }, not \"journal\"\n");
        bad(AUDIT("file = \"/x\";"), "t.conf:2: unknown option 'file' in 'audit'\n");
}

static void test_key(void **state)
{
        char text[512], expected[512];
        struct config *config;

        (void)state;
        (void)snprintf(text, sizeof(text), AUDIT("subjects = \"digest\";\nkey_file = \"%s\";"),
                       key_path);
        write_key(KEY "\n", 0600);
        config = good(text);
        assert_int_equal(config->audit.subjects, AUDIT_SUBJECTS_DIGEST);
        assert_string_equal(config->audit.key_file, key_path);
        assert_string_equal(config->audit.key.bytes, KEY);
        config_free(config);

        write_key(KEY, 0644);
        (void)snprintf(expected, sizeof(expected),
                       "t.conf:3: %s holds a secret but its mode, 0644, lets its group write it or "
                       "others use it: chmod g-w,o= %s\n",
                       key_path, key_path);
        bad(text, expected);
        write_key("0123456789abcdef0123456789abcde\n", 0600);
        (void)snprintf(expected, sizeof(expected),
                       "t.conf:3: the key in %s is too short: at least 32 bytes were expected, "
                       "such as `openssl rand -hex 32` makes\n",
                       key_path);
        bad(text, expected);

        /* Subjects in the clear: the key is for the tokens' fingerprints. */
        write_key(KEY, 0600);
        (void)snprintf(text, sizeof(text), AUDIT("key_file = \"%s\";"), key_path);
        config = good(text);
        assert_int_equal(config->audit.key.size, strlen(KEY));
        config_free(config);
}

static void test_subjects(void **state)
{
        (void)state;
        bad(AUDIT("\nsubjects = \"digest\";"),
            "t.conf:3: 'subjects = \"digest\"' needs 'key_file' beside it: digests under a key "
            "that is lost at the end could be compared with nothing\n");
        bad(AUDIT("subjects = \"digest\"; key_file = \"key\";"),
            "t.conf:2: 'key_file' must be an absolute path\n");
        bad(AUDIT("subjects = \"hidden\";"),
            "t.conf:2: 'subjects' must be \"clear\" or \"digest\", not \"hidden\"\n");
}

static void test_required(void **state)
{
        struct config *config;

        (void)state;
        config = good(AUDIT("required = true;"));
        assert_true(config->audit.required);
        assert_int_equal(config->audit.fold_ms, 0);
        config_free(config);
        config_free(good(AUDIT("required = true; fold = \"0s\";")));
        config = warned(AUDIT("required = true;\nfold = \"5s\";"),
                        "t.conf:3: warning: 'fold' means nothing beside 'required = true': nothing "
                        "is folded then\n");
        assert_int_equal(config->audit.fold_ms, 0);
        config_free(config);
        bad(AUDIT("required = \"true\";"),
            "t.conf:2: 'required' must be true or false, without quotes, not \"true\"\n");
}

int main(void)
{
        static const struct CMUnitTest tests[] = {
                cmocka_unit_test_teardown(test_defaults, tear_down),
                cmocka_unit_test_teardown(test_to, tear_down),
                cmocka_unit_test_teardown(test_key, tear_down),
                cmocka_unit_test_teardown(test_subjects, tear_down),
                cmocka_unit_test_teardown(test_required, tear_down),
        };

        return cmocka_run_group_tests(tests, set_up_all, tear_down_all);
}
