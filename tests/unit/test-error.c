/* SPDX-License-Identifier: MIT */

#include "error.h"

#include "helpers.h"

static int last_error, last_line;
static const char *last_function;
static unsigned int n_observed;

static void observe(int error, const char *file, int line, const char *function)
{
        assert_non_null(strstr(file, "test-error.c"));
        last_error = error;
        last_line = line;
        last_function = function;
        n_observed++;
}

static void an_error_is_observed_where_it_is_passed_on(void **state)
{
        int line;

        (void)state;
        error_observer = observe;
        line = __LINE__ + 1;
        assert_int_equal(error_trace(-ENOMEM), -ENOMEM);
        error_observer = NULL;
        assert_int_equal(n_observed, 1);
        assert_int_equal(last_error, -ENOMEM);
        assert_int_equal(last_line, line);
        assert_string_equal(last_function, __func__);
}

static void success_and_outcomes_are_not(void **state)
{
        (void)state;
        n_observed = 0;
        error_observer = observe;
        assert_int_equal(error_trace(0), 0);
        assert_int_equal(error_trace(7), 7);
        error_observer = NULL;
        assert_int_equal(error_trace(-EIO), -EIO); /* nobody looks */
        assert_int_equal(n_observed, 0);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(an_error_is_observed_where_it_is_passed_on),
                cmocka_unit_test(success_and_outcomes_are_not),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
