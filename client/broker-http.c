/* SPDX-License-Identifier: MIT */

/*
 * What the broker speaks of HTTP, and no more: there is no proxy, no redirect, no name look-up and
 * no other host, so none of it has to be switched off. The socket is made, judged, used and closed
 * here: nothing is sent before it is known who listens, every descriptor is closed on exec, and
 * what was sent and received is wiped.
 *
 * An answer counts only when it is whole: its head says how long it is, and all of that has come.
 */

#include "broker-http.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "broker-socket.h"
#include "http-head.h"

#define CHUNK_BYTES  4096
#define PAUSE_MIN_MS 10
#define PAUSE_MAX_MS 200

struct broker_http {
        struct broker_address address;
        int fd; /* -1: not connected */
        struct buffer out, in;
        uint64_t deadline_ms; /* of the request under way */
        uint64_t retries;
};

static uint64_t clock_ms(void)
{
        struct timespec now;

        (void)clock_gettime(CLOCK_MONOTONIC, &now);
        return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static void pause_ms(uint64_t ms)
{
        struct timespec time = {(time_t)(ms / 1000), (long)(ms % 1000) * 1000000};

        while (clock_nanosleep(CLOCK_MONOTONIC, 0, &time, &time) == EINTR)
                ;
}

int broker_http_new(struct broker_http **ret, const struct broker_place *place,
                    struct broker_error *error)
{
        struct broker_http *http = calloc(1, sizeof(*http));
        int r;

        if (!http)
                return -ENOMEM;
        *http = (struct broker_http){
                .fd = -1,
                .out = BUFFER_INIT(BROKER_HTTP_REQUEST_MAX_BYTES),
                .in = BUFFER_INIT(HTTP_HEAD_MAX_BYTES + BROKER_HTTP_ANSWER_MAX_BYTES),
        };
        r = broker_address_init(&http->address, place, error);
        if (r) {
                broker_http_free(http);
                return r;
        }
        *ret = http;
        return 0;
}

void broker_http_free(struct broker_http *http)
{
        if (!http)
                return;
        broker_http_close(http);
        buffer_deinit(&http->out);
        buffer_deinit(&http->in);
        free(http);
}

void broker_http_close(struct broker_http *http)
{
        if (http->fd >= 0)
                close(http->fd);
        http->fd = -1;
}

uint64_t broker_http_retries(const struct broker_http *http)
{
        return http->retries;
}

void broker_answer_deinit(struct broker_answer *answer)
{
        if (answer)
                buffer_deinit(&answer->body);
}

static int fail(struct broker_http *http, enum broker_fault fault, struct broker_error *error)
{
        const char *where = http->address.name;

        switch (fault) {
        case BROKER_FAULT_TIMEOUT:
                return broker_error_set(error, fault, "The broker on %s has not answered in time.",
                                        where);
        case BROKER_FAULT_CLOSED:
                return broker_error_set(error, fault,
                                        "The broker on %s closed the connection without an answer.",
                                        where);
        case BROKER_FAULT_CUT:
                return broker_error_set(error, fault, "The answer from %s was cut short.", where);
        case BROKER_FAULT_TOO_LARGE:
                return broker_error_set(error, fault,
                                        "What listens on %s answers with more than %zu bytes; it "
                                        "is not the broker.",
                                        where, BROKER_HTTP_ANSWER_MAX_BYTES);
        default:
                return broker_error_set(error, BROKER_FAULT_NOT_BROKER,
                                        "What listens on %s does not speak HTTP as egain-tokend "
                                        "does.",
                                        where);
        }
}

/* Waits until the socket is ready; false: the time has run out. */
static bool wait_for(struct broker_http *http, short events)
{
        struct pollfd pollfd = {.fd = http->fd, .events = events};
        uint64_t now_ms = clock_ms(), left_ms;
        int n;

        do {
                if (now_ms >= http->deadline_ms)
                        return false;
                left_ms = http->deadline_ms - now_ms;
                n = poll(&pollfd, 1, left_ms < INT32_MAX ? (int)left_ms : INT32_MAX);
                now_ms = clock_ms();
        } while (n == 0 || (n < 0 && errno == EINTR));
        return true;
}

/* Sends what can be sent: whether the other end has closed is seen by who reads. False: the time
 * has run out. */
static bool send_request(struct broker_http *http)
{
        size_t at = 0;

        while (at < http->out.size) {
                const ssize_t n = send(http->fd, http->out.bytes + at, http->out.size - at,
                                       MSG_NOSIGNAL);

                if (n >= 0) {
                        at += (size_t)n;
                        continue;
                }
                if (errno == EAGAIN && !wait_for(http, POLLOUT))
                        return false;
                if (errno != EAGAIN && errno != EINTR)
                        break;
        }
        return true;
}

/* Takes what has come: 0, -ENOMEM, or a fault. */
static int receive(struct broker_http *http)
{
        char chunk[CHUNK_BYTES];
        ssize_t n;
        int r;

        do {
                if (!wait_for(http, POLLIN))
                        return BROKER_FAULT_TIMEOUT;
                n = recv(http->fd, chunk, sizeof(chunk), 0);
        } while (n < 0 && (errno == EAGAIN || errno == EINTR));
        if (n <= 0)
                return http->in.size > 0 ? BROKER_FAULT_CUT : BROKER_FAULT_CLOSED;
        r = buffer_append(&http->in, chunk, (size_t)n);
        explicit_bzero(chunk, (size_t)n);
        return r == BUFFER_E_FULL ? BROKER_FAULT_TOO_LARGE : r;
}

static int receive_head(struct broker_http *http, struct http_head *head)
{
        int r;

        do {
                r = receive(http);
                if (r)
                        return r;
                r = http_head_parse(head, http->in.bytes, http->in.size);
        } while (r == HTTP_HEAD_E_MORE);
        return r ? BROKER_FAULT_NOT_BROKER : 0;
}

/* An answer that is whole. 0, -ENOMEM, or a fault. */
static int receive_answer(struct broker_http *http, struct broker_answer *ret)
{
        struct http_head head;
        int r;

        r = receive_head(http, &head);
        if (r)
                return r;
        if (head.content_length > BROKER_HTTP_ANSWER_MAX_BYTES)
                return BROKER_FAULT_TOO_LARGE;
        while (http->in.size - head.size < head.content_length) {
                r = receive(http);
                if (r)
                        return r;
        }
        if (http->in.size - head.size > head.content_length)
                return BROKER_FAULT_NOT_BROKER;
        *ret = (struct broker_answer){
                .status = head.status,
                .retry_after_s = head.retry_after_s,
                .json = head.json,
                .body = BUFFER_INIT(BROKER_HTTP_ANSWER_MAX_BYTES),
        };
        if (head.close)
                broker_http_close(http);
        return buffer_append(&ret->body, http->in.bytes + head.size, head.content_length);
}

/* Whether the other end has closed a connection, or said what nobody asked. */
static bool is_stale(int fd)
{
        char byte;

        return recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) >= 0 || errno != EAGAIN;
}

/* One try. `ret_reused` tells whether the connection had been used before. */
static int perform_once(struct broker_http *http, struct broker_answer *ret, bool *ret_reused,
                        struct broker_error *error)
{
        const uint64_t now_ms = clock_ms();
        int r;

        if (http->fd >= 0 && is_stale(http->fd))
                broker_http_close(http);
        *ret_reused = http->fd >= 0;
        *error = (struct broker_error){};
        if (http->fd < 0) {
                r = broker_socket_connect(
                        &http->address, http->deadline_ms > now_ms ? http->deadline_ms - now_ms : 0,
                        &http->fd, error);
                if (r) {
                        http->fd = -1;
                        return r;
                }
        }
        r = send_request(http) ? receive_answer(http, ret) : BROKER_FAULT_TIMEOUT;
        buffer_clear(&http->in);
        if (r)
                broker_http_close(http);
        return r > 0 ? fail(http, (enum broker_fault)r, error) : r;
}

/* Whether a broker that is starting could be what is missing. */
static bool may_come(int fault)
{
        return fault == BROKER_FAULT_REFUSED || fault == BROKER_FAULT_NO_SOCKET;
}

static int perform(struct broker_http *http, uint64_t patience_ms, struct broker_answer *ret,
                   struct broker_error *error)
{
        const uint64_t patient_until_ms = clock_ms() + patience_ms;
        uint64_t step_ms = PAUSE_MIN_MS, then_ms;
        bool again = false, reused;
        int r;

        for (;;) {
                r = perform_once(http, ret, &reused, error);
                then_ms = clock_ms() + step_ms;
                if (r == BROKER_FAULT_CLOSED && (reused || !again)) {
                        again = again || !reused;
                        http->retries++;
                } else if (may_come(r) && then_ms < patient_until_ms &&
                           then_ms < http->deadline_ms) {
                        pause_ms(step_ms);
                        step_ms = step_ms * 2 < PAUSE_MAX_MS ? step_ms * 2 : PAUSE_MAX_MS;
                } else {
                        return r;
                }
        }
}

/* Whether it is printable ASCII from that character on. */
static bool is_printable(const char *string, char first)
{
        for (; *string; string++)
                if (*string < first || *string > '~')
                        return false;
        return true;
}

static int append_line(struct buffer *out, const char *a, const char *b)
{
        int r;

        r = buffer_append_str(out, a);
        if (r == 0)
                r = buffer_append_str(out, b);
        if (r == 0)
                r = buffer_append_str(out, "\r\n");
        return r;
}

static int write_head(struct broker_http *http, const struct broker_request *request)
{
        const bool post = strcmp(request->method, "POST") == 0;
        struct buffer *out = &http->out;
        char size[32];
        int r;

        r = buffer_append_str(out, request->method);
        if (r == 0)
                r = buffer_append_str(out, " ");
        if (r == 0)
                r = append_line(out, request->path, " HTTP/1.1");
        if (r == 0)
                r = append_line(out, "Host: ", http->address.host);
        if (r == 0)
                r = append_line(out, "User-Agent: egain-token/", PROJECT_VERSION);
        for (const char *const *at = request->headers; r == 0 && at && *at; at++)
                r = is_printable(*at, ' ') ? append_line(out, *at, "") : -EINVAL;
        if (r == 0 && post) {
                (void)snprintf(size, sizeof(size), "%zu", request->form ? request->form->size : 0);
                r = append_line(out, "Content-Type: ", "application/x-www-form-urlencoded");
                if (r == 0)
                        r = append_line(out, "Content-Length: ", size);
        }
        if (r == 0)
                r = append_line(out, "", "");
        return r;
}

/* 0, -ENOMEM or -EINVAL. */
static int write_request(struct broker_http *http, const struct broker_request *request)
{
        static const char *const methods[] = {"GET", "POST", "DELETE"};
        bool known = false;
        int r;

        for (size_t i = 0; i < sizeof(methods) / sizeof(methods[0]); i++)
                known = known || strcmp(request->method, methods[i]) == 0;
        if (!known || request->path[0] != '/' || !is_printable(request->path, '!') ||
            strchr(request->path, '#') || request->timeout_ms == 0 ||
            (request->form && strcmp(request->method, "POST") != 0))
                return -EINVAL;
        r = write_head(http, request);
        if (r == 0 && request->form)
                r = buffer_append(&http->out, request->form->bytes, request->form->size);
        return r == BUFFER_E_FULL ? -EINVAL : r;
}

int broker_http_perform(struct broker_http *http, const struct broker_request *request,
                        struct broker_answer *ret, struct broker_error *error)
{
        struct broker_answer answer = {};
        int r;

        *error = (struct broker_error){};
        r = write_request(http, request);
        http->deadline_ms = clock_ms() + request->timeout_ms;
        if (r == 0)
                r = perform(http, request->patience_ms, &answer, error);
        buffer_clear(&http->out);
        if (r)
                broker_answer_deinit(&answer);
        else
                *ret = answer;
        return r;
}
