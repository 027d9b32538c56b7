/* SPDX-License-Identifier: MIT */

#include "hot-answers.h"

#include <microhttpd.h>

#include "../lib/timerheap.h"
#include "helpers.h"

#define NOW_MS    1000000
#define LIFE_MS   60000
#define EXPIRES_S (LIFE_MS / 1000)

static struct hot_answers answers;
static int n_freed;

static int set_up(void **state)
{
        (void)state;
        hot_answers_init(&answers);
        n_freed = 0;
        return 0;
}

static int tear_down(void **state)
{
        (void)state;
        hot_answers_deinit(&answers);
        return 0;
}

static void count_free(void *data)
{
        (void)data;
        n_freed++;
}

static struct MHD_Response *make_response(void)
{
        static char body[] = "body";
        struct MHD_Response *response;

        response = MHD_create_response_from_buffer_with_free_callback_cls(4, body, count_free,
                                                                          body);
        assert_non_null(response);
        return response;
}

static struct token *make(void)
{
        struct token *token;

        assert_int_equal(token_new(&token, TEXT("value"), (struct text){}, NOW_MS, LIFE_MS), 0);
        return token;
}

/* Asked for twice, and kept. */
static struct hot_answer *keep(const struct token *token)
{
        struct hot_answer *answer;

        assert_null(hot_answers_find(&answers, token, EXPIRES_S, HOT_JSON));
        answer = hot_answers_find(&answers, token, EXPIRES_S, HOT_JSON);
        assert_non_null(answer);
        assert_null(answer->response);
        hot_answers_keep(&answers, answer, 200, make_response(), NOW_MS);
        return answer;
}

static void an_answer_has_a_place_from_the_second_time_on(void **state)
{
        struct token *token = make();
        struct hot_answer *answer = keep(token);

        (void)state;
        assert_ptr_equal(hot_answers_find(&answers, token, EXPIRES_S, HOT_JSON), answer);
        assert_non_null(answer->response);
        assert_int_equal(answer->status, 200);
        token_unref(token);
}

static void another_second_or_form_is_another_answer(void **state)
{
        struct token *token = make();

        (void)state;
        keep(token);
        assert_null(hot_answers_find(&answers, token, EXPIRES_S - 1, HOT_JSON));
        assert_int_equal(n_freed, 1);
        assert_null(hot_answers_find(&answers, token, EXPIRES_S - 1, HOT_BARE));
        assert_null(hot_answers_find(&answers, token, EXPIRES_S - 1, HOT_HEADER));
        assert_null(hot_answers_find(&answers, token, EXPIRES_S, HOT_JSON));
        token_unref(token);
}

/* Memory is used again, serial numbers are not. */
static void no_token_gets_the_answer_of_one_that_is_gone(void **state)
{
        (void)state;
        for (size_t i = 0; i < (size_t)3 * HOT_ANSWERS_SLOTS; i++) {
                struct token *token = make();

                keep(token);
                token_unref(token);
        }
        assert_int_equal(n_freed, 2 * HOT_ANSWERS_SLOTS);
}

static void what_nobody_can_ask_for_is_given_back_soon(void **state)
{
        struct token *token = make();

        (void)state;
        assert_int_equal(hot_answers_next_tick_ms(&answers), TIMERHEAP_NEVER);
        keep(token);
        assert_in_range(hot_answers_next_tick_ms(&answers), NOW_MS + 1, NOW_MS + 1000);
        hot_answers_tick(&answers, NOW_MS); /* nothing is due */
        assert_int_equal(n_freed, 0);
        hot_answers_tick(&answers, NOW_MS + 1000);
        assert_int_equal(n_freed, 1);
        assert_int_equal(hot_answers_next_tick_ms(&answers), TIMERHEAP_NEVER);
        token_unref(token);
}

static struct MHD_Response *dress(const char *text, const char **ret_memory)
{
        struct response response = {.status = 200, .content_type = "text/plain"};
        struct MHD_Response *dressed;

        hot_answers_lend(&answers, &response.body);
        assert_int_equal(response.body.size, 0);
        assert_int_equal(secret_append_str(&response.body, text), 0);
        *ret_memory = response.body.bytes;
        dressed = hot_answers_dress(&answers, &response, false);
        assert_non_null(dressed);
        assert_null(response.body.bytes);
        return dressed;
}

static void what_was_sent_is_wiped_and_leaves_its_memory(void **state)
{
        struct MHD_Response *first, *second;
        const char *memory, *other;

        (void)state;
        first = dress("a secret", &memory);
        second = dress("another", &other);
        assert_ptr_not_equal(memory, other);
        MHD_destroy_response(first);
        assert_int_equal(answers.n_spares, 1);
        for (size_t i = 0; i < strlen("a secret"); i++)
                assert_int_equal(memory[i], 0);
        first = dress("a third", &other);
        assert_ptr_equal(other, memory);
        assert_int_equal(answers.n_spares, 0);
        MHD_destroy_response(first);
        MHD_destroy_response(second);
        assert_int_equal(answers.n_spares, 2);
}

static void only_so_many_bodies_are_kept_and_no_large_one(void **state)
{
        struct MHD_Response *dressed[HOT_ANSWERS_SPARES + 1];
        char large[10000] = "";
        const char *memory;

        (void)state;
        for (size_t i = 0; i < HOT_ANSWERS_SPARES + 1; i++)
                dressed[i] = dress("body", &memory);
        for (size_t i = 0; i < HOT_ANSWERS_SPARES + 1; i++)
                MHD_destroy_response(dressed[i]);
        assert_int_equal(answers.n_spares, HOT_ANSWERS_SPARES);

        memset(large, 'x', sizeof(large) - 1);
        dressed[0] = dress(large, &memory);
        MHD_destroy_response(dressed[0]);
        assert_int_equal(answers.n_spares, HOT_ANSWERS_SPARES - 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
        const struct CMUnitTest tests[] = {
                TEST(an_answer_has_a_place_from_the_second_time_on),
                TEST(another_second_or_form_is_another_answer),
                TEST(no_token_gets_the_answer_of_one_that_is_gone),
                TEST(what_nobody_can_ask_for_is_given_back_soon),
                TEST(what_was_sent_is_wiped_and_leaves_its_memory),
                TEST(only_so_many_bodies_are_kept_and_no_large_one),
        };

        return cmocka_run_group_tests_name("hot-answers", tests, NULL, NULL);
}
