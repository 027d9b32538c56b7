/* SPDX-License-Identifier: MIT */
#pragma once

/* What this process costs, as the kernel tells it. Reads nothing but /proc of its own, which never
 * waits for anybody. */

#include <stdint.h>

/* 0: not known, each. */
struct process_figures {
        uint64_t cpu_us;
        uint64_t resident_bytes;
        uint64_t virtual_bytes;
        uint64_t open_fds;
        uint64_t max_fds;
};

void process_read(struct process_figures *ret);

/* When it was started, in microseconds since 1970; the time of day may leap, so ask once. 0: not
 * known. */
int64_t process_started_at_us(void);
