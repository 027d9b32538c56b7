/* SPDX-License-Identifier: MIT */

#include "error.h"

#include <stddef.h>

error_observer_fn *error_observer = NULL;
