/* SPDX-License-Identifier: MIT */

/*
 * Standard error is somebody else's open file: O_NONBLOCK set on it would hold for the shell, too.
 * So a pipe or a terminal is opened anew through /proc, with a description of our own, and a socket
 * is written to with MSG_DONTWAIT. A regular file is written to as it is: others may write to it
 * from where we are, and O_NONBLOCK would mean nothing for it.
 *
 * The journal's socket is spoken to directly: libsystemd's call waits when journald is stopped. It
 * is connected, since only then does poll() tell when journald's queue has room again.
 */

#include "outlet.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

int outlet_open_stderr(bool *ret_is_socket)
{
        struct stat st;
        int fd = -1;

        if (fstat(STDERR_FILENO, &st) < 0)
                return -errno;
        *ret_is_socket = S_ISSOCK(st.st_mode);
        if (!*ret_is_socket && !S_ISREG(st.st_mode))
                fd = open("/proc/self/fd/2",
                          O_WRONLY | O_APPEND | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
        if (fd < 0)
                fd = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
        return fd < 0 ? -errno : fd;
}

int outlet_connect_journal(const char *path)
{
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        const size_t size = strlen(path);
        int fd;

        if (size >= sizeof(address.sun_path))
                return -ENAMETOOLONG;
        memcpy(address.sun_path, path, size);
        fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (fd < 0)
                return -errno;
        if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
                const int error = errno;

                close(fd);
                return -error;
        }
        return fd;
}

/* A decimal number at *at, moved past; false if there is none, or it is out of range. */
static bool parse_number(const char **at, unsigned long long *ret)
{
        char *end;

        if (**at < '0' || **at > '9')
                return false;
        errno = 0;
        *ret = strtoull(*at, &end, 10);
        *at = end;
        return errno == 0;
}

bool outlet_stderr_is_journal(const char *stream)
{
        unsigned long long device, inode;
        struct stat st;

        if (!stream || !parse_number(&stream, &device) || *stream++ != ':' ||
            !parse_number(&stream, &inode) || *stream != '\0')
                return false;
        return fstat(STDERR_FILENO, &st) == 0 && st.st_dev == device && st.st_ino == inode;
}
