/* SPDX-License-Identifier: MIT */

/*
 * A configuration that is read in a thread: good, bad, and never. What hangs, hangs in a semaphore
 * until the test lets it go; the sanitizers see that nothing is lost or freed twice.
 */

#include "../../daemon/loading.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define CLIENTS                                                                       \
        "clients = ({ name = \"portal\"; client_id = \"id-1\"; client_secret_file = " \
        "\"/s\"; user_token_url = \"https://h/t\"; });\n"

static char path[] = "/tmp/test-loading-XXXXXX";
static char *said;
static sem_t go, came;

static int set_up_all(void **state)
{
        int fd = mkstemp(path);

        (void)state;
        if (fd < 0 || sem_init(&go, 0, 0) < 0 || sem_init(&came, 0, 0) < 0)
                return -1;
        close(fd);
        return 0;
}

static int tear_down_all(void **state)
{
        (void)state;
        return unlink(path);
}

static int tear_down(void **state)
{
        (void)state;
        free(said);
        said = NULL;
        return 0;
}

static void write_config(const char *text)
{
        FILE *file = fopen(path, "we");

        assert_non_null(file);
        assert_true(fputs(text, file) >= 0);
        assert_int_equal(fclose(file), 0);
}

static void wait_for(sem_t *semaphore)
{
        while (sem_wait(semaphore) < 0)
                assert_int_equal(errno, EINTR);
}

static bool is_readable(int fd, int timeout_ms)
{
        struct pollfd pollfd = {.fd = fd, .events = POLLIN};

        return poll(&pollfd, 1, timeout_ms) == 1;
}

static int await(struct loading *loading, struct config **ret_config, uint64_t timeout_ms)
{
        size_t size;
        FILE *errors;
        int r;

        errors = open_memstream(&said, &size);
        assert_non_null(errors);
        r = loading_await(loading, ret_config, errors, timeout_ms);
        assert_int_equal(fclose(errors), 0);
        return r;
}

/* Loaders. */

static int load_held(struct config **ret, const char *name, FILE *errors)
{
        int r;

        wait_for(&go);
        r = config_load(ret, name, errors);
        assert_int_equal(sem_post(&came), 0);
        return r;
}

static int load_without_memory(struct config **ret, const char *name, FILE *errors)
{
        return -ENOMEM;
}

static _Atomic int n_blocked;

static int load_counting_signals(struct config **ret, const char *name, FILE *errors)
{
        sigset_t mask;

        assert_int_equal(pthread_sigmask(SIG_SETMASK, NULL, &mask), 0);
        for (int signal = 1; signal < 32; signal++)
                if (signal != SIGKILL && signal != SIGSTOP && sigismember(&mask, signal))
                        n_blocked++;
        return CONFIG_E_INVALID;
}

/* Tests. */

static void test_good(void **state)
{
        struct loading *loading;
        struct config *config = NULL;

        (void)state;
        write_config(CLIENTS);
        assert_int_equal(loading_start(&loading, path), 0);
        assert_true(is_readable(loading_fd(loading), 30000));
        assert_int_equal(loading_finish(loading, &config, &said), 0);
        assert_string_equal(said, "");
        assert_non_null(config);
        assert_string_equal(config->path, path);
        config_free(config);
}

static void test_good_with_a_warning(void **state)
{
        struct config *config = NULL;
        size_t size;
        FILE *errors;

        (void)state;
        write_config(CLIENTS "audit = { required = true; fold = \"1m\"; };\n");
        errors = open_memstream(&said, &size);
        assert_non_null(errors);
        assert_int_equal(loading_wait(&config, path, config_load, errors, 30000), 0);
        assert_int_equal(fclose(errors), 0);
        assert_non_null(config);
        assert_non_null(strstr(said, ":2: warning: 'fold' means nothing"));
        config_free(config);
}

static void test_bad(void **state)
{
        struct loading *loading;
        struct config *config = NULL;

        (void)state;
        write_config(CLIENTS "x = 1;\n");
        assert_int_equal(loading_start(&loading, path), 0);
        assert_int_equal(loading_finish(loading, &config, &said), CONFIG_E_INVALID);
        assert_non_null(strstr(said, ":2: unknown option 'x'\n"));
        assert_null(config);

        free(said);
        said = NULL;
        assert_int_equal(loading_start(&loading, "/nonexistent/x.conf"), 0);
        assert_int_equal(await(loading, &config, 30000), CONFIG_E_INVALID);
        assert_string_equal(said, "/nonexistent/x.conf: cannot be opened: No such file or "
                                  "directory\n");
        assert_null(config);

        free(said);
        said = NULL;
        assert_int_equal(loading_start_with(&loading, path, load_without_memory), 0);
        assert_int_equal(await(loading, &config, 30000), -ENOMEM);
        assert_null(config);
}

static void test_no_result_yet(void **state)
{
        struct loading *loading;
        struct config *config = NULL;

        (void)state;
        write_config(CLIENTS);
        assert_int_equal(loading_start_with(&loading, path, load_held), 0);
        assert_false(is_readable(loading_fd(loading), 0));
        assert_int_equal(sem_post(&go), 0);
        assert_true(is_readable(loading_fd(loading), 30000));
        assert_int_equal(loading_finish(loading, &config, &said), 0);
        wait_for(&came);
        config_free(config);
}

/* It gives up, and what comes afterwards goes away by itself. */
static void test_too_late(void **state)
{
        struct loading *loading;
        struct config *config = NULL;
        char expected[256];

        (void)state;
        write_config(CLIENTS);
        assert_int_equal(loading_start_with(&loading, path, load_held), 0);
        assert_int_equal(await(loading, &config, 10), CONFIG_E_NAME_SERVICE);
        (void)snprintf(expected, sizeof(expected),
                       "%s: could not be read within 0 s: the name service that users and groups "
                       "are looked up in, or a file system, does not answer\n",
                       path);
        assert_string_equal(said, expected);
        assert_null(config);
        assert_int_equal(sem_post(&go), 0);
        wait_for(&came);
}

/* Those that were abandoned before may still be on their way. */
static void start_when_possible(struct loading **ret)
{
        int r;

        do
                r = loading_start(ret, path);
        while (r == LOADING_E_BUSY && sched_yield() == 0);
        assert_int_equal(r, 0);
}

static void test_abandoned(void **state)
{
        struct loading *loading;

        (void)state;
        loading_abandon(NULL);
        write_config(CLIENTS);

        assert_int_equal(loading_start_with(&loading, path, load_held), 0);
        loading_abandon(loading);
        assert_int_equal(sem_post(&go), 0);
        wait_for(&came);

        assert_int_equal(loading_start(&loading, path), 0);
        assert_true(is_readable(loading_fd(loading), 30000));
        loading_abandon(loading);

        /* At any moment. */
        for (int i = 0; i < 200; i++) {
                start_when_possible(&loading);
                if (i % 2)
                        (void)usleep((useconds_t)i * 3);
                loading_abandon(loading);
        }
}

/* A name service that hangs for good costs no more than a few threads, however often it is tried.
 */
static void test_too_many(void **state)
{
        struct loading *held[ERRAND_ABANDONED_MAX], *loading;
        struct config *config = NULL;

        (void)state;
        write_config(CLIENTS);
        for (size_t i = 0; i < ERRAND_ABANDONED_MAX; i++) {
                int r;

                do
                        r = loading_start_with(&held[i], path, load_held);
                while (r == LOADING_E_BUSY && sched_yield() == 0);
                assert_int_equal(r, 0);
        }
        for (size_t i = 0; i < ERRAND_ABANDONED_MAX; i++)
                loading_abandon(held[i]);
        assert_int_equal(loading_start(&loading, path), LOADING_E_BUSY);

        for (size_t i = 0; i < ERRAND_ABANDONED_MAX; i++)
                assert_int_equal(sem_post(&go), 0);
        for (size_t i = 0; i < ERRAND_ABANDONED_MAX; i++)
                wait_for(&came);
        start_when_possible(&loading);
        assert_int_equal(loading_finish(loading, &config, &said), 0);
        config_free(config);
}

static void test_signals(void **state)
{
        struct loading *loading;
        struct config *config = NULL;

        (void)state;
        assert_int_equal(loading_start_with(&loading, path, load_counting_signals), 0);
        assert_int_equal(loading_finish(loading, &config, &said), CONFIG_E_INVALID);
        assert_int_equal(n_blocked, 29);
}

int main(void)
{
        static const struct CMUnitTest tests[] = {
                cmocka_unit_test_teardown(test_good, tear_down),
                cmocka_unit_test_teardown(test_good_with_a_warning, tear_down),
                cmocka_unit_test_teardown(test_bad, tear_down),
                cmocka_unit_test_teardown(test_no_result_yet, tear_down),
                cmocka_unit_test_teardown(test_too_late, tear_down),
                cmocka_unit_test_teardown(test_abandoned, tear_down),
                cmocka_unit_test_teardown(test_too_many, tear_down),
                cmocka_unit_test_teardown(test_signals, tear_down),
        };

        return cmocka_run_group_tests(tests, set_up_all, tear_down_all);
}
