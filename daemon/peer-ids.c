/* SPDX-License-Identifier: MIT */

/*
 * A user namespace need not map every id. The kernel shows those it leaves out as the overflow ids,
 * 65534 mostly, and nothing tells them from nobody's own: in such a namespace a rule for nobody
 * would be one for everybody. The namespace of a process of several threads never changes, so it is
 * looked at once. What cannot be read is taken for a namespace that leaves ids out.
 */

#include "peer-private.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define OVERFLOW_ID 65534 /* unless /proc says otherwise */

/* The beginning of a small file of /proc as a string, "" if it cannot be read. */
static void read_start(const char *path, char *ret, size_t size)
{
        const int fd = open(path, O_RDONLY | O_CLOEXEC);
        ssize_t n = -1;

        if (fd >= 0) {
                n = read(fd, ret, size - 1);
                close(fd);
        }
        ret[n > 0 ? n : 0] = '\0';
}

bool peer_map_is_whole(const char *map)
{
        unsigned long inside, outside, count;
        int end = 0;

        /* (uid_t)-1 is no id, so 4294967295 are all. Several ranges are never taken for all: only
         * what a namespace is by default needs to be. */
        /* NOLINTNEXTLINE(cert-err34-c): the kernel writes numbers that fit, and more is refused */
        return sscanf(map, "%lu %lu %lu %n", &inside, &outside, &count, &end) == 3 &&
               map[end] == '\0' && inside == 0 && outside == 0 && count == UINT32_MAX;
}

static uint32_t unmapped(const char *map_path, const char *overflow_path)
{
        char text[256];
        char *end;
        unsigned long id;

        read_start(map_path, text, sizeof(text));
        if (peer_map_is_whole(text))
                return UINT32_MAX;
        read_start(overflow_path, text, sizeof(text));
        id = strtoul(text, &end, 10);
        return end == text ? OVERFLOW_ID : (uint32_t)id;
}

void peer_find_unmapped(struct peer_finder *finder)
{
        finder->unmapped_uid = unmapped("/proc/self/uid_map", "/proc/sys/kernel/overflowuid");
        finder->unmapped_gid = unmapped("/proc/self/gid_map", "/proc/sys/kernel/overflowgid");
}
