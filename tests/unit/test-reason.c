/* SPDX-License-Identifier: MIT */

#include "reason.h"

#include <ctype.h>
#include <errno.h>

#include "helpers.h"

/* What the documented table of errors allows: a status, and the errors that go with it. */
static const struct {
        unsigned int status;
        const char *errors[4];
} documented[] = {
        {200, {""}}, /* what an answer with a token has to say, */
        {400,
         {"invalid_request", "invalid_scope", "unsupported_grant_type", "unauthorized_client"}},
        {400, {"invalid_grant"}},
        {401, {"invalid_client"}},
        {403, {"access_denied"}},
        {404, {"invalid_request"}},
        {405, {"invalid_request"}},
        {409, {""}}, /* and one with the mistakes of a configuration */
        {413, {"invalid_request"}},
        {429, {"temporarily_unavailable"}},
        {502, {"server_error"}},
        {503, {"temporarily_unavailable"}},
        {504, {"temporarily_unavailable"}},
};

static bool is_documented(const struct reason_info *info)
{
        for (size_t i = 0; i < N_OF(documented); i++)
                for (size_t k = 0; k < 4 && documented[i].status == info->status; k++)
                        if (documented[i].errors[k] &&
                            strcmp(documented[i].errors[k], info->error) == 0)
                                return true;
        return false;
}

static void every_reason_is_a_documented_error(void **state)
{
        (void)state;
        for (int reason = REASON_NONE + 1; reason < _REASON_N; reason++)
                assert_true(is_documented(reason_info(reason)));
}

static void codes_are_distinct_words(void **state)
{
        (void)state;
        for (int reason = REASON_NONE + 1; reason < _REASON_N; reason++) {
                const char *code = reason_info(reason)->code;

                for (const char *c = code; *c; c++)
                        assert_true(islower(*c) || *c == '_');
                for (int other = REASON_NONE + 1; other < reason; other++)
                        assert_string_not_equal(reason_info(other)->code, code);
        }
}

/* Descriptions go into JSON and into headers as they are: one line, nothing to be escaped. */
static void descriptions_are_sentences_that_need_no_escaping(void **state)
{
        (void)state;
        for (int reason = REASON_NONE + 1; reason < _REASON_N; reason++) {
                const char *description = reason_info(reason)->description;

                assert_true(isupper(description[0]) || islower(description[0]));
                assert_int_equal(description[strlen(description) - 1], '.');
                for (const char *c = description; *c; c++)
                        assert_true(*c >= 0x20 && *c <= 0x7e && *c != '"' && *c != '\\');
        }
}

static void only_a_503_or_429_says_when_to_come_back(void **state)
{
        (void)state;
        for (int reason = REASON_NONE + 1; reason < _REASON_N; reason++) {
                const struct reason_info *info = reason_info(reason);

                assert_int_equal(info->retry_after_s > 0,
                                 info->status == 503 || info->status == 429);
        }
}

static void a_fault_of_the_issuer_is_never_a_401(void **state)
{
        (void)state;
        for (int reason = REASON_NONE + 1; reason < _REASON_N; reason++)
                assert_int_equal(reason_info(reason)->status == 401,
                                 reason == REASON_UNKNOWN_CLIENT || reason == REASON_BAD_KEY);
}

/* It goes beside a token, and is no error. */
static void a_repeated_token_is_the_only_reason_beside_a_success(void **state)
{
        (void)state;
        for (int reason = REASON_NONE + 1; reason < _REASON_N; reason++) {
                const struct reason_info *info = reason_info(reason);

                assert_int_equal(info->status == 200, reason == REASON_REPEATED_TOKEN);
                assert_int_equal(info->error[0] == '\0',
                                 info->status == 200 || info->status == 409);
        }
        assert_string_equal(reason_info(REASON_REPEATED_TOKEN)->code, "issuer_repeats_token");
}

static void negative_errors_are_out_of_memory(void **state)
{
        (void)state;
        assert_int_equal(reason_of_error(-ENOMEM), REASON_OUT_OF_MEMORY);
        assert_int_equal(reason_of_error(0), REASON_NONE);
        assert_int_equal(reason_of_error(REASON_BAD_SCOPE), REASON_BAD_SCOPE);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(every_reason_is_a_documented_error),
                cmocka_unit_test(codes_are_distinct_words),
                cmocka_unit_test(descriptions_are_sentences_that_need_no_escaping),
                cmocka_unit_test(only_a_503_or_429_says_when_to_come_back),
                cmocka_unit_test(a_fault_of_the_issuer_is_never_a_401),
                cmocka_unit_test(a_repeated_token_is_the_only_reason_beside_a_success),
                cmocka_unit_test(negative_errors_are_out_of_memory),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
