/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * What the service manager is told (sd_notify(3)): that we are ready, reload, stop, live (the
 * watchdog), and one line of status. Never waits for it, but for notify_barrier() and
 * notify_send_fds(), which do so for as long as they are told; what cannot be sent at once is sent
 * later. Without a service manager nothing is done.
 *
 * libsystemd's own calls wait for as long as the manager does not read.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NOTIFY_STATUS_MAX_BYTES 512

/* The status changes at most once in this time, and is looked at no more often. */
#define NOTIFY_STATUS_MS 1000

/* What was refused since the manager does not read is tried again after this. */
#define NOTIFY_RETRY_MS 100

enum notify_state {
        NOTIFY_STARTING,
        NOTIFY_READY,
        NOTIFY_RELOADING,
        NOTIFY_STOPPING,
};

struct notify {
        int fd; /* connected to the manager; -1: there is none */
        enum notify_state state;
        bool state_unsent;
        bool status_unsent;
        bool alive_unsent;
        char status[NOTIFY_STATUS_MAX_BYTES];
        uint64_t status_at_ms; /* when it may be looked at again */
        bool status_stale;     /* something may have changed since it was */
        uint64_t extend_ms;    /* how much more time to ask for, with the next message; 0: none */
        uint64_t watchdog_ms;  /* half of its time; 0: there is none */
        uint64_t watchdog_at_ms;
        uint64_t retry_at_ms; /* UINT64_MAX: all was sent */
        uint64_t n_refused;   /* counter: messages that could not be sent at once */
};

/* Connects to NOTIFY_SOCKET, and reads WATCHDOG_USEC and WATCHDOG_PID. 0, also without a manager;
 * -errno: there should be one, and is not. Either way the rest may be called. */
int notify_init(struct notify *notify);
void notify_deinit(struct notify *notify);

/* What the manager believes from now on; to say it twice is harmless. It is sent at once, together
 * with a status that was not sent yet. */
void notify_set_state(struct notify *notify, enum notify_state state);

/* Asks, with the next message that is sent, not to be given up for so long. */
void notify_extend(struct notify *notify, uint64_t more_ms);

/* The line of `systemctl status`; sent if it is another one. Bytes that are not printable ASCII
 * become '?'. */
void notify_set_status(struct notify *notify, const char *status);

/* Whether it is time to put the status together, something having happened in this turn. */
bool notify_wants_status(struct notify *notify, uint64_t now_ms);

/* Once a turn, and from nowhere else: says that the loop turns, and what could not be said before.
 */
void notify_tick(struct notify *notify, uint64_t now_ms);
uint64_t notify_next_tick_ms(const struct notify *notify);

enum {
        NOTIFY_E_LATE = 1, /* the manager did not take it, or not read it, in time */
};

/* Sends a message of others' with descriptors ("FDSTORE=1\nFDNAME=…"), behind all that was said
 * before. `fds` are borrowed. 0, also without a manager; -errno or NOTIFY_E_LATE. */
int notify_send_fds(struct notify *notify, const char *text, const int *fds, size_t n_fds,
                    uint64_t timeout_ms);

/* Waits until the manager has read all that was sent. 0, also without one; -errno or
 * NOTIFY_E_LATE. */
int notify_barrier(struct notify *notify, uint64_t timeout_ms);
