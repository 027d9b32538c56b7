/* SPDX-License-Identifier: MIT */

#include "application.h"

#include <errno.h>

#include "helpers.h"

static struct client_settings client = {
        .name = (char *)"portal",
        .token_url = {(char *)"https://a/user", (char *)"https://a/customer"},
};
static struct client_settings desk = {
        .name = (char *)"desk",
        .token_url = {(char *)"https://a/user", NULL},
};
static const struct settings limits = {.max_in_flight = 2, .max_in_flight_total = 3};

static struct application *new_application(struct issuers *issuers,
                                           const struct client_settings *settings, size_t index)
{
        struct application *application = NULL;

        assert_int_equal(application_new(&application, issuers, settings, index), 0);
        assert_ptr_equal(application->settings, settings);
        assert_int_equal(application->index, index);
        assert_int_equal(application->n_flights, 0);
        assert_false(application->retired);
        return application;
}

static void it_refers_to_an_issuer_for_each_token_url_and_shares_them(void **state)
{
        struct application *a, *b;
        struct issuers issuers;

        (void)state;
        issuers_init(&issuers, &limits);
        a = new_application(&issuers, &client, 0);
        b = new_application(&issuers, &desk, 1);
        assert_string_equal(a->issuers[AUDIENCE_USER]->url, "https://a/user");
        assert_string_equal(a->issuers[AUDIENCE_CUSTOMER]->url, "https://a/customer");
        assert_ptr_equal(b->issuers[AUDIENCE_USER], a->issuers[AUDIENCE_USER]);
        assert_null(b->issuers[AUDIENCE_CUSTOMER]);
        assert_int_equal(a->issuers[AUDIENCE_USER]->n_refs, 2);
        application_free(a, &issuers);
        assert_null(issuers_find(&issuers, "https://a/customer"));
        assert_ptr_equal(issuers_find(&issuers, "https://a/user"), b->issuers[AUDIENCE_USER]);
        application_free(b, &issuers);
        assert_true(list_empty(&issuers.all));
        issuers_deinit(&issuers);
}

static void an_issuer_with_both_audiences_has_two_references(void **state)
{
        struct client_settings both = {
                .token_url = {(char *)"https://a/user", (char *)"https://a/user"}};
        struct application *application;
        struct issuers issuers;

        (void)state;
        issuers_init(&issuers, &limits);
        application = new_application(&issuers, &both, 0);
        assert_int_equal(application->issuers[0]->n_refs, 2);
        application_free(application, &issuers);
        assert_true(list_empty(&issuers.all));
        issuers_deinit(&issuers);
}

static void it_leaves_the_lists_that_it_is_in_and_wipes_its_secrets(void **state)
{
        static const char content[] = "a-secret-that-is-long-enough";
        struct secret secrets[CREDENTIALS_MAX] = {};
        struct list retired = LIST_INIT(retired), reads = LIST_INIT(reads);
        struct application *application;
        struct issuers issuers;

        (void)state;
        issuers_init(&issuers, &limits);
        application = new_application(&issuers, &client, 0);
        assert_int_equal(secret_assign(&secrets[0], content, strlen(content)), 0);
        assert_true(credentials_set(&application->credentials, secrets));
        assert_ptr_equal(application_of(&application->credentials), application);
        list_push_back(&retired, &application->link);
        list_push_back(&reads, &application->credentials.link);
        frees_watch(content);
        application_free(application, &issuers);
        assert_int_equal(frees_dirty(), 0);
        frees_watch(NULL);
        assert_true(list_empty(&retired) && list_empty(&reads));
        issuers_deinit(&issuers);
}

static void out_of_memory_leaves_nothing_behind(void **state)
{
        struct application *application = NULL;
        struct issuers issuers;

        (void)state;
        issuers_init(&issuers, &limits);
        for (unsigned int n = 1; n <= 3; n++) {
                alloc_fail_at(n);
                assert_int_equal(application_new(&application, &issuers, &client, 0), -ENOMEM);
                assert_true(alloc_has_failed());
                assert_null(application);
                assert_true(list_empty(&issuers.all));
        }
        application_free(NULL, &issuers);
        issuers_deinit(&issuers);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(it_refers_to_an_issuer_for_each_token_url_and_shares_them),
                cmocka_unit_test(an_issuer_with_both_audiences_has_two_references),
                cmocka_unit_test(it_leaves_the_lists_that_it_is_in_and_wipes_its_secrets),
                cmocka_unit_test(out_of_memory_leaves_nothing_behind),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
