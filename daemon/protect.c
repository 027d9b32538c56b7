/* SPDX-License-Identifier: MIT */

/*
 * A process that is not dumpable leaves no core file, not through a pipe either, where RLIMIT_CORE
 * has no say, and can be traced and read by root alone, not by its own user. The other two settings
 * stand behind that one, for whoever makes it dumpable again: what a debugger writes as a core file
 * then has no memory in it unless it is told to.
 *
 * Memory is locked page by page as it is used, so that it costs nothing. A limit on locked memory
 * counts what is mapped, and makes the allocation fail that would exceed it: so it is locked only
 * where there is no limit. Program text is left alone, since it holds nothing and is to be dropped.
 */

#include "protect.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../lib/error.h"
#include "log.h"

static bool locked;

void protect_from_dumps(void)
{
        static const struct rlimit none = {};
        /* While it can: the file is root's once the process is not dumpable. */
        const int fd = open("/proc/self/coredump_filter", O_WRONLY | O_CLOEXEC);

        if (fd >= 0) {
                (void)!write(fd, "0", 1);
                close(fd);
        }
        (void)setrlimit(RLIMIT_CORE, &none);
        (void)prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
}

static bool has_capability(void)
{
        struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
        struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {};

        return syscall(SYS_capget, &header, data) == 0 &&
               (data[CAP_TO_INDEX(CAP_IPC_LOCK)].effective & CAP_TO_MASK(CAP_IPC_LOCK));
}

static bool may_lock(void)
{
        struct rlimit limit;

        return has_capability() ||
               (getrlimit(RLIMIT_MEMLOCK, &limit) == 0 && limit.rlim_cur == RLIM_INFINITY);
}

/* What can be written to already. 0 or -errno. */
static int lock_mappings(void)
{
        char line[512], *at;
        FILE *file = fopen("/proc/self/maps", "re");
        int r = 0;

        if (!file)
                return error_trace(-errno);
        /* "BEGIN-END rw-p …". A long name may come in parts, which look different. */
        while (r == 0 && fgets(line, sizeof(line), file)) {
                const uintptr_t begin = strtoull(line, &at, 16);
                const uintptr_t end = *at == '-' ? strtoull(at + 1, &at, 16) : 0;

                if (end <= begin || strncmp(at, " rw", 3) != 0)
                        continue;
                /* NOLINTNEXTLINE(performance-no-int-to-ptr): the kernel tells numbers */
                if (mlock2((void *)begin, end - begin, MLOCK_ONFAULT) < 0)
                        r = -errno;
        }
        fclose(file);
        return error_trace(r);
}

void protect_from_swap(enum protect_lock lock)
{
        int r = 0;

        if (locked || lock == PROTECT_LOCK_OFF)
                return;
        if (!may_lock()) {
                if (lock == PROTECT_LOCK_ON)
                        log_warning("memory is not locked, and may be swapped: there is a limit on "
                                    "it (RLIMIT_MEMLOCK; LimitMEMLOCK=infinity in a unit)");
                return;
        }
        if (mlockall(MCL_FUTURE | MCL_ONFAULT) < 0)
                r = -errno;
        if (r == 0)
                r = lock_mappings();
        locked = r == 0;
        if (r < 0)
                log_warning("memory is not locked, and may be swapped: %s", strerror(-r));
        else
                log_debug("memory is locked");
}

bool protect_is_locked(void)
{
        return locked;
}
