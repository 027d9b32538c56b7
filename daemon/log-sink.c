/* SPDX-License-Identifier: MIT */

#include "log-sink.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../lib/error.h"
#include "outlet.h"

int log_sink_open(struct log_sink *sink, const char *journal, const char *stream)
{
        sink->journal = journal;
        sink->journal_fd = -1;
        sink->rest_size = 0;
        sink->to_journal = outlet_stderr_is_journal(stream);
        sink->fd = outlet_open_stderr(&sink->is_socket);
        return error_trace(sink->fd < 0 ? sink->fd : 0);
}

void log_sink_close(struct log_sink *sink)
{
        if (sink->fd >= 0)
                close(sink->fd);
        if (sink->journal_fd >= 0)
                close(sink->journal_fd);
        sink->fd = -1;
        sink->journal_fd = -1;
}

/* How many bytes were taken. */
static size_t write_some(struct log_sink *sink, const char *bytes, size_t size)
{
        ssize_t n;

        do
                n = sink->is_socket ? send(sink->fd, bytes, size, MSG_DONTWAIT | MSG_NOSIGNAL)
                                    : write(sink->fd, bytes, size);
        while (n < 0 && errno == EINTR);
        return n > 0 ? (size_t)n : 0;
}

int log_sink_write(struct log_sink *sink, const char *bytes, size_t size)
{
        size_t n;

        if (sink->rest_size > 0) {
                n = write_some(sink, sink->rest, sink->rest_size);
                sink->rest_size -= n;
                memmove(sink->rest, sink->rest + n, sink->rest_size);
                if (sink->rest_size > 0)
                        return LOG_SINK_E_FULL;
        }
        n = write_some(sink, bytes, size);
        if (n == 0)
                return LOG_SINK_E_FULL;
        sink->rest_size = size - n;
        memcpy(sink->rest, bytes + n, sink->rest_size);
        return 0;
}

/* The socket is systemd's, and outlives journald; but both may be replaced. */
int log_sink_send(struct log_sink *sink, const char *bytes, size_t size)
{
        for (int i = 0; i < 2; i++) {
                if (sink->journal_fd < 0)
                        sink->journal_fd = outlet_connect_journal(sink->journal);
                if (sink->journal_fd < 0)
                        return LOG_SINK_E_AWAY;
                if (send(sink->journal_fd, bytes, size, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0)
                        return 0;
                if (errno == EAGAIN || errno == ENOBUFS || errno == EINTR)
                        return LOG_SINK_E_FULL;
                close(sink->journal_fd);
                sink->journal_fd = -1;
        }
        return LOG_SINK_E_AWAY;
}
