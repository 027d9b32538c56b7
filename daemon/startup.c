/* SPDX-License-Identifier: MIT */

/*
 * Signals come through a descriptor, so that whatever is waited for, a file system or name service
 * that hangs included, SIGTERM ends it at once. One that is pending when the daemon goes on is the
 * daemon's.
 *
 * Each try asks the manager for more time, since how long it may take is an operator's affair.
 */

#include "startup.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

#include "../lib/error.h"
#include "loading.h"
#include "log.h"
#include "sources.h"

/* Of one try and the pause behind it, with some to spare. */
#define EXTEND_MS (LOADING_TIMEOUT_MS + STARTUP_PAUSE_MAX_MS + 10000)

int startup_init(struct startup *startup, const char *path, const struct inherit *inherit,
                 struct notify *notify)
{
        sigset_t set;

        *startup = (struct startup){
                .path = path,
                .inherit = inherit,
                .notify = notify,
                .pause_ms = STARTUP_PAUSE_FIRST_MS,
        };
        (void)signal(SIGPIPE, SIG_IGN);
        sigemptyset(&set);
        sigaddset(&set, SIGTERM);
        sigaddset(&set, SIGINT);
        sigaddset(&set, SIGHUP);
        (void)sigprocmask(SIG_BLOCK, &set, NULL);
        startup->signals_fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
        return startup->signals_fd < 0 ? error_trace(-errno) : 0;
}

void startup_deinit(struct startup *startup)
{
        if (startup->signals_fd >= 0)
                close(startup->signals_fd);
        startup->signals_fd = -1;
        free(startup->said);
        startup->said = NULL;
}

static uint64_t now_ms(void)
{
        struct timespec now;

        (void)clock_gettime(CLOCK_BOOTTIME, &now);
        return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

enum {
        WAIT_OVER,    /* the time is up */
        WAIT_READY,   /* the descriptor is readable */
        WAIT_RELOAD,  /* SIGHUP */
        WAIT_STOPPED, /* SIGTERM, SIGINT */
};

/* SIGHUP and a descriptor, which may be -1, end the wait only where they are asked for. */
static int wait_for(const struct startup *startup, int fd, bool reload, uint64_t timeout_ms)
{
        const uint64_t end_ms = now_ms() + timeout_ms;
        struct pollfd pollfds[] = {{.fd = startup->signals_fd, .events = POLLIN},
                                   {.fd = fd, .events = POLLIN}};
        struct signalfd_siginfo info;

        for (;;) {
                const uint64_t at_ms = now_ms();
                const int r = poll(pollfds, 2, at_ms < end_ms ? (int)(end_ms - at_ms) : 0);

                if (r == 0)
                        return WAIT_OVER;
                if (r < 0)
                        continue;
                while (read(startup->signals_fd, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
                        if (info.ssi_signo != SIGHUP)
                                return WAIT_STOPPED;
                        if (reload)
                                return WAIT_RELOAD;
                }
                if (pollfds[1].revents)
                        return WAIT_READY;
        }
}

/* Reads the file in a thread, and gives up waiting for that. Secrets that cannot be read are noted,
 * and do not hide what else is wrong. As config_load(), and STARTUP_E_STOPPED in the place of
 * CONFIG_E_INVALID where *ret_stopped. */
static int load_file(struct startup *startup, struct config **ret, FILE *errors, bool *ret_stopped)
{
        struct loading *loading = NULL;
        char *messages = NULL;
        int r;

        r = loading_start_with(&loading, startup->path, sources_load_noting);
        if (r == LOADING_E_BUSY)
                fprintf(errors, "%s: earlier attempts to read it still hang\n", startup->path);
        if (r)
                return error_trace(r);
        switch (wait_for(startup, loading_fd(loading), false, LOADING_TIMEOUT_MS)) {
        case WAIT_READY: break;
        case WAIT_STOPPED: *ret_stopped = true; __attribute__((fallthrough));
        default:
                fprintf(errors,
                        "%s: could not be read within %d s: the name service that users and groups "
                        "are looked up in, or a file system, does not answer\n",
                        startup->path, LOADING_TIMEOUT_MS / 1000);
                loading_abandon(loading);
                return CONFIG_E_NAME_SERVICE;
        }
        r = loading_finish(loading, ret, &messages);
        if (messages)
                fputs(messages, errors);
        free(messages);
        return error_trace(r);
}

/* One try, all of it. 0, a positive outcome with its reasons on `errors`, or -errno. */
static int try_load(struct startup *startup, struct config **ret, FILE *errors, bool *ret_stopped)
{
        struct config *config = NULL;
        int r;

        r = load_file(startup, &config, errors, ret_stopped);
        if (r)
                return error_trace(r);
        r = inherit_check(startup->inherit, config, errors);
        if (r == 0 && config->sources->unusable)
                r = CONFIG_E_INVALID;
        if (r)
                config_free(config);
        else
                *ret = config;
        return error_trace(r);
}

static void log_lines(enum log_level level, const char *lines)
{
        while (*lines) {
                const size_t size = strcspn(lines, "\n");

                if (size > 0)
                        log_line(level, "%.*s", (int)size, lines);
                lines += size + (lines[size] == '\n');
        }
}

/* The first line that is more than a warning; "": there is none. */
static const char *first_mistake(const char *said)
{
        while (*said) {
                const size_t size = strcspn(said, "\n");

                if (!memmem(said, size, ": warning: ", strlen(": warning: ")))
                        return said;
                said += size + (said[size] == '\n');
        }
        return said;
}

static void put_status(struct startup *startup, const char *doing, const char *said)
{
        char status[NOTIFY_STATUS_MAX_BYTES];

        (void)snprintf(status, sizeof(status), "%s%s%.*s", doing, *said ? ": " : "",
                       (int)strcspn(said, "\n"), said);
        notify_set_status(startup->notify, status);
        notify_tick(startup->notify, now_ms());
}

/* What is wrong is said when it is not what was wrong before; `said` is taken over. */
static void complain(struct startup *startup, char *said)
{
        if (!startup->said || strcmp(startup->said, said) != 0) {
                log_lines(LOG_LEVEL_ERROR, said);
                if (!startup->said)
                        log_warning("callers wait; the configuration is read again every second "
                                    "until it can be used");
        }
        free(startup->said);
        startup->said = said;
        put_status(startup, "waiting for a configuration that can be used", first_mistake(said));
}

static int try_once(struct startup *startup, struct config **ret)
{
        char *said = NULL;
        size_t size;
        FILE *errors = open_memstream(&said, &size);
        bool stopped = false;
        int r;

        if (!errors)
                return error_trace(-ENOMEM);
        r = try_load(startup, ret, errors, &stopped);
        if (fclose(errors) != 0 && r >= 0) {
                if (r == 0)
                        config_free(*ret);
                r = -ENOMEM;
        }
        if (r < 0 || stopped) {
                free(said);
                return stopped ? STARTUP_E_STOPPED : error_trace(r);
        }
        if (r == 0) {
                log_lines(LOG_LEVEL_WARNING, said);
                free(said);
                return 0;
        }
        complain(startup, said);
        return -EAGAIN;
}

int startup_load(struct startup *startup, struct config **ret)
{
        int r;

        for (;;) {
                notify_extend(startup->notify, EXTEND_MS);
                notify_tick(startup->notify, now_ms());
                r = try_once(startup, ret);
                if (r != -EAGAIN)
                        break;
                if (wait_for(startup, -1, true, STARTUP_RETRY_MS) == WAIT_STOPPED)
                        return STARTUP_E_STOPPED;
        }
        if (r == 0 && startup->said) {
                log_info("the configuration can be used now");
                free(startup->said);
                startup->said = NULL;
        }
        return error_trace(r);
}

int startup_pause(struct startup *startup)
{
        const uint64_t pause_ms = startup->pause_ms;
        int r;

        log_warning("the start has failed; callers wait, and it is tried again in %" PRIu64 " s",
                    pause_ms / 1000);
        notify_extend(startup->notify, EXTEND_MS);
        put_status(startup, "the start has failed, see the log; it will be tried again", "");
        startup->pause_ms = pause_ms < STARTUP_PAUSE_MAX_MS / 2 ? 2 * pause_ms
                                                                : STARTUP_PAUSE_MAX_MS;
        r = wait_for(startup, -1, true, pause_ms);
        return r == WAIT_STOPPED ? STARTUP_E_STOPPED : 0;
}
