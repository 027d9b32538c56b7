/* SPDX-License-Identifier: MIT */

/* Handles are locked in the order of the list, after the list: nobody who holds a handle's lock
 * takes another, but that of the sockets. */

#include "handle.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "broker-socket.h"
#include "clock.h"
#include "digest.h"

#define EXPORT __attribute__((visibility("default")))

#define TIMEOUT_MAX_MS   600000
#define KEPT_MAX         65536
#define CONNECTIONS_MAX  256
#define STRUCT_MAX_BYTES 4096

static pthread_mutex_t all_lock = PTHREAD_MUTEX_INITIALIZER;
static struct egain_token_broker *all; /* guarded by all_lock */
static pthread_once_t fork_once = PTHREAD_ONCE_INIT;
static int fork_result;

bool handle_read_struct(void *ret, size_t known, const void *from)
{
        const unsigned char *bytes = from;
        size_t size;

        memcpy(&size, from, sizeof(size));
        if (size < known || size > STRUCT_MAX_BYTES)
                return false;
        for (size_t i = known; i < size; i++)
                if (bytes[i])
                        return false;
        memcpy(ret, from, known);
        return true;
}

void handle_write_struct(void *to, const void *from, size_t known)
{
        memcpy((char *)to + sizeof(size_t), (const char *)from + sizeof(size_t),
               known - sizeof(size_t));
}

static void before_fork(void)
{
        (void)pthread_mutex_lock(&all_lock);
        for (struct egain_token_broker *at = all; at; at = at->next)
                (void)pthread_mutex_lock(&at->lock);
        broker_socket_hold();
}

static void after_fork_in_parent(void)
{
        broker_socket_let_go();
        for (struct egain_token_broker *at = all; at; at = at->next)
                (void)pthread_mutex_unlock(&at->lock);
        (void)pthread_mutex_unlock(&all_lock);
}

static void after_fork_in_child(void)
{
        broker_socket_let_go();
        for (struct egain_token_broker *at = all; at; at = at->next) {
                flights_abandon(&at->flights);
                pool_abandon(&at->pool);
                kept_clear(&at->kept);
                /* Whoever waited for it is not here. */
                (void)clock_init_cond(&at->connection_free);
                (void)pthread_mutex_unlock(&at->lock);
        }
        (void)pthread_mutex_unlock(&all_lock);
}

static void watch_forks(void)
{
        fork_result = pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child);
}

static void enter_list(struct egain_token_broker *broker)
{
        (void)pthread_mutex_lock(&all_lock);
        broker->next = all;
        if (all)
                all->previous = broker;
        all = broker;
        (void)pthread_mutex_unlock(&all_lock);
}

static void leave_list(struct egain_token_broker *broker)
{
        (void)pthread_mutex_lock(&all_lock);
        if (broker->previous)
                broker->previous->next = broker->next;
        else
                all = broker->next;
        if (broker->next)
                broker->next->previous = broker->previous;
        (void)pthread_mutex_unlock(&all_lock);
}

static bool options_are_good(const struct egain_token_options *options)
{
        return options->timeout_ms >= 1 && options->timeout_ms <= TIMEOUT_MAX_MS &&
               options->patience_ms <= TIMEOUT_MAX_MS && options->keep_ms <= KEPT_MAX_MS &&
               options->max_kept >= KEPT_WAYS && options->max_kept <= KEPT_MAX &&
               options->max_connections >= 1 && options->max_connections <= CONNECTIONS_MAX;
}

/* EGAIN_TOKEN_OK, or an error. */
static int understand_options(struct egain_token_broker *broker)
{
        struct egain_token_options *options = &broker->options;
        const struct broker_place place = {
                .socket_path = options->socket_path,
                .url = options->url,
                .server_user = options->server_user,
        };
        struct broker_error error;

        if (!options_are_good(options))
                return EGAIN_TOKEN_E_INVALID;
        switch (broker_address_init(&broker->address, &place, &error)) {
        case 0: break;
        case BROKER_FAULT_PATH_TOO_LONG: return EGAIN_TOKEN_E_PATH_TOO_LONG;
        default: return EGAIN_TOKEN_E_INVALID;
        }
        options->socket_path = options->url = options->server_user = NULL;
        return EGAIN_TOKEN_OK;
}

/* All that can fail; what is there then is taken apart by free_broker(). */
static int build(struct egain_token_broker *broker)
{
        if (pthread_once(&fork_once, watch_forks) != 0 || fork_result != 0 || !digest_global_init())
                return EGAIN_TOKEN_E_NO_MEMORY;
        if (kept_init(&broker->kept, broker->options.max_kept) != 0 ||
            pool_init(&broker->pool, broker->options.max_connections) != 0)
                return EGAIN_TOKEN_E_NO_MEMORY;
        if (clock_init_cond(&broker->connection_free) != 0)
                return EGAIN_TOKEN_E_NO_MEMORY;
        if (pthread_mutex_init(&broker->lock, NULL) != 0) {
                (void)pthread_cond_destroy(&broker->connection_free);
                return EGAIN_TOKEN_E_NO_MEMORY;
        }
        return EGAIN_TOKEN_OK;
}

/* Without the lock and the condition. */
static void free_broker(struct egain_token_broker *broker)
{
        pool_deinit(&broker->pool);
        kept_deinit(&broker->kept);
        free(broker);
}

EXPORT int egain_token_broker_new(struct egain_token_broker **ret,
                                  const struct egain_token_options *options)
{
        static const struct egain_token_options defaults = EGAIN_TOKEN_OPTIONS_INIT;
        const int saved = errno;
        struct egain_token_broker *broker;
        int r = EGAIN_TOKEN_E_INVALID;

        if (!ret)
                return EGAIN_TOKEN_E_INVALID;
        *ret = NULL;
        broker = calloc(1, sizeof(*broker));
        if (!broker) {
                errno = saved;
                return EGAIN_TOKEN_E_NO_MEMORY;
        }
        if (handle_read_struct(&broker->options, sizeof(broker->options),
                               options ? options : &defaults))
                r = understand_options(broker);
        if (r == EGAIN_TOKEN_OK)
                r = build(broker);
        if (r == EGAIN_TOKEN_OK) {
                enter_list(broker);
                *ret = broker;
        } else {
                free_broker(broker);
        }
        errno = saved;
        return r;
}

EXPORT void egain_token_broker_free(struct egain_token_broker *broker)
{
        const int saved = errno;

        if (!broker)
                return;
        leave_list(broker);
        (void)pthread_cond_destroy(&broker->connection_free);
        (void)pthread_mutex_destroy(&broker->lock);
        free_broker(broker);
        errno = saved;
}

EXPORT void egain_token_broker_forget(struct egain_token_broker *broker)
{
        const int saved = errno;

        if (!broker)
                return;
        (void)pthread_mutex_lock(&broker->lock);
        kept_clear(&broker->kept);
        flights_bar(&broker->flights, NULL);
        (void)pthread_mutex_unlock(&broker->lock);
        errno = saved;
}

EXPORT int egain_token_broker_counters(struct egain_token_broker *broker,
                                       struct egain_token_counters *ret)
{
        struct egain_token_counters counters;

        if (!broker || !ret || !handle_read_struct(&counters, sizeof(counters), ret))
                return EGAIN_TOKEN_E_INVALID;
        (void)pthread_mutex_lock(&broker->lock);
        counters = broker->counters;
        counters.evicted = broker->kept.evicted;
        (void)pthread_mutex_unlock(&broker->lock);
        handle_write_struct(ret, &counters, sizeof(counters));
        return EGAIN_TOKEN_OK;
}
