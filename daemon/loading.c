/* SPDX-License-Identifier: MIT */

/*
 * An errand (errand.h) that what was said comes back from, whatever the outcome.
 */

#include "loading.h"

#include <assert.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "../lib/error.h"
#include "errand.h"

struct loading {
        struct errand *errand; /* owned by whoever has started it; not the thread's to touch */
        char *path;            /* owned */
        FILE *messages;        /* owned by the thread while it runs; then NULL */
        char *said;            /* owned; what was written to it */
        size_t said_size;
        loading_fn *load;

        int result;
        struct config *config; /* owned */
};

static void loading_free(struct loading *loading)
{
        if (loading->messages)
                fclose(loading->messages);
        config_free(loading->config);
        free(loading->said);
        free(loading->path);
        free(loading);
}

static void run(void *data)
{
        struct loading *loading = data;

        loading->result = loading->load(&loading->config, loading->path, loading->messages);
        if (fclose(loading->messages) != 0 && loading->result >= 0) {
                config_free(loading->config);
                loading->config = NULL;
                loading->result = -ENOMEM;
        }
        loading->messages = NULL;
}

static void free_data(void *data)
{
        loading_free(data);
}

static struct errand_kind kind = {.run = run, .free = free_data};

int loading_start_with(struct loading **ret, const char *path, loading_fn *load)
{
        struct loading *loading;
        int r = -ENOMEM;

        loading = calloc(1, sizeof(*loading));
        if (!loading)
                return error_trace(-ENOMEM);
        loading->load = load;
        loading->path = strdup(path);
        loading->messages = open_memstream(&loading->said, &loading->said_size);
        if (loading->path && loading->messages)
                r = errand_start(&loading->errand, &kind, loading);
        if (r) {
                loading_free(loading);
                return r == ERRAND_E_BUSY ? LOADING_E_BUSY : error_trace(r);
        }
        *ret = loading;
        return 0;
}

int loading_start(struct loading **ret, const char *path)
{
        return loading_start_with(ret, path, config_load);
}

int loading_fd(const struct loading *loading)
{
        return errand_fd(loading->errand);
}

int loading_finish(struct loading *loading, struct config **ret_config, char **ret_messages)
{
        int r;

        (void)errand_finish(loading->errand);
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
        if (loading)
                errand_abandon(loading->errand);
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

        if (!wait_readable(loading_fd(loading), timeout_ms)) {
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

int loading_wait(struct config **ret, const char *path, loading_fn *load, FILE *errors,
                 uint64_t timeout_ms)
{
        struct loading *loading = NULL;
        int r;

        r = loading_start_with(&loading, path, load);
        if (r)
                return error_trace(r);
        assert(loading);
        return loading_await(loading, ret, errors, timeout_ms);
}
