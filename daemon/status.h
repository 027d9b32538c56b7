/* SPDX-License-Identifier: MIT */
#pragma once

/* How the daemon does, in the one line that the service manager shows. */

#include <stddef.h>
#include <stdint.h>

#include "../lib/broker.h"

/* "serving; 1234 tokens, 3 in flight; portal: issuer well", cut where `size` ends. `doing` comes
 * first. */
void status_line(char *line, size_t size, const char *doing, struct broker *broker,
                 uint64_t now_ms);
