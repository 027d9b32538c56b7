/* SPDX-License-Identifier: MIT */
#pragma once

/* Why there is no token, as the library says it. */

#include "broker-answer.h"
#include "egain_token.h"

/* Each fills `failure` in, and returns its error. */
int failure_set(struct egain_token_failure *failure, int error, const char *message);
int failure_of_fault(struct egain_token_failure *failure, const struct broker_error *error);
int failure_of_refusal(struct egain_token_failure *failure, const struct broker_refusal *refusal);
