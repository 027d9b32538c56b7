/* SPDX-License-Identifier: MIT */

/*
 * fake-egain: an issuer for demonstration, tests and benchmarks. It speaks the on-behalf-of flow
 * with a strict ear, and lets whoever drives it choose, over /_control/, how the next requests go
 * wrong.
 *
 * It exits with 0 on SIGTERM and SIGINT, with 2 after a mistake on the command line, else with 1.
 */

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "error.h"
#include "listener.h"
#include "server.h"

static int open_signals(int *ret_fd)
{
        sigset_t mask;

        (void)sigemptyset(&mask);
        (void)sigaddset(&mask, SIGTERM);
        (void)sigaddset(&mask, SIGINT);
        if (sigprocmask(SIG_BLOCK, &mask, NULL) < 0)
                return error_trace(-errno);
        if (signal(SIGPIPE, SIG_IGN) == SIG_ERR)
                return error_trace(-errno);
        *ret_fd = signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK);
        return *ret_fd < 0 ? error_trace(-errno) : 0;
}

static int announce(const struct options *options, uint16_t port)
{
        const char *host = options->address.ss_family == AF_INET6 ? "[::1]" : "127.0.0.1";
        int r;

        if (options->port_file) {
                r = listener_write_port(options->port_file, port);
                if (r)
                        return error_trace(r);
        }
        if (printf("listening on %s://%s:%u\n", options->tls_cert ? "https" : "http", host, port) <
                    0 ||
            fflush(stdout))
                return error_trace(-EIO);
        return 0;
}

static int serve(struct server *server)
{
        unsigned max_connections = listener_raise_limit();
        int signal_fd = -1;
        int listen_fd;
        uint16_t port;
        int r;

        r = open_signals(&signal_fd);
        if (r)
                return error_trace(r);
        r = listener_open(server->options, &listen_fd, &port);
        if (!r)
                r = server_start(server, listen_fd, max_connections);
        if (!r)
                r = announce(server->options, port);
        if (!r)
                r = server_run(server, signal_fd);
        (void)close(signal_fd);
        return error_trace(r);
}

int main(int argc, char **argv)
{
        struct options options = {0};
        struct server server;
        int status = 0;
        int r;

        r = server_init(&server, &options);
        if (!r)
                r = options_parse(&options, &server.clients, argc, argv);
        if (r == OPTIONS_E_USAGE)
                status = 2;
        else if (!r)
                r = serve(&server);
        if (r < 0) {
                (void)fprintf(stderr, "fake-egain: %s\n", strerror(-r));
                status = 1;
        }
        server_deinit(&server);
        return status;
}
