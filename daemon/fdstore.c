/* SPDX-License-Identifier: MIT */

/*
 * The store is a bag: it keeps every descriptor of a name, in no order, and a new one does not
 * replace an old one [systemd 252]. So each snapshot has a number, larger than all that were seen
 * when it was made, and the largest one wins; and the name is taken out of the store at every
 * start.
 *
 * A memfd must be sealed before it is mapped and read: one that somebody can still shrink would
 * kill us, and one that can be written could change after its checksum was taken. Since a sealed
 * one cannot be wiped either, its pages hold tokens until the last descriptor is closed (see
 * SECURITY.md).
 */

#include "fdstore.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <systemd/sd-id128.h>
#include <unistd.h>

#include "../lib/secret.h"
#include "log.h"

#define SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL)

#define PATIENCE_MS 1000

/* Linux 6.3; older headers do not know it, older kernels refuse it. */
#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U
#endif

void fdstore_init(struct fdstore *store)
{
        sd_id128_t boot_id;
        int r;

        *store = (struct fdstore){};
        r = sd_id128_get_boot(&boot_id);
        if (r < 0) {
                log_warning("cannot tell one boot from another (%s): restarts will be cold",
                            strerror(-r));
                return;
        }
        memcpy(store->boot_id, boot_id.bytes, SNAPSHOT_BOOT_BYTES);
        store->boot_known = true;
}

static void drop_newest(struct fdstore *store)
{
        if (store->bytes)
                munmap(store->bytes, store->size);
        store->bytes = NULL;
        store->size = 0;
}

void fdstore_deinit(struct fdstore *store)
{
        drop_newest(store);
}

static void discard(const char *why)
{
        log_event(LOG_EVENT_SNAPSHOT_DISCARDED, LOG_FIELDS(.reason = why),
                  "discarding a snapshot of the process before: %s", why);
}

/* Maps a descriptor if it is what we would have made. NULL, and why not. */
static void *map(int fd, size_t *ret_size, const char **ret_why)
{
        const int seals = fcntl(fd, F_GET_SEALS);
        struct stat status;
        void *bytes;

        *ret_why = "it is no memfd";
        if (seals < 0 || fstat(fd, &status) < 0 || !S_ISREG(status.st_mode))
                return NULL;
        *ret_why = "it is not sealed";
        if ((seals & SEALS) != SEALS)
                return NULL;
        *ret_why = "it is empty";
        if (status.st_size <= 0)
                return NULL;
        bytes = mmap(NULL, (size_t)status.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (bytes == MAP_FAILED) {
                *ret_why = strerror(errno);
                return NULL;
        }
        *ret_size = (size_t)status.st_size;
        return bytes;
}

/* Keeps what is in a descriptor if it is newer than what was kept so far. */
static void look_at(struct fdstore *store, int fd, uint64_t now_ms)
{
        struct snapshot snapshot;
        const char *why;
        size_t size;
        void *bytes;
        int r;

        bytes = map(fd, &size, &why);
        if (!bytes) {
                discard(why);
                return;
        }
        r = snapshot_open(&snapshot, bytes, size, store->boot_id, now_ms);
        if (r) {
                discard(snapshot_fault(r));
                munmap(bytes, size);
                return;
        }
        if (store->bytes)
                discard("there is a newer one");
        if (store->bytes && snapshot.head.stamp.sequence <= store->sequence) {
                munmap(bytes, size);
                return;
        }
        drop_newest(store);
        store->bytes = bytes;
        store->size = size;
        store->newest = snapshot;
        store->sequence = snapshot.head.stamp.sequence;
}

void fdstore_take(struct fdstore *store, int fds[], char *const names[], size_t n, uint64_t now_ms)
{
        for (size_t i = 0; i < n; i++) {
                if (fds[i] < 0 || strcmp(names[i], FDSTORE_NAME) != 0)
                        continue;
                store->n_taken++;
                if (store->boot_known)
                        look_at(store, fds[i], now_ms);
                close(fds[i]);
                fds[i] = -1;
        }
}

static bool has_manager(void)
{
        const char *path = getenv("NOTIFY_SOCKET");

        return path && *path;
}

void fdstore_restore(struct fdstore *store, struct broker *broker, uint64_t now_ms)
{
        struct restored restored;
        int r;

        if (!store->bytes) {
                if (store->n_taken == 0 && has_manager())
                        log_info("restored nothing: there is no snapshot of a process before");
                return;
        }
        r = broker_restore(broker, &store->newest, now_ms, &restored);
        drop_newest(store);
        if (r) {
                discard(snapshot_fault(r));
                return;
        }
        log_event(LOG_EVENT_SNAPSHOT_RESTORED, LOG_FIELDS(.count = restored.tokens),
                  "restored %zu tokens, %zu refusals and %zu holds of the process before (not "
                  "restored: %zu that ran out, %zu of client applications that are gone, %zu for "
                  "want of room)",
                  restored.tokens, restored.refusals, restored.holds, restored.ended, restored.gone,
                  restored.no_room);
}

void fdstore_forget(struct fdstore *store, struct notify *notify)
{
        int r;

        if (store->n_taken == 0)
                return;
        r = notify_send_fds(notify, "FDSTOREREMOVE=1\nFDNAME=" FDSTORE_NAME, NULL, 0, PATIENCE_MS);
        if (r)
                log_warning("cannot take the snapshot out of the service manager's store: %s",
                            strerror(r < 0 ? -r : ETIMEDOUT));
}

/* A sealed memfd with the snapshot, or -errno. */
static int make_memfd(const struct broker *broker, const struct snapshot_stamp *stamp, size_t size,
                      uint64_t now_ms)
{
        const unsigned int flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
        void *bytes;
        int fd, r;

        fd = memfd_create(FDSTORE_NAME, flags | MFD_NOEXEC_SEAL);
        if (fd < 0 && errno == EINVAL)
                fd = memfd_create(FDSTORE_NAME, flags);
        if (fd < 0)
                return -errno;
        /* Pages that cannot be had are an error here, and would be a SIGBUS later. */
        if (fallocate(fd, 0, 0, (off_t)size) < 0)
                goto fail;
        bytes = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (bytes == MAP_FAILED)
                goto fail;
        (void)broker_save(broker, stamp, now_ms, bytes);
        /* A mapping that can be written stands in the way of the seal, so it goes before. */
        munmap(bytes, size);
        if (fcntl(fd, F_ADD_SEALS, SEALS) < 0)
                goto fail;
        return fd;
fail:
        r = -errno;
        close(fd);
        return r;
}

/* Hands the descriptor over. 0 or -errno. */
static int hand_over(struct notify *notify, int fd)
{
        int r;

        r = notify_send_fds(notify, "FDSTORE=1\nFDNAME=" FDSTORE_NAME "\nFDPOLL=0", &fd, 1,
                            PATIENCE_MS);
        if (r == 0)
                r = notify_barrier(notify, PATIENCE_MS);
        return r == NOTIFY_E_LATE ? -ETIMEDOUT : r;
}

void fdstore_save(struct fdstore *store, const struct broker *broker, struct notify *notify,
                  uint64_t now_ms)
{
        struct snapshot_stamp stamp = {.sequence = store->sequence + 1};
        struct broker_counters counters;
        size_t size;
        int fd, r;

        if (notify->fd < 0 || !store->boot_known)
                return;
        memcpy(stamp.boot_id, store->boot_id, SNAPSHOT_BOOT_BYTES);
        size = broker_save(broker, &stamp, now_ms, NULL);
        if (size == 0)
                return;
        fd = make_memfd(broker, &stamp, size, now_ms);
        r = fd < 0 ? fd : hand_over(notify, fd);
        if (fd >= 0)
                close(fd);
        if (r < 0) {
                log_warning("cannot leave the cache to the service manager: %s; a restart will "
                            "begin with an empty one",
                            strerror(-r));
                return;
        }
        broker_get_counters(broker, &counters);
        log_event(LOG_EVENT_SNAPSHOT_KEPT, LOG_FIELDS(.count = counters.entries),
                  "left %zu tokens to the process to come (%zu bytes, sequence %" PRIu64 ")",
                  counters.entries, size, stamp.sequence);
}
