/* SPDX-License-Identifier: MIT */

/*
 * A file may be renamed away at any time (logrotate): its name is looked at before each write, and
 * if another file is behind it, or none, that one is opened. Where that fails the old one is kept.
 * A record whose first half was written and whose second half was refused (the disk is full) is
 * continued, not begun anew; should we stop before that, whoever opens the file ends the line
 * first.
 */

#include "audit-sink.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../lib/error.h"
#include "outlet.h"

#define FILE_MODE 0600

/* O_NONBLOCK is for what turns out not to be a regular file, and to be opened for writing only by
 * waiting. */
#define FILE_FLAGS (O_RDWR | O_APPEND | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC)

/* 0 or -errno. */
static int connect_journal(struct audit_sink *sink)
{
        const int fd = outlet_connect_journal(sink->path);

        if (fd < 0)
                return fd;
        sink->fd = fd;
        return 0;
}

/* Whoever wrote to the file before may have been cut short. */
static int end_line(int fd)
{
        struct stat st;
        char last;

        if (fstat(fd, &st) < 0)
                return -errno;
        if (st.st_size == 0 || (pread(fd, &last, 1, st.st_size - 1) == 1 && last == '\n'))
                return 0;
        return write(fd, "\n", 1) == 1 ? 0 : -errno;
}

/* The records are evidence: a file that others can write to is none. */
static int judge_file(int fd)
{
        struct stat st;

        if (fstat(fd, &st) < 0)
                return -errno;
        if (!S_ISREG(st.st_mode))
                return -ENOTSUP;
        if ((st.st_uid != 0 && st.st_uid != geteuid()) || (st.st_mode & (S_IWGRP | S_IWOTH)))
                return -EPERM;
        return 0;
}

static int open_file(const char *path)
{
        int fd, r;

        fd = open(path, FILE_FLAGS | O_CREAT, FILE_MODE);
        if (fd < 0)
                return -errno;
        r = judge_file(fd);
        if (r == 0)
                r = end_line(fd);
        if (r) {
                close(fd);
                return r;
        }
        return fd;
}

/* Whether a file can be made there. */
static int try_folder(const char *path)
{
        char *copy = strdup(path);
        int r;

        if (!copy)
                return -ENOMEM;
        r = access(dirname(copy), W_OK | X_OK) < 0 ? -errno : 0;
        free(copy);
        return r;
}

int audit_sink_try(const struct audit_config *config)
{
        int fd, r;

        if (config->target != AUDIT_TO_FILE)
                return 0;
        fd = open(config->file, FILE_FLAGS);
        if (fd < 0)
                return errno == ENOENT ? try_folder(config->file) : -errno;
        r = judge_file(fd);
        close(fd);
        return r;
}

int audit_sink_open(struct audit_sink *sink, const struct audit_config *config, const char *journal)
{
        const char *path = config->target == AUDIT_TO_FILE ? config->file : journal;
        int r = 0;

        *sink = (struct audit_sink){.target = config->target, .fd = -1};
        if (config->target == AUDIT_TO_STDERR) {
                sink->fd = outlet_open_stderr(&sink->is_socket);
                return error_trace(sink->fd < 0 ? sink->fd : 0);
        }
        sink->path = strdup(path);
        if (!sink->path)
                return error_trace(-ENOMEM);
        if (config->target == AUDIT_TO_JOURNAL) {
                sink->is_socket = true;
                sink->error = -connect_journal(sink);
                return 0;
        }
        sink->fd = open_file(sink->path);
        if (sink->fd < 0) {
                r = sink->fd;
                audit_sink_close(sink);
        }
        return error_trace(r);
}

void audit_sink_close(struct audit_sink *sink)
{
        if (sink->fd >= 0)
                close(sink->fd);
        sink->fd = -1;
        free(sink->path);
        sink->path = NULL;
}

/* Goes where the name leads now. Whether that is another file. */
static bool follow_name(struct audit_sink *sink)
{
        struct stat named, open;
        int fd;

        if (fstat(sink->fd, &open) < 0)
                return false;
        if (lstat(sink->path, &named) == 0 && named.st_dev == open.st_dev &&
            named.st_ino == open.st_ino)
                return false;
        fd = open_file(sink->path);
        if (fd < 0) {
                sink->error = -fd;
                return false;
        }
        close(sink->fd);
        sink->fd = fd;
        return true;
}

static int write_datagram(struct audit_sink *sink, const void *bytes, size_t size, size_t *at)
{
        int r = 0;

        if (sink->fd < 0)
                r = connect_journal(sink);
        if (r == 0 && send(sink->fd, bytes, size, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
                r = -errno;
        sink->error = -r;
        if (r == 0) {
                *at = size;
                return 0;
        }
        if (r == -EAGAIN)
                return AUDIT_SINK_E_FULL;
        if (r == -EMSGSIZE)
                return AUDIT_SINK_E_UNWRITABLE;
        /* ENOBUFS passes by itself; otherwise nobody is behind the socket any more. */
        if (r != -ENOBUFS && r != -EINTR && sink->fd >= 0) {
                close(sink->fd);
                sink->fd = -1;
        }
        return AUDIT_SINK_E_BROKEN;
}

static int write_stream(struct audit_sink *sink, const char *bytes, size_t size, size_t *at)
{
        sink->error = 0;
        if (sink->target == AUDIT_TO_FILE && follow_name(sink))
                *at = 0; /* the old file has half a line, the new one none */
        while (*at < size) {
                const ssize_t n = sink->is_socket ? send(sink->fd, bytes + *at, size - *at,
                                                         MSG_DONTWAIT | MSG_NOSIGNAL)
                                                  : write(sink->fd, bytes + *at, size - *at);

                if (n > 0) {
                        *at += (size_t)n;
                        continue;
                }
                if (n < 0 && errno == EINTR)
                        continue;
                sink->error = n < 0 ? errno : EIO;
                return sink->error == EAGAIN ? AUDIT_SINK_E_FULL : AUDIT_SINK_E_BROKEN;
        }
        return 0;
}

int audit_sink_write(struct audit_sink *sink, const void *bytes, size_t size, size_t *at)
{
        if (sink->target == AUDIT_TO_JOURNAL)
                return write_datagram(sink, bytes, size, at);
        return write_stream(sink, bytes, size, at);
}

void audit_sink_poll(const struct audit_sink *sink, int timeout_ms)
{
        struct pollfd it = {.fd = sink->fd, .events = POLLOUT};

        (void)poll(&it, 1, timeout_ms);
}
