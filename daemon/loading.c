/* SPDX-License-Identifier: MIT */

/*
 * The structure belongs to two: to the thread, which fills it, and to whoever has started it. Which
 * of them is the last to need it is settled by one atomic exchange each: the thread's from RUNNING
 * to DONE, the other's from RUNNING to ABANDONED. Who finds that the other one was first frees it.
 *
 * The thread handles no signals, so that those meant for the daemon reach it.
 */

#include "loading.h"

#include <assert.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "../lib/error.h"
#include "thread.h"

enum state {
        STATE_RUNNING,
        STATE_DONE,
        STATE_ABANDONED,
};

struct loading {
        pthread_t thread;
        _Atomic int state;
        int fd;         /* owned; an eventfd */
        char *path;     /* owned */
        FILE *messages; /* owned by the thread while it runs; then NULL */
        char *said;     /* owned; what was written to it */
        size_t said_size;
        loading_fn *load;

        int result;
        struct config *config; /* owned */
};

/* Threads that nobody waits for, of the whole process. */
static _Atomic unsigned int n_abandoned;

static void loading_free(struct loading *loading)
{
        if (!loading)
                return;
        if (loading->messages)
                fclose(loading->messages);
        if (loading->fd >= 0)
                close(loading->fd);
        config_free(loading->config);
        free(loading->said);
        free(loading->path);
        free(loading);
}

static void *run(void *argument)
{
        struct loading *loading = argument;

        loading->result = loading->load(&loading->config, loading->path, loading->messages);
        if (fclose(loading->messages) != 0 && loading->result >= 0) {
                config_free(loading->config);
                loading->config = NULL;
                loading->result = -ENOMEM;
        }
        loading->messages = NULL;

        if (atomic_exchange(&loading->state, STATE_DONE) == STATE_ABANDONED) {
                loading_free(loading);
                atomic_fetch_sub(&n_abandoned, 1);
        } else {
                (void)eventfd_write(loading->fd, 1); /* it has room for that */
        }
        return NULL;
}

int loading_start_with(struct loading **ret, const char *path, loading_fn *load)
{
        struct loading *loading;
        int r;

        if (atomic_load(&n_abandoned) >= LOADING_ABANDONED_MAX)
                return LOADING_E_BUSY;
        loading = calloc(1, sizeof(*loading));
        if (!loading)
                return error_trace(-ENOMEM);
        loading->load = load;
        loading->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (loading->fd < 0) {
                r = -errno;
                goto fail;
        }
        loading->path = strdup(path);
        loading->messages = open_memstream(&loading->said, &loading->said_size);
        if (!loading->path || !loading->messages) {
                r = -ENOMEM;
                goto fail;
        }
        r = thread_start(&loading->thread, run, loading);
        if (r)
                goto fail;
        *ret = loading;
        return 0;

fail:
        loading_free(loading);
        return error_trace(r);
}

int loading_start(struct loading **ret, const char *path)
{
        return loading_start_with(ret, path, config_load);
}

int loading_fd(const struct loading *loading)
{
        return loading->fd;
}

int loading_finish(struct loading *loading, struct config **ret_config, char **ret_messages)
{
        int r;

        (void)pthread_join(loading->thread, NULL);
        assert(loading->state == STATE_DONE);
        r = loading->result;
        *ret_messages = loading->said;
        loading->said = NULL;
        if (r == 0) {
                *ret_config = loading->config;
                loading->config = NULL;
        }
        loading_free(loading);
        return error_trace(r);
}

void loading_abandon(struct loading *loading)
{
        pthread_t thread;

        if (!loading)
                return;
        atomic_fetch_add(&n_abandoned, 1);
        thread = loading->thread; /* from the exchange on, the rest may go at any time */
        if (atomic_exchange(&loading->state, STATE_ABANDONED) == STATE_DONE) {
                (void)pthread_join(thread, NULL);
                loading_free(loading);
                atomic_fetch_sub(&n_abandoned, 1);
        } else {
                (void)pthread_detach(thread);
        }
}

static int64_t now_ms(void)
{
        struct timespec now;

        (void)clock_gettime(CLOCK_BOOTTIME, &now);
        return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Whether it becomes readable in time; signals that are handled do not end the wait. */
static bool wait_readable(int fd, uint64_t timeout_ms)
{
        const int64_t end_ms = now_ms() + (int64_t)timeout_ms;
        struct pollfd pollfd = {.fd = fd, .events = POLLIN};
        int r;

        do {
                int64_t left_ms = end_ms - now_ms();

                r = poll(&pollfd, 1, left_ms > 0 ? (int)left_ms : 0);
        } while (r < 0 && errno == EINTR);
        return r > 0;
}

int loading_await(struct loading *loading, struct config **ret, FILE *errors, uint64_t timeout_ms)
{
        char *messages;
        int r;

        if (!wait_readable(loading->fd, timeout_ms)) {
                fprintf(errors,
                        "%s: could not be read within %llu s: the name service that users and "
                        "groups are looked up in, or a file system, does not answer\n",
                        loading->path, (unsigned long long)timeout_ms / 1000);
                loading_abandon(loading);
                return CONFIG_E_NAME_SERVICE;
        }
        r = loading_finish(loading, ret, &messages);
        if (messages)
                fputs(messages, errors);
        free(messages);
        return error_trace(r);
}

int loading_wait(struct config **ret, const char *path, FILE *errors, uint64_t timeout_ms)
{
        struct loading *loading = NULL;
        int r;

        r = loading_start(&loading, path);
        if (r)
                return error_trace(r);
        assert(loading);
        return loading_await(loading, ret, errors, timeout_ms);
}
