/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * The way of the cache through a restart: at the end into a sealed memfd, which the service manager
 * keeps in its descriptor store (systemd.service(5), FileDescriptorStoreMax=), and at the next
 * start out of it again. Nothing is written to a disk. Where there is no service manager, no
 * snapshot, or only odd ones, the cache begins empty, and nothing else is different.
 *
 * Nothing here fails: what went wrong is one line in the log.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../lib/broker.h"
#include "notify.h"

/* The name in the store, which is part of the interface to the unit file. */
#define FDSTORE_NAME "egain-tokend-snapshot"

struct fdstore {
        uint8_t boot_id[SNAPSHOT_BOOT_BYTES];
        bool boot_known;
        size_t n_taken;         /* descriptors of our name */
        uint64_t sequence;      /* the largest that was seen; 0: none */
        void *bytes;            /* a mapping, owned; NULL: no snapshot */
        size_t size;            /* of the mapping */
        struct snapshot newest; /* in it */
};

void fdstore_init(struct fdstore *store);
void fdstore_deinit(struct fdstore *store);

/* Takes those of the inherited descriptors that have our name: each is closed, and -1 stands in its
 * place. Of several snapshots the newest is kept for fdstore_restore(). */
void fdstore_take(struct fdstore *store, int fds[], char *const names[], size_t n, uint64_t now_ms);

/* Fills a new broker with what was taken. */
void fdstore_restore(struct fdstore *store, struct broker *broker, uint64_t now_ms);

/* Takes our name out of the store, which keeps whatever it was ever given. To be called when
 * nothing can fail any more and before the service manager is told that we are ready: until then a
 * start that fails costs nothing. */
void fdstore_forget(struct fdstore *store, struct notify *notify);

/* Puts what the broker knows into the store, and waits for at most a second for the service manager
 * to have it. To be called when the broker is idle and will not be asked again. */
void fdstore_save(struct fdstore *store, const struct broker *broker, struct notify *notify,
                  uint64_t now_ms);
