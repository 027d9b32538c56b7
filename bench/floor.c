/* SPDX-License-Identifier: MIT */

/*
 * floor PORT FILE: the smallest libmicrohttpd server that answers every request with one constant:
 * what the library itself costs, set up as the daemon sets it up (no thread of its own, its epoll
 * descriptor under a poll of ours, the same memory per connection, limits and strictness). FILE is
 * the answer: lines "Name: value", an empty line, the body. Serves 127.0.0.1 until it is killed.
 */

#include <arpa/inet.h>
#include <microhttpd.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* As in daemon/server.c. */
#define POOL_BYTES      ((size_t)16384)
#define CONNECTIONS_MAX 1000000U

#define ANSWER_MAX_BYTES ((size_t)1 << 20)

static _Noreturn void die(const char *what)
{
        perror(what);
        exit(1);
}

/* A body may come with the header or after it; the answer is queued when all of it is there, since
 * libmicrohttpd closes the connection otherwise. */
static enum MHD_Result handle(void *data, struct MHD_Connection *connection, const char *url,
                              const char *method, const char *version, const char *upload,
                              size_t *upload_size, void **request_data)
{
        if (!*request_data) {
                *request_data = data;
                return MHD_YES;
        }
        if (*upload_size > 0) {
                *upload_size = 0;
                return MHD_YES;
        }
        return MHD_queue_response(connection, MHD_HTTP_OK, data);
}

static struct MHD_Response *read_answer(const char *path)
{
        char *text = calloc(1, ANSWER_MAX_BYTES), *at, *end, *colon;
        FILE *file = fopen(path, "r");
        struct MHD_Response *response;

        if (!text || !file || fread(text, 1, ANSWER_MAX_BYTES - 1, file) == 0)
                die(path);
        (void)fclose(file);
        at = strstr(text, "\n\n");
        if (!at)
                die("an answer without an empty line");
        response = MHD_create_response_from_buffer(strlen(at + 2), at + 2, MHD_RESPMEM_PERSISTENT);
        if (!response)
                die("response");
        *at = '\0';
        for (at = text; at && *at; at = end ? end + 1 : NULL) {
                end = strchr(at, '\n');
                if (end)
                        *end = '\0';
                colon = strstr(at, ": ");
                if (!colon)
                        die("a line that is no header field");
                *colon = '\0';
                if (MHD_add_response_header(response, at, colon + 2) != MHD_YES)
                        die(at);
        }
        return response;
}

int main(int argc, char **argv)
{
        struct sockaddr_in address = {.sin_family = AF_INET,
                                      .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        const union MHD_DaemonInfo *info;
        struct MHD_Daemon *daemon;
        struct pollfd pollfd = {.events = POLLIN};

        if (argc != 3)
                die("floor PORT FILE");
        address.sin_port = htons((uint16_t)strtoul(argv[1], NULL, 10));
        daemon = MHD_start_daemon(MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME, 0, NULL, NULL, handle,
                                  read_answer(argv[2]), MHD_OPTION_SOCK_ADDR, &address,
                                  MHD_OPTION_CONNECTION_MEMORY_LIMIT, POOL_BYTES,
                                  MHD_OPTION_CONNECTION_LIMIT, CONNECTIONS_MAX,
                                  MHD_OPTION_STRICT_FOR_CLIENT, 1, MHD_OPTION_END);
        if (!daemon)
                die("MHD_start_daemon");
        info = MHD_get_daemon_info(daemon, MHD_DAEMON_INFO_EPOLL_FD);
        pollfd.fd = info->epoll_fd;
        for (;;) {
                MHD_UNSIGNED_LONG_LONG timeout_ms;
                int wait_ms = -1;

                if (MHD_get_timeout(daemon, &timeout_ms) == MHD_YES)
                        wait_ms = timeout_ms > 60000 ? 60000 : (int)timeout_ms;
                (void)poll(&pollfd, 1, wait_ms);
                MHD_run(daemon);
        }
}
