/* SPDX-License-Identifier: MIT */

#include "habit.h"

#include <stdio.h>

#include "helpers.h"

#define PLAIN   "grant_type=password&client_id=c&scope=read&subject_username=anna"
#define OTHER   "grant_type=password&client_id=c&scope=read&subject_username=bert"
#define ENCODED "grant_type=password&scope=b+a+b&subject_email=anna%40example.org&min_ttl=30"

#define JWT "eyJhbGciOiJub25lIn0.eyJleHAiOjV9.c2ln"
#define EXCHANGE                                                                                \
        "grant_type=urn:ietf:params:oauth:grant-type:token-exchange&registration_id=r&scope=s&" \
        "subject_token_type=urn:ietf:params:oauth:token-type:jwt&subject_token="

static struct habit habit;
static char form[8192];

static int set_up(void **state)
{
        (void)state;
        habit = (struct habit){};
        return 0;
}

static int tear_down(void **state)
{
        (void)state;
        habit_deinit(&habit);
        return 0;
}

/* Reads a form, which is overwritten then, as a connection's body is by its next one. */
static int read_form(struct token_request *request, const char *text)
{
        const size_t size = strlen(text);
        int r;

        assert_true(size < sizeof(form));
        memcpy(form, text, size + 1);
        request_init(request);
        r = habit_read(&habit, request, form, size);
        if (request->verdict)
                memset(form, 'x', sizeof(form));
        return r;
}

/* What request_parse() alone makes of it. */
static void assert_as_parsed(const char *text, const struct token_request *request, int outcome)
{
        struct token_request parsed;
        char copy[8192];

        memcpy(copy, text, strlen(text) + 1);
        request_init(&parsed);
        assert_int_equal(request_parse(&parsed, copy, strlen(text), REQUEST_BODY), outcome);
        if (outcome == 0) {
                assert_int_equal(request->subject_kind, parsed.subject_kind);
                assert_true(text_equal(request->subject, parsed.subject));
                assert_true(text_equal(request->scope, parsed.scope));
                assert_true(text_equal(request->client, parsed.client));
                assert_int_equal(request->min_ttl_ms, parsed.min_ttl_ms);
                assert_int_equal(request->rejects, parsed.rejects);
                assert_memory_equal(request->rejected_sha256, parsed.rejected_sha256,
                                    sizeof(parsed.rejected_sha256));
                assert_int_equal(request->keys.n, parsed.keys.n);
                assert_memory_equal(request->keys.sha256, parsed.keys.sha256,
                                    sizeof(parsed.keys.sha256));
        }
        request_deinit(&parsed);
}

static void who_asks_once_costs_no_memory(void **state)
{
        struct token_request request;

        (void)state;
        assert_int_equal(read_form(&request, PLAIN), 0);
        assert_null(habit.memory);
        assert_null(request.verdict);
        assert_int_equal(read_form(&request, PLAIN), 0);
        assert_non_null(habit.memory);
}

static void the_same_words_are_the_same_request(void **state)
{
        static const char *const forms[] = {PLAIN, ENCODED};

        (void)state;
        for (size_t i = 0; i < N_OF(forms); i++) {
                struct token_request request;

                for (int times = 0; times < 4; times++) {
                        assert_int_equal(read_form(&request, forms[i]), 0);
                        assert_as_parsed(forms[i], &request, 0);
                }
                assert_non_null(request.verdict);
                request.verdict->generation = 7;
                assert_int_equal(read_form(&request, forms[i]), 0);
                assert_int_equal(request.verdict->generation, 7);
        }
}

static void other_words_have_no_verdict_yet(void **state)
{
        struct token_request request;

        (void)state;
        (void)read_form(&request, PLAIN);
        for (int i = 0; i < 3; i++) {
                assert_int_equal(read_form(&request, i % 2 ? OTHER : PLAIN), 0);
                assert_int_equal(request.verdict->generation, 0);
                request.verdict->generation = 7;
                assert_true(text_equal(request.subject, TEXT(i % 2 ? "bert" : "anna")));
        }
        /* One that is no request leaves nothing of the one before. */
        assert_int_equal(read_form(&request, "grant_type=password"), REASON_MISSING_SUBJECT);
        assert_int_equal(read_form(&request, PLAIN), 0);
        assert_int_equal(request.verdict->generation, 0);
        assert_int_equal(read_form(&request, ""), REASON_MISSING_GRANT_TYPE);
        assert_int_equal(read_form(&request, PLAIN), 0);
}

/* They come between others in any order; each is read as if it had come alone. */
static void any_sequence_is_read_as_each_alone(void **state)
{
        static const char *const forms[] = {
                PLAIN,
                OTHER,
                ENCODED,
                "grant_type=client_credentials&scope=read",
                PLAIN "&client_secret=hush-hush",
                PLAIN "&client_secret=",
                PLAIN "&password=hush-hush&username=u",
                PLAIN "%zz",
                PLAIN "&scope=twice",
                "",
                EXCHANGE JWT,
                PLAIN "&rejected_token_sha256="
                      "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f",
        };
        size_t n_good = 0;

        (void)state;
        for (size_t a = 0; a < N_OF(forms); a++) {
                for (size_t b = 0; b < 3 * N_OF(forms); b++) {
                        const size_t i = b % 3 == 1 ? b / 3 : a;
                        struct token_request request;
                        const int outcome = read_form(&request, forms[i]);

                        n_good += outcome == 0;
                        assert_as_parsed(forms[i], &request, outcome);
                        request_deinit(&request);
                }
        }
        assert_int_equal(n_good, 3 * N_OF(forms) * (N_OF(forms) - 3));
}

static bool holds(const void *bytes, size_t size, const char *text)
{
        return memmem(bytes, size, text, strlen(text)) != NULL;
}

static void a_form_with_a_secret_is_not_kept(void **state)
{
        static const char *const forms[] = {
                PLAIN "&client_secret=hush-hush",
                PLAIN "&password=hush-hush",
                PLAIN "&username=hush-hush",
                PLAIN "&client_assertion=hush-hush",
                PLAIN "&client_secret=hush-hush&scope=twice",
                EXCHANGE JWT,
                "subject_token=hush-hush",
        };

        (void)state;
        for (size_t i = 0; i < N_OF(forms); i++) {
                struct token_request request;

                for (int times = 0; times < 3; times++) {
                        (void)read_form(&request, forms[i]);
                        assert_null(request.verdict);
                        request_deinit(&request);
                }
                assert_non_null(habit.memory);
                assert_false(holds(habit.memory, sizeof(*habit.memory), "hush-hush"));
                assert_false(holds(habit.memory, sizeof(*habit.memory), JWT));
        }
}

static void a_form_is_kept_up_to_its_limit(void **state)
{
        char text[HABIT_FORM_MAX_BYTES + 2];
        struct token_request request;

        (void)state;
        for (size_t size = HABIT_FORM_MAX_BYTES; size <= HABIT_FORM_MAX_BYTES + 1; size++) {
                (void)snprintf(text, sizeof(text), "%s",
                               "grant_type=password&subject_username=anna&scope=");
                memset(text + strlen(text), 'x', sizeof(text) - strlen(text));
                text[size] = '\0';
                for (int times = 0; times < 3; times++) {
                        assert_int_equal(read_form(&request, text), 0);
                        assert_as_parsed(text, &request, 0);
                }
                assert_int_equal(request.verdict != NULL, size == HABIT_FORM_MAX_BYTES);
        }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
        const struct CMUnitTest tests[] = {
                TEST(who_asks_once_costs_no_memory),    TEST(the_same_words_are_the_same_request),
                TEST(other_words_have_no_verdict_yet),  TEST(any_sequence_is_read_as_each_alone),
                TEST(a_form_with_a_secret_is_not_kept), TEST(a_form_is_kept_up_to_its_limit),
        };

        return cmocka_run_group_tests_name("habit", tests, NULL, NULL);
}
