/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * The thread that takes records from the queue and writes them. It touches nothing but its
 * reference to the queue and its target: not the log, not the broker, not a signal.
 */

#include <stdbool.h>

#include "audit-queue.h"
#include "audit-sink.h"

struct audit_writer;

/* Opens the target and starts the thread. `journal` as audit_sink_open() has it; *ret_error is why
 * the journal is not there, an errno, or 0. 0, -ENOMEM or -errno. */
int audit_writer_new(struct audit_writer **ret, struct audit_queue *queue,
                     const struct audit_config *config, const char *journal, int *ret_error);

/* Waits until everything in the queue is written, but not past `end_ms` on the queue's clock; then
 * leaves the thread to itself, which writes nothing more. Takes NULL. */
void audit_writer_free(struct audit_writer *writer, uint64_t end_ms);
