/* SPDX-License-Identifier: MIT */

/* A refusal of a subject or a scope is a caller's affair, and told to those who debug only. All
 * that holds for a client application or an issuer is an event, with fields. */

#include "report.h"

#include <inttypes.h>
#include <stdio.h>

#include "log.h"

void report_fetch_end(const struct upstream_end *end, enum reason reason)
{
        const char *code, *detail = end->detail;
        char status[32];

        if (reason == REASON_NONE)
                return;
        code = reason_info(reason)->code;
        if (end->result.transport == REASON_NONE) {
                (void)snprintf(status, sizeof(status), "status %u", end->result.status);
                detail = status;
        }
        if (reason == REASON_SUBJECT_REFUSED || reason == REASON_SCOPE_REFUSED)
                log_debug("client '%s': no token from %s: %s: %s", end->client, end->url, code,
                          detail);
        else
                log_event(LOG_EVENT_FETCH_FAILED,
                          LOG_FIELDS(.client = end->client, .url = end->url, .reason = code,
                                     .detail = detail),
                          "client '%s': no token from %s: %s: %s", end->client, end->url, code,
                          detail);
}

void report_note(const struct note *note)
{
        const struct log_fields *fields =
                LOG_FIELDS(.client = note->client, .url = note->url,
                           .reason = note->reason ? reason_info(note->reason)->code : NULL,
                           .for_ms = note->for_ms);

        switch (note->kind) {
        case NOTE_BREAKER_OPENED:
                log_event(LOG_EVENT_BREAKER_OPENED, fields,
                          "%s: too many failures (%s); asking nothing for %" PRIu64 " ms, tokens "
                          "in memory are served",
                          note->url, fields->reason, note->for_ms);
                break;
        case NOTE_ISSUER_PROBED:
                log_event(LOG_EVENT_ISSUER_PROBED, fields,
                          "%s: sending one request, to see whether the issuer answers again",
                          note->url);
                break;
        case NOTE_ISSUER_HOLDS:
                log_event(LOG_EVENT_ISSUER_HOLDS, fields,
                          "%s: the issuer asks for fewer requests; asking nothing for %" PRIu64
                          " ms, tokens in memory are served",
                          note->url, note->for_ms);
                break;
        case NOTE_ISSUER_WELL:
                log_event(LOG_EVENT_ISSUER_WELL, fields, "%s: the issuer answers again", note->url);
                break;
        case NOTE_CLIENT_HELD:
                log_event(LOG_EVENT_CLIENT_HELD, fields,
                          "client '%s': the issuer refuses its client secret (%s); asking nothing "
                          "with it for %" PRIu64 " ms or until it changes, tokens in memory are "
                          "served",
                          note->client, fields->reason, note->for_ms);
                break;
        case NOTE_CLIENT_WELL:
                log_event(LOG_EVENT_CLIENT_WELL, fields,
                          "client '%s': the issuer accepts its client secret again", note->client);
                break;
        }
}

void report_totals(const struct broker *broker, const struct connections *connections,
                   const struct credential_counters *credentials)
{
        struct broker_counters counters;

        broker_get_counters(broker, &counters);
        log_event(LOG_EVENT_STOPPED, NULL,
                  "stopped: requests=%" PRIu64 " hits=%" PRIu64 " misses=%" PRIu64
                  " coalesced=%" PRIu64 " refused=%" PRIu64 " timed_out=%" PRIu64
                  " served_old=%" PRIu64 " blocked=%" PRIu64 " rejections=%" PRIu64
                  " fetches=%" PRIu64 " refreshes=%" PRIu64 " retries=%" PRIu64 " dropped=%" PRIu64
                  " tokens=%" PRIu64 " refusals=%" PRIu64 " holds=%" PRIu64 " failures=%" PRIu64
                  " evicted=%" PRIu64 " expired=%" PRIu64 " connections=%" PRIu64
                  " connections_refused=%" PRIu64 " connections_cut=%" PRIu64
                  " credentials=%" PRIu64 " credentials_refused=%" PRIu64
                  " credentials_full=%" PRIu64,
                  counters.requests, counters.hits, counters.misses, counters.coalesced,
                  counters.refused, counters.timed_out, counters.served_old, counters.blocked,
                  counters.rejections, counters.fetches, counters.refreshes, counters.retries,
                  counters.dropped, counters.tokens, counters.refusals, counters.holds,
                  counters.failures, counters.cache.evicted_entries + counters.cache.evicted_memory,
                  counters.cache.expired, connections->accepted, connections->refused,
                  connections->cut, credentials->granted, credentials->refused, credentials->full);
}
