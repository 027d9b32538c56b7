/* SPDX-License-Identifier: MIT */

#include "question.h"

#include "client-helpers.h"

static struct egain_token_request base(void)
{
        struct egain_token_request request = EGAIN_TOKEN_REQUEST_INIT;

        request.kind = EGAIN_TOKEN_USERNAME;
        request.subject = "pa";
        return request;
}

static struct egain_token_request exchange(const char *token)
{
        struct egain_token_request request = EGAIN_TOKEN_REQUEST_INIT;

        request.kind = EGAIN_TOKEN_EXCHANGE;
        request.subject_token = token;
        request.registration_id = "okta";
        return request;
}

static void ask(struct question *question, const struct egain_token_request *request)
{
        const char *why = NULL;

        assert_int_equal(question_init(question, request, NULL, &why), 0);
        assert_null(memchr(question->form.bytes, '\0', question->form.size));
}

/* Two requests that must not share a token. */
static void differ(const struct egain_token_request *a, const struct egain_token_request *b)
{
        struct question x, y;

        ask(&x, a);
        ask(&y, b);
        assert_memory_not_equal(x.key, y.key, sizeof(x.key));
        question_deinit(&x);
        question_deinit(&y);
}

static void every_part_is_in_the_key(void **state)
{
        const struct egain_token_request one = base(), two = exchange("t");
        struct egain_token_request other;

        (void)state;
        other = one, other.kind = EGAIN_TOKEN_USERID, differ(&one, &other);
        other = one, other.kind = EGAIN_TOKEN_EMAIL, differ(&one, &other);
        other = one, other.subject = "pb", differ(&one, &other);
        other = one, other.subject = "Pa", differ(&one, &other);
        other = one, other.client = "portal", differ(&one, &other);
        other = one, other.client = "", differ(&one, &other);
        other = one, other.scope = "", differ(&one, &other);
        other = one, other.scope = "a", differ(&one, &other);
        other = one, other.key = "k", differ(&one, &other);
        other = two, other.subject_token = "u", differ(&two, &other);
        other = two, other.registration_id = "azure", differ(&two, &other);
        other = two, other.subject_token_type = "urn:x", differ(&two, &other);
        other = two, other.scope = "a", differ(&two, &other);
}

static void parts_do_not_run_into_each_other(void **state)
{
        struct egain_token_request a = base(), b = base();

        (void)state;
        a.client = "x", a.subject = "yz";
        b.client = "xy", b.subject = "z";
        differ(&a, &b);
        a = b = base();
        a.client = "x";
        b.scope = "x";
        differ(&a, &b);
}

static void what_does_not_shape_the_token_is_not_in_the_key(void **state)
{
        struct egain_token_request a = base(), b = base();
        struct egain_token *rejected = make_token("bad", 0, 60);
        struct question x, y;
        const char *why;

        (void)state;
        b.min_ttl_s = 60;
        ask(&x, &a);
        assert_int_equal(question_init(&y, &b, rejected, &why), 0);
        assert_memory_equal(x.key, y.key, sizeof(x.key));
        question_deinit(&x);
        question_deinit(&y);
        egain_token_unref(rejected);
}

static void the_form_is_percent_encoded(void **state)
{
        struct egain_token_request request = base();
        struct question question;

        (void)state;
        request.subject = "a b+c%d&e=f\xc3\xbc-._~";
        request.client = "portal";
        request.scope = "x y";
        request.min_ttl_s = 60;
        request.key = "k;";
        ask(&question, &request);
        assert_string_equal(question.form.bytes,
                            "grant_type=password&"
                            "subject_username=a%20b%2Bc%25d%26e%3Df%C3%BC-._~&client_id=portal&"
                            "client_secret=k%3B&scope=x%20y&min_ttl=60");
        question_deinit(&question);
}

static void a_rejected_token_is_named_by_its_digest(void **state)
{
        const struct egain_token_request request = base();
        struct egain_token *rejected = make_token("abc", 0, 60);
        struct question question;
        const char *why;

        (void)state;
        assert_int_equal(question_init(&question, &request, rejected, &why), 0);
        assert_non_null(strstr(question.form.bytes,
                               "&rejected_token_sha256=ba7816bf8f01cfea414140de5dae2223b00361a396"
                               "177a9cb410ff61f20015ad"));
        question_deinit(&question);
        egain_token_unref(rejected);
}

static void what_makes_no_sense_is_refused(void **state)
{
        static char long_subject[258], large[70000];
        struct egain_token_request requests[12];
        struct question question;
        const char *why;

        (void)state;
        memset(long_subject, 'x', 257);
        memset(large, 'x', sizeof(large) - 1);
        for (size_t i = 0; i < N_OF(requests); i++)
                requests[i] = base();
        requests[0].kind = 0;
        requests[1].kind = 6;
        requests[2].kind = -1;
        requests[3].subject = NULL;
        requests[4].subject = "";
        requests[5].subject = long_subject;
        requests[6].kind = EGAIN_TOKEN_APPLICATION;
        requests[7].registration_id = "okta";
        requests[8] = exchange("");
        requests[9] = exchange("t"), requests[9].registration_id = NULL;
        requests[10] = exchange("t"), requests[10].subject = "pa";
        requests[11].scope = large;
        for (size_t i = 0; i < N_OF(requests); i++) {
                why = NULL;
                assert_int_equal(question_init(&question, &requests[i], NULL, &why),
                                 QUESTION_E_INVALID);
                assert_non_null(why);
        }
}

static void subject_tokens_and_keys_are_wiped(void **state)
{
        struct egain_token_request request = exchange("needle-of-a-subject-token");
        struct question question;

        (void)state;
        request.key = "needle-of-a-subject-token-as-key";
        client_frees_watch("needle-of-a-subject-token");
        ask(&question, &request);
        assert_non_null(strstr(question.form.bytes, "needle-of-a-subject-token"));
        question_deinit(&question);
        assert_int_equal(client_frees_dirty(), 0);
        client_frees_watch(NULL);
}

static int begin(void **state)
{
        (void)state;
        return digest_global_init() ? 0 : -1;
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(every_part_is_in_the_key),
                cmocka_unit_test(parts_do_not_run_into_each_other),
                cmocka_unit_test(what_does_not_shape_the_token_is_not_in_the_key),
                cmocka_unit_test(the_form_is_percent_encoded),
                cmocka_unit_test(a_rejected_token_is_named_by_its_digest),
                cmocka_unit_test(what_makes_no_sense_is_refused),
                cmocka_unit_test(subject_tokens_and_keys_are_wiped),
        };

        return cmocka_run_group_tests_name("client-question", tests, begin, NULL);
}
