/* SPDX-License-Identifier: MIT */

/*
 * The rules of the flows that need no browser, stricter than the issuer's where a real one might
 * let a mistake of its client pass: this one is there to find those. They are tried in a fixed
 * order (tenant, method, headers, form, grant type, client application, scope, subject), and the
 * first that fails makes the answer. The subject is read out before they are, so that a request is
 * counted under it even when refused.
 */

#include "grant.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <openssl/sha.h>

#include "error.h"
#include "jwt.h"

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

/* What is documented for everybody who is nobody. */
#define PLACEHOLDER_ID     "clientId"
#define PLACEHOLDER_SECRET "clientSecret"

static const char *const type_names[_GRANT_TYPE_N] = {
        [GRANT_TYPE_OTHER] = "",
        [GRANT_TYPE_PASSWORD] = "password",
        [GRANT_TYPE_CLIENT_CREDENTIALS] = "client_credentials",
        [GRANT_TYPE_TOKEN_EXCHANGE] = "urn:ietf:params:oauth:grant-type:token-exchange",
};

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

/* Just the two parameters that are documented. */
static int parse_anonymous(struct grant *grant, const char *query)
{
        struct form form = {0};
        const char *user_type, *tenant;
        int r;

        grant->endpoint = GRANT_ENDPOINT_ANONYMOUS;
        grant->query_malformed = true;
        r = form_parse(&form, query ? query : "", query ? strlen(query) : 0);
        if (r)
                return r < 0 ? error_trace(r) : 0;
        user_type = form_get(&form, "user_type");
        tenant = form_get(&form, "domain_hint");
        if (form.n_parameters == 2 && user_type && strcmp(user_type, "customer") == 0 && tenant &&
            strlen(tenant) <= GRANT_TENANT_MAX) {
                memcpy(grant->tenant, tenant, strlen(tenant) + 1);
                grant->query_malformed = false;
        }
        form_deinit(&form);
        return 0;
}

int grant_parse_path(struct grant *grant, const char *path, const char *query)
{
        static const char prefix[] = "/system/auth/";
        const char *slash;
        size_t size;

        if (strcmp(path, "/core/authmgr/v3/oauth2/v2.0/anonymous/token") == 0)
                return error_trace(parse_anonymous(grant, query));
        if (strncmp(path, prefix, sizeof(prefix) - 1) != 0)
                return GRANT_E_OTHER_PATH;
        path += sizeof(prefix) - 1;
        slash = strchr(path, '/');
        if (!slash || strcmp(slash, "/oauth2/token") != 0)
                return GRANT_E_OTHER_PATH;

        size = (size_t)(slash - path);
        if (size < 3 || size - 2 > GRANT_TENANT_MAX || path[size - 2] != '-')
                return GRANT_E_OTHER_PATH;
        if (path[size - 1] != 'U' && path[size - 1] != 'C')
                return GRANT_E_OTHER_PATH;
        grant->endpoint = path[size - 1] == 'C' ? GRANT_ENDPOINT_CUSTOMER : GRANT_ENDPOINT_USER;
        memcpy(grant->tenant, path, size - 2);
        grant->tenant[size - 2] = '\0';
        return 0;
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

/* Sets kind, subject and label. */
static int name_subject(struct grant *grant, const char *kind, const char *subject)
{
        if (!subject || !*subject)
                return 0;
        grant->kind = kind;
        grant->subject = subject;
        if (asprintf(&grant->label, "%s:%s", kind, subject) < 0) {
                grant->label = NULL;
                return error_trace(-ENOMEM);
        }
        return 0;
}

/* When the form names exactly one subject, whatever the endpoint. */
static int read_named_subject(struct grant *grant)
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
        return found ? name_subject(grant, found->kind, form_get(&grant->form, found->parameter))
                     : 0;
}

static void digest_subject_token(struct grant *grant)
{
        const char *token = form_get(&grant->form, "subject_token");
        unsigned char digest[SHA256_DIGEST_LENGTH];

        if (!token)
                return;
        SHA256((const unsigned char *)token, strlen(token), digest);
        for (size_t i = 0; i < sizeof(digest); i++)
                (void)snprintf(grant->exchanged + 2 * i, 3, "%02x", digest[i]);
}

static int read_subject(struct grant *grant)
{
        const char *type = form_get(&grant->form, "grant_type");

        for (enum grant_type i = GRANT_TYPE_PASSWORD; type && i < _GRANT_TYPE_N; i++)
                if (strcmp(type, type_names[i]) == 0)
                        grant->type = i;
        switch (grant->type) {
        case GRANT_TYPE_CLIENT_CREDENTIALS:
                if (grant->endpoint == GRANT_ENDPOINT_ANONYMOUS)
                        return name_subject(grant, "anonymous", grant->tenant);
                return name_subject(grant, "application", form_get(&grant->form, "client_id"));
        case GRANT_TYPE_TOKEN_EXCHANGE:
                digest_subject_token(grant);
                return name_subject(grant, "exchange", form_get(&grant->form, "registration_id"));
        default: return read_named_subject(grant);
        }
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

static void judge_named_subject(struct grant *grant, const struct options *options)
{
        const bool customer = grant->endpoint == GRANT_ENDPOINT_CUSTOMER;

        for (size_t i = 0; i < N_SUBJECT_KINDS; i++) {
                if (subject_kinds[i].customer != customer &&
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

/* Whether the form has these parameters and no others; scope may be missing. */
static bool has_just(const struct form *form, const char *const *names, size_t n_names)
{
        for (size_t i = 0; i < form->n_parameters; i++) {
                bool known = false;

                for (size_t k = 0; k < n_names; k++)
                        known = known || strcmp(form->parameters[i].name, names[k]) == 0;
                if (!known)
                        return false;
        }
        return true;
}

static void judge_client_credentials(struct grant *grant)
{
        static const char *const names[] = {"grant_type", "client_id", "client_secret", "scope"};

        if (!has_just(&grant->form, names, sizeof(names) / sizeof(names[0])))
                refuse_request(grant, "a parameter is not for this grant");
        else if (grant->endpoint == GRANT_ENDPOINT_CUSTOMER)
                refuse(grant, 400, "unauthorized_client", "this endpoint is for customers");
        else
                refuse(grant, 200, NULL, NULL);
}

static void judge_token_exchange(struct grant *grant, const struct options *options, int64_t now_s)
{
        static const char *const names[] = {
                "grant_type",         "client_id",       "client_secret", "scope",
                "subject_token_type", "registration_id", "subject_token",
        };
        const char *type = form_get(&grant->form, "subject_token_type");
        const char *token = form_get(&grant->form, "subject_token");

        if (!has_just(&grant->form, names, sizeof(names) / sizeof(names[0])))
                refuse_request(grant, "a parameter is not for this grant");
        else if (grant->endpoint != GRANT_ENDPOINT_USER)
                refuse(grant, 400, "unauthorized_client", "this endpoint exchanges no tokens");
        else if (!type || (strcmp(type, "urn:ietf:params:oauth:token-type:access_token") != 0 &&
                           strcmp(type, "urn:ietf:params:oauth:token-type:id_token") != 0 &&
                           strcmp(type, "urn:ietf:params:oauth:token-type:jwt") != 0))
                refuse_request(grant, "subject_token_type is not one that is served");
        else if (!grant->subject || !options_names_have(&options->registrations, grant->subject,
                                                        strlen(grant->subject)))
                refuse_request(grant, "unknown registration_id");
        else if (!token || !jwt_is_live(token, now_s))
                refuse_request(grant, "the subject_token is no JWT, or has ended");
        else
                refuse(grant, 200, NULL, NULL);
}

static void judge_subject(struct grant *grant, const struct options *options, int64_t now_s)
{
        switch (grant->type) {
        case GRANT_TYPE_CLIENT_CREDENTIALS: judge_client_credentials(grant); break;
        case GRANT_TYPE_TOKEN_EXCHANGE: judge_token_exchange(grant, options, now_s); break;
        default: judge_named_subject(grant, options); break;
        }
}

/* Anonymous customers come with the placeholders, or with a client_id of their own. */
static bool accepts(struct grant *grant, const char *secret, const struct clients *clients)
{
        if (grant->endpoint == GRANT_ENDPOINT_ANONYMOUS &&
            strcmp(grant->client_id, PLACEHOLDER_ID) == 0)
                return strcmp(secret, PLACEHOLDER_SECRET) == 0;
        return clients_accept(clients, grant->tenant, grant->client_id, secret,
                              &grant->secret_number);
}

static bool is_served(const struct grant *grant)
{
        return grant->endpoint == GRANT_ENDPOINT_ANONYMOUS
                       ? grant->type == GRANT_TYPE_CLIENT_CREDENTIALS
                       : grant->type != GRANT_TYPE_OTHER;
}

static void judge_form(struct grant *grant, const struct options *options,
                       const struct clients *clients, int64_t now_s)
{
        const char *grant_type = form_get(&grant->form, "grant_type");
        const char *secret = form_get(&grant->form, "client_secret");

        grant->client_id = form_get(&grant->form, "client_id");
        grant->scope = form_get(&grant->form, "scope");
        if (!grant->scope && grant->type == GRANT_TYPE_TOKEN_EXCHANGE)
                grant->scope = options->scopes.names[0];

        if (!grant_type || !*grant_type)
                refuse_request(grant, "grant_type is required");
        else if (!is_served(grant))
                refuse(grant, 400, "unsupported_grant_type", "this grant_type is not served");
        else if (!grant->client_id || !secret)
                refuse(grant, 401, "invalid_client", "client_id and client_secret are required");
        else if (!accepts(grant, secret, clients))
                refuse(grant, 401, "invalid_client", "unknown client or wrong secret");
        else if (!grant->scope || !*grant->scope)
                refuse(grant, 400, "invalid_scope", "scope is required");
        else if (!scopes_are_assigned(grant->scope, &options->scopes))
                refuse(grant, 400, "invalid_scope", "a scope is not assigned");
        else
                judge_subject(grant, options, now_s);
}

int grant_judge(struct grant *grant, const struct grant_request *request,
                const struct options *options, const struct clients *clients, int64_t now_s)
{
        bool form = is_form(request->content_type) && !request->body_too_long;
        int r;

        grant->status = 0;
        if (form) {
                r = read_form(grant, request);
                if (r)
                        return error_trace(r);
        }

        if (grant->query_malformed)
                refuse_request(grant, "the query must be user_type=customer&domain_hint=TENANT");
        else if (!clients_know_tenant(clients, grant->tenant))
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
                judge_form(grant, options, clients, now_s);
        return 0;
}

void grant_deinit(struct grant *grant)
{
        form_deinit(&grant->form);
        free(grant->label);
        grant->label = NULL;
}
