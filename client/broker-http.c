/* SPDX-License-Identifier: MIT */

/*
 * libcurl, kept from everything that this does not need: proxies, redirects, .netrc, signals, other
 * protocols, other hosts. Sockets are made here, closed on exec and known to whoever forks.
 *
 * Who listens on a Unix socket is judged when libcurl has connected it and has sent nothing yet, in
 * the function it calls before each request; 7.88.1 connects a socket again that it was told is
 * connected, so this cannot be done earlier.
 *
 * An answer counts only when it is whole: its head has ended, and has said how long the body is.
 */

#include "broker-http.h"

#include <arpa/inet.h>
#include <curl/curl.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

#include "broker-socket.h"
#include "clock.h"
#include "wiping.h"

#define URL_MAX_BYTES     ((size_t)32 * 1024)
#define PAUSE_MIN_MS      10
#define PAUSE_MAX_MS      200
#define RETRY_AFTER_MAX_S 86400
#define SOCKETS_MAX       4 /* of one handle: localhost has two addresses, and one may linger */

struct broker_http {
        CURL *curl;
        struct broker_address address;
        int sockets[SOCKETS_MAX]; /* -1: none */
        uint64_t retries;

        /* of the request under way */
        uint64_t deadline_ms;
        struct broker_answer *answer; /* borrowed */
        struct broker_error *error;   /* borrowed */
        bool head_began, head_ended, has_length, too_large, no_memory;
};

void broker_answer_deinit(struct broker_answer *answer)
{
        if (answer)
                buffer_deinit(&answer->body);
}

static bool is_loopback(const struct curl_sockaddr *address)
{
        struct sockaddr_in in;
        struct sockaddr_in6 in6;

        if (address->family == AF_INET && address->addrlen >= sizeof(in)) {
                memcpy(&in, &address->addr, sizeof(in));
                return in.sin_addr.s_addr == htonl(INADDR_LOOPBACK);
        }
        if (address->family == AF_INET6 && address->addrlen >= sizeof(in6)) {
                memcpy(&in6, &address->addr, sizeof(in6));
                return IN6_IS_ADDR_LOOPBACK(&in6.sin6_addr);
        }
        return false;
}

static curl_socket_t open_socket(void *data, curlsocktype purpose, struct curl_sockaddr *address)
{
        struct broker_http *http = data;

        if (address->family != AF_UNIX && !is_loopback(address))
                return CURL_SOCKET_BAD;
        for (size_t i = 0; i < SOCKETS_MAX; i++)
                if (http->sockets[i] < 0)
                        return broker_socket_open(address->family, address->socktype,
                                                  address->protocol, &http->sockets[i]);
        return CURL_SOCKET_BAD;
}

static int close_socket(void *data, curl_socket_t fd)
{
        struct broker_http *http = data;

        for (size_t i = 0; i < SOCKETS_MAX; i++)
                if (http->sockets[i] == fd)
                        broker_socket_close(&http->sockets[i]);
        return 0;
}

/* Nothing has been sent yet. */
static int judge(void *data, char *to, char *from, int to_port, int from_port)
{
        struct broker_http *http = data;

        if (http->address.tcp)
                return CURL_PREREQFUNC_OK;
        for (size_t i = 0; i < SOCKETS_MAX; i++)
                if (http->sockets[i] >= 0 &&
                    broker_socket_judge(http->sockets[i], &http->address, http->error) != 0)
                        return CURL_PREREQFUNC_ABORT;
        return CURL_PREREQFUNC_OK;
}

struct span {
        const char *bytes;
        size_t size;
};

/* The value of a header line of this name; all zeros: it is of another. */
static struct span value_of(const char *line, size_t size, const char *name)
{
        const size_t name_size = strlen(name);
        size_t at = name_size + 1;

        if (size < at || line[name_size] != ':' || strncasecmp(line, name, name_size) != 0)
                return (struct span){};
        while (size > at && (unsigned char)line[size - 1] <= ' ')
                size--;
        while (at < size && (line[at] == ' ' || line[at] == '\t'))
                at++;
        return (struct span){line + at, size - at};
}

static unsigned int parse_seconds(struct span value)
{
        unsigned int seconds = 0;

        for (size_t i = 0; i < value.size; i++) {
                if (value.bytes[i] < '0' || value.bytes[i] > '9')
                        return 0;
                seconds = seconds * 10 + (unsigned int)(value.bytes[i] - '0');
                if (seconds > RETRY_AFTER_MAX_S)
                        return RETRY_AFTER_MAX_S;
        }
        return seconds;
}

static bool is_json_type(struct span value)
{
        static const char json[] = "application/json";
        const size_t size = sizeof(json) - 1;

        return value.size >= size && strncasecmp(value.bytes, json, size) == 0 &&
               (value.size == size || value.bytes[size] == ';' || value.bytes[size] == ' ');
}

static size_t take_header(char *line, size_t one, size_t size, void *data)
{
        struct broker_http *http = data;
        struct span value;

        http->head_began = true;
        if (size <= 2 && (size == 0 || line[size - 1] == '\n'))
                http->head_ended = true;
        value = value_of(line, size, "Retry-After");
        if (value.bytes)
                http->answer->retry_after_s = parse_seconds(value);
        value = value_of(line, size, "Content-Type");
        if (value.bytes)
                http->answer->json = is_json_type(value);
        if (value_of(line, size, "Content-Length").bytes ||
            value_of(line, size, "Transfer-Encoding").bytes)
                http->has_length = true;
        return size;
}

static size_t take_body(char *bytes, size_t one, size_t size, void *data)
{
        struct broker_http *http = data;
        const int r = buffer_append(&http->answer->body, bytes, size);

        http->too_large = r == BUFFER_E_FULL;
        http->no_memory = r < 0;
        return r == 0 ? size : 0;
}

/* What is the same for every request. */
static void set_options(struct broker_http *http)
{
        CURL *curl = http->curl;

        curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http");
        curl_easy_setopt(curl, CURLOPT_PROXY, "");
        curl_easy_setopt(curl, CURLOPT_NOPROXY, "*");
        curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 0L);
        curl_easy_setopt(curl, CURLOPT_NETRC, (long)CURL_NETRC_IGNORED);
        curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
        curl_easy_setopt(curl, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
        curl_easy_setopt(curl, CURLOPT_HTTP_CONTENT_DECODING, 0L);
        curl_easy_setopt(curl, CURLOPT_PATH_AS_IS, 1L);
        curl_easy_setopt(curl, CURLOPT_MAXCONNECTS, 1L);
        curl_easy_setopt(curl, CURLOPT_USERAGENT, "egain-token/" PROJECT_VERSION);
        curl_easy_setopt(curl, CURLOPT_OPENSOCKETFUNCTION, open_socket);
        curl_easy_setopt(curl, CURLOPT_OPENSOCKETDATA, http);
        curl_easy_setopt(curl, CURLOPT_CLOSESOCKETFUNCTION, close_socket);
        curl_easy_setopt(curl, CURLOPT_CLOSESOCKETDATA, http);
        curl_easy_setopt(curl, CURLOPT_PREREQFUNCTION, judge);
        curl_easy_setopt(curl, CURLOPT_PREREQDATA, http);
        curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, take_header);
        curl_easy_setopt(curl, CURLOPT_HEADERDATA, http);
        curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, take_body);
        curl_easy_setopt(curl, CURLOPT_WRITEDATA, http);
        if (!http->address.tcp)
                curl_easy_setopt(curl, CURLOPT_UNIX_SOCKET_PATH, http->address.path);
}

int broker_http_new(struct broker_http **ret, const struct broker_place *place,
                    struct broker_error *error)
{
        struct broker_address address;
        int r;

        r = broker_address_init(&address, place, error);
        return r ? r : broker_http_new_at(ret, &address);
}

int broker_http_new_at(struct broker_http **ret, const struct broker_address *address)
{
        struct broker_http *http;

        if (wiping_init_curl() != 0)
                return -ENOMEM;
        http = calloc(1, sizeof(*http));
        if (!http)
                return -ENOMEM;
        http->address = *address;
        for (size_t i = 0; i < SOCKETS_MAX; i++)
                http->sockets[i] = -1;
        http->curl = curl_easy_init();
        if (!http->curl) {
                free(http);
                return -ENOMEM;
        }
        set_options(http);
        *ret = http;
        return 0;
}

void broker_http_free(struct broker_http *http)
{
        if (!http)
                return;
        curl_easy_cleanup(http->curl);
        free(http);
}

void broker_http_abandon(struct broker_http *http)
{
        for (size_t i = 0; i < SOCKETS_MAX; i++)
                broker_socket_close(&http->sockets[i]);
}

uint64_t broker_http_retries(const struct broker_http *http)
{
        return http->retries;
}

/* What is said of a request that libcurl could not carry out. */
static int explain(struct broker_http *http, CURLcode code)
{
        struct broker_error *error = http->error;
        const char *where = http->address.name;
        long number = 0;

        if (http->no_memory || code == CURLE_OUT_OF_MEMORY)
                return -ENOMEM;
        if (http->too_large)
                return broker_error_set(error, BROKER_FAULT_TOO_LARGE,
                                        "What listens on %s answers with more than %zu bytes; it "
                                        "is not the broker.",
                                        where, BROKER_HTTP_ANSWER_MAX_BYTES);
        switch (code) {
        case CURLE_ABORTED_BY_CALLBACK: return (int)error->fault;
        case CURLE_COULDNT_CONNECT:
                curl_easy_getinfo(http->curl, CURLINFO_OS_ERRNO, &number);
                return broker_socket_explain(&http->address, (int)number, error);
        case CURLE_OPERATION_TIMEDOUT:
                return broker_error_set(error, BROKER_FAULT_TIMEOUT,
                                        "The broker on %s has not answered in time.", where);
        case CURLE_SEND_ERROR:
        case CURLE_RECV_ERROR:
        case CURLE_GOT_NOTHING:
                if (!http->head_began)
                        return broker_error_set(error, BROKER_FAULT_CLOSED,
                                                "The broker on %s closed the connection without "
                                                "an answer.",
                                                where);
                __attribute__((fallthrough));
        case CURLE_PARTIAL_FILE:
                return broker_error_set(error, BROKER_FAULT_CUT,
                                        "The answer from %s was cut short.", where);
        default:
                return broker_error_set(error, BROKER_FAULT_NOT_BROKER,
                                        "What listens on %s does not speak HTTP as egain-tokend "
                                        "does: %s.",
                                        where, curl_easy_strerror(code));
        }
}

/* One try. */
static int perform_once(struct broker_http *http)
{
        const uint64_t now_ms = clock_now_ms();
        long status = 0;
        CURLcode code;

        buffer_clear(&http->answer->body);
        http->answer->retry_after_s = 0;
        http->answer->json = false;
        *http->error = (struct broker_error){};
        http->head_began = http->head_ended = http->has_length = false;
        http->too_large = http->no_memory = false;

        if (now_ms >= http->deadline_ms)
                return explain(http, CURLE_OPERATION_TIMEDOUT);
        curl_easy_setopt(http->curl, CURLOPT_TIMEOUT_MS, (long)(http->deadline_ms - now_ms));
        code = curl_easy_perform(http->curl);
        if (code != CURLE_OK)
                return explain(http, code);
        curl_easy_getinfo(http->curl, CURLINFO_RESPONSE_CODE, &status);
        if (!http->head_ended || (!http->has_length && status != 204))
                return broker_error_set(http->error, BROKER_FAULT_CUT,
                                        "The answer from %s does not say where it ends; it may "
                                        "have been cut short.",
                                        http->address.name);
        http->answer->status = (unsigned int)status;
        return 0;
}

/* Until when to wait for what may be missing, and nothing was sent: a broker that is starting, or
 * one that has not come to accept yet. 0: this is not of that kind. */
static uint64_t wait_until_ms(const struct broker_http *http, int fault, uint64_t patient_until_ms)
{
        switch (fault) {
        case BROKER_FAULT_BUSY: return http->deadline_ms;
        case BROKER_FAULT_REFUSED:
        case BROKER_FAULT_NO_SOCKET:
                return patient_until_ms < http->deadline_ms ? patient_until_ms : http->deadline_ms;
        default: return 0;
        }
}

static int perform(struct broker_http *http, uint64_t patience_ms)
{
        const uint64_t patient_until_ms = clock_now_ms() + patience_ms;
        uint64_t step_ms = PAUSE_MIN_MS;
        bool again = false;
        int r;

        for (;;) {
                r = perform_once(http);
                if (r == BROKER_FAULT_CLOSED && !again) {
                        again = true;
                        http->retries++;
                        curl_easy_setopt(http->curl, CURLOPT_FRESH_CONNECT, 1L);
                } else if (clock_now_ms() + step_ms < wait_until_ms(http, r, patient_until_ms)) {
                        clock_pause(step_ms);
                        step_ms = step_ms * 2 < PAUSE_MAX_MS ? step_ms * 2 : PAUSE_MAX_MS;
                } else {
                        return r;
                }
        }
}

static int set_method(CURL *curl, const struct broker_request *request)
{
        const struct buffer *form = request->form;

        curl_easy_setopt(curl, CURLOPT_HTTPGET, 1L);
        curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, NULL);
        if (strcmp(request->method, "POST") == 0) {
                curl_easy_setopt(curl, CURLOPT_POST, 1L);
                curl_easy_setopt(curl, CURLOPT_POSTFIELDS, form && form->bytes ? form->bytes : "");
                curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE,
                                 (curl_off_t)(form ? form->size : 0));
                return 0;
        }
        if (form)
                return -EINVAL;
        if (strcmp(request->method, "DELETE") == 0)
                curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, "DELETE");
        else if (strcmp(request->method, "GET") != 0)
                return -EINVAL;
        return 0;
}

static int set_url(struct broker_http *http, const char *path)
{
        struct buffer url = BUFFER_INIT(URL_MAX_BYTES);
        int r;

        for (const char *at = path; *at; at++)
                if (*at <= ' ' || *at > '~' || *at == '#')
                        return -EINVAL;
        r = buffer_append_str(&url, http->address.origin);
        if (r == 0)
                r = buffer_append_str(&url, path);
        if (r == 0 && curl_easy_setopt(http->curl, CURLOPT_URL, url.bytes) != CURLE_OK)
                r = -ENOMEM;
        buffer_deinit(&url);
        return r == BUFFER_E_FULL ? -EINVAL : r;
}

static int make_headers(const char *const *headers, struct curl_slist **ret)
{
        struct curl_slist *grown, *list = curl_slist_append(NULL, "Expect:");

        for (; list && headers && *headers; headers++) {
                grown = curl_slist_append(list, *headers);
                if (!grown)
                        curl_slist_free_all(list);
                list = grown;
        }
        *ret = list;
        return list ? 0 : -ENOMEM;
}

/* Lets go of what was borrowed for a request. */
static void reset(struct broker_http *http)
{
        curl_easy_setopt(http->curl, CURLOPT_HTTPGET, 1L);
        curl_easy_setopt(http->curl, CURLOPT_POSTFIELDS, NULL);
        curl_easy_setopt(http->curl, CURLOPT_HTTPHEADER, NULL);
        curl_easy_setopt(http->curl, CURLOPT_FRESH_CONNECT, 0L);
        http->answer = NULL;
        http->error = NULL;
}

int broker_http_perform(struct broker_http *http, const struct broker_request *request,
                        struct broker_answer *ret, struct broker_error *error)
{
        struct broker_answer answer = {.body = BUFFER_INIT(BROKER_HTTP_ANSWER_MAX_BYTES)};
        struct curl_slist *headers = NULL;
        int r;

        *error = (struct broker_error){};
        if (request->path[0] != '/' || request->timeout_ms == 0)
                return -EINVAL;
        http->answer = &answer;
        http->error = error;
        http->deadline_ms = clock_now_ms() + request->timeout_ms;
        r = make_headers(request->headers, &headers);
        if (r == 0)
                r = set_method(http->curl, request);
        if (r == 0)
                r = set_url(http, request->path);
        if (r == 0) {
                curl_easy_setopt(http->curl, CURLOPT_HTTPHEADER, headers);
                r = perform(http, request->patience_ms);
        }
        reset(http);
        curl_slist_free_all(headers);
        if (r)
                broker_answer_deinit(&answer);
        else
                *ret = answer;
        return r;
}
