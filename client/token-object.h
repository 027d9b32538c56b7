/* SPDX-License-Identifier: MIT */
#pragma once

/* The token that the library hands out: struct egain_token. */

#include <stdbool.h>

#include "broker-answer.h"
#include "egain_token.h"

/* Takes the strings of `answer`, which was asked for at `asked_ms` of the boot clock; its life is
 * counted from then. NULL: there is no memory. */
struct egain_token *token_object_new(struct broker_token *answer, uint64_t asked_ms);

bool token_object_equal(const struct egain_token *a, const struct egain_token *b);

/* What is left of its life. */
uint64_t token_object_left_ms(const struct egain_token *token, uint64_t boot_ms);
