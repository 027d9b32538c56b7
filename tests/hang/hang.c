/* SPDX-License-Identifier: MIT */

/*
 * Preloaded into a daemon under test: whoever opens a file, or has its folder watched, hangs for as
 * long as there is a FIFO of that file's or folder's name in $EGAIN_TEST_HANG, as on a file system
 * that does not answer. See tests/system/hang.py.
 */

/* Both kinds of open() are to be seen, under their own names. */
#undef _FILE_OFFSET_BITS

#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

typedef int (*open_function)(const char *path, int flags, ...);
typedef int (*watch_function)(int fd, const char *path, uint32_t mask);

/* What is after us in the order of libraries: the sanitizers, or glibc. */
static void *find(const char *name)
{
        void *found = dlsym(RTLD_NEXT, name);

        if (!found)
                abort();
        return found;
}

static void hang(const char *path)
{
        const char *directory = getenv("EGAIN_TEST_HANG");
        const char *slash = strrchr(path, '/');
        struct stat status;
        char gate[PATH_MAX], byte;
        int fd;

        if (!directory || !slash)
                return;
        if (snprintf(gate, sizeof(gate), "%s%s", directory, slash) >= (int)sizeof(gate) ||
            stat(gate, &status) < 0 || !S_ISFIFO(status.st_mode))
                return;
        fd = ((open_function)find("open"))(gate, O_RDONLY | O_CLOEXEC);
        if (fd < 0)
                return;
        while (read(fd, &byte, 1) > 0)
                ;
        close(fd);
}

static mode_t mode_of(int flags, va_list arguments)
{
        return flags & (O_CREAT | O_TMPFILE) ? va_arg(arguments, mode_t) : 0;
}

int open(const char *path, int flags, ...)
{
        va_list arguments;
        mode_t mode;

        va_start(arguments, flags);
        mode = mode_of(flags, arguments);
        va_end(arguments);
        hang(path);
        return ((open_function)find("open"))(path, flags, mode);
}

int open64(const char *path, int flags, ...)
{
        va_list arguments;
        mode_t mode;

        va_start(arguments, flags);
        mode = mode_of(flags, arguments);
        va_end(arguments);
        hang(path);
        return ((open_function)find("open64"))(path, flags, mode);
}

int inotify_add_watch(int fd, const char *path, uint32_t mask)
{
        hang(path);
        return ((watch_function)find("inotify_add_watch"))(fd, path, mask);
}
