/* SPDX-License-Identifier: MIT */

/* Mistakes and warnings: their order, and that neither takes the other's room. */

#include "../../daemon/config-mistakes.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct config_mistakes mistakes;
static char *said;

static const char *print(void)
{
        size_t size;
        FILE *errors;

        free(said);
        errors = open_memstream(&said, &size);
        assert_non_null(errors);
        config_mistakes_print(&mistakes, "t.conf", errors);
        assert_int_equal(fclose(errors), 0);
        return said;
}

static int tear_down(void **state)
{
        (void)state;
        config_mistakes_deinit(&mistakes);
        free(said);
        said = NULL;
        return 0;
}

static void test_order(void **state)
{
        (void)state;
        assert_string_equal(print(), "");
        assert_int_equal(config_mistakes_add(&mistakes, 7, "seven %d", 1), 0);
        assert_int_equal(config_mistakes_warn(&mistakes, 7, "seven %d", 2), 0);
        assert_int_equal(config_mistakes_add(&mistakes, 7, "seven %d", 3), 0);
        assert_int_equal(config_mistakes_warn(&mistakes, 3, "three"), 0);
        assert_int_equal(config_mistakes_add(&mistakes, 0, "all of it"), 0);
        assert_int_equal(mistakes.n_found, 3);
        assert_int_equal(mistakes.n_warned, 2);
        assert_string_equal(print(), "t.conf: all of it\n"
                                     "t.conf:3: warning: three\n"
                                     "t.conf:7: seven 1\n"
                                     "t.conf:7: warning: seven 2\n"
                                     "t.conf:7: seven 3\n");
}

static void test_caps(void **state)
{
        (void)state;
        for (int i = 0; i < CONFIG_MISTAKES_MAX + 2; i++)
                assert_int_equal(config_mistakes_warn(&mistakes, i + 1, "hm"), 0);
        assert_int_equal(mistakes.n, CONFIG_MISTAKES_MAX);
        assert_int_equal(config_mistakes_add(&mistakes, 5000, "no"), 0);
        assert_non_null(strstr(print(), "\nt.conf:5000: no\n"
                                        "t.conf: 2 more warnings are not shown\n"));
        for (int i = 0; i < CONFIG_MISTAKES_MAX + 2; i++)
                assert_int_equal(config_mistakes_add(&mistakes, 6000, "no"), 0);
        assert_int_equal(mistakes.n, 2 * CONFIG_MISTAKES_MAX);
        assert_non_null(strstr(print(), "\nt.conf: 3 more mistakes are not shown\n"
                                        "t.conf: 2 more warnings are not shown\n"));
}

int main(void)
{
        static const struct CMUnitTest tests[] = {
                cmocka_unit_test_teardown(test_order, tear_down),
                cmocka_unit_test_teardown(test_caps, tear_down),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
