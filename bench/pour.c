/* SPDX-License-Identifier: MIT */

/*
 * pour PORT REQUESTS CONNECTIONS SUBJECTS ORDER [FIRST]: sends exactly so many requests for tokens
 * over so many connections, one at a time on each, and tells as JSON what came back. ORDER is
 * "sequence" (subject FIRST, FIRST + 1, … modulo SUBJECTS), "random" (evenly) or "burst": all
 * connections are made first and each sends one request, all at once. What wrk cannot do: an exact
 * number, subjects in order, and thousands of requests at one moment.
 */

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define REQUEST_MAX_BYTES 1024
#define BATCH             256

struct connection {
        int fd;

        uint64_t sent_at_us;
        size_t size;
        char answer[8192];
};

static struct {
        uint16_t port;
        uint64_t requests, n_connections, subjects, next;
        bool random, burst;
        uint64_t n_sent, n_done, n_hits;
        uint64_t by_status[600];
        uint64_t first_us, last_us, first_done_us;
        uint32_t *latencies_us;
        uint64_t random_state;
        int epoll_fd;
} pour;

static _Noreturn void die(const char *what)
{
        perror(what);
        exit(1);
}

static uint64_t now_us(void)
{
        struct timespec ts;

        clock_gettime(CLOCK_MONOTONIC, &ts);
        return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

static uint64_t next_subject(void)
{
        if (!pour.random)
                return pour.next++ % pour.subjects;
        pour.random_state ^= pour.random_state << 13;
        pour.random_state ^= pour.random_state >> 7;
        pour.random_state ^= pour.random_state << 17;
        return (pour.random_state >> 11) % pour.subjects;
}

static void begin(struct connection *connection)
{
        char request[REQUEST_MAX_BYTES], form[REQUEST_MAX_BYTES / 2];
        int form_size, size;

        if (pour.n_sent == pour.requests)
                return;
        form_size = snprintf(form, sizeof(form),
                             "grant_type=password&client_id=7121f585-e403-4531-9a38-1826ebc7e7d8"
                             "&scope=knowledge.portalmgr.onbehalfof.read"
                             "&subject_username=user-%llu",
                             (unsigned long long)next_subject() + 1);
        size = snprintf(request, sizeof(request),
                        "POST /oauth2/token HTTP/1.1\r\nHost: 127.0.0.1:%u\r\n"
                        "Content-Type: application/x-www-form-urlencoded\r\n"
                        "Accept: application/json\r\nContent-Length: %d\r\n\r\n%s",
                        pour.port, form_size, form);
        connection->size = 0;
        connection->sent_at_us = now_us();
        if (pour.n_sent++ == 0)
                pour.first_us = connection->sent_at_us;
        if (send(connection->fd, request, (size_t)size, MSG_NOSIGNAL) != size)
                die("send");
}

/* Whether the answer is there to its last byte. */
static bool is_complete(struct connection *connection)
{
        const char *head_end, *length;

        connection->answer[connection->size] = '\0';
        head_end = strstr(connection->answer, "\r\n\r\n");
        if (!head_end)
                return false;
        length = strcasestr(connection->answer, "\r\nContent-Length: ");
        if (!length || length > head_end)
                die("an answer without a length");
        return (size_t)(head_end + 4 - connection->answer) + strtoul(length + 18, NULL, 10) <=
               connection->size;
}

static void take(struct connection *connection)
{
        const uint64_t at_us = now_us();
        const unsigned long status = strtoul(connection->answer + 9, NULL, 10);
        const char *cache = strcasestr(connection->answer, "\r\nCache-Status: ");

        pour.by_status[status < 600 ? status : 599]++;
        pour.n_hits += cache && strncmp(cache + 16, "egain-tokend; hit", 17) == 0;
        pour.latencies_us[pour.n_done++] = (uint32_t)(at_us - connection->sent_at_us);
        if (pour.first_done_us == 0)
                pour.first_done_us = at_us;
        pour.last_us = at_us;
        if (!pour.burst)
                begin(connection);
}

static void receive(struct connection *connection)
{
        ssize_t size;

        if (connection->size + 1 >= sizeof(connection->answer))
                die("an answer that is too long");
        size = recv(connection->fd, connection->answer + connection->size,
                    sizeof(connection->answer) - 1 - connection->size, MSG_DONTWAIT);
        if (size < 0 && errno == EAGAIN)
                return;
        if (size <= 0) {
                (void)fprintf(stderr, "pour: closed after %llu of %llu answers\n",
                              (unsigned long long)pour.n_done, (unsigned long long)pour.requests);
                exit(1);
        }
        connection->size += (size_t)size;
        if (is_complete(connection))
                take(connection);
}

static void connect_one(struct connection *connection)
{
        const struct sockaddr_in address = {.sin_family = AF_INET,
                                            .sin_port = htons(pour.port),
                                            .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = connection};
        const int one = 1;

        connection->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (connection->fd < 0 ||
            connect(connection->fd, (const struct sockaddr *)&address, sizeof(address)) < 0)
                die("connect");
        (void)setsockopt(connection->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
        if (epoll_ctl(pour.epoll_fd, EPOLL_CTL_ADD, connection->fd, &event) < 0)
                die("epoll_ctl");
}

static int compare(const void *a, const void *b)
{
        const uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

        return (x > y) - (x < y);
}

static void tell(void)
{
        const uint64_t n = pour.n_done;

        qsort(pour.latencies_us, n, sizeof(*pour.latencies_us), compare);
        printf("{\"requests\": %llu, \"seconds\": %.6f, \"hits\": %llu, \"good\": %llu, "
               "\"p50_us\": %u, \"p99_us\": %u, \"max_us\": %u, \"first_us\": %llu, "
               "\"last_us\": %llu}\n",
               (unsigned long long)n, (double)(pour.last_us - pour.first_us) / 1e6,
               (unsigned long long)pour.n_hits, (unsigned long long)pour.by_status[200],
               pour.latencies_us[n / 2], pour.latencies_us[n * 99 / 100], pour.latencies_us[n - 1],
               (unsigned long long)(pour.first_done_us - pour.first_us),
               (unsigned long long)(pour.last_us - pour.first_us));
}

int main(int argc, char **argv)
{
        struct rlimit limit;
        struct connection *connections;
        struct epoll_event events[BATCH];

        if (argc < 6)
                die("pour PORT REQUESTS CONNECTIONS SUBJECTS ORDER [FIRST]");
        pour.port = (uint16_t)strtoul(argv[1], NULL, 10);
        pour.requests = strtoull(argv[2], NULL, 10);
        pour.n_connections = strtoull(argv[3], NULL, 10);
        pour.subjects = strtoull(argv[4], NULL, 10);
        pour.random = strcmp(argv[5], "random") == 0;
        pour.burst = strcmp(argv[5], "burst") == 0;
        pour.next = argc > 6 ? strtoull(argv[6], NULL, 10) : 0;
        pour.random_state = UINT64_C(0x9e3779b97f4a7c15) + pour.next;
        if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
                limit.rlim_cur = limit.rlim_max;
                (void)setrlimit(RLIMIT_NOFILE, &limit);
        }
        connections = calloc(pour.n_connections, sizeof(*connections));
        pour.latencies_us = calloc(pour.requests, sizeof(*pour.latencies_us));
        pour.epoll_fd = epoll_create1(EPOLL_CLOEXEC);
        if (!connections || !pour.latencies_us || pour.epoll_fd < 0 || pour.requests == 0 ||
            pour.subjects == 0)
                die("pour");

        for (uint64_t i = 0; i < pour.n_connections; i++)
                connect_one(&connections[i]);
        for (uint64_t i = 0; i < pour.n_connections; i++)
                begin(&connections[i]);
        while (pour.n_done < pour.requests) {
                const int n = epoll_wait(pour.epoll_fd, events, BATCH, -1);

                for (int i = 0; i < n; i++)
                        receive(events[i].data.ptr);
        }
        tell();
        free(connections);
        free(pour.latencies_us);
        return 0;
}
