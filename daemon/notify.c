/* SPDX-License-Identifier: MIT */

/*
 * The socket is connected, because only then poll() tells when the manager's queue has room again,
 * and it does not block. What is to be said is a state, not a queue: of several states that could
 * not be sent only the last one matters.
 */

#include "notify.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <systemd/sd-daemon.h>
#include <time.h>
#include <unistd.h>

#include "../lib/error.h"

#define NEVER       UINT64_MAX
#define FDS_MAX     4
#define MESSAGE_MAX (NOTIFY_STATUS_MAX_BYTES + 256)

static int connect_manager(const char *name)
{
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        const size_t size = strlen(name);
        int fd;

        if (name[0] != '/' && name[0] != '@')
                return -EAFNOSUPPORT;
        if (size >= sizeof(address.sun_path) || size < 2)
                return -EINVAL;
        memcpy(address.sun_path, name, size);
        if (name[0] == '@')
                address.sun_path[0] = '\0';
        fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (fd < 0)
                return -errno;
        if (connect(fd, (struct sockaddr *)&address,
                    (socklen_t)(offsetof(struct sockaddr_un, sun_path) + size + (name[0] == '/'))) <
            0) {
                const int error = errno;

                close(fd);
                return -error;
        }
        return fd;
}

int notify_init(struct notify *notify)
{
        const char *name = getenv("NOTIFY_SOCKET");
        uint64_t watchdog_us = 0;
        int r;

        *notify = (struct notify){.fd = -1, .retry_at_ms = NEVER};
        if (!name || !*name)
                return 0;
        r = connect_manager(name);
        if (r < 0)
                return error_trace(r);
        notify->fd = r;
        if (sd_watchdog_enabled(0, &watchdog_us) > 0) {
                notify->watchdog_ms = watchdog_us / 2000;
                if (notify->watchdog_ms == 0)
                        notify->watchdog_ms = 1;
        }
        return 0;
}

void notify_deinit(struct notify *notify)
{
        if (notify->fd >= 0)
                close(notify->fd);
        notify->fd = -1;
}

/* One datagram. 0 or -errno; -EAGAIN: the manager has not read those before. */
static int send_message(const struct notify *notify, const char *text, const int *fds, size_t n_fds)
{
        union {
                struct cmsghdr header;
                char bytes[CMSG_SPACE(FDS_MAX * sizeof(int))];
        } control = {};
        struct iovec iovec = {.iov_base = (char *)text, .iov_len = strlen(text)};
        struct msghdr message = {.msg_iov = &iovec, .msg_iovlen = 1};

        if (n_fds > FDS_MAX)
                return -EINVAL;
        if (n_fds > 0) {
                message.msg_control = &control;
                message.msg_controllen = CMSG_SPACE(n_fds * sizeof(int));
                control.header = (struct cmsghdr){.cmsg_level = SOL_SOCKET,
                                                  .cmsg_type = SCM_RIGHTS,
                                                  .cmsg_len = CMSG_LEN(n_fds * sizeof(int))};
                memcpy(CMSG_DATA(&control.header), fds, n_fds * sizeof(int));
        }
        if (sendmsg(notify->fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
                return errno == ENOBUFS ? -EAGAIN : -errno;
        return 0;
}

static bool is_all_sent(const struct notify *notify)
{
        return !notify->state_unsent && !notify->status_unsent && !notify->alive_unsent &&
               notify->extend_ms == 0;
}

static void put_message(const struct notify *notify, char message[static MESSAGE_MAX])
{
        static const char *const states[] = {
                [NOTIFY_STARTING] = "",
                [NOTIFY_READY] = "READY=1\n",
                [NOTIFY_RELOADING] = "RELOADING=1\n",
                [NOTIFY_STOPPING] = "STOPPING=1\n",
        };
        char reload_time[48] = "", extension[48] = "";
        struct timespec now;

        if (notify->state_unsent && notify->state == NOTIFY_RELOADING) {
                (void)clock_gettime(CLOCK_MONOTONIC, &now);
                (void)snprintf(reload_time, sizeof(reload_time), "MONOTONIC_USEC=%" PRIu64 "\n",
                               (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000);
        }
        if (notify->extend_ms > 0)
                (void)snprintf(extension, sizeof(extension), "EXTEND_TIMEOUT_USEC=%" PRIu64 "\n",
                               notify->extend_ms * 1000);
        (void)snprintf(
                message, MESSAGE_MAX, "%s%s%s%s%s%s%s",
                notify->state_unsent ? states[notify->state] : "", reload_time, extension,
                notify->status_unsent ? "STATUS=" : "", notify->status_unsent ? notify->status : "",
                notify->status_unsent ? "\n" : "", notify->alive_unsent ? "WATCHDOG=1\n" : "");
}

/* Says all that is to be said. Whoever is not there any more is not waited for: what it has missed
 * is of no use to its successor but for the last state and status, which come with the next
 * change. 0 or -errno. */
static int flush(struct notify *notify)
{
        char message[MESSAGE_MAX];
        int r;

        if (notify->fd < 0 || is_all_sent(notify))
                return 0;
        put_message(notify, message);
        r = send_message(notify, message, NULL, 0);
        if (r == -EAGAIN) {
                notify->n_refused++;
                return r;
        }
        notify->state_unsent = notify->status_unsent = notify->alive_unsent = false;
        notify->extend_ms = 0;
        notify->retry_at_ms = NEVER;
        return r;
}

void notify_set_state(struct notify *notify, enum notify_state state)
{
        if (notify->state == state)
                return;
        notify->state = state;
        notify->state_unsent = true;
        if (flush(notify) == -EAGAIN)
                notify->retry_at_ms = 0; /* at the next turn */
}

void notify_extend(struct notify *notify, uint64_t more_ms)
{
        notify->extend_ms = more_ms;
}

void notify_set_status(struct notify *notify, const char *status)
{
        char clean[NOTIFY_STATUS_MAX_BYTES];

        (void)snprintf(clean, sizeof(clean), "%s", status);
        for (char *c = clean; *c; c++)
                if ((unsigned char)*c < 0x20 || (unsigned char)*c > 0x7e)
                        *c = '?';
        if (strcmp(clean, notify->status) == 0)
                return;
        memcpy(notify->status, clean, sizeof(clean));
        notify->status_unsent = true;
}

bool notify_wants_status(struct notify *notify, uint64_t now_ms)
{
        if (notify->fd < 0)
                return false;
        notify->status_stale = now_ms < notify->status_at_ms;
        if (notify->status_stale)
                return false;
        notify->status_at_ms = now_ms + NOTIFY_STATUS_MS;
        return true;
}

void notify_tick(struct notify *notify, uint64_t now_ms)
{
        if (notify->fd < 0)
                return;
        if (notify->watchdog_ms && notify->watchdog_at_ms <= now_ms) {
                notify->alive_unsent = true;
                notify->watchdog_at_ms = now_ms + notify->watchdog_ms;
        }
        if (notify->retry_at_ms != NEVER && notify->retry_at_ms > now_ms)
                return;
        if (flush(notify) == -EAGAIN)
                notify->retry_at_ms = now_ms + NOTIFY_RETRY_MS;
}

static uint64_t earlier(uint64_t a, uint64_t b)
{
        return a < b ? a : b;
}

uint64_t notify_next_tick_ms(const struct notify *notify)
{
        uint64_t next_ms = NEVER;

        if (notify->fd < 0)
                return NEVER;
        next_ms = earlier(next_ms, notify->retry_at_ms);
        if (notify->watchdog_ms)
                next_ms = earlier(next_ms, notify->watchdog_at_ms);
        if (notify->status_stale)
                next_ms = earlier(next_ms, notify->status_at_ms);
        return next_ms;
}

static uint64_t clock_ms(void)
{
        struct timespec now;

        (void)clock_gettime(CLOCK_BOOTTIME, &now);
        return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* Waits for one of `events`; hang-ups and errors are always among them. Whether it came. */
static bool wait_for(int fd, short events, uint64_t until_ms)
{
        struct pollfd pollfd = {.fd = fd, .events = events};
        int r;

        do {
                const uint64_t now_ms = clock_ms();

                r = poll(&pollfd, 1, until_ms > now_ms ? (int)(until_ms - now_ms) : 0);
        } while (r < 0 && errno == EINTR);
        return r > 0;
}

static int send_until(struct notify *notify, const char *text, const int *fds, size_t n_fds,
                      uint64_t until_ms)
{
        int r;

        while (flush(notify) == -EAGAIN)
                if (!wait_for(notify->fd, POLLOUT, until_ms))
                        return NOTIFY_E_LATE;
        while ((r = send_message(notify, text, fds, n_fds)) == -EAGAIN)
                if (!wait_for(notify->fd, POLLOUT, until_ms))
                        return NOTIFY_E_LATE;
        return error_trace(r);
}

int notify_send_fds(struct notify *notify, const char *text, const int *fds, size_t n_fds,
                    uint64_t timeout_ms)
{
        if (notify->fd < 0)
                return 0;
        return error_trace(send_until(notify, text, fds, n_fds, clock_ms() + timeout_ms));
}

/* The manager closes the descriptor that comes with the message when it has come to it. */
int notify_barrier(struct notify *notify, uint64_t timeout_ms)
{
        const uint64_t until_ms = clock_ms() + timeout_ms;
        int pipe_fds[2], r;

        if (notify->fd < 0)
                return 0;
        if (pipe2(pipe_fds, O_CLOEXEC) < 0)
                return error_trace(-errno);
        r = send_until(notify, "BARRIER=1", &pipe_fds[1], 1, until_ms);
        close(pipe_fds[1]);
        if (r == 0 && !wait_for(pipe_fds[0], 0, until_ms))
                r = NOTIFY_E_LATE;
        close(pipe_fds[0]);
        return error_trace(r);
}
