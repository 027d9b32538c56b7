/* SPDX-License-Identifier: MIT */

/*
 * The rules of the on-behalf-of flow, stricter than the issuer's where a real one might let a
 * mistake of its client pass: this one is there to find those. They are tried in a fixed order
 * (tenant, method, headers, form, grant type, client application, scope, subject), and the first
 * that fails makes the answer. The subject is read out before they are, so that a request is
 * counted under it even when refused.
 */

#include "grant.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "error.h"

static const struct subject_kind {
        const char *parameter;
        const char *kind;
        bool customer;
} subject_kinds[] = {
        {"subject_username", "username", false},
        {"subject_userid", "userid", false},
        {"subject_email", "email", true},
};

#define N_SUBJECT_KINDS (sizeof(subject_kinds) / sizeof(subject_kinds[0]))

static void refuse(struct grant *grant, unsigned status, const char *error, const char *description)
{
        grant->status = status;
        grant->error = error;
        grant->description = description;
}

static void refuse_request(struct grant *grant, const char *description)
{
        refuse(grant, 400, "invalid_request", description);
}

bool grant_parse_path(struct grant *grant, const char *path)
{
        static const char prefix[] = "/system/auth/";
        const char *slash;
        size_t size;

        if (strncmp(path, prefix, sizeof(prefix) - 1) != 0)
                return false;
        path += sizeof(prefix) - 1;
        slash = strchr(path, '/');
        if (!slash || strcmp(slash, "/oauth2/token") != 0)
                return false;

        size = (size_t)(slash - path);
        if (size < 3 || size - 2 > GRANT_TENANT_MAX || path[size - 2] != '-')
                return false;
        if (path[size - 1] != 'U' && path[size - 1] != 'C')
                return false;
        grant->customer = path[size - 1] == 'C';
        memcpy(grant->tenant, path, size - 2);
        grant->tenant[size - 2] = '\0';
        return true;
}

static bool is_form(const char *content_type)
{
        static const char form[] = "application/x-www-form-urlencoded";

        if (!content_type || strncasecmp(content_type, form, sizeof(form) - 1) != 0)
                return false;
        content_type += sizeof(form) - 1;
        return content_type[strspn(content_type, " \t")] == '\0' ||
               content_type[strspn(content_type, " \t")] == ';';
}

/* Sets kind, subject and label when the form names exactly one subject, whatever the endpoint. */
static int read_subject(struct grant *grant)
{
        const struct subject_kind *found = NULL;

        for (size_t i = 0; i < N_SUBJECT_KINDS; i++) {
                const char *value = form_get(&grant->form, subject_kinds[i].parameter);

                if (!value)
                        continue;
                if (found || !*value)
                        return 0;
                found = &subject_kinds[i];
        }
        if (!found)
                return 0;
        grant->kind = found->kind;
        grant->subject = form_get(&grant->form, found->parameter);
        if (asprintf(&grant->label, "%s:%s", grant->kind, grant->subject) < 0) {
                grant->label = NULL;
                return error_trace(-ENOMEM);
        }
        return 0;
}

static int read_form(struct grant *grant, const struct grant_request *request)
{
        int r = form_parse(&grant->form, request->body, request->body_bytes);

        switch (r) {
        case 0: return read_subject(grant);
        case FORM_E_MALFORMED: refuse_request(grant, "the form is malformed"); return 0;
        case FORM_E_REPEATED: refuse_request(grant, "a parameter is repeated"); return 0;
        case FORM_E_FULL: refuse_request(grant, "too many parameters"); return 0;
        default: return error_trace(r);
        }
}

/* Items are separated by exactly one space (RFC 6749, section 3.3). */
static bool scopes_are_assigned(const char *scope, const struct options_names *assigned)
{
        for (;;) {
                size_t size = strcspn(scope, " ");

                if (!options_names_have(assigned, scope, size))
                        return false;
                if (!scope[size])
                        return true;
                scope += size + 1;
        }
}

static void judge_subject(struct grant *grant, const struct options *options)
{
        for (size_t i = 0; i < N_SUBJECT_KINDS; i++) {
                if (subject_kinds[i].customer != grant->customer &&
                    form_get(&grant->form, subject_kinds[i].parameter)) {
                        refuse_request(grant, "this endpoint does not take that kind of subject");
                        return;
                }
        }
        if (!grant->subject)
                refuse_request(grant, "exactly one subject is required");
        else if (options_names_have(&options->unknown_subjects, grant->subject,
                                    strlen(grant->subject)))
                refuse(grant, 400, "invalid_grant", "unknown subject");
        else
                refuse(grant, 200, NULL, NULL);
}

static void judge_form(struct grant *grant, const struct options *options,
                       const struct clients *clients)
{
        const char *grant_type = form_get(&grant->form, "grant_type");
        const char *secret = form_get(&grant->form, "client_secret");

        grant->client_id = form_get(&grant->form, "client_id");
        grant->scope = form_get(&grant->form, "scope");

        if (!grant_type || !*grant_type)
                refuse_request(grant, "grant_type is required");
        else if (strcmp(grant_type, "password") != 0)
                refuse(grant, 400, "unsupported_grant_type", "grant_type must be password");
        else if (!grant->client_id || !secret)
                refuse(grant, 401, "invalid_client", "client_id and client_secret are required");
        else if (!clients_accept(clients, grant->tenant, grant->client_id, secret))
                refuse(grant, 401, "invalid_client", "unknown client or wrong secret");
        else if (!grant->scope || !*grant->scope)
                refuse(grant, 400, "invalid_scope", "scope is required");
        else if (!scopes_are_assigned(grant->scope, &options->scopes))
                refuse(grant, 400, "invalid_scope", "a scope is not assigned");
        else
                judge_subject(grant, options);
}

int grant_judge(struct grant *grant, const struct grant_request *request,
                const struct options *options, const struct clients *clients)
{
        bool form = is_form(request->content_type) && !request->body_too_long;
        int r;

        grant->status = 0;
        if (form) {
                r = read_form(grant, request);
                if (r)
                        return error_trace(r);
        }

        if (!clients_know_tenant(clients, grant->tenant))
                refuse(grant, 404, "invalid_request", "unknown tenant");
        else if (strcmp(request->method, "POST") != 0)
                refuse(grant, 405, "invalid_request", "the method must be POST");
        else if (!is_form(request->content_type))
                refuse_request(grant, "Content-Type must be application/x-www-form-urlencoded");
        else if (request->authorization)
                refuse_request(grant, "credentials go into the body, not into a header");
        else if (request->body_too_long)
                refuse(grant, 413, "invalid_request", "the body is longer than 64 KiB");
        else if (!grant->status)
                judge_form(grant, options, clients);
        return 0;
}

void grant_deinit(struct grant *grant)
{
        form_deinit(&grant->form);
        free(grant->label);
        grant->label = NULL;
}
