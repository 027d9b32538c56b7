/* SPDX-License-Identifier: MIT */
#pragma once

/* What the parts of the HTTP interface share: api.c (routes), api-guard.c (what must not reach us),
 * api-token.c (tokens, and their record), api-admin.c (looking on, and purging), api-monitor.c
 * (what state the daemon is in). */

#include "api.h"
#include "audit.h"

struct api_route {
        const char *path;
        const char *method;
        const char *allow;        /* the methods of the path */
        bool metadata;            /* needs the header "Metadata: true" */
        bool form;                /* takes a form as its body */
        bool fields;              /* is asked in header fields, and answers with the token in one */
        bool token;               /* hands out a token */
        bool recorded;            /* what is decided about a request goes into the audit record, */
        enum audit_action action; /* as this */
        int (*handle)(struct api *api, struct api_call *call);
};

/* REASON_NONE, or what the header fields are reason enough for. call->route is set, if there is
 * one. */
enum reason api_guard(const struct api_call *call);

/* Says in the record that a request was refused before the broker saw it. */
void api_record_refusal(struct api *api, const struct api_call *call, enum reason reason);

/* API_ANSWER or -ENOMEM. */
int api_answer_error(struct api_call *call, enum reason reason);

/* Reads the form of a POST, or the query, and HTTP Basic. 0, -ENOMEM or a reason. */
int api_read_request(struct api_call *call, enum request_source source);

int api_handle_token(struct api *api, struct api_call *call);
int api_handle_v1_token(struct api *api, struct api_call *call);
int api_handle_explain(struct api *api, struct api_call *call);
int api_handle_list(struct api *api, struct api_call *call);
int api_handle_purge(struct api *api, struct api_call *call);

int api_handle_reload(struct api *api, struct api_call *call);
int api_handle_metrics(struct api *api, struct api_call *call);
int api_handle_status(struct api *api, struct api_call *call);

/* What was waited for is there. */
int api_resume_token(struct api *api, struct api_call *call);
int api_resume_purge(struct api *api, struct api_call *call);
int api_resume_reload(struct api *api, struct api_call *call);
