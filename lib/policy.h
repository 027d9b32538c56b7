/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Who may ask for what: a pure function of who the kernel says is asking. Until rules for callers
 * can be configured, root and the daemon's own user are served and nobody else.
 */

#include <stdbool.h>
#include <sys/types.h>

#include "reason.h"
#include "settings.h"

/* The process at the other end of a connection, as the kernel names it. */
struct peer {
        bool known; /* false: the kernel could not tell, nothing else is set */
        uid_t uid;
        pid_t pid; /* 0: not known (TCP) */
};

/* 0, REASON_PEER_GONE or REASON_NOT_PERMITTED. */
int policy_check(const struct settings *settings, const struct peer *peer);
