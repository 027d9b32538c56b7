/* SPDX-License-Identifier: MIT */

/*
 * libcurl tells which sockets it wants watched (watch_socket) and when it wants to be called
 * (set_timer); the loop watches them, so that libcurl is touched only when one of its transfers has
 * something to do. Transfers end in libcurl's message queue and stay there until upstream_next().
 *
 * A transfer owns its form, its answer and its handle. The form holds the client secret and the
 * answer a token, so both are wiped at release, and an answer that grows over its bound is cut off.
 */

#include "upstream.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "../lib/error.h"
#include "log.h"
#include "wipe-http2.h"

/*
 * CURLOPT_PIPEWAIT stays off: transfers that wait for another's connection have no time-outs, so
 * that an endpoint that accepts and says nothing would be tried by one after the other. Connections
 * that are there are multiplexed all the same.
 */

/* A connection is not used for longer, so that a change in DNS is followed. */
#define CONNECTION_LIFETIME_MAX_S 300L

/* The longest header field value that can mean anything to us; a longer one is cut, and means
 * nothing. */
#define FIELD_MAX_BYTES 64

struct transfer {
        struct list link; /* upstream::transfers */
        CURL *easy;
        struct flight *flight;
        char *client; /* owned, since a reload may free what they were taken from */
        char *url;
        struct secret form;
        struct secret answer;
        char retry_after[FIELD_MAX_BYTES]; /* header fields; "": not there */
        char ratelimit_reset[FIELD_MAX_BYTES];
        bool too_large;
        bool out_of_memory;
        char detail[CURL_ERROR_SIZE];
};

/* A socket of libcurl's; it lives from watch_socket() with an interest to CURL_POLL_REMOVE. */
struct watch {
        struct loop_source source;
        struct upstream *upstream;
};

int upstream_global_init(void)
{
        return curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK ? 0 : error_trace(-ENOMEM);
}

static void socket_ready(struct loop_source *source, uint32_t events)
{
        struct watch *watch = list_entry(source, struct watch, source);
        CURLM *multi = watch->upstream->multi;
        int flags = 0, n_running;

        if (events & EPOLLIN)
                flags |= CURL_CSELECT_IN;
        if (events & EPOLLOUT)
                flags |= CURL_CSELECT_OUT;
        if (events & (EPOLLERR | EPOLLHUP))
                flags |= CURL_CSELECT_ERR;
        curl_multi_socket_action(multi, source->fd, flags, &n_running);
}

/* Never fails: libcurl would take an error for the end of the whole multi handle. A socket that
 * cannot be watched is one whose transfer runs into its time-out. */
static int watch_socket(CURL *easy, curl_socket_t fd, int what, void *data, void *socket_data)
{
        struct upstream *upstream = data;
        struct watch *watch = socket_data;
        uint32_t events = 0;
        int r;

        if (what == CURL_POLL_REMOVE) {
                if (watch)
                        loop_remove(upstream->loop, &watch->source);
                free(watch);
                return 0;
        }
        if (what & CURL_POLL_IN)
                events |= EPOLLIN;
        if (what & CURL_POLL_OUT)
                events |= EPOLLOUT;
        if (watch) {
                (void)loop_modify(upstream->loop, &watch->source, events);
                return 0;
        }

        watch = calloc(1, sizeof(*watch));
        if (!watch)
                return 0;
        watch->upstream = upstream;
        watch->source = (struct loop_source){.fd = fd, .ready = socket_ready};
        r = loop_add(upstream->loop, &watch->source, events);
        if (r < 0) {
                log_warning("cannot watch a connection to an issuer: %s", strerror(-r));
                free(watch);
                return 0;
        }
        curl_multi_assign(upstream->multi, fd, watch);
        return 0;
}

static int set_timer(CURLM *multi, long timeout_ms, void *data)
{
        struct upstream *upstream = data;

        upstream->timer_ms = timeout_ms < 0 ? LOOP_NEVER
                                            : upstream->loop->now_ms + (uint64_t)timeout_ms;
        return 0;
}

int upstream_init(struct upstream *upstream, struct loop *loop,
                  const struct upstream_config *config, size_t max_in_flight)
{
        struct curl_slist *headers;

        *upstream = (struct upstream){.config = config, .loop = loop, .timer_ms = LOOP_NEVER};
        list_init(&upstream->transfers);
        upstream->multi = curl_multi_init();
        /* "Expect:" with nothing behind it: no 100-continue, which costs a round trip. */
        headers = curl_slist_append(NULL, "Accept: application/json");
        upstream->headers = curl_slist_append(headers, "Expect:");
        if (!upstream->multi || !upstream->headers) {
                curl_slist_free_all(upstream->headers ? NULL : headers);
                upstream_deinit(upstream);
                return error_trace(-ENOMEM);
        }
        curl_multi_setopt(upstream->multi, CURLMOPT_SOCKETFUNCTION, watch_socket);
        curl_multi_setopt(upstream->multi, CURLMOPT_SOCKETDATA, upstream);
        curl_multi_setopt(upstream->multi, CURLMOPT_TIMERFUNCTION, set_timer);
        curl_multi_setopt(upstream->multi, CURLMOPT_TIMERDATA, upstream);
        curl_multi_setopt(upstream->multi, CURLMOPT_PIPELINING, CURLPIPE_MULTIPLEX);
        curl_multi_setopt(upstream->multi, CURLMOPT_MAXCONNECTS, (long)max_in_flight);
        return 0;
}

void upstream_set_config(struct upstream *upstream, const struct upstream_config *config,
                         size_t max_in_flight)
{
        upstream->config = config;
        curl_multi_setopt(upstream->multi, CURLMOPT_MAXCONNECTS, (long)max_in_flight);
}

static void transfer_free(struct upstream *upstream, struct transfer *transfer)
{
        list_unlink(&transfer->link);
        if (transfer->easy) {
                curl_multi_remove_handle(upstream->multi, transfer->easy);
                curl_easy_cleanup(transfer->easy);
        }
        secret_deinit(&transfer->form);
        secret_deinit(&transfer->answer);
        free(transfer->client);
        free(transfer->url);
        free(transfer);
        if (list_empty(&upstream->transfers))
                wipe_http2_idle();
}

void upstream_deinit(struct upstream *upstream)
{
        if (!upstream->config)
                return; /* never built */
        list_for_each_safe (link, &upstream->transfers)
                transfer_free(upstream, list_entry(link, struct transfer, link));
        if (upstream->multi)
                curl_multi_cleanup(upstream->multi);
        curl_slist_free_all(upstream->headers);
        *upstream = (struct upstream){};
}

static size_t take_body(char *bytes, size_t size, size_t n, void *data)
{
        struct transfer *transfer = data;
        const int r = secret_append(&transfer->answer, bytes, size * n);

        transfer->too_large = r == SECRET_E_FULL;
        transfer->out_of_memory = r < 0;
        return r ? 0 : size * n;
}

/* Keeps the value of a field if the line is one of that name. */
static void keep_field(char value[FIELD_MAX_BYTES], const char *name, struct text line)
{
        const size_t name_size = strlen(name);

        if (line.size < name_size || strncasecmp(line.bytes, name, name_size) != 0)
                return;
        line.bytes += name_size;
        line.size -= name_size;
        if (line.size >= FIELD_MAX_BYTES)
                line.size = FIELD_MAX_BYTES - 1;
        memcpy(value, line.bytes, line.size);
        value[line.size] = '\0';
}

static size_t take_header(char *bytes, size_t size, size_t n, void *data)
{
        const struct text line = {bytes, size * n};
        struct transfer *transfer = data;

        keep_field(transfer->retry_after, "Retry-After:", line);
        keep_field(transfer->ratelimit_reset, "X-RateLimit-Reset:", line);
        return line.size;
}

/* libcurl has a connection and is about to send on it. Should that be one that was kept, and break
 * now, libcurl sends once more: on a new one, lest it go through all that were kept. */
static int begin_send(void *data, char *remote, char *local, int remote_port, int local_port)
{
        const struct transfer *transfer = data;

        (void)curl_easy_setopt(transfer->easy, CURLOPT_FRESH_CONNECT, 1L);
        return CURL_PREREQFUNC_OK;
}

/* A plain-text URL is a loopback one, or the configuration would have been refused; nothing on the
 * way to it may be a proxy. */
static bool is_plain(const char *url)
{
        return strncasecmp(url, "http:", 5) == 0;
}

static int set_options(struct upstream *upstream, struct transfer *transfer,
                       const struct client_tls *tls)
{
        const struct upstream_config *config = upstream->config;
        const bool plain = is_plain(transfer->url);
        CURL *easy = transfer->easy;
        CURLcode bad = CURLE_OK;

        /* Options fail for want of memory, or since this libcurl lacks what the build asked for. */
#define SET(option, value)                                                \
        do {                                                              \
                const CURLcode c = curl_easy_setopt(easy, option, value); \
                if (c != CURLE_OK)                                        \
                        bad = c;                                          \
        } while (0)

        SET(CURLOPT_PRIVATE, transfer);
        SET(CURLOPT_ERRORBUFFER, transfer->detail);
        SET(CURLOPT_URL, transfer->url);
        SET(CURLOPT_POST, 1L);
        SET(CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)transfer->form.size);
        SET(CURLOPT_POSTFIELDS, transfer->form.bytes);
        SET(CURLOPT_HTTPHEADER, upstream->headers);
        SET(CURLOPT_USERAGENT, "egain-tokend/" PROJECT_VERSION);
        SET(CURLOPT_WRITEFUNCTION, take_body);
        SET(CURLOPT_WRITEDATA, transfer);
        SET(CURLOPT_HEADERFUNCTION, take_header);
        SET(CURLOPT_HEADERDATA, transfer);
        SET(CURLOPT_PREREQFUNCTION, begin_send);
        SET(CURLOPT_PREREQDATA, transfer);
        SET(CURLOPT_FOLLOWLOCATION, 0L);
        SET(CURLOPT_PROTOCOLS_STR, plain ? "http" : "https");
        SET(CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_2TLS);
        SET(CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
        SET(CURLOPT_CONNECTTIMEOUT_MS, (long)config->connect_timeout_ms);
        SET(CURLOPT_TIMEOUT_MS, (long)config->timeout_ms);
        SET(CURLOPT_MAXLIFETIME_CONN, CONNECTION_LIFETIME_MAX_S);
        SET(CURLOPT_NOSIGNAL, 1L);
        SET(CURLOPT_QUICK_EXIT, 1L);
        SET(CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
        if (plain)
                SET(CURLOPT_PROXY, "");
        else if (config->proxy) /* else the environment tells */
                SET(CURLOPT_PROXY, config->proxy);
        if (config->no_proxy)
                SET(CURLOPT_NOPROXY, config->no_proxy);
        if (tls->cert_file) {
                SET(CURLOPT_SSLCERT, tls->cert_file);
                SET(CURLOPT_SSLKEY, tls->key_file);
        }
        if (config->ca_file) {
                SET(CURLOPT_CAINFO, config->ca_file);
                SET(CURLOPT_CAPATH, NULL);
                SET(CURLOPT_PROXY_CAINFO, config->ca_file);
                SET(CURLOPT_PROXY_CAPATH, NULL);
        }
#undef SET
        return bad == CURLE_OK ? 0 : error_trace(-ENOMEM);
}

int upstream_start(struct upstream *upstream, struct flight *flight, const char *client,
                   const char *url, const struct client_tls *tls, struct secret *form)
{
        struct transfer *transfer;

        transfer = calloc(1, sizeof(*transfer));
        if (!transfer) {
                secret_deinit(form);
                return error_trace(-ENOMEM);
        }
        list_push_back(&upstream->transfers, &transfer->link);
        transfer->flight = flight;
        transfer->client = strdup(client);
        transfer->url = strdup(url);
        secret_move(&transfer->form, form);
        secret_init(&transfer->answer, upstream->config->max_response_bytes);

        transfer->easy = curl_easy_init();
        if (!transfer->easy || !transfer->client || !transfer->url ||
            set_options(upstream, transfer, tls) < 0 ||
            curl_multi_add_handle(upstream->multi, transfer->easy) != CURLM_OK) {
                transfer_free(upstream, transfer);
                return error_trace(-ENOMEM);
        }
        return 0;
}

void upstream_cancel(struct upstream *upstream, const struct flight *flight)
{
        list_for_each_safe (link, &upstream->transfers) {
                struct transfer *transfer = list_entry(link, struct transfer, link);

                if (transfer->flight == flight)
                        transfer_free(upstream, transfer);
        }
}

void upstream_tick(struct upstream *upstream)
{
        int n_running;

        if (upstream->timer_ms > upstream->loop->now_ms)
                return;
        upstream->timer_ms = LOOP_NEVER;
        curl_multi_socket_action(upstream->multi, CURL_SOCKET_TIMEOUT, 0, &n_running);
}

/* Whether there was a connection, TLS included, that the request could be sent on. */
static bool was_connected(const struct transfer *transfer)
{
        curl_off_t ready_us = 0;

        curl_easy_getinfo(transfer->easy, CURLINFO_PRETRANSFER_TIME_T, &ready_us);
        return ready_us > 0;
}

static enum reason reason_of(CURLcode code, const struct transfer *transfer)
{
        if (transfer->too_large)
                return REASON_ANSWER_TOO_LARGE;
        if (transfer->out_of_memory)
                return REASON_OUT_OF_MEMORY;
        switch (code) {
        case CURLE_OK: return REASON_NONE;
        case CURLE_PEER_FAILED_VERIFICATION:
        case CURLE_SSL_CACERT_BADFILE:
        case CURLE_SSL_ISSUER_ERROR:
        case CURLE_SSL_INVALIDCERTSTATUS: return REASON_ISSUER_CERTIFICATE;
        case CURLE_COULDNT_RESOLVE_HOST:
        case CURLE_COULDNT_RESOLVE_PROXY:
        case CURLE_COULDNT_CONNECT:
        case CURLE_PROXY:
        case CURLE_SSL_CONNECT_ERROR: return REASON_ISSUER_UNREACHABLE;
        case CURLE_OPERATION_TIMEDOUT:
                return was_connected(transfer) ? REASON_ISSUER_TIMEOUT : REASON_ISSUER_UNREACHABLE;
        case CURLE_OUT_OF_MEMORY: return REASON_OUT_OF_MEMORY;
        default: return was_connected(transfer) ? REASON_ISSUER_CUT : REASON_ISSUER_UNREACHABLE;
        }
}

bool upstream_next(struct upstream *upstream, struct upstream_end *ret)
{
        struct transfer *transfer = NULL;
        const struct CURLMsg *message;
        curl_off_t took_us = 0;
        long status = 0;
        int n_left;

        do {
                message = curl_multi_info_read(upstream->multi, &n_left);
                if (!message)
                        return false;
        } while (message->msg != CURLMSG_DONE);

        curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &transfer);
        curl_easy_getinfo(message->easy_handle, CURLINFO_RESPONSE_CODE, &status);
        curl_easy_getinfo(message->easy_handle, CURLINFO_TOTAL_TIME_T, &took_us);
        if (transfer->detail[0] == '\0' && message->data.result != CURLE_OK)
                strncpy(transfer->detail, curl_easy_strerror(message->data.result),
                        sizeof(transfer->detail) - 1);
        *ret = (struct upstream_end){
                .transfer = transfer,
                .flight = transfer->flight,
                .client = transfer->client,
                .url = transfer->url,
                .detail = transfer->detail,
                .took_us = (uint64_t)took_us,
                .result =
                        {
                                .transport = reason_of(message->data.result, transfer),
                                .status = (unsigned int)status,
                                .body = {transfer->answer.bytes, transfer->answer.size},
                                .retry_after = TEXT(transfer->retry_after),
                                .ratelimit_reset = TEXT(transfer->ratelimit_reset),
                        },
        };
        return true;
}

void upstream_release(struct upstream *upstream, struct upstream_end *end)
{
        transfer_free(upstream, end->transfer);
        end->transfer = NULL;
}
