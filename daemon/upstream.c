/* SPDX-License-Identifier: MIT */

/*
 * libcurl tells which sockets it wants watched (sockets.h) and when it wants to be called
 * (set_timer), so that it is touched only when one of its transfers has something to do. Transfers
 * end in libcurl's message queue and stay there until upstream_next().
 *
 * Where memory runs out libcurl 7.88 may leave its table of sockets with a hole in it: a transfer
 * is forgotten, or a later one on a socket of the same number ends the process. It says so by an
 * error of the multi handle. That handle is not used any more then: what is under way on it ends,
 * and another takes its place. A connection on which OpenSSL, libnghttp2 or libcurl lacked memory
 * may be left so that nothing is read of it any more, though there is, and libcurl would go on
 * waiting there and, with HTTP/2, sending more on it: it is ended.
 *
 * A request that times out is the end of its connection under HTTP/1, but not under HTTP/2, where
 * others may be on it. If nothing at all came on it since that request was sent, no other would
 * fare better, and it is ended as well. What is lost with a connection that was kept, be it ended
 * here or there, is sent once more, on a new one, and is no failure unless that breaks, too: under
 * HTTP/1 libcurl sees to it, under HTTP/2 it is done here.
 *
 * To make a handle and to tell it what to do costs as much as to use it, so that a few transfers
 * whose request went well are kept, for requests to the same place by the same client under the
 * same configuration: only the form is another.
 */

#include "upstream.h"

#include <string.h>

#include "../lib/error.h"
#include "log.h"
#include "starvation.h"
#include "transfer.h"
#include "wipe-http2.h"

int upstream_global_init(void)
{
        return starvation_init_curl() == CURLE_OK ? 0 : error_trace(-ENOMEM);
}

static int set_timer(CURLM *multi, long timeout_ms, void *data)
{
        struct upstream *upstream = data;

        upstream->timer_ms = timeout_ms < 0 ? LOOP_NEVER
                                            : upstream->loop->now_ms + (uint64_t)timeout_ms;
        return 0;
}

/* The socket of a transfer cannot be watched, so that nothing would ever come of it. */
static void lose(void *data, CURL *easy)
{
        struct transfer *transfer = transfer_of(easy);
        struct upstream *upstream = data;

        if (!transfer) /* libcurl's own, for what it closes */
                return;
        transfer->lost = true;
        upstream->any_lost = true;
}

/* A handshake that lacks memory ends by itself, or needs it not. */
static void starve(void *data, curl_socket_t fd)
{
        struct upstream *upstream = data;
        const int local_port = sockets_local_port(fd);

        list_for_each (link, &upstream->transfers) {
                struct transfer *transfer = list_entry(link, struct transfer, link);

                if (transfer->n_sent == 0)
                        continue;
                if (local_port != 0 && transfer->local_port != local_port)
                        continue;
                sockets_end(&upstream->sockets, transfer->local_port);
                transfer->lost = true;
                upstream->any_lost = true;
        }
}

/* upstream::multi, or NULL if memory is out. */
static CURLM *make_multi(struct upstream *upstream)
{
        CURLM *multi = curl_multi_init();

        upstream->multi = multi;
        if (!multi)
                return NULL;
        sockets_init(&upstream->sockets, upstream->loop, multi, lose, starve, upstream);
        curl_multi_setopt(multi, CURLMOPT_TIMERFUNCTION, set_timer);
        curl_multi_setopt(multi, CURLMOPT_TIMERDATA, upstream);
        curl_multi_setopt(multi, CURLMOPT_PIPELINING, CURLPIPE_MULTIPLEX);
        curl_multi_setopt(multi, CURLMOPT_MAXCONNECTS, upstream->max_in_flight);
        return multi;
}

int upstream_init(struct upstream *upstream, struct loop *loop,
                  const struct upstream_config *config, size_t max_in_flight)
{
        struct curl_slist *headers;

        *upstream = (struct upstream){
                .config = config,
                .loop = loop,
                .timer_ms = LOOP_NEVER,
                .max_in_flight = (long)max_in_flight,
        };
        list_init(&upstream->transfers);
        list_init(&upstream->kept);
        /* "Expect:" with nothing behind it: no 100-continue, which costs a round trip. */
        headers = curl_slist_append(NULL, "Accept: application/json");
        upstream->headers = curl_slist_append(headers, "Expect:");
        if (!make_multi(upstream) || !upstream->headers) {
                curl_slist_free_all(upstream->headers ? NULL : headers);
                upstream_deinit(upstream);
                return error_trace(-ENOMEM);
        }
        return 0;
}

static void note_end(const struct upstream *upstream)
{
        if (list_empty(&upstream->transfers))
                wipe_http2_idle();
}

/* Gives it up wherever it stands. */
static void end(struct upstream *upstream, struct transfer *transfer)
{
        curl_multi_remove_handle(upstream->multi, transfer->easy);
        transfer_free(transfer);
        note_end(upstream);
}

static void drop_kept(struct upstream *upstream)
{
        list_for_each_safe (link, &upstream->kept)
                transfer_free(list_entry(link, struct transfer, link));
        upstream->n_kept = 0;
}

/* Those under way end as they began, and are not kept. */
void upstream_set_config(struct upstream *upstream, const struct upstream_config *config,
                         size_t max_in_flight)
{
        upstream->config = config;
        upstream->generation++;
        upstream->max_in_flight = (long)max_in_flight;
        drop_kept(upstream);
        if (upstream->multi)
                curl_multi_setopt(upstream->multi, CURLMOPT_MAXCONNECTS, upstream->max_in_flight);
}

/* The multi handle, once nothing is under way on it. */
static void free_multi(struct upstream *upstream)
{
        drop_kept(upstream);
        if (upstream->multi)
                curl_multi_cleanup(upstream->multi);
        upstream->multi = NULL;
        sockets_deinit(&upstream->sockets);
}

void upstream_deinit(struct upstream *upstream)
{
        if (!upstream->config)
                return; /* never built */
        list_for_each_safe (link, &upstream->transfers)
                end(upstream, list_entry(link, struct transfer, link));
        free_multi(upstream);
        curl_slist_free_all(upstream->headers);
        *upstream = (struct upstream){};
}

/* `tls` is the client's own, so that it tells the client, too. */
static struct transfer *take_kept(struct upstream *upstream, const char *url,
                                  const struct client_tls *tls)
{
        list_for_each (link, &upstream->kept) {
                struct transfer *transfer = list_entry(link, struct transfer, link);

                if (transfer->tls == tls && strcmp(transfer->url, url) == 0) {
                        list_unlink(&transfer->link);
                        upstream->n_kept--;
                        return transfer;
                }
        }
        return NULL;
}

/* The last one that ended goes first, and the one that was not used for longest goes. */
static void keep(struct upstream *upstream, struct transfer *transfer)
{
        curl_multi_remove_handle(upstream->multi, transfer->easy);
        transfer_unload(transfer);
        list_unlink(&transfer->link);
        list_push_front(&upstream->kept, &transfer->link);
        if (upstream->n_kept < UPSTREAM_KEPT_MAX)
                upstream->n_kept++;
        else
                transfer_free(list_entry(upstream->kept.prev, struct transfer, link));
        note_end(upstream);
}

/* One to be used for this request, new or kept; NULL: memory is out. */
static struct transfer *take_transfer(struct upstream *upstream, const char *client,
                                      const char *url, const struct client_tls *tls)
{
        struct transfer *transfer;

        if (!upstream->multi && !make_multi(upstream))
                return NULL;
        transfer = take_kept(upstream, url, tls);
        if (!transfer)
                transfer = transfer_new(&upstream->sockets, upstream->config, upstream->headers,
                                        client, url, tls);
        if (transfer)
                transfer->generation = upstream->generation;
        return transfer;
}

int upstream_start(struct upstream *upstream, struct flight *flight, const char *client,
                   const char *url, const struct client_tls *tls, struct secret *form)
{
        struct transfer *transfer = take_transfer(upstream, client, url, tls);

        if (!transfer) {
                secret_deinit(form);
                return error_trace(-ENOMEM);
        }
        list_push_back(&upstream->transfers, &transfer->link);
        transfer->flight = flight;
        if (transfer_load(transfer, form, upstream->config->max_response_bytes) < 0 ||
            curl_multi_add_handle(upstream->multi, transfer->easy) != CURLM_OK) {
                end(upstream, transfer);
                return error_trace(-ENOMEM);
        }
        return 0;
}

void upstream_cancel(struct upstream *upstream, const struct flight *flight)
{
        list_for_each_safe (link, &upstream->transfers) {
                struct transfer *transfer = list_entry(link, struct transfer, link);

                if (transfer->flight == flight)
                        end(upstream, transfer);
        }
}

void upstream_tick(struct upstream *upstream)
{
        if (upstream->timer_ms > upstream->loop->now_ms)
                return;
        upstream->timer_ms = LOOP_NEVER;
        sockets_act(&upstream->sockets, CURL_SOCKET_TIMEOUT, 0);
}

/* Another multi handle takes the place of one in disorder, once nothing is under way on it. If
 * there is no memory for it, it is made when it is needed. */
static void replace_multi(struct upstream *upstream)
{
        log_warning("libcurl ran out of memory; its connections to issuers are given up");
        free_multi(upstream);
        upstream->timer_ms = LOOP_NEVER;
        (void)make_multi(upstream);
}

/* One that libcurl will not end, or cannot be trusted with. */
static bool next_lost(struct upstream *upstream, struct upstream_end *ret)
{
        list_for_each (link, &upstream->transfers) {
                struct transfer *transfer = list_entry(link, struct transfer, link);

                if (!upstream->sockets.disordered && !transfer->lost)
                        continue;
                *ret = (struct upstream_end){
                        .transfer = transfer,
                        .flight = transfer->flight,
                        .client = transfer->client,
                        .url = transfer->url,
                        .detail = "no memory for its connection",
                        .result = {.transport = REASON_OUT_OF_MEMORY},
                };
                return true;
        }
        upstream->any_lost = false;
        if (upstream->sockets.disordered)
                replace_multi(upstream);
        return false;
}

/* Under HTTP/1 libcurl does so by itself. */
static bool send_again(struct upstream *upstream, struct transfer *transfer, CURLcode code)
{
        if (upstream->sockets.disordered || !transfer_send_again(transfer, code))
                return false;
        curl_multi_remove_handle(upstream->multi, transfer->easy);
        return curl_multi_add_handle(upstream->multi, transfer->easy) == CURLM_OK;
}

/* The next one that libcurl has ended, and with what; NULL: none. */
static struct transfer *next_ended(struct upstream *upstream, CURLcode *ret_code)
{
        const struct CURLMsg *message;
        int n_left;

        while (upstream->multi && (message = curl_multi_info_read(upstream->multi, &n_left))) {
                struct transfer *transfer = transfer_of(message->easy_handle);

                if (message->msg != CURLMSG_DONE)
                        continue;
                *ret_code = message->data.result;
                if (!send_again(upstream, transfer, *ret_code))
                        return transfer;
        }
        return NULL;
}

bool upstream_next(struct upstream *upstream, struct upstream_end *ret)
{
        CURLcode code;
        struct transfer *transfer = next_ended(upstream, &code);

        if (!transfer)
                return (upstream->sockets.disordered || upstream->any_lost) &&
                       next_lost(upstream, ret);
        *ret = (struct upstream_end){
                .transfer = transfer,
                .flight = transfer->flight,
                .client = transfer->client,
                .url = transfer->url,
                .detail = transfer->detail,
        };
        transfer_result(transfer, code, &ret->result, &ret->took_us);
        if (ret->result.transport == REASON_OUT_OF_MEMORY)
                sockets_end(&upstream->sockets, transfer->local_port);
        else if (ret->result.transport == REASON_ISSUER_TIMEOUT)
                sockets_end_unheard(&upstream->sockets, transfer->local_port, transfer->sent_ms);
        return true;
}

void upstream_release(struct upstream *upstream, struct upstream_end *ended)
{
        /* After a failure nothing is known of the handle's state; and libcurl never forgets how
         * often a handle has sent once more, and fails its sixth time. */
        if (ended->result.transport == REASON_NONE && ended->transfer->n_sent <= 1 &&
            ended->transfer->generation == upstream->generation)
                keep(upstream, ended->transfer);
        else
                end(upstream, ended->transfer);
        ended->transfer = NULL;
}
