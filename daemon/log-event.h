/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * What may happen that an operator wants to find: each has a name (EGAIN_EVENT, "event"), a level
 * and, in the journal, a MESSAGE_ID, which egain-tokend(8) lists and which never change.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config.h"

enum log_event {
        LOG_EVENT_NONE,           /* just a line */
        LOG_EVENT_READY,          /* requests are answered */
        LOG_EVENT_STOPPING,       /* told to stop; fetches in the air are waited for */
        LOG_EVENT_STOPPED,        /* about to exit; the totals */
        LOG_EVENT_LISTENING,      /* one socket */
        LOG_EVENT_ACCEPT_PAUSED,  /* no connection can be accepted for want of descriptors or memory
                                   */
        LOG_EVENT_ACCEPT_RESUMED, /* accepted again for a while without a failure */
        LOG_EVENT_BREAKER_OPENED, /* a token URL failed too often, or its probe did */
        LOG_EVENT_ISSUER_PROBED,  /* half-open: one request goes to a token URL */
        LOG_EVENT_ISSUER_HOLDS,   /* the issuer asks for fewer requests */
        LOG_EVENT_ISSUER_WELL,    /* after either */
        LOG_EVENT_CLIENT_HELD,    /* the issuer refuses every secret of a client application */
        LOG_EVENT_CLIENT_WELL,    /* it accepts one again */
        LOG_EVENT_SECRET_REFUSED, /* the issuer refuses a secret; it is read again */
        LOG_EVENT_SECRET_READ,    /* a secret has changed */
        LOG_EVENT_SECRET_KEPT,    /* a secret cannot be read; may be said again with each attempt */
        LOG_EVENT_SECRETS_WELL,   /* all of them can be read again */
        LOG_EVENT_SECRET_EXPIRING,    /* once a day from 30 days before */
        LOG_EVENT_SECRET_EXPIRED,     /* once a day */
        LOG_EVENT_RELOADING,          /* told to read the configuration again */
        LOG_EVENT_RELOADED,           /* it holds from now on */
        LOG_EVENT_RELOAD_FAILED,      /* the old one stays */
        LOG_EVENT_SNAPSHOT_KEPT,      /* tokens were handed over to the next start */
        LOG_EVENT_SNAPSHOT_RESTORED,  /* tokens were taken over from the last run */
        LOG_EVENT_SNAPSHOT_DISCARDED, /* they could not be used */
        LOG_EVENT_FETCH_FAILED,       /* a request to the issuer brought no token; folded */
        LOG_EVENT_AUDIT_STUCK,        /* no record of decisions can be written */
        LOG_EVENT_AUDIT_WELL,         /* they are written again */
        LOG_EVENT_AUDIT_DROPPED,      /* records found no room */
        LOG_EVENT_AUDIT_WITHHELD, /* tokens were not handed out, since their records found no room
                                   */
        LOG_EVENT_LOG_DROPPED,    /* log lines could not be written */
        _LOG_EVENT_N,
};

struct log_event_info {
        const char *name;
        enum log_level level;
        bool folds;             /* it may repeat without a change of state, see log-fold.h */
        const char *message_id; /* 32 hexadecimal digits */
};

/* NULL for LOG_EVENT_NONE. */
const struct log_event_info *log_event_info(enum log_event event);

/* What is known of a line besides its text; NULL, or 0: not known. Borrowed. Never a token, a
 * secret or a subject. */
struct log_fields {
        const char *client;   /* name of a client application */
        const char *url;      /* token URL */
        const char *reason;   /* code of an enum reason, or what the system says */
        const char *detail;   /* in words */
        const char *listener; /* address, or path of a socket */
        const char *source;   /* where a secret is from: which, and its path or name; or a file */
        const char *changed;  /* options, with commas between them */
        uint64_t count;       /* of what the event is about */
        uint64_t for_ms;
};

/* Each member by its names. */
struct log_field_info {
        const char *journal;
        const char *json;
        size_t offset; /* in struct log_fields */
        bool is_number;
};

#define LOG_FIELD_N 9

extern const struct log_field_info log_field_infos[LOG_FIELD_N];

/* The value of a member: of a string, … */
const char *log_field_string(const struct log_fields *fields, size_t i);

/* … or of a number. */
uint64_t log_field_number(const struct log_fields *fields, size_t i);
