/* SPDX-License-Identifier: MIT */

/*
 * Standard error is somebody else's open file: O_NONBLOCK set on it would hold for the shell, too.
 * So a pipe or a terminal is opened anew through /proc, with a description of our own, and a socket
 * (the journal's) is written to with MSG_DONTWAIT. A regular file is written to as it is: others
 * may write to it from where we are, and O_NONBLOCK would mean nothing for it.
 */

#include "log.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define LINE_MAX_BYTES 1024

static struct {
        int fd;
        bool is_socket;
        bool to_journal;
        enum log_level level;
        uint64_t dropped;
        uint64_t dropped_said;
} self = {.fd = -1, .level = LOG_LEVEL_INFO};

static const struct {
        int priority; /* syslog(3) */
        const char *name;
} levels[] = {
        [LOG_LEVEL_ERROR] = {3, "error"},
        [LOG_LEVEL_WARNING] = {4, "warning"},
        [LOG_LEVEL_INFO] = {6, "info"},
        [LOG_LEVEL_DEBUG] = {7, "debug"},
};

void log_init(enum log_level level)
{
        struct stat st;

        self.level = level;
        self.to_journal = getenv("JOURNAL_STREAM");
        if (fstat(STDERR_FILENO, &st) < 0)
                return;
        self.is_socket = S_ISSOCK(st.st_mode);
        if (self.is_socket || S_ISREG(st.st_mode)) {
                self.fd = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
                return;
        }
        self.fd = open("/proc/self/fd/2", O_WRONLY | O_APPEND | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
        if (self.fd < 0)
                self.fd = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
}

void log_deinit(void)
{
        if (self.fd >= 0)
                close(self.fd);
        self.fd = -1;
}

static bool write_line(const char *line, size_t size)
{
        const ssize_t n = self.is_socket ? send(self.fd, line, size, MSG_DONTWAIT | MSG_NOSIGNAL)
                                         : write(self.fd, line, size);

        return n == (ssize_t)size;
}

/* Puts the line together and writes it; `text` is changed. */
static void put(enum log_level level, char *text)
{
        char line[LINE_MAX_BYTES + 64];
        int size;

        for (char *c = text; *c; c++)
                if ((unsigned char)*c < 0x20 || *c == 0x7f)
                        *c = '?';
        if (self.to_journal)
                size = snprintf(line, sizeof(line), "<%d>%s\n", levels[level].priority, text);
        else
                size = snprintf(line, sizeof(line), "egain-tokend: %s: %s\n", levels[level].name,
                                text);
        if (!write_line(line, (size_t)size))
                self.dropped++;
}

void log_line(enum log_level level, const char *format, ...)
{
        char text[LINE_MAX_BYTES];
        va_list args;

        if (self.fd < 0 || level > self.level)
                return;
        if (self.dropped > self.dropped_said) {
                const uint64_t dropped = self.dropped;

                (void)snprintf(text, sizeof(text), "%llu log lines could not be written",
                               (unsigned long long)(dropped - self.dropped_said));
                put(LOG_LEVEL_WARNING, text);
                if (self.dropped > dropped)
                        return; /* still nobody reads */
                self.dropped_said = dropped;
        }
        va_start(args, format);
        (void)vsnprintf(text, sizeof(text), format, args);
        va_end(args);
        put(level, text);
}

uint64_t log_get_dropped(void)
{
        return self.dropped;
}

bool log_limit_pass(struct log_limit *limit, uint64_t now_ms, uint64_t *ret_suppressed)
{
        if (now_ms / 1000 != limit->second) {
                limit->second = now_ms / 1000;
                limit->n = 0;
        }
        if (limit->n >= limit->max) {
                limit->suppressed++;
                return false;
        }
        limit->n++;
        *ret_suppressed = limit->suppressed;
        limit->suppressed = 0;
        return true;
}
