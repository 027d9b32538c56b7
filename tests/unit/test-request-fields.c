/* SPDX-License-Identifier: MIT */

#include "request-fields.h"

#include <errno.h>
#include <stdio.h>
#include <strings.h>

#include "helpers.h"

#define USERNAME "X-Egain-Subject-Username"
#define USERID   "X-Egain-Subject-Userid"
#define EMAIL    "X-Egain-Subject-Email"
#define SCOPE    "X-Egain-Scope"
#define CLIENT   "X-Egain-Client"
#define MIN_TTL  "X-Egain-Min-Ttl"

/* Names and values by turns, up to a NULL. */
static struct request_fields take(const char *const *lines)
{
        struct request_fields fields = {};

        for (size_t i = 0; lines[i]; i += 2)
                request_fields_take(&fields, lines[i], lines[i + 1]);
        return fields;
}

static int parse(struct token_request *request, const char *const *lines)
{
        const struct request_fields fields = take(lines);

        request_init(request);
        return request_fields_parse(request, &fields);
}

static void assert_outcome(int reason, const char *const *lines)
{
        struct token_request request;
        const int r = parse(&request, lines);

        if (r != reason)
                print_error("%s: %s: %d, not %d\n", lines[0], lines[1], r, reason);
        assert_int_equal(r, reason);
        request_deinit(&request);
}

#define ASSERT_OUTCOME(reason, ...) \
        assert_outcome(reason, (const char *const[]){__VA_ARGS__, NULL, NULL})

static void assert_text(struct text text, const char *expected)
{
        assert_true(text_equal(text, TEXT(expected)));
}

static void every_field_is_read_in_any_case(void **state)
{
        struct token_request request;
        const int r = parse(&request,
                            (const char *const[]){"x-EGAIN-subject-username", "pa", "X-EGAIN-SCOPE",
                                                  "read core.write admin read", "x-egain-client",
                                                  "portal", MIN_TTL, "120", NULL});

        (void)state;
        assert_int_equal(r, 0);
        assert_true(request.has_subject);
        assert_int_equal(request.subject_kind, SUBJECT_USERNAME);
        assert_text(request.subject, "pa");
        assert_text(request.scope, "admin core.write read");
        assert_text(request.client, "portal");
        assert_int_equal(request.min_ttl_ms, 120000);
        assert_int_equal(request.keys.n, 0);
        assert_false(request.rejects);
        request_deinit(&request);
}

static void every_kind_of_subject_has_a_field(void **state)
{
        static const char *const names[] = {USERNAME, USERID, EMAIL};

        (void)state;
        for (int kind = SUBJECT_USERNAME; kind <= SUBJECT_EMAIL; kind++) {
                struct token_request request;

                assert_int_equal(parse(&request, (const char *const[]){names[kind], "a@b.c", NULL}),
                                 0);
                assert_int_equal(request.subject_kind, kind);
                assert_text(request.subject, "a@b.c");
                assert_int_equal(request.scope.size, 0);
                assert_int_equal(request.client.size, 0);
                request_deinit(&request);
        }
}

static void nothing_is_decoded(void **state)
{
        static const char *const subjects[] = {
                "%61dmin",    "bob&scope=x", "anna smith",  "a+b", "a=b", "%",   "%zz",
                "\"quoted\"", "a,b",         "j\xc3\xb6rg", "a;b", "#",   "a\\b"};

        (void)state;
        for (size_t i = 0; i < N_OF(subjects); i++) {
                struct token_request request;

                assert_int_equal(
                        parse(&request, (const char *const[]){USERNAME, subjects[i], NULL}), 0);
                assert_text(request.subject, subjects[i]);
                request_deinit(&request);
        }
        ASSERT_OUTCOME(REASON_BAD_MIN_TTL, USERNAME, "pa", MIN_TTL, "%31");
        ASSERT_OUTCOME(0, USERNAME, "pa", SCOPE, "a%20b");
}

static void a_scope_is_canonical_and_what_came_stays_as_it_is(void **state)
{
        const char scope[] = "b a b";
        struct token_request request;

        (void)state;
        assert_int_equal(parse(&request, (const char *const[]){USERNAME, "pa", SCOPE, scope, NULL}),
                         0);
        assert_text(request.scope, "a b");
        assert_string_equal(scope, "b a b");
        request_deinit(&request);
}

static void other_fields_are_ignored(void **state)
{
        ASSERT_OUTCOME(0, USERNAME, "pa", "Authorization", "Basic !", "X-Egain-Session", "1",
                       "X-Egain-Session", "2", "subject_email", "x", "Client-Id", "y",
                       "X_Egain_Scope", "\"");
        (void)state;
}

static void a_name_that_only_begins_like_one_is_refused(void **state)
{
        static const char *const names[] = {
                "X-Egain-Subject",
                USERNAME "s",
                "x-egain-subject_username",
                SCOPE " ",
                SCOPE "\t",
                SCOPE "s",
                "X-Egain-Client-Id",
                "X-Egain-Client-Secret",
                MIN_TTL "-Seconds",
                "X-Egain-Subject-Token",
        };
        struct request_fields fields;

        (void)state;
        for (size_t i = 0; i < N_OF(names); i++) {
                ASSERT_OUTCOME(REASON_UNKNOWN_FIELD, USERNAME, "pa", names[i], "");
                fields = take((const char *const[]){names[i], "x", USERNAME, "pa", NULL});
                assert_ptr_equal(fields.unknown, names[i]);
        }
}

static void each_may_come_once_even_if_they_agree(void **state)
{
        static const char *const names[] = {USERNAME, USERID, EMAIL, SCOPE, CLIENT, MIN_TTL};

        (void)state;
        for (size_t i = 0; i < N_OF(names); i++) {
                ASSERT_OUTCOME(REASON_REPEATED_PARAMETER, names[i], "1", names[i], "1");
                ASSERT_OUTCOME(REASON_REPEATED_PARAMETER, names[i], "", USERNAME, "pa", names[i],
                               "1");
        }
        ASSERT_OUTCOME(REASON_REPEATED_PARAMETER, USERNAME, "pa", "x-egain-subject-USERNAME", "pb");
}

static void exactly_one_subject_is_asked_for(void **state)
{
        ASSERT_OUTCOME(REASON_MISSING_SUBJECT, SCOPE, "a");
        ASSERT_OUTCOME(REASON_AMBIGUOUS_SUBJECT, USERNAME, "pa", EMAIL, "pa");
        ASSERT_OUTCOME(REASON_AMBIGUOUS_SUBJECT, USERID, "", EMAIL, "pa");
        ASSERT_OUTCOME(REASON_EMPTY_SUBJECT, USERNAME, "");
        (void)state;
}

static void a_subject_is_judged_as_in_a_form(void **state)
{
        char longest[REQUEST_SUBJECT_MAX_BYTES + 2];

        (void)state;
        memset(longest, 'x', sizeof(longest));
        longest[REQUEST_SUBJECT_MAX_BYTES] = '\0';
        ASSERT_OUTCOME(0, USERNAME, longest);
        longest[REQUEST_SUBJECT_MAX_BYTES] = 'x';
        longest[REQUEST_SUBJECT_MAX_BYTES + 1] = '\0';
        ASSERT_OUTCOME(REASON_LONG_SUBJECT, USERNAME, longest);
        ASSERT_OUTCOME(REASON_BAD_SUBJECT, USERNAME, "a\rb");
        ASSERT_OUTCOME(REASON_BAD_SUBJECT, USERNAME, "a\tb");
        ASSERT_OUTCOME(REASON_BAD_SUBJECT, USERNAME, "\xff");
        ASSERT_OUTCOME(REASON_BAD_SUBJECT, USERNAME, "\xc2\x80");
}

static void a_subject_between_blanks_is_refused(void **state)
{
        static const char *const subjects[] = {" pa", "pa ", "\tpa", "pa\t", " ", "\t", "  "};
        static const char *const names[] = {USERNAME, USERID, EMAIL};

        (void)state;
        for (size_t i = 0; i < N_OF(subjects); i++)
                for (size_t k = 0; k < N_OF(names); k++)
                        ASSERT_OUTCOME(REASON_SPACED_SUBJECT, names[k], subjects[i]);
        ASSERT_OUTCOME(0, USERNAME, "p  a");
        ASSERT_OUTCOME(0, USERNAME, "\xc2\xa0pa"); /* a no-break space is none of HTTP's */
}

static void what_else_is_asked_is_judged_as_in_a_form(void **state)
{
        ASSERT_OUTCOME(REASON_BAD_SCOPE, USERNAME, "pa", SCOPE, "a  b");
        ASSERT_OUTCOME(REASON_BAD_SCOPE, USERNAME, "pa", SCOPE, "a ");
        ASSERT_OUTCOME(REASON_BAD_SCOPE, USERNAME, "pa", SCOPE, "a\tb");
        ASSERT_OUTCOME(REASON_BAD_SCOPE, USERNAME, "pa", SCOPE, "\"");
        ASSERT_OUTCOME(REASON_BAD_MIN_TTL, USERNAME, "pa", MIN_TTL, "1 ");
        ASSERT_OUTCOME(REASON_BAD_MIN_TTL, USERNAME, "pa", MIN_TTL, "-1");
        ASSERT_OUTCOME(REASON_BAD_MIN_TTL, USERNAME, "pa", MIN_TTL, "1234567890");
        ASSERT_OUTCOME(0, USERNAME, "pa", SCOPE, "", CLIENT, "", MIN_TTL, "");
        (void)state;
}

static void out_of_memory_is_said(void **state)
{
        struct token_request request;

        (void)state;
        alloc_fail_at(1);
        assert_int_equal(parse(&request, (const char *const[]){USERNAME, "pa", SCOPE, "a", NULL}),
                         -ENOMEM);
        assert_true(alloc_has_failed());
        request_deinit(&request);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(every_field_is_read_in_any_case),
                cmocka_unit_test(every_kind_of_subject_has_a_field),
                cmocka_unit_test(nothing_is_decoded),
                cmocka_unit_test(a_scope_is_canonical_and_what_came_stays_as_it_is),
                cmocka_unit_test(other_fields_are_ignored),
                cmocka_unit_test(a_name_that_only_begins_like_one_is_refused),
                cmocka_unit_test(each_may_come_once_even_if_they_agree),
                cmocka_unit_test(exactly_one_subject_is_asked_for),
                cmocka_unit_test(a_subject_is_judged_as_in_a_form),
                cmocka_unit_test(a_subject_between_blanks_is_refused),
                cmocka_unit_test(what_else_is_asked_is_judged_as_in_a_form),
                cmocka_unit_test(out_of_memory_is_said),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
