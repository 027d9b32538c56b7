/* SPDX-License-Identifier: MIT */

/*
 * A service manager that reads late, or never: the barrier waits for it for as long as it is told,
 * and descriptors arrive behind what was said before.
 */

#include "../../daemon/notify.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#define LATER_MS 100

static struct notify notify;
static int manager = -1;

static int set_up(void **state)
{
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        char name[64];
        int size;

        (void)state;
        size = snprintf(name, sizeof(name), "@egain-tokend-test-notify-%d", (int)getpid());
        memcpy(address.sun_path + 1, name + 1, (size_t)size - 1);
        manager = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        if (manager < 0 ||
            bind(manager, (struct sockaddr *)&address,
                 (socklen_t)(offsetof(struct sockaddr_un, sun_path) + (size_t)size)) < 0)
                return -1;
        (void)setenv("NOTIFY_SOCKET", name, 1);
        return notify_init(&notify);
}

static int tear_down(void **state)
{
        (void)state;
        notify_deinit(&notify);
        (void)unsetenv("NOTIFY_SOCKET");
        return close(manager);
}

/* One message, and the descriptor that came with it (-1: none). */
static void receive(char *text, size_t size, int *ret_fd)
{
        union {
                struct cmsghdr header;
                char bytes[CMSG_SPACE(sizeof(int))];
        } control;
        struct iovec iovec = {.iov_base = text, .iov_len = size - 1};
        struct msghdr message = {.msg_iov = &iovec,
                                 .msg_iovlen = 1,
                                 .msg_control = &control,
                                 .msg_controllen = sizeof(control)};
        const ssize_t n = recvmsg(manager, &message, MSG_CMSG_CLOEXEC);
        const struct cmsghdr *header = CMSG_FIRSTHDR(&message);

        text[n > 0 ? n : 0] = '\0';
        *ret_fd = -1;
        if (header && header->cmsg_type == SCM_RIGHTS)
                memcpy(ret_fd, CMSG_DATA(header), sizeof(*ret_fd));
}

static void *read_later(void *argument)
{
        char text[1024];
        int fd;

        (void)usleep(LATER_MS * 1000);
        do {
                receive(text, sizeof(text), &fd);
                if (fd >= 0)
                        close(fd);
        } while (strcmp(text, "BARRIER=1") != 0);
        return argument;
}

static void test_a_barrier_waits_until_all_was_read(void **state)
{
        pthread_t thread;

        (void)state;
        notify_set_state(&notify, NOTIFY_STOPPING);
        assert_int_equal(pthread_create(&thread, NULL, read_later, NULL), 0);
        assert_int_equal(notify_barrier(&notify, 20000), 0);
        assert_int_equal(pthread_join(thread, NULL), 0);
}

static void test_a_barrier_does_not_wait_for_ever(void **state)
{
        (void)state;
        assert_int_equal(notify_barrier(&notify, 50), NOTIFY_E_LATE);
}

/* Says so much that the manager's queue is full. */
static void fill(void)
{
        char status[32];

        for (int i = 0; i < 100000 && notify.n_refused == 0; i++) {
                (void)snprintf(status, sizeof(status), "%d", i);
                notify_set_status(&notify, status);
                notify_tick(&notify, 1);
        }
        assert_int_equal(notify.n_refused, 1);
}

static void test_a_full_queue(void **state)
{
        pthread_t thread;

        (void)state;
        fill();
        assert_int_equal(notify_next_tick_ms(&notify), 1 + NOTIFY_RETRY_MS);
        assert_int_equal(notify_barrier(&notify, 50), NOTIFY_E_LATE);
        assert_int_equal(notify_send_fds(&notify, "FDSTORE=1", &manager, 1, 50), NOTIFY_E_LATE);
        assert_int_equal(pthread_create(&thread, NULL, read_later, NULL), 0);
        assert_int_equal(notify_barrier(&notify, 20000), 0);
        assert_int_equal(pthread_join(thread, NULL), 0);
        assert_int_equal(notify_next_tick_ms(&notify), UINT64_MAX);
}

static void test_descriptors_arrive_in_order(void **state)
{
        char text[1024];
        int fds[2], fd;

        (void)state;
        assert_int_equal(pipe(fds), 0);
        notify_set_status(&notify, "putting away\n\xff");
        assert_int_equal(notify_send_fds(&notify, "FDSTORE=1\nFDNAME=x", &fds[1], 1, 1000), 0);
        close(fds[1]);
        receive(text, sizeof(text), &fd);
        assert_string_equal(text, "STATUS=putting away??\n");
        assert_int_equal(fd, -1);
        receive(text, sizeof(text), &fd);
        assert_string_equal(text, "FDSTORE=1\nFDNAME=x");
        assert_true(fd >= 0);
        assert_int_equal(write(fd, "y", 1), 1);
        assert_int_equal(read(fds[0], text, 1), 1);
        close(fd);
        close(fds[0]);
}

static void test_only_the_last_state_matters(void **state)
{
        char text[1024];
        int fd;

        (void)state;
        fill();
        notify_set_state(&notify, NOTIFY_READY);
        notify_set_state(&notify, NOTIFY_RELOADING);
        notify_set_state(&notify, NOTIFY_READY);
        notify_extend(&notify, 5);
        do
                receive(text, sizeof(text), &fd);
        while (recv(manager, text, sizeof(text), MSG_DONTWAIT | MSG_PEEK) > 0);
        notify_tick(&notify, 2);
        receive(text, sizeof(text), &fd);
        assert_non_null(strstr(text, "READY=1\nEXTEND_TIMEOUT_USEC=5000\nSTATUS="));
        assert_null(strstr(text, "RELOADING"));
}

static void test_without_a_manager(void **state)
{
        struct notify none;
        int fd = 0;

        (void)state;
        (void)unsetenv("NOTIFY_SOCKET");
        assert_int_equal(notify_init(&none), 0);
        notify_set_state(&none, NOTIFY_READY);
        notify_set_status(&none, "nobody reads this");
        notify_tick(&none, 1);
        assert_false(notify_wants_status(&none, 1));
        assert_int_equal(notify_next_tick_ms(&none), UINT64_MAX);
        assert_int_equal(notify_send_fds(&none, "FDSTORE=1", &fd, 1, 1000), 0);
        assert_int_equal(notify_barrier(&none, 1000), 0);
        notify_deinit(&none);
}

static void test_a_manager_that_has_gone(void **state)
{
        int fds[2];

        (void)state;
        assert_int_equal(close(manager), 0);
        assert_int_equal(pipe(fds), 0);
        notify_set_state(&notify, NOTIFY_READY);
        notify_tick(&notify, 1);
        assert_int_equal(notify_next_tick_ms(&notify), UINT64_MAX);
        assert_int_equal(notify_barrier(&notify, 1000), -ENOTCONN);
        close(fds[0]);
        manager = fds[1];
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_a_barrier_waits_until_all_was_read, set_up,
                                                tear_down),
                cmocka_unit_test_setup_teardown(test_a_barrier_does_not_wait_for_ever, set_up,
                                                tear_down),
                cmocka_unit_test_setup_teardown(test_a_full_queue, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_descriptors_arrive_in_order, set_up,
                                                tear_down),
                cmocka_unit_test_setup_teardown(test_only_the_last_state_matters, set_up,
                                                tear_down),
                cmocka_unit_test_setup_teardown(test_without_a_manager, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_a_manager_that_has_gone, set_up, tear_down),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
