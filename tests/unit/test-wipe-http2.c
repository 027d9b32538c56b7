/* SPDX-License-Identifier: MIT */

/* The test is in libcurl's place: it calls what libcurl would call, and looks at its buffers. */

#include <string.h>

#include "../../daemon/wipe-http2.h"
#include "fake-http2.h"
#include "helpers.h"

#define PAUSE (-526)

static struct nghttp2_session *const a = (struct nghttp2_session *)(void *)&fake_http2.send;
static struct nghttp2_session *const b = (struct nghttp2_session *)(void *)&fake_http2.chunk;

static int said; /* by take() */

static int take(struct nghttp2_session *session, uint8_t flags, int32_t stream,
                const uint8_t *bytes, size_t size, void *data)
{
        return said;
}

static ssize_t n_sent;

static ssize_t send_frame(struct nghttp2_session *session, const uint8_t *bytes, size_t size,
                          int flags, void *data)
{
        return n_sent;
}

static int set_up(void **state)
{
        nghttp2_session_callbacks_set_send_callback(NULL, send_frame);
        nghttp2_session_callbacks_set_on_data_chunk_recv_callback(NULL, take);
        assert_non_null(fake_http2.send);
        assert_ptr_not_equal(fake_http2.send, send_frame);
        assert_ptr_not_equal(fake_http2.chunk, take);
        return 0;
}

static ssize_t receive(struct nghttp2_session *session, char *bytes, size_t size, ssize_t consumed,
                       int says)
{
        said = says;
        fake_http2.consumed = consumed;
        return nghttp2_session_mem_recv(session, (uint8_t *)bytes, size);
}

static void test_received(void **state)
{
        char buffer[] = "a token";

        assert_int_equal(receive(a, buffer, 7, 7, 0), 7);
        assert_memory_equal(buffer, "\0\0\0\0\0\0\0", 7);
        strcpy(buffer, "a token");
        assert_int_equal(receive(a, buffer, 7, 4, 0), 4);
        assert_memory_equal(buffer, "\0\0\0\0ken", 7);
        strcpy(buffer, "a token");
        assert_int_equal(receive(a, buffer, 7, -1, 0), -1);
        assert_string_equal(buffer, "a token");
}

/* libcurl still reads there, until it comes with more for the same session. */
static void test_paused(void **state)
{
        char buffer[] = "0123456789", other[] = "more";

        assert_int_equal(receive(a, buffer, 10, 10, PAUSE), 10);
        assert_string_equal(buffer, "0123456789");
        assert_int_equal(receive(b, other, 4, 4, 0), 4);
        assert_string_equal(buffer, "0123456789");
        /* New bytes in the same buffer are not touched before they are read. */
        memcpy(buffer + 2, ((const char[]){'n', 'e', 'w'}), 3);
        assert_int_equal(receive(a, buffer + 2, 3, 3, PAUSE), 3);
        assert_memory_equal(buffer, "\0\0new\0\0\0\0\0", 10);
        wipe_http2_idle();
        assert_memory_equal(buffer, "\0\0\0\0\0\0\0\0\0\0", 10);
}

static void test_new_bytes_around_and_elsewhere(void **state)
{
        char buffer[] = "0123456789", elsewhere[] = "x";

        assert_int_equal(receive(a, buffer + 2, 6, 6, PAUSE), 6);
        assert_int_equal(receive(a, buffer, 10, 1, PAUSE), 1);
        assert_string_equal(buffer, "0123456789");
        assert_int_equal(receive(a, elsewhere, 1, 1, 0), 1);
        assert_memory_equal(buffer, "\000123456789", 10);
        wipe_http2_idle();
}

/* What libcurl has freed is not written to. */
static void test_deleted(void **state)
{
        char buffer[] = "0123456789";
        const int n_deleted = fake_http2.n_deleted;

        assert_int_equal(receive(a, buffer, 10, 10, PAUSE), 10);
        nghttp2_session_del(a);
        assert_int_equal(fake_http2.n_deleted, n_deleted + 1);
        wipe_http2_idle();
        assert_string_equal(buffer, "0123456789");
}

static void test_sent(void **state)
{
        char frame[] = "a secret";

        n_sent = 8;
        assert_int_equal(fake_http2.send(a, (uint8_t *)frame, 8, 0, NULL), 8);
        assert_memory_equal(frame, "\0\0\0\0\0\0\0\0", 8);
        strcpy(frame, "a secret");
        n_sent = 2;
        assert_int_equal(fake_http2.send(a, (uint8_t *)frame, 8, 0, NULL), 2);
        assert_memory_equal(frame, "\0\0secret", 8);
        n_sent = -504; /* it would block, and is tried again */
        strcpy(frame, "a secret");
        assert_int_equal(fake_http2.send(a, (uint8_t *)frame, 8, 0, NULL), -504);
        assert_string_equal(frame, "a secret");
}

/* A connection's first bytes are a constant of libnghttp2's. */
static void test_the_beginning(void **state)
{
        static const char beginning[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

        n_sent = sizeof(beginning) - 1;
        assert_int_equal(
                fake_http2.send(a, (const uint8_t *)beginning, sizeof(beginning) - 1, 0, NULL),
                n_sent);
        assert_string_equal(beginning, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
}

static void test_written(void **state)
{
        char bytes[] = "a secret";

        fake_http2.protocol = "h2";
        fake_http2.written = -1; /* to be tried again with the same bytes */
        assert_int_equal(SSL_write(NULL, bytes, 8), -1);
        assert_string_equal(bytes, "a secret");
        fake_http2.written = 8;
        assert_int_equal(SSL_write(NULL, bytes, 8), 8);
        assert_memory_equal(bytes, "\0\0\0\0\0\0\0\0", 8);
}

/* There it is the form of the request, which may be sent once more. */
static void test_written_without_http2(void **state)
{
        char bytes[] = "a secret";

        fake_http2.protocol = "h1";
        fake_http2.written = 8;
        assert_int_equal(SSL_write(NULL, bytes, 8), 8);
        assert_string_equal(bytes, "a secret");
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_received),
                cmocka_unit_test(test_paused),
                cmocka_unit_test(test_new_bytes_around_and_elsewhere),
                cmocka_unit_test(test_deleted),
                cmocka_unit_test(test_sent),
                cmocka_unit_test(test_the_beginning),
                cmocka_unit_test(test_written),
                cmocka_unit_test(test_written_without_http2),
        };

        return cmocka_run_group_tests(tests, set_up, NULL);
}
