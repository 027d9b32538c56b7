/* SPDX-License-Identifier: MIT */

/*
 * Some thirty libraries come with libcurl and libmicrohttpd, and each is looked through once, by
 * the dynamic linker and by its own constructors: most of what this process has resident after its
 * start are pages that it will not look at again. They are the files' own bytes, since only
 * segments that can never be written are touched, so that dropping them loses nothing.
 */

#include "trim.h"

#include <link.h>
#include <malloc.h>
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

static int drop_segments(struct dl_phdr_info *info, size_t size, void *data)
{
        const uintptr_t page_bytes = (uintptr_t)sysconf(_SC_PAGESIZE);

        for (size_t i = 0; i < info->dlpi_phnum; i++) {
                const ElfW(Phdr) *segment = &info->dlpi_phdr[i];
                const uintptr_t begin = (info->dlpi_addr + segment->p_vaddr) & ~(page_bytes - 1);
                const uintptr_t end = info->dlpi_addr + segment->p_vaddr + segment->p_memsz;

                if (segment->p_type != PT_LOAD || (segment->p_flags & PF_W))
                        continue;
                /* The kernel refuses what is no file of ours, such as the vDSO. */
                /* NOLINTNEXTLINE(performance-no-int-to-ptr): the linker tells numbers */
                (void)madvise((void *)begin, end - begin, MADV_DONTNEED);
        }
        return 0;
}

void trim_after_start(void)
{
        (void)malloc_trim(0);
        (void)dl_iterate_phdr(drop_segments, NULL);
}
