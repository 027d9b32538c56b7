/* SPDX-License-Identifier: MIT */

/*
 * A transfer owns its form, its answer and its handle. The form holds the client secret and the
 * answer a token, so both are wiped at its end, and an answer that grows over its bound is cut off.
 * What libcurl holds of an answer is wiped as it is taken, since under HTTP/2 a handle may keep its
 * buffer until it is used again.
 */

#include "transfer.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "../lib/error.h"
#include "starvation.h"

/*
 * CURLOPT_PIPEWAIT stays off: transfers that wait for another's connection have no time-outs, so
 * that an endpoint that accepts and says nothing would be tried by one after the other. Connections
 * that are there are multiplexed all the same.
 */

/* A connection is not used for longer, so that a change in DNS is followed. */
#define CONNECTION_LIFETIME_MAX_S 300L

/* Most answers fit, and what is allocated and wiped for each is little. For what is sent that is
 * the least that libcurl takes. */
#define RECEIVE_BUFFER_BYTES 4096L
#define SEND_BUFFER_BYTES    16384L

static size_t take_body(char *bytes, size_t size, size_t n, void *data)
{
        struct transfer *transfer = data;
        const int r = secret_append(&transfer->answer, bytes, size * n);

        secret_wipe(bytes, size * n);
        transfer->too_large = r == SECRET_E_FULL;
        transfer->out_of_memory |= r < 0;
        return r ? 0 : size * n;
}

/* Keeps the value of a field if the line is one of that name. */
static void keep_field(char value[TRANSFER_FIELD_MAX_BYTES], const char *name, struct text line)
{
        const size_t name_size = strlen(name);

        if (line.size < name_size || strncasecmp(line.bytes, name, name_size) != 0)
                return;
        line.bytes += name_size;
        line.size -= name_size;
        if (line.size >= TRANSFER_FIELD_MAX_BYTES)
                line.size = TRANSFER_FIELD_MAX_BYTES - 1;
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
        struct transfer *transfer = data;

        transfer->n_sent++;
        transfer->local_port = local_port;
        transfer->sent_ms = transfer->user.sockets->loop->now_ms;
        sockets_begin_send(transfer->user.sockets, local_port);
        (void)curl_easy_setopt(transfer->easy, CURLOPT_FRESH_CONNECT, 1L);
        return CURL_PREREQFUNC_OK;
}

/* A plain-text URL is a loopback one, or the configuration would have been refused; nothing on the
 * way to it may be a proxy. */
static bool is_plain(const char *url)
{
        return strncasecmp(url, "http:", 5) == 0;
}

/* A URL that is taken apart already need not be for each request, which costs a tenth of it. But
 * this libcurl works on a copy, and of an address's zone it makes none. */
static CURLcode set_url(struct transfer *transfer)
{
        char *zone = NULL;
        bool has_zone;

        transfer->parts = curl_url();
        if (!transfer->parts ||
            curl_url_set(transfer->parts, CURLUPART_URL, transfer->url, 0) != CURLUE_OK)
                return CURLE_OUT_OF_MEMORY;
        has_zone = curl_url_get(transfer->parts, CURLUPART_ZONEID, &zone, 0) != CURLUE_NO_ZONEID;
        curl_free(zone);
        return has_zone ? curl_easy_setopt(transfer->easy, CURLOPT_URL, transfer->url)
                        : curl_easy_setopt(transfer->easy, CURLOPT_CURLU, transfer->parts);
}

static int set_options(struct transfer *transfer, const struct upstream_config *config,
                       struct curl_slist *headers, const struct client_tls *tls)
{
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
        SET(CURLOPT_POST, 1L);
        SET(CURLOPT_HTTPHEADER, headers);
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
        SET(CURLOPT_BUFFERSIZE, RECEIVE_BUFFER_BYTES);
        SET(CURLOPT_UPLOAD_BUFFERSIZE, SEND_BUFFER_BYTES);
        /* A session that is resumed would carry on the certificate that it began with. */
        SET(CURLOPT_SSL_SESSIONID_CACHE, 0L);
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
        if (bad == CURLE_OK)
                bad = set_url(transfer);
        if (bad == CURLE_OK)
                bad = sockets_serve(&transfer->user, easy);
        return bad == CURLE_OK ? 0 : error_trace(-ENOMEM);
}

struct transfer *transfer_new(struct sockets *sockets, const struct upstream_config *config,
                              struct curl_slist *headers, const char *client, const char *url,
                              const struct client_tls *tls)
{
        struct transfer *transfer = calloc(1, sizeof(*transfer));

        if (!transfer)
                return NULL;
        list_init(&transfer->link);
        transfer->user.sockets = sockets;
        transfer->tls = tls;
        transfer->timeout_ms = config->timeout_ms;
        transfer->client = strdup(client);
        transfer->url = strdup(url);
        transfer->easy = curl_easy_init();
        if (!transfer->easy || !transfer->client || !transfer->url ||
            set_options(transfer, config, headers, tls) < 0) {
                transfer_free(transfer);
                return NULL;
        }
        return transfer;
}

void transfer_free(struct transfer *transfer)
{
        list_unlink(&transfer->link);
        if (transfer->easy)
                curl_easy_cleanup(transfer->easy);
        curl_url_cleanup(transfer->parts);
        secret_deinit(&transfer->form);
        secret_deinit(&transfer->answer);
        free(transfer->client);
        free(transfer->url);
        free(transfer);
}

int transfer_load(struct transfer *transfer, struct secret *form, size_t max_answer_bytes)
{
        CURL *easy = transfer->easy;

        secret_move(&transfer->form, form);
        secret_init(&transfer->answer, max_answer_bytes);
        transfer->retry_after[0] = transfer->ratelimit_reset[0] = transfer->detail[0] = '\0';
        transfer->too_large = transfer->out_of_memory = transfer->lost = false;
        transfer->user.starved = false;
        transfer->n_starvations = starvation_count();
        transfer->n_sent = 0;
        transfer->local_port = 0;
        transfer->lost_us = 0;
        if (curl_easy_setopt(easy, CURLOPT_FRESH_CONNECT, 0L) != CURLE_OK ||
            curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)transfer->form.size) !=
                    CURLE_OK ||
            curl_easy_setopt(easy, CURLOPT_POSTFIELDS, transfer->form.bytes) != CURLE_OK)
                return error_trace(-ENOMEM);
        return 0;
}

void transfer_unload(struct transfer *transfer)
{
        curl_easy_setopt(transfer->easy, CURLOPT_POSTFIELDS, NULL);
        secret_deinit(&transfer->form);
        secret_deinit(&transfer->answer);
        transfer->flight = NULL;
}

struct transfer *transfer_of(CURL *easy)
{
        struct transfer *transfer = NULL;

        curl_easy_getinfo(easy, CURLINFO_PRIVATE, &transfer);
        return transfer;
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
        if (code == CURLE_OK)
                return REASON_NONE;
        if (transfer->too_large)
                return REASON_ANSWER_TOO_LARGE;
        if (transfer->out_of_memory || transfer->user.starved ||
            transfer->n_starvations != starvation_count())
                return REASON_OUT_OF_MEMORY;
        switch (code) {
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

/* Whether a connection that was kept has broken under it, and nothing came of it, not even what is
 * no HTTP. */
static bool is_lost_with_connection(const struct transfer *transfer, CURLcode code)
{
        long n_connects = 1, header_bytes = 1;

        /* The first is what the end of a connection is to a stream of HTTP/2. */
        if (code != CURLE_PARTIAL_FILE && code != CURLE_HTTP2_STREAM && code != CURLE_RECV_ERROR &&
            code != CURLE_SEND_ERROR)
                return false;
        curl_easy_getinfo(transfer->easy, CURLINFO_NUM_CONNECTS, &n_connects);
        curl_easy_getinfo(transfer->easy, CURLINFO_HEADER_SIZE, &header_bytes);
        return n_connects == 0 && header_bytes == 0 &&
               reason_of(code, transfer) == REASON_ISSUER_CUT &&
               !sockets_has(transfer->user.sockets, transfer->local_port);
}

bool transfer_send_again(struct transfer *transfer, CURLcode code)
{
        CURL *easy = transfer->easy;
        curl_off_t took_us = 0;

        curl_easy_getinfo(easy, CURLINFO_TOTAL_TIME_T, &took_us);
        if (transfer->n_sent != 1 || (uint64_t)took_us / 1000 >= transfer->timeout_ms ||
            !is_lost_with_connection(transfer, code))
                return false;
        if (curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS,
                             (long)(transfer->timeout_ms - (uint64_t)took_us / 1000)) != CURLE_OK)
                return false;
        transfer->lost_us = took_us;
        return true;
}

void transfer_result(struct transfer *transfer, CURLcode code, struct fetch_result *ret,
                     uint64_t *ret_took_us)
{
        curl_off_t took_us = 0;
        long status = 0;

        curl_easy_getinfo(transfer->easy, CURLINFO_RESPONSE_CODE, &status);
        curl_easy_getinfo(transfer->easy, CURLINFO_TOTAL_TIME_T, &took_us);
        if (transfer->detail[0] == '\0' && code != CURLE_OK)
                strncpy(transfer->detail, curl_easy_strerror(code), sizeof(transfer->detail) - 1);
        *ret = (struct fetch_result){
                .transport = reason_of(code, transfer),
                .status = (unsigned int)status,
                .body = {transfer->answer.bytes, transfer->answer.size},
                .retry_after = TEXT(transfer->retry_after),
                .ratelimit_reset = TEXT(transfer->ratelimit_reset),
        };
        *ret_took_us = (uint64_t)(transfer->lost_us + took_us);
}
