/* SPDX-License-Identifier: MIT */

/*
 * Identities as the kernel gives them: of socket pairs and of real children that connect to a real
 * listener, some of them other users (as root only). How a unit is read is replaced by a function
 * that can end the process meanwhile, since what matters is which answers are believed.
 */

#include "../../daemon/peer.h"

#include "helpers.h"

#include <arpa/inet.h>
#include <errno.h>
#include <grp.h>
#include <linux/inet_diag.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
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

/* A connection of ours over loopback; the client's end, and the accepted one. */
static int connect_tcp(const char *server, const char *client, int *ret_accepted)
{
        struct sockaddr_storage storage = {};
        struct sockaddr *address = (struct sockaddr *)&storage;
        struct sockaddr_in6 in6 = {.sin6_family = AF_INET6};
        struct sockaddr_in in = {.sin_family = AF_INET};
        socklen_t size = sizeof(storage);
        in_port_t port;
        int listener, fd;

        if (inet_pton(AF_INET, server, &in.sin_addr) == 1) {
                memcpy(&storage, &in, sizeof(in));
                listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        } else {
                assert_int_equal(inet_pton(AF_INET6, server, &in6.sin6_addr), 1);
                memcpy(&storage, &in6, sizeof(in6));
                listener = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
        }
        assert_int_equal(bind(listener, address, sizeof(in6)), 0);
        assert_int_equal(listen(listener, 1), 0);
        assert_int_equal(getsockname(listener, address, &size), 0);
        memcpy(&in, address, sizeof(in));
        port = in.sin_port; /* at the same place in both */

        assert_int_equal(inet_pton(AF_INET6, client, &in6.sin6_addr), 1);
        in6.sin6_port = port;
        fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
        assert_int_equal(connect(fd, (struct sockaddr *)&in6, sizeof(in6)), 0);
        *ret_accepted = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        assert_true(*ret_accepted >= 0);
        close(listener);
        return fd;
}

static void check_tcp(const char *server, const char *client)
{
        int accepted;
        const int fd = connect_tcp(server, client, &accepted);

        /* Whose the socket is, and not who runs by now. */
        if (geteuid() == 0)
                assert_int_equal(fchown(fd, OTHER_UID, (gid_t)-1), 0);
        peer_find(&finder, accepted, true, &peer);
        assert_true(peer.known && peer.tcp && peer.unit_asked);
        assert_int_equal(peer.uid, geteuid() == 0 ? OTHER_UID : geteuid());
        assert_int_equal(peer.pid, 0);
        assert_null(peer.groups);
        assert_null(peer.unit);
        peer_deinit(&peer);

        /* Half closed it still is its owner's; closed it is nobody's, and not root's. */
        assert_int_equal(shutdown(fd, SHUT_WR), 0);
        peer_find(&finder, accepted, false, &peer);
        assert_true(peer.known && !peer.unit_asked);
        peer_deinit(&peer);
        close(fd);
        peer_find(&finder, accepted, false, &peer);
        assert_true(peer.tcp);
        assert_false(peer.known || peer.uid);
        close(accepted);
}

static void tcp_peers(void **state)
{
        (void)state;
        check_tcp("127.0.0.1", "::ffff:127.0.0.1");
        check_tcp("::1", "::1");
        assert_int_equal(n_asked, 0);
}

static void without_sock_diag_tcp_peers_are_unknown(void **state)
{
        int accepted;
        const int fd = connect_tcp("::1", "::1", &accepted);

        (void)state;
        peer_finder_deinit(&finder);
        peer_find(&finder, accepted, false, &peer);
        assert_true(peer.tcp);
        assert_false(peer.known);
        close(accepted);
        close(fd);
}

/* An answer about the socket at `from` whose other end is at `to`. */
static struct inet_diag_msg answer_about(const char *from, uint16_t from_port, const char *to,
                                         uint16_t to_port)
{
        struct inet_diag_msg answer = {
                .idiag_state = TCP_ESTABLISHED, .idiag_inode = 4711, .idiag_uid = 1000};

        answer.idiag_family = strchr(from, ':') ? AF_INET6 : AF_INET;
        answer.id.idiag_sport = htons(from_port);
        answer.id.idiag_dport = htons(to_port);
        assert_int_equal(inet_pton(answer.idiag_family, from, answer.id.idiag_src), 1);
        assert_int_equal(inet_pton(answer.idiag_family, to, answer.id.idiag_dst), 1);
        return answer;
}

/* Whether it counts for a connection from `client`:40000 to `server`:8080. */
static bool counts(const struct inet_diag_msg *answer, const char *client, const char *server)
{
        struct sockaddr_storage ends[2] = {};
        const char *const texts[2] = {client, server};

        for (size_t i = 0; i < 2; i++) {
                const in_port_t port = htons(i == 0 ? 40000 : 8080);
                struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = port};
                struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = port};

                if (inet_pton(AF_INET, texts[i], &in.sin_addr) == 1) {
                        memcpy(&ends[i], &in, sizeof(in));
                } else {
                        assert_int_equal(inet_pton(AF_INET6, texts[i], &in6.sin6_addr), 1);
                        memcpy(&ends[i], &in6, sizeof(in6));
                }
        }
        return peer_answer_counts(answer, (struct sockaddr *)&ends[1], (struct sockaddr *)&ends[0]);
}

static void answers_about_this_very_connection_count(void **state)
{
        struct inet_diag_msg answer = answer_about("127.0.0.1", 40000, "127.0.0.1", 8080);

        (void)state;
        assert_true(counts(&answer, "127.0.0.1", "127.0.0.1"));
        answer = answer_about("::ffff:127.0.0.1", 40000, "::ffff:127.0.0.1", 8080);
        assert_true(counts(&answer, "127.0.0.1", "127.0.0.1"));
        assert_true(counts(&answer, "::ffff:127.0.0.1", "::ffff:127.0.0.1"));
        answer = answer_about("127.9.9.9", 40000, "127.0.0.1", 8080);
        assert_true(counts(&answer, "127.9.9.9", "127.0.0.1"));
        answer = answer_about("::1", 40000, "::1", 8080);
        assert_true(counts(&answer, "::1", "::1"));
}

static void no_other_answer_counts(void **state)
{
        static const struct {
                const char *from;
                uint16_t from_port;
                const char *to;
                uint16_t to_port;
        } others[] = {
                {"127.0.0.1", 40000, "0.0.0.0", 0}, /* somebody listens on the peer's port */
                {"0.0.0.0", 40000, "0.0.0.0", 0},
                {"::", 40000, "::", 0},
                {"127.0.0.1", 8080, "127.0.0.1", 40000}, /* our own socket */
                {"127.0.0.1", 40001, "127.0.0.1", 8080},
                {"127.0.0.1", 40000, "127.0.0.1", 8081},
                {"127.0.0.2", 40000, "127.0.0.1", 8080},
                {"127.0.0.1", 40000, "127.0.0.2", 8080},
                {"::1", 40000, "::1", 8080},
                {"::ffff:127.0.0.2", 40000, "::ffff:127.0.0.1", 8080},
                {"::127.0.0.1", 40000, "::127.0.0.1", 8080}, /* compatible is not mapped */
        };

        (void)state;
        for (size_t i = 0; i < N_OF(others); i++) {
                const struct inet_diag_msg answer = answer_about(
                        others[i].from, others[i].from_port, others[i].to, others[i].to_port);

                assert_false(counts(&answer, "127.0.0.1", "127.0.0.1"));
        }
}

static void nor_one_about_a_socket_without_a_living_owner(void **state)
{
        struct inet_diag_msg answer = answer_about("::1", 40000, "::1", 8080);

        (void)state;
        for (uint8_t tcp_state = 0; tcp_state < 16; tcp_state++) {
                answer.idiag_state = tcp_state;
                assert_int_equal(counts(&answer, "::1", "::1"),
                                 tcp_state == TCP_ESTABLISHED || tcp_state == TCP_FIN_WAIT1 ||
                                         tcp_state == TCP_FIN_WAIT2);
        }
        answer.idiag_state = TCP_ESTABLISHED;
        answer.idiag_inode = 0;
        assert_false(counts(&answer, "::1", "::1"));
}

static void nor_one_about_a_host_that_is_not_this(void **state)
{
        struct inet_diag_msg answer = answer_about("192.0.2.1", 40000, "127.0.0.1", 8080);

        (void)state;
        assert_false(counts(&answer, "192.0.2.1", "127.0.0.1"));
        answer = answer_about("2001:db8::1", 40000, "::1", 8080);
        assert_false(counts(&answer, "2001:db8::1", "::1"));
        answer = answer_about("::ffff:192.0.2.1", 40000, "::ffff:127.0.0.1", 8080);
        assert_false(counts(&answer, "::ffff:192.0.2.1", "::ffff:127.0.0.1"));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
        const struct CMUnitTest tests[] = {
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
                TEST(tcp_peers),
                TEST(without_sock_diag_tcp_peers_are_unknown),
                TEST(answers_about_this_very_connection_count),
                TEST(no_other_answer_counts),
                TEST(nor_one_about_a_socket_without_a_living_owner),
                TEST(nor_one_about_a_host_that_is_not_this),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
