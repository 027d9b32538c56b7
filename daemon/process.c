/* SPDX-License-Identifier: MIT */

#include "process.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* /proc/self/stat has some 50 numbers. */
#define FILE_MAX_BYTES 2048

/* Of starttime in proc(5), counted from behind the name of the program, which is the second. */
#define STARTTIME_FIELD (22 - 2)

static int64_t now_us(clockid_t clock)
{
        struct timespec now;

        if (clock_gettime(clock, &now) < 0)
                return 0;
        return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

/* The beginning of a small file, "" if it cannot be read. */
static void read_file(const char *path, char content[FILE_MAX_BYTES])
{
        const int fd = open(path, O_RDONLY | O_CLOEXEC);
        ssize_t n = 0;

        if (fd >= 0) {
                n = read(fd, content, FILE_MAX_BYTES - 1);
                close(fd);
        }
        content[n > 0 ? n : 0] = '\0';
}

static void read_memory(struct process_figures *ret)
{
        const uint64_t page_bytes = (uint64_t)sysconf(_SC_PAGESIZE);
        char content[FILE_MAX_BYTES], *end;

        read_file("/proc/self/statm", content);
        ret->virtual_bytes = strtoull(content, &end, 10) * page_bytes;
        ret->resident_bytes = strtoull(end, NULL, 10) * page_bytes;
}

/* Since Linux 6.2 the size of the folder says how many are open; before, they are counted. */
static uint64_t count_fds(void)
{
        struct stat st;
        uint64_t n = 0;
        DIR *folder;

        if (stat("/proc/self/fd", &st) == 0 && st.st_size > 0)
                return (uint64_t)st.st_size;
        folder = opendir("/proc/self/fd");
        if (!folder)
                return 0;
        while (readdir(folder))
                n++;
        closedir(folder);
        return n > 3 ? n - 3 : 0; /* ".", "..", and that of the folder itself */
}

void process_read(struct process_figures *ret)
{
        struct rlimit limit;

        *ret = (struct process_figures){
                .cpu_us = (uint64_t)now_us(CLOCK_PROCESS_CPUTIME_ID),
                .open_fds = count_fds(),
        };
        read_memory(ret);
        if (getrlimit(RLIMIT_NOFILE, &limit) == 0)
                ret->max_fds = limit.rlim_cur;
}

int64_t process_started_at_us(void)
{
        const int64_t ticks_per_s = sysconf(_SC_CLK_TCK);
        char content[FILE_MAX_BYTES], *at;
        int64_t ticks;

        read_file("/proc/self/stat", content);
        at = strrchr(content, ')');
        for (int i = 0; at && i < STARTTIME_FIELD; i++)
                at = strchr(at + 1, ' ');
        ticks = at ? strtoll(at, NULL, 10) : 0;
        if (ticks <= 0 || ticks_per_s <= 0)
                return 0;
        return now_us(CLOCK_REALTIME) - now_us(CLOCK_BOOTTIME) + ticks * 1000000 / ticks_per_s;
}
