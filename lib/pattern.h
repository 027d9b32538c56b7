/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Patterns of rights: '*' stands for any bytes, also none; every other byte stands for itself.
 * fnmatch(3) knows brackets and backslashes too, which would surprise in subjects.
 */

#include <stdbool.h>

#include "text.h"

/* Whether the whole text is what the pattern describes. Takes at most the product of both lengths.
 */
bool pattern_matches(const char *pattern, struct text text);
