/* SPDX-License-Identifier: MIT */

#include "credentials.h"

#include "helpers.h"

#define NEEDLE "the-client-secret-of-some-length"

static struct credentials credentials;

/* What the sources hold now; NULL: nothing. */
static bool set(const char *current, const char *next)
{
        struct secret secrets[CREDENTIALS_MAX] = {};
        bool changed;

        if (current)
                assert_int_equal(secret_append_str(&secrets[0], current), 0);
        if (next)
                assert_int_equal(secret_append_str(&secrets[1], next), 0);
        changed = credentials_set(&credentials, secrets);
        for (size_t i = 0; i < CREDENTIALS_MAX; i++)
                assert_null(secrets[i].bytes); /* taken */
        return changed;
}

static void begin(const char *current, const char *next)
{
        credentials_init(&credentials);
        assert_true(set(current, next));
}

static void end(void)
{
        credentials_deinit(&credentials);
}

/* Says which is first, and returns its id. */
static uint64_t assert_first(const char *secret)
{
        const struct credential *first = credentials_first(&credentials);

        assert_string_equal(first->secret.bytes, secret);
        assert_int_not_equal(first->id, 0);
        return first->id;
}

static uint64_t id_of(const char *secret)
{
        for (size_t i = 0; i < CREDENTIALS_MAX; i++)
                if (credentials.all[i].id != 0 &&
                    strcmp(credentials.all[i].secret.bytes, secret) == 0)
                        return credentials.all[i].id;
        return 0;
}

static void refuse_both_and_hold(uint64_t now_ms)
{
        assert_int_equal(credentials_refused(&credentials, credentials_first(&credentials)->id),
                         CREDENTIALS_READ);
        assert_int_equal(credentials_reread(&credentials), CREDENTIALS_TRY);
        assert_int_equal(credentials_refused(&credentials, credentials_first(&credentials)->id),
                         CREDENTIALS_HOLD);
        credentials_hold(&credentials, now_ms);
}

static void the_current_secret_is_first_and_each_has_an_id_of_its_own(void **state)
{
        (void)state;
        begin("a", "b");
        assert_first("a");
        assert_int_not_equal(id_of("a"), id_of("b"));
        assert_false(set("a", "b")); /* nothing new */
        assert_first("a");
        end();
        begin("a", NULL);
        assert_first("a");
        end();
        begin(NULL, "b"); /* the next one alone serves as well */
        assert_first("b");
        end();
}

static void without_any_secret_there_is_an_empty_one(void **state)
{
        (void)state;
        credentials_init(&credentials);
        assert_int_equal(credentials_first(&credentials)->id, 0);
        assert_int_equal(credentials_first(&credentials)->secret.size, 0);
        assert_false(set(NULL, NULL));
        assert_true(credentials_pass(&credentials, 0));
        assert_int_equal(credentials_refused(&credentials, 0), CREDENTIALS_READ);
        assert_int_equal(credentials_reread(&credentials), CREDENTIALS_HOLD);
        credentials_accepted(&credentials, 0);
        end();
}

static void ids_are_never_given_twice(void **state)
{
        uint64_t last = 0;

        (void)state;
        begin("a", NULL);
        for (int i = 0; i < 20; i++) {
                const uint64_t id = credentials_first(&credentials)->id;

                assert_true(id > last);
                last = id;
                assert_true(set(i % 2 ? "a" : "b", NULL));
        }
        end();
}

static void a_secret_that_was_there_before_is_still_the_same(void **state)
{
        uint64_t a, b;

        (void)state;
        begin("a", "b");
        a = id_of("a");
        b = id_of("b");
        assert_int_equal(credentials_refused(&credentials, a), CREDENTIALS_READ);
        assert_false(set("b", "a")); /* they changed places */
        assert_int_equal(id_of("a"), a);
        assert_int_equal(id_of("b"), b);
        assert_int_equal(credentials_reread(&credentials), CREDENTIALS_TRY);
        assert_first("b");
        assert_false(set("b", NULL)); /* the old one was taken away */
        assert_int_equal(id_of("b"), b);
        assert_first("b");
        assert_true(set("b", "c"));
        assert_first("b");
        end();
}

/* The one in use stays in use, wherever it stands. */
static void a_set_of_the_same_secrets_does_not_change_which_is_first(void **state)
{
        (void)state;
        begin("a", "b");
        credentials_accepted(&credentials, id_of("b"));
        assert_first("b");
        assert_false(set("a", "b"));
        assert_first("b");
        assert_true(set("c", "b"));
        assert_first("b");
        assert_true(set("b", "d"));
        assert_first("b");
        assert_false(set("d", NULL));
        assert_first("d");
        end();
}

/* The current secret is replaced in its file while nobody has told us. */
static void a_rotated_secret_is_found_by_reading_again(void **state)
{
        (void)state;
        begin("old", NULL);
        assert_int_equal(credentials_refused(&credentials, id_of("old")), CREDENTIALS_READ);
        assert_true(set("new", NULL));
        assert_int_equal(credentials_reread(&credentials), CREDENTIALS_TRY);
        credentials_accepted(&credentials, assert_first("new"));
        assert_false(credentials_are_held(&credentials, 0));
        end();
}

static void the_next_secret_is_tried_and_stays_first_when_it_works(void **state)
{
        (void)state;
        begin("old", "new");
        assert_int_equal(credentials_refused(&credentials, id_of("old")), CREDENTIALS_READ);
        assert_false(set("old", "new"));
        assert_int_equal(credentials_reread(&credentials), CREDENTIALS_TRY);
        credentials_accepted(&credentials, assert_first("new"));
        assert_first("new");
        assert_true(credentials_pass(&credentials, 0));
        /* And when that one is refused one day, the other may be tried again. */
        assert_int_equal(credentials_refused(&credentials, id_of("new")), CREDENTIALS_READ);
        assert_int_equal(credentials_reread(&credentials), CREDENTIALS_TRY);
        assert_first("old");
        end();
}

static void each_is_tried_once_and_the_sources_are_read_once(void **state)
{
        (void)state;
        begin("a", "b");
        assert_int_equal(credentials_refused(&credentials, id_of("a")), CREDENTIALS_READ);
        /* While they are read, more refusals of the same arrive. */
        assert_int_equal(credentials_refused(&credentials, id_of("a")), CREDENTIALS_READ);
        assert_int_equal(credentials_reread(&credentials), CREDENTIALS_TRY);
        assert_first("b");
        assert_int_equal(credentials_refused(&credentials, id_of("a")), CREDENTIALS_TRY);
        assert_first("b");
        assert_int_equal(credentials_refused(&credentials, id_of("b")), CREDENTIALS_HOLD);
        assert_int_equal(credentials_refused(&credentials, id_of("a")), CREDENTIALS_HOLD);
        assert_int_equal(credentials_refused(&credentials, id_of("b")), CREDENTIALS_HOLD);
        end();
}

static void a_single_secret_that_is_refused_leaves_nothing_to_try(void **state)
{
        (void)state;
        begin("a", NULL);
        assert_int_equal(credentials_refused(&credentials, id_of("a")), CREDENTIALS_READ);
        assert_false(set("a", NULL));
        assert_int_equal(credentials_reread(&credentials), CREDENTIALS_HOLD);
        end();
}

static void the_same_secret_twice_is_one(void **state)
{
        (void)state;
        begin("a", "a");
        assert_int_equal(credentials_refused(&credentials, id_of("a")), CREDENTIALS_READ);
        assert_false(set("a", "a"));
        assert_int_equal(credentials_reread(&credentials), CREDENTIALS_HOLD);
        end();

        /* The new secret was put in the place of the old one, and left in that of the next, too. */
        begin("old", "new");
        assert_false(set("new", "new"));
        assert_int_equal(credentials_refused(&credentials, assert_first("new")), CREDENTIALS_READ);
        assert_int_equal(credentials_reread(&credentials), CREDENTIALS_HOLD);
        assert_true(set("newer", "new"));
        assert_first("newer");
        end();
}

static void a_refusal_of_a_secret_that_is_gone_tells_nothing_of_the_others(void **state)
{
        uint64_t gone;

        (void)state;
        begin("a", NULL);
        gone = id_of("a");
        assert_true(set("b", NULL));
        assert_int_equal(credentials_refused(&credentials, gone), CREDENTIALS_TRY);
        assert_first("b");
        assert_false(credentials.all[0].refused);
        /* Unless there is no other. */
        assert_int_equal(credentials_refused(&credentials, id_of("b")), CREDENTIALS_READ);
        assert_int_equal(credentials_refused(&credentials, gone), CREDENTIALS_READ);
        assert_int_equal(credentials_reread(&credentials), CREDENTIALS_HOLD);
        assert_int_equal(credentials_refused(&credentials, gone), CREDENTIALS_HOLD);
        end();
}

static void a_success_of_a_secret_that_is_gone_changes_nothing(void **state)
{
        uint64_t gone;

        (void)state;
        begin("a", NULL);
        gone = id_of("a");
        assert_true(set("b", "c"));
        refuse_both_and_hold(1000);
        credentials_accepted(&credentials, gone);
        assert_true(credentials_are_held(&credentials, 1000));
        assert_true(credentials.all[0].refused && credentials.all[1].refused);
        end();
}

static void a_hold_takes_its_time_and_then_lets_one_pass(void **state)
{
        (void)state;
        begin("a", "b");
        assert_true(credentials_pass(&credentials, 500));
        assert_true(credentials_pass(&credentials, 500)); /* not held: any number */
        refuse_both_and_hold(1000);
        assert_true(credentials_are_held(&credentials, 1000));
        assert_false(credentials_pass(&credentials, 1000));
        assert_false(credentials_pass(&credentials, 30999));
        assert_false(credentials_are_held(&credentials, 31000));
        assert_true(credentials_pass(&credentials, 31000));
        assert_true(credentials_are_held(&credentials, 31000));
        assert_false(credentials_pass(&credentials, 31000));
        assert_false(credentials_pass(&credentials, 60999));
        /* Nothing was heard of that one. */
        assert_true(credentials_pass(&credentials, 61000));
        assert_false(credentials_pass(&credentials, 61000));
        /* When it works, all may. */
        credentials_accepted(&credentials, id_of("b"));
        assert_first("b");
        assert_false(credentials_are_held(&credentials, 61000));
        assert_true(credentials_pass(&credentials, 61000));
        assert_true(credentials_pass(&credentials, 61000));
        end();
}

static void all_secrets_may_be_tried_again_after_a_hold(void **state)
{
        (void)state;
        begin("a", "b");
        refuse_both_and_hold(1000);
        assert_true(credentials_pass(&credentials, 31000));
        refuse_both_and_hold(31000); /* read again, and each tried once again */
        assert_true(credentials_are_held(&credentials, 31000 + 59999));
        assert_false(credentials_are_held(&credentials, 31000 + 60000));
        end();
}

static void a_hold_doubles_from_half_a_minute_to_five(void **state)
{
        static const uint32_t steps_ms[] = {30000, 60000, 120000, 240000, 300000, 300000};
        uint64_t now_ms = 1000;

        (void)state;
        begin("a", "b");
        for (size_t i = 0; i < N_OF(steps_ms); i++) {
                refuse_both_and_hold(now_ms);
                assert_int_equal(credentials.hold.step_ms, steps_ms[i]);
                assert_true(credentials_are_held(&credentials, now_ms + steps_ms[i] - 1));
                now_ms += steps_ms[i];
                assert_true(credentials_pass(&credentials, now_ms));
        }
        credentials_accepted(&credentials, id_of("a"));
        refuse_both_and_hold(now_ms);
        assert_int_equal(credentials.hold.step_ms, 30000);
        end();
}

/* Requests that were sent before the hold are refused one by one. */
static void refusals_of_what_was_under_way_do_not_lengthen_a_hold(void **state)
{
        (void)state;
        begin("a", "b");
        refuse_both_and_hold(1000);
        for (int i = 0; i < 20; i++) {
                assert_int_equal(credentials_refused(&credentials, id_of(i % 2 ? "a" : "b")),
                                 CREDENTIALS_HOLD);
                credentials_hold(&credentials, 1000 + 100 * (uint64_t)i);
        }
        assert_int_equal(credentials.hold.step_ms, 30000);
        assert_false(credentials_are_held(&credentials, 31000));
        end();
}

static void a_changed_secret_ends_a_hold_at_once(void **state)
{
        (void)state;
        begin("a", "b");
        refuse_both_and_hold(1000);
        assert_false(set("a", "b"));
        assert_true(credentials_are_held(&credentials, 2000));
        assert_false(set("b", NULL)); /* that one is away is no news */
        assert_true(credentials_are_held(&credentials, 2000));
        assert_true(set("b", "c"));
        assert_false(credentials_are_held(&credentials, 2000));
        assert_true(credentials_pass(&credentials, 2000));
        assert_true(credentials_pass(&credentials, 2000));
        assert_first("c"); /* the other one is known to be refused */
        /* And the next hold begins from the first step. */
        assert_int_equal(credentials_refused(&credentials, id_of("c")), CREDENTIALS_READ);
        assert_int_equal(credentials_reread(&credentials), CREDENTIALS_HOLD);
        credentials_hold(&credentials, 2000);
        assert_int_equal(credentials.hold.step_ms, 30000);
        end();
}

static void a_changed_secret_ends_the_wait_for_a_probe_too(void **state)
{
        (void)state;
        begin("a", NULL);
        assert_int_equal(credentials_refused(&credentials, id_of("a")), CREDENTIALS_READ);
        assert_int_equal(credentials_reread(&credentials), CREDENTIALS_HOLD);
        credentials_hold(&credentials, 1000);
        assert_true(credentials_pass(&credentials, 31000));
        assert_false(credentials_pass(&credentials, 31000));
        assert_true(set("b", NULL));
        assert_true(credentials_pass(&credentials, 31000));
        assert_false(credentials.probing);
        end();
}

/* A prefix, another case, a NUL inside: none of these is the same secret. */
static void secrets_are_told_apart_by_every_byte(void **state)
{
        static const struct text other[] = {BYTES("abc"), BYTES("abcde"), BYTES("abcD"),
                                            BYTES("abc\0"), BYTES("abcd\0")};

        (void)state;
        for (size_t i = 0; i < N_OF(other); i++) {
                struct secret secrets[CREDENTIALS_MAX] = {};

                begin("abcd", NULL);
                assert_int_equal(secret_append(&secrets[0], other[i].bytes, other[i].size), 0);
                assert_true(credentials_set(&credentials, secrets));
                end();
        }
}

static void no_secret_is_left_behind(void **state)
{
        (void)state;
        frees_watch(NEEDLE);
        begin(NEEDLE, "b");
        assert_false(set(NEEDLE, "b"));
        assert_false(set("b", NULL));
        assert_true(set(NEEDLE "2", NEEDLE));
        assert_false(set(NEEDLE, NEEDLE));
        end();
        assert_int_equal(frees_dirty(), 0);
        frees_watch(NULL);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(the_current_secret_is_first_and_each_has_an_id_of_its_own),
                cmocka_unit_test(without_any_secret_there_is_an_empty_one),
                cmocka_unit_test(ids_are_never_given_twice),
                cmocka_unit_test(a_secret_that_was_there_before_is_still_the_same),
                cmocka_unit_test(a_set_of_the_same_secrets_does_not_change_which_is_first),
                cmocka_unit_test(a_rotated_secret_is_found_by_reading_again),
                cmocka_unit_test(the_next_secret_is_tried_and_stays_first_when_it_works),
                cmocka_unit_test(each_is_tried_once_and_the_sources_are_read_once),
                cmocka_unit_test(a_single_secret_that_is_refused_leaves_nothing_to_try),
                cmocka_unit_test(the_same_secret_twice_is_one),
                cmocka_unit_test(a_refusal_of_a_secret_that_is_gone_tells_nothing_of_the_others),
                cmocka_unit_test(a_success_of_a_secret_that_is_gone_changes_nothing),
                cmocka_unit_test(a_hold_takes_its_time_and_then_lets_one_pass),
                cmocka_unit_test(all_secrets_may_be_tried_again_after_a_hold),
                cmocka_unit_test(a_hold_doubles_from_half_a_minute_to_five),
                cmocka_unit_test(refusals_of_what_was_under_way_do_not_lengthen_a_hold),
                cmocka_unit_test(a_changed_secret_ends_a_hold_at_once),
                cmocka_unit_test(a_changed_secret_ends_the_wait_for_a_probe_too),
                cmocka_unit_test(secrets_are_told_apart_by_every_byte),
                cmocka_unit_test(no_secret_is_left_behind),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
