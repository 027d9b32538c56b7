/* SPDX-License-Identifier: MIT */

/*
 * A loop that waits itself, and one that a host waits for, who is played by the test: he says
 * whether ours should be looked after.
 */

#include "../../daemon/loop.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cmocka.h>

#include "../../lib/list.h"

#define N_SOURCES 2

/* Sets a source going, and counts how often it was called back. */
struct bell {
        struct loop_source source;
        int n;
};

static struct loop loop;
static struct bell bells[N_SOURCES];

static struct {
        struct loop_host host;
        bool says_look;
        bool wants_time;
        int n;
        bool waited;     /* when it was called last */
        uint64_t now_ms; /* what it was told then */
} played;

static void rung(struct loop_source *source, uint32_t events)
{
        struct bell *bell = list_entry(source, struct bell, source);
        uint64_t n;

        assert_int_equal(read(source->fd, &n, sizeof(n)), sizeof(n));
        bell->n++;
}

static void ring(struct bell *bell)
{
        const uint64_t one = 1;

        assert_int_equal(write(bell->source.fd, &one, sizeof(one)), sizeof(one));
}

static bool play(struct loop_host *host, bool waits)
{
        played.n++;
        played.waited = waits;
        if (played.wants_time) {
                loop_catch_up(&loop);
                played.now_ms = loop.now_ms;
        }
        return played.says_look;
}

static int set_up(void **state)
{
        if (loop_init(&loop) < 0)
                return -1;
        for (int i = 0; i < N_SOURCES; i++) {
                bells[i] = (struct bell){.source = {.fd = eventfd(0, EFD_CLOEXEC), .ready = rung}};
                if (bells[i].source.fd < 0 || loop_add(&loop, &bells[i].source, EPOLLIN) < 0)
                        return -1;
        }
        played.host.wait = play;
        played.says_look = true;
        played.wants_time = played.waited = false;
        played.n = 0;
        return 0;
}

static int tear_down(void **state)
{
        for (int i = 0; i < N_SOURCES; i++) {
                loop_remove(&loop, &bells[i].source);
                (void)close(bells[i].source.fd);
        }
        loop_deinit(&loop);
        return 0;
}

static void what_is_ready_is_called_back(void **state)
{
        ring(&bells[1]);
        assert_int_equal(loop_turn(&loop, LOOP_NEVER), 0);
        assert_int_equal(bells[0].n, 0);
        assert_int_equal(bells[1].n, 1);
}

static void nothing_is_waited_for_when_it_is_time(void **state)
{
        assert_int_equal(loop_turn(&loop, loop.now_ms), 0);
        assert_int_equal(bells[0].n + bells[1].n, 0);
}

static void a_time_ends_the_wait(void **state)
{
        const uint64_t until_ms = loop.now_ms + 20;

        /* It may end for nothing. */
        while (loop.now_ms < until_ms)
                assert_int_equal(loop_turn(&loop, until_ms), 0);
}

static void remove_the_other(struct loop_source *source, uint32_t events)
{
        struct bell *bell = list_entry(source, struct bell, source);

        rung(source, events);
        loop_remove(&loop, &bells[bell == &bells[0]].source);
}

static void a_source_that_was_removed_is_not_called_back(void **state)
{
        for (int i = 0; i < N_SOURCES; i++) {
                bells[i].source.ready = remove_the_other;
                ring(&bells[i]);
        }
        assert_int_equal(loop_turn(&loop, LOOP_NEVER), 0);
        assert_int_equal(bells[0].n + bells[1].n, 1);
}

static void a_host_waits_in_our_place(void **state)
{
        loop.host = &played.host;
        assert_int_equal(loop_turn(&loop, LOOP_NEVER), 0);
        assert_int_equal(played.n, 1);
        assert_true(played.waited);

        assert_int_equal(loop_turn(&loop, loop.now_ms), 0);
        assert_int_equal(played.n, 2);
        assert_false(played.waited);
}

static void a_host_may_have_us_look_at_once(void **state)
{
        loop.host = &played.host;
        ring(&bells[0]);
        assert_int_equal(loop_turn(&loop, LOOP_NEVER), 0);
        assert_int_equal(bells[0].n, 1);
}

static void a_host_does_not_keep_us_from_looking_for_long(void **state)
{
        loop.host = &played.host;
        played.says_look = false;
        ring(&bells[0]);
        for (int i = 0; i < LOOP_UNSEEN_MAX; i++) {
                assert_int_equal(loop_turn(&loop, LOOP_NEVER), 0);
                assert_int_equal(bells[0].n, 0);
        }
        assert_int_equal(loop_turn(&loop, LOOP_NEVER), 0);
        assert_int_equal(bells[0].n, 1);

        /* And so on. */
        ring(&bells[0]);
        for (int i = 0; i < LOOP_UNSEEN_MAX; i++)
                assert_int_equal(loop_turn(&loop, LOOP_NEVER), 0);
        assert_int_equal(bells[0].n, 1);
        assert_int_equal(loop_turn(&loop, LOOP_NEVER), 0);
        assert_int_equal(bells[0].n, 2);
}

/* The time of before the wait is as old as the wait was long. */
static void a_host_is_told_the_time_of_after_the_wait(void **state)
{
        loop.host = &played.host;
        played.wants_time = true;
        for (int i = 0; i < 2; i++) {
                played.says_look = i == 1;
                loop.now_ms = 0;
                loop.wall_ms = 0;
                assert_int_equal(loop_turn(&loop, LOOP_NEVER), 0);
                assert_true(played.now_ms > 0);
                assert_int_equal(loop.now_ms, played.now_ms); /* it is read once a turn */
                assert_true(loop.wall_ms > 0);
        }
}

static void the_time_is_read_in_every_turn(void **state)
{
        loop.host = &played.host;
        for (int i = 0; i < 2; i++) {
                played.says_look = i == 1;
                loop.now_ms = 0;
                assert_int_equal(loop_turn(&loop, LOOP_NEVER), 0);
                assert_true(loop.now_ms > 0);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(what_is_ready_is_called_back, set_up, tear_down),
                cmocka_unit_test_setup_teardown(nothing_is_waited_for_when_it_is_time, set_up,
                                                tear_down),
                cmocka_unit_test_setup_teardown(a_time_ends_the_wait, set_up, tear_down),
                cmocka_unit_test_setup_teardown(a_source_that_was_removed_is_not_called_back,
                                                set_up, tear_down),
                cmocka_unit_test_setup_teardown(a_host_waits_in_our_place, set_up, tear_down),
                cmocka_unit_test_setup_teardown(a_host_may_have_us_look_at_once, set_up, tear_down),
                cmocka_unit_test_setup_teardown(a_host_does_not_keep_us_from_looking_for_long,
                                                set_up, tear_down),
                cmocka_unit_test_setup_teardown(a_host_is_told_the_time_of_after_the_wait, set_up,
                                                tear_down),
                cmocka_unit_test_setup_teardown(the_time_is_read_in_every_turn, set_up, tear_down),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
