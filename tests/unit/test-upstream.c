/* SPDX-License-Identifier: MIT */

/*
 * Requests to issuers with libcurl, a real loop and real connections. The issuer is the test's: it
 * accepts in the same loop, takes what is sent, and answers when it is told to.
 */

#include "../../daemon/upstream.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <netinet/in.h>

#include <cmocka.h>

#include "../../daemon/transfer.h"

#define TURN_MS   100
#define TURNS_MAX 100

#define N_CONNECTIONS 8

struct connection {
        struct loop_source source;
        char request[8192];
        size_t size;
};

static struct loop loop;
static struct upstream upstream;
static struct upstream_config config;
static struct client_tls tls[2];
static struct loop_source listening;
static struct connection connections[N_CONNECTIONS];
static size_t n_accepted;
static char urls[2][64];
/* Requests that have no answer yet wait for one if there is none to give. */
static const char *answer;
static const char *fields; /* more of its header */
static size_t n_requests;
static char forms[N_CONNECTIONS][64]; /* of the last requests */

static void connection_end(struct connection *connection)
{
        if (connection->source.fd < 0)
                return;
        loop_remove(&loop, &connection->source);
        close(connection->source.fd);
        connection->source.fd = -1;
}

static void reply(struct connection *connection)
{
        char head[512];
        int size;

        if (!answer)
                return;
        size = snprintf(head, sizeof(head), "HTTP/1.1 200 OK\r\n%sContent-Length: %zu\r\n\r\n",
                        fields, strlen(answer));
        assert_int_equal(write(connection->source.fd, head, (size_t)size), size);
        assert_int_equal(write(connection->source.fd, answer, strlen(answer)), strlen(answer));
        connection->size = 0;
}

static void take(struct loop_source *source, uint32_t events)
{
        struct connection *connection = list_entry(source, struct connection, source);
        const char *body, *length;
        ssize_t n;

        n = read(source->fd, connection->request + connection->size,
                 sizeof(connection->request) - 1 - connection->size);
        if (n <= 0) {
                connection_end(connection);
                return;
        }
        connection->size += (size_t)n;
        connection->request[connection->size] = '\0';
        body = strstr(connection->request, "\r\n\r\n");
        length = strcasestr(connection->request, "\r\nContent-Length: ");
        if (!body || !length || strlen(body + 4) < strtoul(length + 18, NULL, 10))
                return;
        (void)snprintf(forms[n_requests % N_CONNECTIONS], sizeof(forms[0]), "%s", body + 4);
        n_requests++;
        reply(connection);
}

static void accept_one(struct loop_source *source, uint32_t events)
{
        struct connection *connection = &connections[n_accepted];

        assert_true(n_accepted < N_CONNECTIONS);
        connection->source.fd = accept4(source->fd, NULL, NULL, SOCK_CLOEXEC);
        assert_true(connection->source.fd >= 0);
        connection->source.ready = take;
        connection->size = 0;
        assert_int_equal(loop_add(&loop, &connection->source, EPOLLIN), 0);
        n_accepted++;
}

static void turn(void)
{
        const uint64_t soon_ms = loop.now_ms + TURN_MS;

        assert_int_equal(
                loop_turn(&loop, upstream.timer_ms < soon_ms ? upstream.timer_ms : soon_ms), 0);
        upstream_tick(&upstream);
}

static struct flight *flight_of(int *number)
{
        return (struct flight *)(void *)number;
}

static void begin(int *number, const char *url, const struct client_tls *client, const char *form)
{
        struct secret secret = SECRET_INIT(0);

        assert_int_equal(secret_append_str(&secret, form), 0);
        assert_int_equal(
                upstream_start(&upstream, flight_of(number), "portal", url, client, &secret), 0);
        assert_null(secret.bytes);
}

static struct upstream_end wait_for_end(void)
{
        struct upstream_end end;

        for (int i = 0; i < TURNS_MAX; i++) {
                if (upstream_next(&upstream, &end))
                        return end;
                turn();
        }
        fail_msg("no end");
        return end;
}

/* The next that ends is that of `number`, and brings `body`; NULL: it fails. */
static void end_with(int *number, const char *body)
{
        struct upstream_end end = wait_for_end();

        assert_ptr_equal(end.flight, flight_of(number));
        if (body) {
                assert_int_equal(end.result.transport, REASON_NONE);
                assert_int_equal(end.result.status, 200);
                assert_int_equal(end.result.body.size, strlen(body));
                assert_memory_equal(end.result.body.bytes, body, strlen(body));
        } else {
                assert_int_not_equal(end.result.transport, REASON_NONE);
                assert_int_not_equal(strlen(end.detail), 0);
        }
        upstream_release(&upstream, &end);
}

static void wait_for_requests(size_t n)
{
        for (int i = 0; i < TURNS_MAX && n_requests < n; i++)
                turn();
        assert_int_equal(n_requests, n);
}

static int set_up(void **state)
{
        struct sockaddr_in address = {.sin_family = AF_INET,
                                      .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        socklen_t size = sizeof(address);

        (void)state;
        config = (struct upstream_config){
                .connect_timeout_ms = 5000, .timeout_ms = 5000, .max_response_bytes = 4096};
        answer = "an answer";
        fields = "";
        n_accepted = n_requests = 0;
        memset(forms, 0, sizeof(forms));
        for (size_t i = 0; i < N_CONNECTIONS; i++)
                connections[i].source.fd = -1;
        assert_int_equal(loop_init(&loop), 0);
        listening.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        listening.ready = accept_one;
        assert_int_equal(bind(listening.fd, (struct sockaddr *)&address, size), 0);
        assert_int_equal(listen(listening.fd, N_CONNECTIONS), 0);
        assert_int_equal(getsockname(listening.fd, (struct sockaddr *)&address, &size), 0);
        assert_int_equal(loop_add(&loop, &listening, EPOLLIN), 0);
        for (size_t i = 0; i < 2; i++)
                (void)snprintf(urls[i], sizeof(urls[i]), "http://127.0.0.1:%u/%zu",
                               ntohs(address.sin_port), i);
        assert_int_equal(upstream_init(&upstream, &loop, &config, N_CONNECTIONS), 0);
        return 0;
}

static int tear_down(void **state)
{
        (void)state;
        upstream_deinit(&upstream);
        for (size_t i = 0; i < N_CONNECTIONS; i++)
                connection_end(&connections[i]);
        close(listening.fd);
        loop_deinit(&loop);
        return 0;
}

/* One after the other: one connection, one handle, and of the first nothing but these. */
static void test_in_turn(void **state)
{
        int first, second;

        (void)state;
        begin(&first, urls[0], &tls[0], "form=first-and-longer");
        end_with(&first, "an answer");
        assert_int_equal(upstream.n_kept, 1);
        answer = "more";
        begin(&second, urls[0], &tls[0], "form=second");
        assert_int_equal(upstream.n_kept, 0);
        end_with(&second, "more");
        assert_int_equal(upstream.n_kept, 1);
        assert_int_equal(n_accepted, 1);
        assert_string_equal(forms[0], "form=first-and-longer");
        assert_string_equal(forms[1], "form=second");
}

/* Each gets what was answered to its own form. */
static void test_at_once(void **state)
{
        static const char *const all[] = {"form=0", "form=1", "form=2", "form=3"};
        int numbers[4];

        (void)state;
        answer = NULL;
        for (int i = 0; i < 4; i++)
                begin(&numbers[i], urls[0], &tls[0], all[i]);
        wait_for_requests(4);
        for (int i = 3; i >= 0; i--) {
                answer = strstr(connections[i].request, "\r\n\r\n") + 4;
                reply(&connections[i]);
                end_with(&numbers[answer[5] - '0'], answer);
        }
        assert_int_equal(n_accepted, 4);
        assert_int_equal(upstream.n_kept, 4);
}

/* A value is kept as it came up to its limit, and cut there; one that was kept before is gone. */
static void test_fields(void **state)
{
        char field[256], value[128];
        int number;

        (void)state;
        for (size_t size = TRANSFER_FIELD_MAX_BYTES - 2; size <= TRANSFER_FIELD_MAX_BYTES; size++) {
                const size_t kept = size < TRANSFER_FIELD_MAX_BYTES ? size
                                                                    : TRANSFER_FIELD_MAX_BYTES - 1;
                struct upstream_end end;

                memset(value, '7', sizeof(value));
                memcpy(value + size - 2, "\r\n", 3); /* the end of the line counts */
                (void)snprintf(field, sizeof(field), "Retry-After:%s", value);
                fields = field;
                begin(&number, urls[0], &tls[0], "form");
                end = wait_for_end();
                assert_int_equal(end.result.retry_after.size, kept);
                assert_memory_equal(end.result.retry_after.bytes, value, kept);
                assert_int_equal(end.result.ratelimit_reset.size, 0);
                upstream_release(&upstream, &end);
        }
        fields = "";
        begin(&number, urls[0], &tls[0], "form");
        assert_int_equal(wait_for_end().result.retry_after.size, 0);
}

/* Another place, and another client at the same place, have handles of their own. */
static void test_others(void **state)
{
        int number;

        (void)state;
        begin(&number, urls[0], &tls[0], "form");
        end_with(&number, "an answer");
        begin(&number, urls[1], &tls[0], "form");
        assert_int_equal(upstream.n_kept, 1);
        end_with(&number, "an answer");
        assert_non_null(strstr(connections[0].request, "POST /1 "));
        begin(&number, urls[0], &tls[1], "form");
        assert_int_equal(upstream.n_kept, 2);
        end_with(&number, "an answer");
        assert_int_equal(upstream.n_kept, 3);
        assert_int_equal(n_accepted, 1);
}

/* Not more than so many, and the oldest goes. */
static void test_cap(void **state)
{
        char url[96];
        int number;

        (void)state;
        for (unsigned int i = 0; i < UPSTREAM_KEPT_MAX + 1; i++) {
                (void)snprintf(url, sizeof(url), "%s?%u", urls[0], i);
                begin(&number, url, &tls[0], "form");
                end_with(&number, "an answer");
        }
        assert_int_equal(upstream.n_kept, UPSTREAM_KEPT_MAX);
        (void)snprintf(url, sizeof(url), "%s?0", urls[0]);
        begin(&number, url, &tls[0], "form");
        assert_int_equal(upstream.n_kept, UPSTREAM_KEPT_MAX);
        end_with(&number, "an answer");
        (void)snprintf(url, sizeof(url), "%s?%u", urls[0], UPSTREAM_KEPT_MAX);
        begin(&number, url, &tls[0], "form");
        assert_int_equal(upstream.n_kept, UPSTREAM_KEPT_MAX - 1);
        end_with(&number, "an answer");
}

/* What was made under a configuration is not used under the next, nor kept if it ends there. */
static void test_reconfigured(void **state)
{
        struct upstream_config other = config;
        int number;

        (void)state;
        other.max_response_bytes = 4;
        begin(&number, urls[0], &tls[0], "form");
        end_with(&number, "an answer");
        answer = NULL;
        begin(&number, urls[0], &tls[0], "form");
        begin(&number, urls[0], &tls[0], "form");
        wait_for_requests(3);
        upstream_set_config(&upstream, &other, N_CONNECTIONS);
        assert_int_equal(upstream.n_kept, 0);
        answer = "an answer";
        reply(&connections[0]);
        reply(&connections[1]);
        end_with(&number, "an answer");
        end_with(&number, "an answer");
        assert_int_equal(upstream.n_kept, 0);
        begin(&number, urls[0], &tls[0], "form");
        end_with(&number, NULL);
        assert_int_equal(upstream.n_kept, 0);
}

/* A handle whose request failed is not used again; the next request is like the first. */
static void test_failed(void **state)
{
        int number;

        (void)state;
        begin(&number, urls[0], &tls[0], "form");
        end_with(&number, "an answer");
        answer = NULL;
        begin(&number, urls[0], &tls[0], "form");
        wait_for_requests(2);
        answer = "too late";
        assert_int_equal(write(connections[0].source.fd, "no HTTP\r\n\r\n", 11), 11);
        end_with(&number, NULL);
        assert_int_equal(upstream.n_kept, 0);
        begin(&number, urls[0], &tls[0], "form");
        end_with(&number, "too late");
        assert_int_equal(n_accepted, 2);
}

/* Given up, it is neither told of nor used again. */
static void test_cancelled(void **state)
{
        struct upstream_end end;
        int number, other;

        (void)state;
        begin(&number, urls[0], &tls[0], "form");
        end_with(&number, "an answer");
        answer = NULL;
        begin(&number, urls[0], &tls[0], "form");
        wait_for_requests(2);
        upstream_cancel(&upstream, flight_of(&number));
        assert_false(upstream_next(&upstream, &end));
        assert_int_equal(upstream.n_kept, 0);
        answer = "of the other";
        begin(&other, urls[0], &tls[0], "form");
        end_with(&other, "of the other");
        assert_int_equal(n_accepted, 2);
}

/* The end of a connection that nobody uses is seen once and wakes the loop no more; its number may
 * come again. */
static void test_closed_while_idle(void **state)
{
        struct epoll_event event;
        int number;

        (void)state;
        for (size_t i = 0; i < 3; i++) {
                begin(&number, urls[0], &tls[0], "form");
                end_with(&number, "an answer");
                assert_int_equal(n_accepted, i + 1);
                connection_end(&connections[i]);
                assert_int_equal(epoll_wait(loop.epoll_fd, &event, 1, TURN_MS * TURNS_MAX), 1);
                turn();
                assert_int_equal(epoll_wait(loop.epoll_fd, &event, 1, 0), 0);
        }
        begin(&number, urls[0], &tls[0], "form");
        end_with(&number, "an answer");
}

/* One request goes well, and then the issuer says something more on its connection. */
static void end_one_with_noise(void)
{
        int number;

        begin(&number, urls[0], &tls[0], "form");
        end_with(&number, "an answer");
        answer = "of nobody";
        reply(&connections[0]);
        answer = "of the second";
}

/* What an issuer says before it is asked is not taken for the answer to what it is asked next: the
 * connection is not used again. */
static void test_noise_while_idle(void **state)
{
        struct epoll_event event;
        int number;

        (void)state;
        end_one_with_noise();
        assert_int_equal(epoll_wait(loop.epoll_fd, &event, 1, TURN_MS * TURNS_MAX), 1);
        turn();
        turn(); /* the issuer sees the end of it */
        assert_int_equal(epoll_wait(loop.epoll_fd, &event, 1, 0), 0);
        begin(&number, urls[0], &tls[0], "form");
        end_with(&number, "of the second");
        assert_int_equal(n_accepted, 2);
}

/* The same where the loop does not turn in between, so that nobody was told of the noise. */
static void test_noise_at_once(void **state)
{
        int number;

        (void)state;
        end_one_with_noise();
        begin(&number, urls[0], &tls[0], "form");
        upstream_tick(&upstream);
        end_with(&number, "of the second");
        assert_int_equal(n_accepted, 2);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_in_turn, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_at_once, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_fields, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_others, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_cap, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_reconfigured, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_failed, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_cancelled, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_closed_while_idle, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_noise_while_idle, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_noise_at_once, set_up, tear_down),
        };

        if (upstream_global_init() < 0)
                return 1;
        return cmocka_run_group_tests(tests, NULL, NULL);
}
