/* SPDX-License-Identifier: MIT */

/*
 * Whole requests, read by libmicrohttpd as the daemon lets it read them. A head that is said to be
 * plain has in it, line by line, just the names and values that we were given; and one that is
 * written as everybody writes it is plain. What libmicrohttpd refuses by itself is not looked at.
 */

#include "fuzz.h"

#include <microhttpd.h>
#include <stdbool.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../../daemon/head.h"
#include "../../lib/text.h"

#define POOL_BYTES      16384 /* as the daemon's */
#define INPUT_MAX_BYTES 8192
#define FIELDS_MAX      512
#define TURNS_MAX       8

struct field {
        struct text name, value;
};

/* The request under way. */
static struct {
        struct text sent;
        struct head head;
        struct field fields[FIELDS_MAX];
        size_t n;
        bool done;
} seen;

static enum MHD_Result take_field(void *data, enum MHD_ValueKind kind, const char *name,
                                  size_t size, const char *value, size_t value_size)
{
        if (!value)
                return MHD_YES;
        head_take(&seen.head, name, value);
        must(seen.n < FIELDS_MAX);
        seen.fields[seen.n++] = (struct field){TEXT(name), TEXT(value)};
        return MHD_YES;
}

/* Cuts off a line that ends with CRLF. A NUL and LF look the same to whom libmicrohttpd has written
 * over both. False: it ends otherwise. */
static bool take_line(struct text *rest, struct text *ret)
{
        const char *const lf = rest->size > 0 ? memchr(rest->bytes, '\n', rest->size) : NULL;

        if (!lf || lf == rest->bytes || (lf[-1] != '\r' && lf[-1] != '\0'))
                return false;
        *ret = (struct text){rest->bytes, (size_t)(lf - rest->bytes) - 1};
        *rest = (struct text){lf + 1, rest->size - ret->size - 2};
        return true;
}

/* What is between colon and CRLF, without the one blank that belongs to neither. */
static struct field split(struct text line)
{
        const char *const colon = memchr(line.bytes, ':', line.size);
        struct field field;

        must(colon);
        field.name = (struct text){line.bytes, (size_t)(colon - line.bytes)};
        field.value = (struct text){colon + 1, line.size - field.name.size - 1};
        if (field.value.size > 0 && (*field.value.bytes == ' ' || *field.value.bytes == '\t')) {
                field.value.bytes++;
                field.value.size--;
        }
        return field;
}

/* Whether the rest begins with these bytes, which are cut off. */
static bool take(struct text *rest, struct text bytes)
{
        if (rest->size < bytes.size || memcmp(rest->bytes, bytes.bytes, bytes.size) != 0)
                return false;
        rest->bytes += bytes.size;
        rest->size -= bytes.size;
        return true;
}

/* Whether this is, line by line, what we were given. Of the end of the last line, and of the empty
 * one, four bytes are left, which may be other line ends around a line without a name. */
static bool reads_as_given(struct text sent)
{
        struct text line;

        if (!take_line(&sent, &line))
                return false;
        for (size_t i = 0; i < seen.n; i++) {
                const struct field *const field = &seen.fields[i];

                if (!take(&sent, field->name) || !take(&sent, TEXT(":")))
                        return false;
                (void)(take(&sent, TEXT(" ")) || take(&sent, TEXT("\t")));
                if (!take(&sent, field->value) ||
                    (i + 1 < seen.n && (!take_line(&sent, &line) || line.size > 0)))
                        return false;
        }
        return sent.size >= 4 && memchr("\r\n", sent.bytes[0], 3) && sent.bytes[3] == '\n';
}

/* Lines may come before a request that are empty to libmicrohttpd, and what it skips there is not
 * ours to judge: so the request begins wherever its method stands. */
static void check_plain(struct text sent, const char *method)
{
        bool found = false;

        for (; sent.size > 0 && !found; sent.bytes++, sent.size--) {
                struct text rest = sent;

                found = take(&rest, TEXT(method)) && reads_as_given(rest);
        }
        must(found);
}

static bool is_plain_line(struct text line)
{
        const char *const colon = memchr(line.bytes, ':', line.size);

        if (!colon || colon == line.bytes)
                return false;
        for (size_t i = 0; i < line.size; i++)
                if (line.bytes[i] < ' ' || line.bytes[i] > '~' ||
                    (line.bytes + i < colon && line.bytes[i] == ' '))
                        return false;
        /* No second blank, and something behind the first. */
        line = split(line).value;
        return line.size > 0 && *line.bytes != ' ';
}

/* Whether it is written without anything to forgive. */
static bool is_written_plainly(struct text sent)
{
        struct text line;

        if (!take_line(&sent, &line) || line.size == 0)
                return false;
        for (size_t i = 0; i < line.size; i++)
                if (line.bytes[i] < ' ' || line.bytes[i] > '~')
                        return false;
        while (take_line(&sent, &line)) {
                if (line.size == 0)
                        return true;
                if (!is_plain_line(line))
                        return false;
        }
        return false;
}

/* The head is in. The connection is closed before a body would be read. */
static enum MHD_Result handle(void *data, struct MHD_Connection *connection, const char *url,
                              const char *method, const char *version, const char *upload,
                              size_t *upload_size, void **request)
{
        const union MHD_ConnectionInfo *info;
        bool plain;

        if (seen.done)
                return MHD_NO;
        seen.done = true;
        head_begin(&seen.head, version);
        (void)MHD_get_connection_values_n(connection, MHD_HEADER_KIND, take_field, NULL);
        info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_REQUEST_HEADER_SIZE);
        must(info);
        plain = head_is_plain(&seen.head, method, info->header_size);
        if (plain)
                check_plain(seen.sent, method);
        else
                must(seen.n == 0 || !is_written_plainly(seen.sent));
        return MHD_NO;
}

static void closed(void *data, struct MHD_Connection *connection, void **context,
                   enum MHD_ConnectionNotificationCode code)
{
        if (code == MHD_CONNECTION_NOTIFY_CLOSED)
                *(bool *)data = true;
}

static void run(struct MHD_Daemon *mhd, const bool *is_closed)
{
        for (int turn = 0; turn < TURNS_MAX && !*is_closed; turn++)
                must(MHD_run(mhd) == MHD_YES);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        static const struct sockaddr peer = {.sa_family = AF_UNIX};
        static struct MHD_Daemon *mhd;
        static bool is_closed;
        int fds[2];

        if (size > INPUT_MAX_BYTES)
                return 0;
        if (!mhd)
                mhd = MHD_start_daemon(MHD_USE_EPOLL | MHD_USE_NO_LISTEN_SOCKET, 0, NULL, NULL,
                                       handle, NULL, MHD_OPTION_NOTIFY_CONNECTION, closed,
                                       &is_closed, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
                                       (size_t)POOL_BYTES, MHD_OPTION_STRICT_FOR_CLIENT, 1,
                                       MHD_OPTION_END);
        must(mhd);
        must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) == 0);
        must(size == 0 || write(fds[0], data, size) == (ssize_t)size);
        must(shutdown(fds[0], SHUT_WR) == 0);

        memset(&seen, 0, sizeof(seen));
        seen.sent = (struct text){(const char *)data, size};
        is_closed = false;
        must(MHD_add_connection(mhd, fds[1], &peer, sizeof(peer)) == MHD_YES);
        run(mhd, &is_closed);
        /* What waits for the rest of a head waits no longer. */
        close(fds[0]);
        run(mhd, &is_closed);
        must(is_closed);
        return 0;
}
