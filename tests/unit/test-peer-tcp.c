/* SPDX-License-Identifier: MIT */

/*
 * Whose the other end of a loopback TCP connection is: of real connections, and of every answer
 * that sock_diag(7) could give about one.
 */

#include "../../daemon/peer.h"

#include "helpers.h"

#include <arpa/inet.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <unistd.h>

#define OTHER_UID 54321

static struct peer_finder finder;
static struct peer peer;

/* TCP peers have no unit, so nobody is asked for it. */
static int no_unit_of(pid_t pid, char **ret)
{
        fail();
        return -1;
}

static int set_up(void **state)
{
        (void)state;
        if (peer_finder_init(&finder, true) < 0)
                return -1;
        finder.unit_of = no_unit_of;
        return 0;
}

static int tear_down(void **state)
{
        (void)state;
        peer_deinit(&peer);
        peer_finder_deinit(&finder);
        return 0;
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
}

/* What a process with CAP_NET_ADMIN could send in the kernel's name: that a connection is root's.
 */
static void forge_answer(int accepted)
{
        const int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
        struct sockaddr_nl to = {};
        socklen_t size = sizeof(to);
        struct {
                struct nlmsghdr header;
                struct inet_diag_msg body;
        } message = {
                .header = {.nlmsg_len = sizeof(message), .nlmsg_type = SOCK_DIAG_BY_FAMILY},
                .body = {.idiag_family = AF_INET6,
                         .idiag_state = TCP_ESTABLISHED,
                         .idiag_inode = 4711,
                         .id.idiag_src = {0, 0, 0, htonl(1)},
                         .id.idiag_dst = {0, 0, 0, htonl(1)}},
        };
        struct sockaddr_in6 in6 = {};

        assert_true(fd >= 0);
        assert_int_equal(getsockname(finder.netlink_fd, (struct sockaddr *)&to, &size), 0);
        size = sizeof(in6);
        assert_int_equal(getpeername(accepted, (struct sockaddr *)&in6, &size), 0);
        message.body.id.idiag_sport = in6.sin6_port;
        assert_int_equal(getsockname(accepted, (struct sockaddr *)&in6, &size), 0);
        message.body.id.idiag_dport = in6.sin6_port;
        for (uint32_t ahead = 1; ahead < 10; ahead++) {
                message.header.nlmsg_seq = finder.sequence + ahead;
                (void)sendto(fd, &message, sizeof(message), 0, (struct sockaddr *)&to, sizeof(to));
        }
        close(fd);
}

static void only_the_kernel_is_believed(void **state)
{
        int accepted;
        const int fd = connect_tcp("::1", "::1", &accepted);

        (void)state;
        if (geteuid() != 0)
                skip(); /* it takes CAP_NET_ADMIN to lie */
        assert_int_equal(fchown(fd, OTHER_UID, (gid_t)-1), 0);
        peer_find(&finder, accepted, false, &peer); /* from now on it has a port */
        peer_deinit(&peer);
        forge_answer(accepted);
        peer_find(&finder, accepted, false, &peer);
        assert_true(peer.known);
        assert_int_equal(peer.uid, OTHER_UID);
        close(accepted);
        close(fd);
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
                TEST(tcp_peers),
                TEST(only_the_kernel_is_believed),
                TEST(without_sock_diag_tcp_peers_are_unknown),
                TEST(answers_about_this_very_connection_count),
                TEST(no_other_answer_counts),
                TEST(nor_one_about_a_socket_without_a_living_owner),
                TEST(nor_one_about_a_host_that_is_not_this),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
