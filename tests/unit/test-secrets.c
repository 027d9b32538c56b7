/* SPDX-License-Identifier: MIT */

/* Client secrets from all three sources, and every way in which a file is not fit to hold one. */

#include "../../daemon/secrets.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define OTHER_UID 54321

static char directory[] = "/tmp/test-secrets-XXXXXX";
static char path[64];
static char *said;
static struct secret secret;

static int set_up_all(void **state)
{
        (void)state;
        if (!mkdtemp(directory))
                return -1;
        (void)snprintf(path, sizeof(path), "%s/portal", directory);
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
        secret_deinit(&secret);
        free(said);
        said = NULL;
        unsetenv("CREDENTIALS_DIRECTORY");
        return unlink(path) < 0 && errno != ENOENT ? -1 : 0;
}

static int read_source(const struct secret_source *source)
{
        size_t size;
        FILE *errors;
        int r;

        free(said);
        said = NULL;
        errors = open_memstream(&said, &size);
        assert_non_null(errors);
        r = secrets_read(&secret, source, "t.conf", geteuid(), errors);
        assert_int_equal(fclose(errors), 0);
        return r;
}

static void write_file(const void *bytes, size_t size, mode_t mode)
{
        int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

        assert_true(fd >= 0);
        assert_int_equal(write(fd, bytes, size), size);
        assert_int_equal(fchmod(fd, mode), 0);
        close(fd);
}

static void good_file(const char *text, const char *expected)
{
        const struct secret_source source = {.kind = SECRET_KIND_FILE, .where = path, .line = 7};

        write_file(text, strlen(text), 0600);
        assert_int_equal(read_source(&source), 0);
        assert_string_equal(said, "");
        assert_int_equal(secret.size, strlen(expected));
        assert_string_equal(secret.bytes, expected);
}

/* `format` has the path in it as often as `n_paths` says. */
static void refused(const struct secret_source *source, const char *format, int n_paths)
{
        char expected[512];

        assert_int_equal(read_source(source), SECRETS_E_UNUSABLE);
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
        if (n_paths == 1)
                (void)snprintf(expected, sizeof(expected), format, path);
        else
                (void)snprintf(expected, sizeof(expected), format, path, path);
#pragma GCC diagnostic pop
        assert_string_equal(said, expected);
        assert_int_equal(secret.size, 0);
}

static void refused_file(const void *bytes, size_t size, const char *format)
{
        const struct secret_source source = {.kind = SECRET_KIND_FILE, .where = path, .line = 7};

        write_file(bytes, size, 0600);
        refused(&source, format, 1);
}

static void test_line_ends(void **state)
{
        (void)state;
        good_file("hush", "hush");
        good_file("hush\n", "hush");
        good_file("hush\r\n", "hush");
        good_file(" hush ", " hush ");
        good_file("\xc3\xa4", "\xc3\xa4");
}

static void test_contents(void **state)
{
        static const char empty[] = "t.conf:7: the client secret in %s is empty: a client secret "
                                    "was expected\n";
        static const char control[] = "t.conf:7: the client secret in %s holds a control "
                                      "character: one line of text was expected\n";

        (void)state;
        refused_file("", 0, empty);
        refused_file("\n", 1, empty);
        refused_file("\r\n", 2, empty);
        refused_file("hush\n\n", 6, control);
        refused_file("hush\r", 5, control);
        refused_file("hush\r\r\n", 7, control);
        refused_file("hu\nsh", 5, control);
        refused_file("hu\0sh", 5, control);
        refused_file("\0", 1, control);
        refused_file("hu\tsh", 5, control);
        refused_file("hush\x7f", 5, control);
}

static void test_length(void **state)
{
        static const char message[] = "t.conf:7: the client secret in %s is too long: at most 4096 "
                                      "bytes are expected\n";
        const size_t size = (size_t)1024 * 1024;
        char *text = malloc(size);

        (void)state;
        assert_non_null(text);
        memset(text, 's', size);
        text[SECRETS_MAX_BYTES] = '\0';
        good_file(text, text);
        secret_clear(&secret);
        refused_file(text, SECRETS_MAX_BYTES + 1,
                     "t.conf:7: the client secret in %s is too long: "
                     "at most 4096 bytes are expected\n");

        text[SECRETS_MAX_BYTES] = '\r';
        text[SECRETS_MAX_BYTES + 1] = '\n';
        refused_file(text, SECRETS_MAX_BYTES + 3, message);
        write_file(text, SECRETS_MAX_BYTES + 2, 0600);
        assert_int_equal(
                read_source(&(struct secret_source){.kind = SECRET_KIND_FILE, .where = path}), 0);
        assert_int_equal(secret.size, SECRETS_MAX_BYTES);
        secret_clear(&secret);
        memset(text, 's', size);
        refused_file(text, size, message);
        free(text);
}

static void test_modes(void **state)
{
        const struct secret_source source = {.kind = SECRET_KIND_FILE, .where = path, .line = 7};

        (void)state;
        for (mode_t mode = 0600; mode <= 0677; mode++) {
                write_file("hush", 4, mode);
                if (!(mode & 0027)) {
                        assert_int_equal(read_source(&source), 0);
                        assert_string_equal(secret.bytes, "hush");
                        secret_clear(&secret);
                } else {
                        assert_int_equal(read_source(&source), SECRETS_E_UNUSABLE);
                        assert_int_equal(secret.size, 0);
                }
        }
        write_file("hush", 4, 0644);
        refused(&source,
                "t.conf:7: %s holds a secret but its mode, 0644, lets its group write it or others "
                "use it: chmod g-w,o= %s\n",
                2);
}

static void test_owner(void **state)
{
        const struct secret_source source = {.kind = SECRET_KIND_FILE, .where = path, .line = 7};
        FILE *errors = fopen("/dev/null", "we");
        int fd;

        (void)state;
        assert_non_null(errors);
        if (geteuid() != 0) {
                fclose(errors);
                skip();
        }
        write_file("hush", 4, 0600);
        assert_int_equal(chown(path, OTHER_UID, 0), 0);
        refused(&source,
                "t.conf:7: %s holds a secret but belongs to uid 54321, not to root or to the "
                "daemon's user: chown root %s\n",
                2);
        /* Were that the daemon's user, it would do; and so would root's. */
        assert_int_equal(secrets_read(&secret, &source, "t.conf", OTHER_UID, errors), 0);
        assert_int_equal(chown(path, 0, 0), 0);
        assert_int_equal(secrets_read(&secret, &source, "t.conf", OTHER_UID, errors), 0);
        assert_int_equal(fclose(errors), 0);

        /* Judged in silence. */
        fd = open(path, O_RDONLY | O_CLOEXEC);
        assert_int_equal(secrets_check_file(fd, path, OTHER_UID, "", NULL), 0);
        assert_int_equal(fchmod(fd, 0604), 0);
        assert_int_equal(secrets_check_file(fd, path, OTHER_UID, "", NULL), SECRETS_E_UNUSABLE);
        close(fd);
        assert_int_equal(secrets_check_file(-1, path, OTHER_UID, "", NULL), SECRETS_E_UNUSABLE);
}

static void test_no_file(void **state)
{
        const struct secret_source source = {.kind = SECRET_KIND_FILE, .where = path, .line = 7};

        (void)state;
        refused(&source,
                "t.conf:7: the client secret in %s cannot be opened: No such file or directory\n",
                1);

        /* Nobody will ever write into it; the test would hang. */
        assert_int_equal(mkfifo(path, 0600), 0);
        refused(&source, "t.conf:7: %s is not a regular file\n", 1);
        assert_int_equal(unlink(path), 0);

        assert_int_equal(symlink("/dev/zero", path), 0);
        refused(&source, "t.conf:7: %s is not a regular file\n", 1);
        assert_int_equal(unlink(path), 0);

        assert_int_equal(mkdir(path, 0700), 0);
        refused(&source, "t.conf:7: %s is not a regular file\n", 1);
        assert_int_equal(rmdir(path), 0);
}

static void test_credential(void **state)
{
        char name[] = "portal", absent[] = "absent";
        const struct secret_source source = {
                .kind = SECRET_KIND_CREDENTIAL, .where = name, .line = 7};
        const struct secret_source other = {
                .kind = SECRET_KIND_CREDENTIAL, .where = absent, .line = 8};
        static const char unset[] =
                "t.conf:7: there is no systemd credential \"portal\", because "
                "$CREDENTIALS_DIRECTORY is not set: LoadCredential=portal:/PATH was expected in "
                "the service's unit\n";

        (void)state;
        write_file("hush\n", 5, 0400);
        assert_int_equal(read_source(&source), SECRETS_E_UNUSABLE);
        assert_string_equal(said, unset);
        assert_int_equal(setenv("CREDENTIALS_DIRECTORY", "relative", 1), 0);
        assert_int_equal(read_source(&source), SECRETS_E_UNUSABLE);
        assert_string_equal(said, unset);

        assert_int_equal(setenv("CREDENTIALS_DIRECTORY", directory, 1), 0);
        assert_int_equal(read_source(&source), 0);
        assert_string_equal(secret.bytes, "hush");
        assert_int_equal(read_source(&other), SECRETS_E_UNUSABLE);
        assert_non_null(strstr(said, "t.conf:8: the client secret in /tmp/test-secrets-"));
        assert_non_null(strstr(said, "/absent cannot be opened: No such file or directory\n"));

        /* What was read before stays. */
        assert_string_equal(secret.bytes, "hush");
}

static void test_inline(void **state)
{
        struct secret_source source = {.kind = SECRET_KIND_INLINE, .line = 7};

        (void)state;
        assert_int_equal(read_source(&source), SECRETS_E_UNUSABLE);
        assert_string_equal(said, "t.conf:7: the client secret is empty: a client secret was "
                                  "expected\n");
        assert_int_equal(secret_append_str(&source.value, "hush"), 0);
        assert_int_equal(read_source(&source), 0);
        assert_string_equal(secret.bytes, "hush");
        assert_string_equal(source.value.bytes, "hush");
        secret_deinit(&source.value);
}

static void test_none(void **state)
{
        const struct secret_source source = {.kind = SECRET_KIND_NONE};

        (void)state;
        assert_int_equal(read_source(&source), 0);
        assert_string_equal(said, "");
        assert_int_equal(secret.size, 0);

        /* What was there before is gone. */
        assert_int_equal(secret_append_str(&secret, "hush"), 0);
        assert_int_equal(read_source(&source), 0);
        assert_int_equal(secret.size, 0);
}

static int check_path(uid_t own_uid)
{
        size_t size;
        FILE *errors;
        int r;

        free(said);
        said = NULL;
        errors = open_memstream(&said, &size);
        assert_non_null(errors);
        r = secrets_check_path(path, own_uid, "t.conf:9: ", errors);
        assert_int_equal(fclose(errors), 0);
        return r;
}

/* A file that somebody else will read; what is in it is not judged. */
static void test_path(void **state)
{
        char expected[512];

        (void)state;
        assert_int_equal(check_path(geteuid()), SECRETS_E_UNUSABLE);
        (void)snprintf(expected, sizeof(expected),
                       "t.conf:9: %s cannot be opened: No such file or directory\n", path);
        assert_string_equal(said, expected);
        assert_int_equal(secrets_check_path(path, geteuid(), "", NULL), SECRETS_E_UNUSABLE);

        for (mode_t mode = 0600; mode <= 0677; mode++) {
                write_file("-----BEGIN\n\n", 12, mode);
                assert_int_equal(check_path(geteuid()), mode & 0027 ? SECRETS_E_UNUSABLE : 0);
        }
        write_file("", 0, 0640);
        assert_int_equal(check_path(geteuid()), 0);
        assert_string_equal(said, "");
        write_file("", 0, 0644);
        assert_int_equal(check_path(geteuid()), SECRETS_E_UNUSABLE);
        (void)snprintf(expected, sizeof(expected),
                       "t.conf:9: %s holds a secret but its mode, 0644, lets its group write it or "
                       "others use it: chmod g-w,o= %s\n",
                       path, path);
        assert_string_equal(said, expected);
        if (geteuid() == 0) {
                write_file("", 0, 0600);
                assert_int_equal(chown(path, OTHER_UID, 0), 0);
                assert_int_equal(check_path(0), SECRETS_E_UNUSABLE);
                assert_int_equal(check_path(OTHER_UID), 0);
        }
        assert_int_equal(unlink(path), 0);

        assert_int_equal(mkfifo(path, 0600), 0);
        assert_int_equal(check_path(geteuid()), SECRETS_E_UNUSABLE);
        (void)snprintf(expected, sizeof(expected), "t.conf:9: %s is not a regular file\n", path);
        assert_string_equal(said, expected);
}

int main(void)
{
        static const struct CMUnitTest tests[] = {
                cmocka_unit_test_teardown(test_line_ends, tear_down),
                cmocka_unit_test_teardown(test_contents, tear_down),
                cmocka_unit_test_teardown(test_length, tear_down),
                cmocka_unit_test_teardown(test_modes, tear_down),
                cmocka_unit_test_teardown(test_owner, tear_down),
                cmocka_unit_test_teardown(test_no_file, tear_down),
                cmocka_unit_test_teardown(test_credential, tear_down),
                cmocka_unit_test_teardown(test_inline, tear_down),
                cmocka_unit_test_teardown(test_none, tear_down),
                cmocka_unit_test_teardown(test_path, tear_down),
        };

        return cmocka_run_group_tests(tests, set_up_all, tear_down_all);
}
