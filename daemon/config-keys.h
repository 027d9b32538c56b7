/* SPDX-License-Identifier: MIT */
#pragma once

/* Keys that the configuration names by their files, read while it is. */

#include <stddef.h>

#include "../lib/secret.h"
#include "config-reader.h"

/* Reads the key in the file at `path`, judged as secrets_read_key() does, into an empty `ret`,
 * which stays empty if a mistake was noted for this line. 0 or -ENOMEM. */
int config_keys_read(struct config_reader *reader, int line, const char *path, size_t min_bytes,
                     struct secret *ret);
