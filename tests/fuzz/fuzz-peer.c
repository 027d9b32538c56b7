/* SPDX-License-Identifier: MIT */

/*
 * What the kernel says of TCP peers. 'm': the text of /proc/PID/uid_map. Anything else: an answer
 * of sock_diag(7), our own address and the peer's, as they lie in memory. An answer counts if, and
 * only if, both ends read the same once they are written as text, and a process holds the socket.
 */

#include "fuzz.h"

#include <arpa/inet.h>
#include <linux/inet_diag.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>

#include "../../daemon/peer.h"

#define END_BYTES 64

static void write_ipv4(char *ret, const void *address, in_port_t port)
{
        char text[INET_ADDRSTRLEN];

        must(inet_ntop(AF_INET, address, text, sizeof(text)));
        (void)snprintf(ret, END_BYTES, "%s %u", text, ntohs(port));
}

/* A mapped address is written as what it stands for. */
static void write_ipv6(char *ret, const void *address, in_port_t port)
{
        char text[INET6_ADDRSTRLEN];
        struct in6_addr in6;

        memcpy(&in6, address, sizeof(in6));
        if (IN6_IS_ADDR_V4MAPPED(&in6)) {
                write_ipv4(ret, &in6.s6_addr[12], port);
                return;
        }
        must(inet_ntop(AF_INET6, address, text, sizeof(text)));
        (void)snprintf(ret, END_BYTES, "%s %u", text, ntohs(port));
}

static bool write_sockaddr(char *ret, const struct sockaddr_in6 *address)
{
        struct sockaddr_in in;

        memcpy(&in, address, sizeof(in));
        if (address->sin6_family == AF_INET)
                write_ipv4(ret, &in.sin_addr, in.sin_port);
        else if (address->sin6_family == AF_INET6)
                write_ipv6(ret, &address->sin6_addr, address->sin6_port);
        else
                return false;
        return true;
}

static bool should_count(const struct inet_diag_msg *answer, const struct sockaddr_in6 *local,
                         const struct sockaddr_in6 *remote)
{
        const struct inet_diag_sockid *const id = &answer->id;
        char src[END_BYTES], dst[END_BYTES], ours[END_BYTES], theirs[END_BYTES];

        if (!write_sockaddr(ours, local) || !write_sockaddr(theirs, remote))
                return false;
        if (answer->idiag_family == AF_INET) {
                write_ipv4(src, id->idiag_src, id->idiag_sport);
                write_ipv4(dst, id->idiag_dst, id->idiag_dport);
        } else {
                write_ipv6(src, id->idiag_src, id->idiag_sport);
                write_ipv6(dst, id->idiag_dst, id->idiag_dport);
        }
        return strcmp(src, theirs) == 0 && strcmp(dst, ours) == 0 && answer->idiag_inode != 0 &&
               (strncmp(theirs, "127.", 4) == 0 || strncmp(theirs, "::1 ", 4) == 0) &&
               (answer->idiag_state == TCP_ESTABLISHED || answer->idiag_state == TCP_FIN_WAIT1 ||
                answer->idiag_state == TCP_FIN_WAIT2);
}

static void check_answer(const uint8_t *data, size_t size)
{
        struct inet_diag_msg answer = {};
        struct sockaddr_in6 ends[2] = {};
        const size_t n = size < sizeof(answer) ? size : sizeof(answer);

        memcpy(&answer, data, n);
        size -= n;
        memcpy(ends, data + n, size < sizeof(ends) ? size : sizeof(ends));
        must(peer_answer_counts(&answer, (struct sockaddr *)&ends[0],
                                (struct sockaddr *)&ends[1]) ==
             should_count(&answer, &ends[0], &ends[1]));
}

/* Three numbers, in digits as the kernel writes them. */
static void check_map(const uint8_t *data, size_t size)
{
        char *const map = strndup((const char *)data, size);
        char canonical[64];
        unsigned long inside, outside, count;

        must(map);
        if (peer_map_is_whole(map)) {
                /* NOLINTNEXTLINE(cert-err34-c): what it must be is looked at */
                must(sscanf(map, "%lu %lu %lu", &inside, &outside, &count) == 3);
                must(inside == 0 && outside == 0 && count == UINT32_MAX);
        }
        (void)snprintf(canonical, sizeof(canonical), "%10u %10u %10u\n", 0u, 0u, UINT32_MAX);
        must(peer_map_is_whole(canonical));
        free(map);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        if (size == 0)
                return 0;
        if (data[0] == 'm')
                check_map(data + 1, size - 1);
        else
                check_answer(data + 1, size - 1);
        return 0;
}
