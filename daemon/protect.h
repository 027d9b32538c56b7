/* SPDX-License-Identifier: MIT */
#pragma once

/* Keeps the memory of this process in memory: out of core files, out of the reach of other
 * processes of its user, and out of swap. */

#include <stdbool.h>

/* Whether memory is locked, which keeps it out of swap. */
enum protect_lock {
        PROTECT_LOCK_AUTO, /* where that is allowed, without a word where it is not */
        PROTECT_LOCK_ON,   /* a warning where it is not allowed */
        PROTECT_LOCK_OFF,
};

/* Once, before anything secret is read. */
void protect_from_dumps(void);

/* What is there, as far as it can be written to, and all that is to come. Says what came of it. */
void protect_from_swap(enum protect_lock lock);

/* Whether that was done. */
bool protect_is_locked(void);
