/* SPDX-License-Identifier: MIT */

/*
 * Identities as the kernel gives them: of socket pairs and of real children that connect to a real
 * listener, some of them other users (as root only). How a unit is read is replaced by a function
 * that can end the process meanwhile, since what matters is which answers are believed.
 */

#include "../../daemon/peer.h"

#include "helpers.h"

#include <errno.h>
#include <grp.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define OTHER_UID 54321
#define OTHER_GID 54322

#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77
#endif

static struct peer_finder finder;
static int pair[2];
static struct peer peer;

/* What unit_of() was asked about, how often, and whom it is to end meanwhile. */
static pid_t asked_pid;
static unsigned int n_asked;
static pid_t end_meanwhile;
static int unit_error;

static void end_process(pid_t pid)
{
        kill(pid, SIGKILL);
        assert_int_equal(waitpid(pid, NULL, 0), pid);
}

static int unit_of(pid_t pid, char **ret)
{
        asked_pid = pid;
        n_asked++;
        if (end_meanwhile > 0)
                end_process(end_meanwhile);
        if (unit_error)
                return unit_error;
        *ret = strdup("crm-sync.service");
        return 0;
}

static int set_up(void **state)
{
        (void)state;
        asked_pid = end_meanwhile = 0;
        n_asked = 0;
        unit_error = 0;
        if (peer_finder_init(&finder, true) < 0)
                return -1;
        finder.unit_of = unit_of;
        return socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair);
}

static void a_unit_that_cannot_be_found_out_for_want_is_asked_for_again(void **state)
{
        static const int errors[] = {-ENOMEM, -EMFILE, -ENFILE, -ENOBUFS};

        (void)state;
        peer_find(&finder, pair[0], false, &peer);
        for (size_t i = 0; i < N_OF(errors); i++) {
                unit_error = errors[i];
                peer_find_unit(&finder, pair[0], &peer);
                assert_true(peer.known && peer.starved && !peer.unit_asked);
                assert_null(peer.unit);
        }
        unit_error = 0;
        peer_find_unit(&finder, pair[0], &peer);
        assert_true(!peer.starved && peer.unit_asked);
        assert_string_equal(peer.unit, "crm-sync.service");
}

/* A process in no unit is that for good. */
static void a_unit_that_there_is_not_is_asked_for_once(void **state)
{
        (void)state;
        unit_error = -ENODATA;
        peer_find(&finder, pair[0], true, &peer);
        assert_true(peer.known && !peer.starved && peer.unit_asked);
        peer_find_unit(&finder, pair[0], &peer);
        assert_int_equal(n_asked, 1);
}

static void a_pidfd_that_is_not_to_be_had_is_no_word_on_the_unit(void **state)
{
        struct rlimit before, none;
        const int lowest = dup(0); /* which is the first that is free */

        (void)state;
        close(lowest);
        peer_find(&finder, pair[0], false, &peer);
        assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
        none = (struct rlimit){(rlim_t)lowest, before.rlim_max};
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
        peer_find_unit(&finder, pair[0], &peer);
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
        assert_true(peer.known && peer.starved && !peer.unit_asked);
        assert_int_equal(n_asked, 0);
        peer_find_unit(&finder, pair[0], &peer);
        assert_false(peer.starved);
        assert_string_equal(peer.unit, "crm-sync.service");
}

static int tear_down(void **state)
{
        (void)state;
        peer_deinit(&peer);
        peer_finder_deinit(&finder);
        close(pair[0]);
        close(pair[1]);
        return 0;
}

static bool has_group(gid_t gid)
{
        for (size_t i = 0; i < peer.n_groups; i++)
                if (peer.groups[i] == gid)
                        return true;
        return false;
}

/* A listener with an address that the kernel chose. */
static int listen_somewhere(struct sockaddr_un *ret, socklen_t *ret_size)
{
        const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

        *ret = (struct sockaddr_un){.sun_family = AF_UNIX};
        *ret_size = sizeof(*ret);
        assert_true(fd >= 0);
        assert_int_equal(bind(fd, (struct sockaddr *)ret, sizeof(sa_family_t)), 0);
        assert_int_equal(getsockname(fd, (struct sockaddr *)ret, ret_size), 0);
        assert_int_equal(listen(fd, 1), 0);
        return fd;
}

/* Who a child is before it connects. */
struct child_is {
        uid_t uid;
        gid_t gid;
        const gid_t *groups;
        size_t n_groups;
};

static _Noreturn void be_child(const struct child_is *is, const struct sockaddr_un *address,
                               socklen_t size)
{
        const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

        if (is &&
            (setgroups(is->n_groups, is->groups) < 0 || setgid(is->gid) < 0 || setuid(is->uid) < 0))
                _exit(1);
        /* A test that fails leaves nobody behind. */
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (fd < 0 || connect(fd, (const struct sockaddr *)address, size) < 0)
                _exit(1);
        for (;;)
                pause();
}

/* Our end of a connection of a child, which lives until it is ended. */
static int accept_child(const struct child_is *is, pid_t *ret)
{
        struct sockaddr_un address;
        socklen_t size;
        const int listener = listen_somewhere(&address, &size);
        int fd;

        *ret = fork();
        assert_true(*ret >= 0);
        if (*ret == 0)
                be_child(is, &address, size);
        fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        assert_true(fd >= 0);
        close(listener);
        return fd;
}

static void whoever_connected_is_known(void **state)
{
        pid_t child;
        int fd;

        (void)state;
        peer_find(&finder, pair[0], false, &peer);
        assert_true(peer.known);
        assert_false(peer.tcp);
        assert_int_equal(peer.uid, geteuid());
        assert_int_equal(peer.pid, getpid());
        assert_true(has_group(getegid()));
        assert_false(peer.unit_asked);
        assert_int_equal(n_asked, 0);
        peer_deinit(&peer);

        fd = accept_child(NULL, &child);
        peer_find(&finder, fd, false, &peer);
        assert_true(peer.known);
        assert_int_equal(peer.pid, child);
        end_process(child);
        close(fd);
}

static void what_is_no_connection_has_no_peer(void **state)
{
        const int unix_socket = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        const int tcp_socket = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

        (void)state;
        peer_find(&finder, unix_socket, true, &peer);
        assert_false(peer.known || peer.tcp || peer.pid || peer.groups || peer.unit);
        peer_find(&finder, tcp_socket, true, &peer);
        assert_false(peer.known || peer.pid || peer.groups || peer.unit);
        assert_true(peer.tcp);
        peer_find(&finder, -1, true, &peer);
        assert_false(peer.known);
        assert_int_equal(n_asked, 0);
        close(unix_socket);
        close(tcp_socket);
}

static void check_groups(size_t n)
{
        gid_t *groups = calloc(n + 1, sizeof(*groups));
        const struct child_is is = {OTHER_UID, OTHER_GID, groups, n};
        pid_t child;
        int fd;

        for (size_t i = 0; i < n; i++)
                groups[i] = (gid_t)(100000 + i);
        fd = accept_child(&is, &child);
        peer_find(&finder, fd, false, &peer);
        assert_true(peer.known);
        assert_int_equal(peer.uid, OTHER_UID);
        assert_int_equal(peer.n_groups, n + 1);
        assert_true(has_group(OTHER_GID));
        assert_true(n == 0 || (has_group(groups[0]) && has_group(groups[n - 1])));
        assert_false(has_group(0));
        peer_deinit(&peer);
        end_process(child);
        close(fd);
        free(groups);
}

static void all_groups_are_there_the_primary_one_too(void **state)
{
        static const size_t counts[] = {0, 1, 63, 64, 65, 1000, 65536};

        (void)state;
        if (geteuid() != 0)
                skip();
        for (size_t i = 0; i < N_OF(counts); i++)
                check_groups(counts[i]);
}

/* With some of its groups only it would get past the rule for another. */
static void without_memory_for_its_groups_a_peer_is_unknown(void **state)
{
        gid_t groups[100];
        const struct child_is is = {OTHER_UID, OTHER_GID, groups, N_OF(groups)};
        pid_t child;
        int fd;

        (void)state;
        alloc_fail_at(1);
        peer_find(&finder, pair[0], true, &peer);
        assert_true(alloc_has_failed());
        assert_false(peer.known || peer.pid || peer.groups || peer.unit);

        if (geteuid() != 0)
                return;
        for (size_t i = 0; i < N_OF(groups); i++)
                groups[i] = (gid_t)i;
        fd = accept_child(&is, &child);
        for (unsigned int i = 1; i <= 2; i++) {
                alloc_fail_at(i);
                peer_find(&finder, fd, false, &peer);
                assert_true(alloc_has_failed());
                assert_false(peer.known || peer.uid || peer.groups);
        }
        end_process(child);
        close(fd);
}

/* Where ids are left out by our user namespace, that of nobody is everybody's. */
static void ids_without_a_name_are_nobody_s_in_particular(void **state)
{
        (void)state;
        finder.unmapped_gid = getegid();
        peer_find(&finder, pair[0], false, &peer);
        assert_true(peer.known);
        assert_false(has_group(getegid()));
        peer_deinit(&peer);

        finder.unmapped_uid = geteuid();
        peer_find(&finder, pair[0], false, &peer);
        assert_false(peer.known || peer.pid || peer.groups);
}

static void maps_of_ids(void **state)
{
        (void)state;
        assert_true(peer_map_is_whole("         0          0 4294967295\n"));
        assert_false(peer_map_is_whole(""));
        assert_false(peer_map_is_whole("0 0"));
        assert_false(peer_map_is_whole("         0       1000          1\n"));
        assert_false(peer_map_is_whole("         0     100000 4294967295\n"));
        assert_false(peer_map_is_whole("         1          1 4294967295\n"));
        assert_false(peer_map_is_whole("         0          0      65536\n"));
        assert_false(peer_map_is_whole("0 0 4294967295\n 5 5 5\n"));
}

/* Both ways to hold the process. */
static void check_unit_of_child(bool no_peerpidfd)
{
        pid_t child;
        const int fd = accept_child(NULL, &child);

        n_asked = 0;
        finder.no_peerpidfd = no_peerpidfd;
        peer_find(&finder, fd, true, &peer);
        assert_true(peer.unit_asked);
        assert_string_equal(peer.unit, "crm-sync.service");
        assert_int_equal(asked_pid, child);
        /* Once a connection. */
        peer_find_unit(&finder, fd, &peer);
        assert_int_equal(n_asked, 1);
        assert_string_equal(peer.unit, "crm-sync.service");
        peer_deinit(&peer);
        end_process(child);
        close(fd);
}

static void a_unit_is_found_by_either_pidfd(void **state)
{
        int pidfd;
        socklen_t size = sizeof(pidfd);

        (void)state;
        check_unit_of_child(true);
        check_unit_of_child(false);
        /* Only a kernel that lacks it is not asked again. */
        if (getsockopt(pair[0], SOL_SOCKET, SO_PEERPIDFD, &pidfd, &size) == 0) {
                close(pidfd);
                assert_false(finder.no_peerpidfd);
        } else {
                assert_true(finder.no_peerpidfd);
        }
}

static void a_unit_can_be_asked_for_later(void **state)
{
        (void)state;
        peer_find(&finder, pair[0], false, &peer);
        assert_null(peer.unit);
        peer_find_unit(&finder, pair[0], &peer);
        assert_true(peer.unit_asked);
        assert_string_equal(peer.unit, "crm-sync.service");
}

static void outside_of_units_there_is_none(void **state)
{
        (void)state;
        unit_error = -ENXIO;
        peer_find(&finder, pair[0], true, &peer);
        assert_true(peer.known && peer.unit_asked);
        assert_null(peer.unit);
}

static void check_gone(bool no_peerpidfd, bool reaped, bool meanwhile)
{
        pid_t child;
        const int fd = accept_child(NULL, &child);
        siginfo_t info;

        finder.no_peerpidfd = no_peerpidfd;
        end_meanwhile = 0;
        if (meanwhile)
                end_meanwhile = child;
        else if (reaped)
                end_process(child);
        else {
                kill(child, SIGKILL);
                assert_int_equal(waitid(P_PID, (id_t)child, &info, WEXITED | WNOWAIT), 0);
        }
        peer_find(&finder, fd, true, &peer);
        assert_true(peer.known && peer.unit_asked);
        assert_int_equal(peer.uid, geteuid());
        assert_int_equal(peer.pid, child);
        assert_null(peer.unit);
        peer_deinit(&peer);
        if (!meanwhile && !reaped)
                assert_int_equal(waitpid(child, NULL, 0), child);
        close(fd);
}

/* Its number may be another's by now; its uid is that of who connected all the same. */
static void a_process_that_has_ended_has_no_unit(void **state)
{
        (void)state;
        for (unsigned int i = 0; i < 2; i++) {
                check_gone(i, true, false);
                check_gone(i, false, false);
                check_gone(i, true, true);
        }
}

/* The older way finds whoever has the number now. */
static void a_process_of_another_user_is_not_the_one_that_connected(void **state)
{
        pid_t child;
        const struct child_is is = {OTHER_UID, OTHER_GID, NULL, 0};
        int fd;

        (void)state;
        if (geteuid() != 0)
                skip();
        fd = accept_child(&is, &child);
        for (unsigned int i = 0; i < 2; i++) {
                finder.no_peerpidfd = i;
                peer_find(&finder, fd, false, &peer);
                peer.uid++;
                peer_find_unit(&finder, fd, &peer);
                assert_int_equal(asked_pid, child);
                assert_null(peer.unit);
                peer_deinit(&peer);
        }
        end_process(child);
        close(fd);
}

static void who_cannot_have_a_unit_is_not_asked_for_it(void **state)
{
        (void)state;
        for (unsigned int i = 0; i < 4; i++) {
                peer = (struct peer){.known = i != 0, .tcp = i == 1, .pid = getpid()};
                if (i >= 2)
                        peer.pid = i == 2 ? 0 : -1;
                peer_find_unit(&finder, pair[0], &peer);
                assert_true(peer.unit_asked);
                assert_null(peer.unit);
                assert_int_equal(n_asked, 0);
        }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
        const struct CMUnitTest tests[] = {
                TEST(a_unit_that_cannot_be_found_out_for_want_is_asked_for_again),
                TEST(a_unit_that_there_is_not_is_asked_for_once),
                TEST(a_pidfd_that_is_not_to_be_had_is_no_word_on_the_unit),
                TEST(whoever_connected_is_known),
                TEST(what_is_no_connection_has_no_peer),
                TEST(all_groups_are_there_the_primary_one_too),
                TEST(without_memory_for_its_groups_a_peer_is_unknown),
                TEST(ids_without_a_name_are_nobody_s_in_particular),
                TEST(maps_of_ids),
                TEST(a_unit_is_found_by_either_pidfd),
                TEST(a_unit_can_be_asked_for_later),
                TEST(outside_of_units_there_is_none),
                TEST(a_process_that_has_ended_has_no_unit),
                TEST(a_process_of_another_user_is_not_the_one_that_connected),
                TEST(who_cannot_have_a_unit_is_not_asked_for_it),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
