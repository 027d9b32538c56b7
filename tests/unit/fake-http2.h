/* SPDX-License-Identifier: MIT */
#pragma once

/* What libnghttp2 and libssl would do, as a test tells; a shared library, like those. */

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct nghttp2_session;

typedef ssize_t (*send_function)(struct nghttp2_session *session, const uint8_t *bytes, size_t size,
                                 int flags, void *data);
typedef int (*chunk_function)(struct nghttp2_session *session, uint8_t flags, int32_t stream,
                              const uint8_t *bytes, size_t size, void *data);

struct fake_http2 {
        send_function send;   /* as they were set */
        chunk_function chunk; /* called with all that is received */
        ssize_t consumed;     /* of what is received */
        int written;          /* of what is sent */
        const char *protocol; /* of two letters */
        int n_deleted;
};

extern struct fake_http2 fake_http2;

void nghttp2_session_callbacks_set_send_callback(void *callbacks, send_function function);
void nghttp2_session_callbacks_set_on_data_chunk_recv_callback(void *callbacks,
                                                               chunk_function function);
ssize_t nghttp2_session_mem_recv(struct nghttp2_session *session, const uint8_t *bytes,
                                 size_t size);
void nghttp2_session_del(struct nghttp2_session *session);
int SSL_write(void *ssl, const void *bytes, int size);
void SSL_get0_alpn_selected(const void *ssl, const unsigned char **name, unsigned int *size);
