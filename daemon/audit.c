/* SPDX-License-Identifier: MIT */

/*
 * Decisions come in, records go into the queue: at once, or when the window they are folded into is
 * over (audit-tick.c). What finds no room is dropped and counted, unless audit.required says that
 * then no token may go out.
 *
 * All of this runs on the loop's thread; only the queue is shared with the writer's.
 */

#include "audit.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "../lib/error.h"
#include "../lib/timerheap.h"
#include "audit-private.h"
#include "log.h"
#include "outlet.h"

/* Of refusals, where hits are not folded. */
#define REFUSALS_WINDOW_MS 60000

#define END_WITHIN_MS 1000

static void record_alone(struct audit *audit, const struct audit_decision *decision,
                         int64_t wall_ms)
{
        struct audit_record *record;

        if (audit_record_new(&record, decision, &audit->naming, wall_ms))
                audit_drop(audit, audit_lane_of(decision->reason), wall_ms);
        else
                audit_push(audit, record);
}

/* Whether the token cost the issuer nothing, so that there may be any number of these: a hit, or
 * the old token where no new one can be had (REASON_REPEATED_TOKEN comes with a fetch). */
static bool is_repeat(const struct audit_decision *decision)
{
        return decision->action == AUDIT_ACTION_TOKEN &&
               (decision->cache_status == CACHE_STATUS_HIT ||
                (decision->detail != REASON_NONE && decision->detail != REASON_REPEATED_TOKEN));
}

static void count_hit(struct audit *audit, struct audit_record *record, const struct peer *peer,
                      int64_t wall_ms)
{
        if (record->count++ == 1)
                record->since_wall_ms = record->wall_ms;
        record->wall_ms = wall_ms;
        record->pid = peer && peer->known && !peer->tcp ? peer->pid : 0;
        audit->counters.folded++;
}

static void fold_hit(struct audit *audit, const struct audit_decision *decision, uint64_t now_ms,
                     int64_t wall_ms)
{
        struct audit_fold_key key;
        struct audit_record *record;

        if (!audit_fold_key_make(&audit->fold, &key, decision)) {
                record_alone(audit, decision, wall_ms);
                return;
        }
        record = audit_fold_find(&audit->fold, &key);
        if (record) {
                count_hit(audit, record, decision->peer, wall_ms);
                return;
        }
        if (audit_record_new(&record, decision, &audit->naming, wall_ms)) {
                audit_drop(audit, AUDIT_LANE_GRANTS, wall_ms);
                return;
        }
        if (audit->fold.n >= AUDIT_FOLD_MAX)
                audit_push(audit, audit_fold_take(&audit->fold));
        if (audit_fold_add(&audit->fold, &key, record, now_ms))
                audit_push(audit, record);
}

static void refuse(struct audit *audit, const struct audit_decision *decision, uint64_t now_ms,
                   int64_t wall_ms)
{
        int r = 0;

        if (audit->folds_refusals)
                r = audit_refusals_count(&audit->refusals, decision, now_ms, wall_ms);
        if (r == AUDIT_REFUSALS_E_FOLDED)
                audit->counters.folded++;
        else if (r)
                audit_drop(audit, AUDIT_LANE_REFUSALS, wall_ms);
        else
                record_alone(audit, decision, wall_ms);
}

static int withhold(struct audit *audit, const struct audit_decision *decision, uint64_t now_ms,
                    int64_t wall_ms)
{
        struct audit_decision instead = *decision;

        instead.reason = REASON_AUDIT_FULL;
        instead.detail = REASON_NONE;
        instead.token = NULL;
        audit->counters.withheld++;
        refuse(audit, &instead, now_ms, wall_ms);
        return AUDIT_E_FULL;
}

/* A token goes out, or an action was carried out. */
static int grant(struct audit *audit, const struct audit_decision *decision, uint64_t now_ms,
                 int64_t wall_ms)
{
        const bool must = audit->required && decision->action == AUDIT_ACTION_TOKEN;
        struct audit_record *record;
        int r = 0;

        if (must && !audit_queue_has_room(audit->queue, AUDIT_LANE_GRANTS))
                return withhold(audit, decision, now_ms, wall_ms);
        if (decision->token)
                r = audit_naming_label(&audit->naming, decision->token);
        if (r == 0 && audit->folds_hits && is_repeat(decision)) {
                fold_hit(audit, decision, now_ms, wall_ms);
                return 0;
        }
        if (r == 0)
                r = audit_record_new(&record, decision, &audit->naming, wall_ms);
        if (r == 0)
                audit_push(audit, record);
        else if (must)
                return withhold(audit, decision, now_ms, wall_ms);
        else
                audit_drop(audit, AUDIT_LANE_GRANTS, wall_ms);
        return 0;
}

int audit_decide(struct audit *audit, const struct audit_decision *decision, uint64_t now_ms,
                 int64_t wall_ms)
{
        int r = 0;

        if (now_ms >= audit_next_window_ms(audit))
                audit_end_windows(audit, now_ms);
        if (decision->reason == REASON_NONE)
                r = grant(audit, decision, now_ms, wall_ms);
        else
                refuse(audit, decision, now_ms, wall_ms);
        audit_look_soon(audit, now_ms);
        return r;
}

void audit_get_counters(const struct audit *audit, struct audit_counters *ret)
{
        struct audit_queue_state state;

        audit_queue_look(audit->queue, &state);
        *ret = audit->counters;
        ret->dropped_grants += state.unwritable[AUDIT_LANE_GRANTS];
        ret->dropped_refusals += state.unwritable[AUDIT_LANE_REFUSALS];
        ret->queued = state.n[AUDIT_LANE_GRANTS] + state.n[AUDIT_LANE_REFUSALS];
}

static const char *name_of_target(const struct audit_config *config, const char *journal)
{
        switch (config->target) {
        case AUDIT_TO_JOURNAL: return journal;
        case AUDIT_TO_FILE: return config->file;
        case AUDIT_TO_STDERR: break;
        }
        return "standard error";
}

static const char *why_not_opened(int error)
{
        switch (error) {
        case ENOTSUP: return "it is not a regular file";
        case ELOOP: return "it is a symbolic link";
        case EPERM: return "it belongs to another user, or group or others can write to it";
        default: return strerror(error);
        }
}

static int open_target(struct audit *audit, const struct audit_config *config, const char *journal)
{
        int r;

        audit->where = strdup(name_of_target(config, journal));
        if (!audit->where)
                return error_trace(-ENOMEM);
        r = audit_queue_new(&audit->queue, config->max_records);
        if (r)
                return error_trace(r);
        r = audit_writer_new(&audit->writer, audit->queue, config, journal, &audit->error_said);
        if (r < 0 && r != -ENOMEM && config->target == AUDIT_TO_FILE) {
                log_error("audit: records cannot be written to %s: %s", audit->where,
                          why_not_opened(-r));
                return AUDIT_E_FAILED;
        }
        if (r == 0 && audit->error_said)
                log_event(LOG_EVENT_AUDIT_STUCK,
                          LOG_FIELDS(.source = audit->where, .reason = strerror(audit->error_said)),
                          "audit: there is no journal at %s (%s); records wait for it, %zu at "
                          "most; set audit.to to write them elsewhere",
                          audit->where, strerror(audit->error_said), audit->max_records);
        return error_trace(r);
}

int audit_new_with_journal(struct audit **ret, const struct audit_config *config,
                           const char *journal)
{
        struct audit *audit;
        int r = 0;

        audit = calloc(1, sizeof(*audit));
        if (!audit)
                return error_trace(-ENOMEM);
        audit->required = config->required;
        audit->folds_hits = config->fold_ms > 0 && !config->required;
        audit->folds_refusals = !config->required;
        audit->max_records = config->max_records;
        audit->look_at_ms = TIMERHEAP_NEVER;
        if (audit->folds_hits)
                r = audit_fold_init(&audit->fold, config->fold_ms);
        if (r == 0 && audit->folds_refusals)
                r = audit_refusals_init(&audit->refusals,
                                        config->fold_ms > 0 ? config->fold_ms : REFUSALS_WINDOW_MS);
        if (r == 0)
                r = audit_naming_init(&audit->naming, config);
        if (r == 0)
                r = open_target(audit, config, journal);
        if (r) {
                audit_free(audit);
                return error_trace(r);
        }
        *ret = audit;
        return 0;
}

void audit_check(const struct audit_config *config, const char *path, FILE *errors)
{
        const int r = audit_sink_try(config);

        if (r)
                fprintf(errors,
                        "%s:%d: warning: audit: records cannot be written to %s: %s; the daemon "
                        "does not start like that\n",
                        path, config->line, config->file, why_not_opened(-r));
}

int audit_new(struct audit **ret, const struct audit_config *config)
{
        return error_trace(audit_new_with_journal(ret, config, OUTLET_JOURNAL));
}

void audit_free(struct audit *audit)
{
        const uint64_t end_ms = audit_queue_clock_ms() + END_WITHIN_MS;
        struct audit_counters counters;
        unsigned long long lost;

        if (!audit)
                return;
        if (audit->writer) {
                audit_flush(audit, end_ms);
                audit_writer_free(audit->writer, end_ms);
                audit_get_counters(audit, &counters);
                lost = counters.queued + counters.dropped_grants - audit->said.dropped_grants +
                       counters.dropped_refusals - audit->said.dropped_refusals;
                if (lost > 0)
                        log_event(LOG_EVENT_AUDIT_DROPPED, LOG_FIELDS(.count = lost),
                                  "audit: %llu records could not be written to %s", lost,
                                  audit->where);
        }
        audit_queue_unref(audit->queue);
        audit_refusals_deinit(&audit->refusals);
        audit_fold_deinit(&audit->fold);
        audit_naming_deinit(&audit->naming);
        free(audit->where);
        free(audit);
}
