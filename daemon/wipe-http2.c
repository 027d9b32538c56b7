/* SPDX-License-Identifier: MIT */

/*
 * libcurl keeps HTTP/2 connections, and with each the buffers that its last requests and answers
 * went through: forms with client secrets and answers with tokens would rest there until something
 * as large came by. So the functions that those buffers pass through on their way are defined here,
 * where the dynamic linker finds them before those of libnghttp2 and libssl, call the real ones,
 * and wipe what is done with. A libcurl that uses others never calls these.
 *
 * Sent: libnghttp2 packs a frame and hands it to libcurl's callback, which takes a copy of it or
 * sends it; libcurl's copy ends in SSL_write(). With HTTP/2 it is never sent twice: a request that
 * is tried again is packed again. (With HTTP/1.1 it is the form itself, and left alone.)
 *
 * Received: bytes that libnghttp2 has consumed are done with, unless libcurl's callback says
 * "pause": then it has kept a pointer into them, until libnghttp2 is called with more for that
 * session, or all transfers are over. All of this happens on the thread of the loop.
 */

#include "wipe-http2.h"

#include <dlfcn.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>

#include "../lib/list.h"

/* libnghttp2's and libssl's, whose headers are not needed for what is a pointer here. */
struct nghttp2_session;
struct nghttp2_session_callbacks;
struct ssl_st;

#define NGHTTP2_ERR_PAUSE (-526)

typedef ssize_t (*send_function)(struct nghttp2_session *session, const uint8_t *bytes, size_t size,
                                 int flags, void *data);
typedef int (*chunk_function)(struct nghttp2_session *session, uint8_t flags, int32_t stream,
                              const uint8_t *bytes, size_t size, void *data);

void nghttp2_session_callbacks_set_send_callback(struct nghttp2_session_callbacks *callbacks,
                                                 send_function function);
void nghttp2_session_callbacks_set_on_data_chunk_recv_callback(
        struct nghttp2_session_callbacks *callbacks, chunk_function function);
ssize_t nghttp2_session_mem_recv(struct nghttp2_session *session, const uint8_t *bytes,
                                 size_t size);
void nghttp2_session_del(struct nghttp2_session *session);
int SSL_write(struct ssl_st *ssl, const void *bytes, int size);

/* Consumed, but libcurl may still read there. */
struct rest {
        struct list link; /* rests */
        const struct nghttp2_session *session;
        uintptr_t begin;
        uintptr_t end;
};

static struct list rests = LIST_INIT(rests);

/* libcurl's. Should it have several, only the first is followed, and what the others handle is not
 * wiped. */
static send_function send_frame;
static chunk_function take_chunk;
static bool paused;

static void wipe_range(uintptr_t begin, uintptr_t end)
{
        if (begin < end)
                /* NOLINTNEXTLINE(performance-no-int-to-ptr): it was one */
                explicit_bzero((void *)begin, end - begin);
}

/* The buffers are not const where they come from, but for one: what a connection begins with, which
 * libnghttp2 sends from a constant. */
static void wipe(const void *bytes, size_t size)
{
        static const char beginning[] = "PRI * HTTP/2.0";

        if (size < sizeof(beginning) - 1 || memcmp(bytes, beginning, sizeof(beginning) - 1) != 0)
                wipe_range((uintptr_t)bytes, (uintptr_t)bytes + size);
}

/* Wipes what rests of a session, but for the bytes between. */
static void wipe_rests(const struct nghttp2_session *session, uintptr_t begin, uintptr_t end)
{
        list_for_each_safe (link, &rests) {
                struct rest *rest = list_entry(link, struct rest, link);

                if (rest->session != session)
                        continue;
                wipe_range(rest->begin, rest->end < begin ? rest->end : begin);
                wipe_range(rest->begin > end ? rest->begin : end, rest->end);
                list_unlink(&rest->link);
                free(rest);
        }
}

static void remember_rest(const struct nghttp2_session *session, uintptr_t begin, uintptr_t end)
{
        struct rest *rest = malloc(sizeof(*rest));

        if (!rest)
                return;
        *rest = (struct rest){.session = session, .begin = begin, .end = end};
        list_push_back(&rests, &rest->link);
}

void wipe_http2_idle(void)
{
        list_for_each_safe (link, &rests) {
                struct rest *rest = list_entry(link, struct rest, link);

                wipe_range(rest->begin, rest->end);
                list_unlink(&rest->link);
                free(rest);
        }
}

static ssize_t send_and_wipe(struct nghttp2_session *session, const uint8_t *bytes, size_t size,
                             int flags, void *data)
{
        const ssize_t n = send_frame(session, bytes, size, flags, data);

        if (n > 0)
                wipe(bytes, (size_t)n);
        return n;
}

static int notice_pause(struct nghttp2_session *session, uint8_t flags, int32_t stream,
                        const uint8_t *bytes, size_t size, void *data)
{
        const int r = take_chunk(session, flags, stream, bytes, size, data);

        paused |= r == NGHTTP2_ERR_PAUSE;
        return r;
}

/* The function of that name that would have been called without us. */
#define REAL(name) ((__typeof__(&(name)))dlsym(RTLD_NEXT, #name))

void nghttp2_session_callbacks_set_send_callback(struct nghttp2_session_callbacks *callbacks,
                                                 send_function function)
{
        if (!send_frame)
                send_frame = function;
        REAL(nghttp2_session_callbacks_set_send_callback)
        (callbacks, function == send_frame ? send_and_wipe : function);
}

void nghttp2_session_callbacks_set_on_data_chunk_recv_callback(
        struct nghttp2_session_callbacks *callbacks, chunk_function function)
{
        if (!take_chunk)
                take_chunk = function;
        REAL(nghttp2_session_callbacks_set_on_data_chunk_recv_callback)
        (callbacks, function == take_chunk ? notice_pause : function);
}

ssize_t nghttp2_session_mem_recv(struct nghttp2_session *session, const uint8_t *bytes, size_t size)
{
        static __typeof__(&nghttp2_session_mem_recv) real;
        const uintptr_t begin = (uintptr_t)bytes;
        ssize_t n;

        if (!real)
                real = REAL(nghttp2_session_mem_recv);
        wipe_rests(session, begin, begin + size);
        paused = false;
        n = real(session, bytes, size);
        if (n <= 0)
                return n;
        if (paused)
                remember_rest(session, begin, begin + (size_t)n);
        else
                wipe(bytes, (size_t)n);
        return n;
}

/* libcurl frees its buffers, which wipes them, when it does this. */
void nghttp2_session_del(struct nghttp2_session *session)
{
        list_for_each_safe (link, &rests) {
                struct rest *rest = list_entry(link, struct rest, link);

                if (rest->session != session)
                        continue;
                list_unlink(&rest->link);
                free(rest);
        }
        REAL(nghttp2_session_del)(session);
}

static bool is_http2(const struct ssl_st *ssl)
{
        static void (*get_alpn)(const struct ssl_st *ssl, const unsigned char **name,
                                unsigned int *size);
        const unsigned char *name = NULL;
        unsigned int size = 0;

        if (!get_alpn)
                get_alpn = (__typeof__(get_alpn))dlsym(RTLD_NEXT, "SSL_get0_alpn_selected");
        if (get_alpn)
                get_alpn(ssl, &name, &size);
        return size == 2 && memcmp(name, "h2", 2) == 0;
}

int SSL_write(struct ssl_st *ssl, const void *bytes, int size)
{
        static __typeof__(&SSL_write) real;
        int n;

        if (!real)
                real = REAL(SSL_write);
        n = real(ssl, bytes, size);
        if (n > 0 && is_http2(ssl))
                wipe(bytes, (size_t)n);
        return n;
}
