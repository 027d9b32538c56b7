/* SPDX-License-Identifier: MIT */

/*
 * sock_diag(7) is asked for the socket whose source is the peer's address and whose destination is
 * ours. Two of its answers are lies for our purpose. Where there is no such connection it falls
 * back to a socket that listens on the peer's port, whose owner may be root; and a socket that its
 * process has closed reads as uid 0. So an answer counts only for a connection that is established
 * or being closed by its owner, with an inode, between exactly our two addresses. IPv4 connections
 * of IPv6 sockets are written as ::ffff:a.b.c.d, which is undone before addresses are compared.
 *
 * Only the kernel is listened to: netlink lets a process with CAP_NET_ADMIN send what looks like an
 * answer.
 */

#include "peer-private.h"

#include <arpa/inet.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>

/* Netlink's port of the kernel; whoever has CAP_NET_ADMIN can send to the others. */
#define KERNEL_PORT 0

/* One end of a connection, IPv4 as a mapped IPv6 address. */
struct endpoint {
        struct in6_addr address;
        in_port_t port; /* network order */
};

static struct in6_addr map_ipv4(struct in_addr address)
{
        struct in6_addr mapped = {.s6_addr = {[10] = 0xff, [11] = 0xff}};

        memcpy(&mapped.s6_addr[12], &address, sizeof(address));
        return mapped;
}

static bool endpoint_of_sockaddr(struct endpoint *ret, const struct sockaddr *address)
{
        struct sockaddr_in in;
        struct sockaddr_in6 in6;

        if (address->sa_family == AF_INET) {
                memcpy(&in, address, sizeof(in));
                *ret = (struct endpoint){map_ipv4(in.sin_addr), in.sin_port};
                return true;
        }
        if (address->sa_family == AF_INET6) {
                memcpy(&in6, address, sizeof(in6));
                *ret = (struct endpoint){in6.sin6_addr, in6.sin6_port};
                return true;
        }
        return false;
}

static struct endpoint endpoint_of_diag(uint8_t family, const __be32 address[4], __be16 port)
{
        struct endpoint endpoint = {.port = port};
        struct in_addr in;

        if (family == AF_INET) {
                memcpy(&in, address, sizeof(in));
                endpoint.address = map_ipv4(in);
        } else {
                memcpy(&endpoint.address, address, sizeof(endpoint.address));
        }
        return endpoint;
}

static bool endpoint_equal(const struct endpoint *a, const struct endpoint *b)
{
        return a->port == b->port && IN6_ARE_ADDR_EQUAL(&a->address, &b->address);
}

static bool endpoint_is_loopback(const struct endpoint *endpoint)
{
        return IN6_IS_ADDR_LOOPBACK(&endpoint->address) ||
               (IN6_IS_ADDR_V4MAPPED(&endpoint->address) && endpoint->address.s6_addr[12] == 127);
}

bool peer_answer_counts(const struct inet_diag_msg *answer, const struct sockaddr *local,
                        const struct sockaddr *remote)
{
        const struct inet_diag_sockid *id = &answer->id;
        const struct endpoint src = endpoint_of_diag(answer->idiag_family, id->idiag_src,
                                                     id->idiag_sport);
        const struct endpoint dst = endpoint_of_diag(answer->idiag_family, id->idiag_dst,
                                                     id->idiag_dport);
        struct endpoint ours, theirs;

        if (answer->idiag_state != TCP_ESTABLISHED && answer->idiag_state != TCP_FIN_WAIT1 &&
            answer->idiag_state != TCP_FIN_WAIT2)
                return false;
        if (answer->idiag_inode == 0)
                return false;
        return endpoint_of_sockaddr(&ours, local) && endpoint_of_sockaddr(&theirs, remote) &&
               endpoint_is_loopback(&theirs) && endpoint_equal(&src, &theirs) &&
               endpoint_equal(&dst, &ours);
}

struct diag_request {
        struct nlmsghdr header;
        struct inet_diag_req_v2 body;
};

static void put_address(__be32 out[4], const struct sockaddr *address, __be16 *ret_port)
{
        struct sockaddr_in in;
        struct sockaddr_in6 in6;

        if (address->sa_family == AF_INET) {
                memcpy(&in, address, sizeof(in));
                memcpy(out, &in.sin_addr, sizeof(in.sin_addr));
                *ret_port = in.sin_port;
        } else {
                memcpy(&in6, address, sizeof(in6));
                memcpy(out, &in6.sin6_addr, sizeof(in6.sin6_addr));
                *ret_port = in6.sin6_port;
        }
}

static bool send_question(struct peer_finder *finder, const struct sockaddr *local,
                          const struct sockaddr *remote)
{
        struct diag_request request = {
                .header = {.nlmsg_len = sizeof(request),
                           .nlmsg_type = SOCK_DIAG_BY_FAMILY,
                           .nlmsg_flags = NLM_F_REQUEST,
                           .nlmsg_seq = ++finder->sequence},
                .body = {.sdiag_family = (uint8_t)remote->sa_family,
                         .sdiag_protocol = IPPROTO_TCP,
                         .idiag_states = (uint32_t)-1,
                         .id = {.idiag_cookie = {INET_DIAG_NOCOOKIE, INET_DIAG_NOCOOKIE}}},
        };

        put_address(request.body.id.idiag_src, remote, &request.body.id.idiag_sport);
        put_address(request.body.id.idiag_dst, local, &request.body.id.idiag_dport);
        return send(finder->netlink_fd, &request, sizeof(request), 0) == (ssize_t)sizeof(request);
}

/* Reads until the answer to our last question; the kernel has queued it before send() returned. */
static bool read_answer(struct peer_finder *finder, struct inet_diag_msg *ret)
{
        union {
                struct nlmsghdr header;
                char bytes[4096];
        } buffer;
        struct sockaddr_nl sender = {};
        socklen_t size = sizeof(sender);
        ssize_t n;

        while ((n = recvfrom(finder->netlink_fd, &buffer, sizeof(buffer), MSG_DONTWAIT,
                             (struct sockaddr *)&sender, &size)) > 0) {
                if (size != sizeof(sender) || sender.nl_pid != KERNEL_PORT)
                        continue;
                if (n < (ssize_t)NLMSG_LENGTH(sizeof(*ret)) ||
                    buffer.header.nlmsg_seq != finder->sequence ||
                    buffer.header.nlmsg_type != SOCK_DIAG_BY_FAMILY) {
                        if (buffer.header.nlmsg_seq == finder->sequence)
                                return false;
                        continue;
                }
                memcpy(ret, NLMSG_DATA(&buffer.header), sizeof(*ret));
                return true;
        }
        return false;
}

void peer_find_tcp(struct peer_finder *finder, int fd, const struct sockaddr *local,
                   struct peer *ret)
{
        struct sockaddr_storage storage = {};
        struct sockaddr *remote = (struct sockaddr *)&storage;
        socklen_t size = sizeof(storage);
        struct inet_diag_msg answer;

        if (getpeername(fd, remote, &size) < 0)
                return;
        if (!send_question(finder, local, remote)) {
                ret->starved = peer_is_starved(errno);
                return;
        }
        if (!read_answer(finder, &answer) || !peer_answer_counts(&answer, local, remote))
                return;
        ret->known = true;
        ret->uid = answer.idiag_uid;
}
