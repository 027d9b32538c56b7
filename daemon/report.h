/* SPDX-License-Identifier: MIT */
#pragma once

/* What the log says of tokens, issuers and client applications, and of the whole at the end. */

#include "../lib/broker.h"
#include "connection.h"
#include "credential-server.h"
#include "upstream.h"

/* What the end of a fetch means to an operator; REASON_NONE, a token, is not worth a line. */
void report_fetch_end(const struct upstream_end *end, enum reason reason);

/* An issuer or a client application is in another state. */
void report_note(const struct note *note);

/* The totals, in the last line. */
void report_totals(const struct broker *broker, const struct connections *connections,
                   const struct credential_counters *credentials);
