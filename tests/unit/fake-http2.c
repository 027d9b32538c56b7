/* SPDX-License-Identifier: MIT */

#include "fake-http2.h"

struct fake_http2 fake_http2;

void nghttp2_session_callbacks_set_send_callback(void *callbacks, send_function function)
{
        fake_http2.send = function;
}

void nghttp2_session_callbacks_set_on_data_chunk_recv_callback(void *callbacks,
                                                               chunk_function function)
{
        fake_http2.chunk = function;
}

ssize_t nghttp2_session_mem_recv(struct nghttp2_session *session, const uint8_t *bytes, size_t size)
{
        (void)fake_http2.chunk(session, 0, 1, bytes, size, NULL);
        return fake_http2.consumed;
}

void nghttp2_session_del(struct nghttp2_session *session)
{
        fake_http2.n_deleted++;
}

int SSL_write(void *ssl, const void *bytes, int size)
{
        return fake_http2.written;
}

void SSL_get0_alpn_selected(const void *ssl, const unsigned char **name, unsigned int *size)
{
        *name = (const unsigned char *)fake_http2.protocol;
        *size = 2;
}
