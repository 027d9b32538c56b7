/* SPDX-License-Identifier: MIT */

#include "question.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define GRANT_EXCHANGE "urn:ietf:params:oauth:grant-type:token-exchange"
#define TYPE_DEFAULT   "urn:ietf:params:oauth:token-type:access_token"

#define SUBJECT_MAX_BYTES 256
#define FORM_MAX_BYTES    ((size_t)64 * 1024)
#define PARTS_MAX_BYTES   ((size_t)64 * 1024)

static const char *const subject_parameters[] = {
        [EGAIN_TOKEN_USERNAME] = "subject_username",
        [EGAIN_TOKEN_USERID] = "subject_userid",
        [EGAIN_TOKEN_EMAIL] = "subject_email",
};

static bool is_delegated(int kind)
{
        return kind >= EGAIN_TOKEN_USERNAME && kind <= EGAIN_TOKEN_EMAIL;
}

/* A sentence about what is wrong; NULL: nothing is that the daemon could not tell. */
static const char *find_fault(const struct egain_token_request *request)
{
        const bool exchange = request->kind == EGAIN_TOKEN_EXCHANGE;

        if (request->kind < EGAIN_TOKEN_USERNAME || request->kind > EGAIN_TOKEN_EXCHANGE)
                return "The request's kind is none of enum egain_token_kind.";
        if (is_delegated(request->kind) != (request->subject != NULL))
                return "A request for a user or a customer has a subject, and no other has.";
        if (request->subject &&
            (!*request->subject || strlen(request->subject) > SUBJECT_MAX_BYTES))
                return "The subject is 1 to 256 bytes long.";
        if (exchange && (!request->subject_token || !*request->subject_token ||
                         !request->registration_id || !*request->registration_id))
                return "An exchange has a subject_token and a registration_id.";
        if (!exchange &&
            (request->subject_token || request->registration_id || request->subject_token_type))
                return "Only an exchange has a subject_token, its type and a registration_id.";
        return NULL;
}

/* A part behind its length; one that is absent is another than an empty one. */
static int append_part(struct buffer *parts, const char *part)
{
        const uint64_t size = part ? strlen(part) : UINT64_MAX;
        int r;

        r = buffer_append(parts, &size, sizeof(size));
        if (r == 0 && part)
                r = buffer_append_str(parts, part);
        return r;
}

static int make_key(const struct egain_token_request *request,
                    unsigned char ret[QUESTION_KEY_BYTES])
{
        const char *const texts[] = {
                request->client,          request->subject,
                request->scope,           request->key,
                request->subject_token,   request->subject_token_type,
                request->registration_id,
        };
        struct buffer parts = BUFFER_INIT(PARTS_MAX_BYTES);
        int r;

        r = buffer_append(&parts, &request->kind, sizeof(request->kind));
        for (size_t i = 0; r == 0 && i < sizeof(texts) / sizeof(texts[0]); i++)
                r = append_part(&parts, texts[i]);
        if (r == 0)
                r = digest(parts.bytes, parts.size, ret);
        buffer_deinit(&parts);
        return r;
}

/* Nothing where there is no value. */
static int append(struct buffer *form, const char *name, const char *value)
{
        return value ? buffer_append_field(form, name, value, strlen(value)) : 0;
}

static int append_rejected(struct buffer *form, const struct egain_token *rejected)
{
        const char *value = egain_token_value(rejected);
        unsigned char bytes[DIGEST_BYTES];
        char hex[2 * sizeof(bytes) + 1];
        int r;

        if (!value)
                return 0;
        r = digest(value, strlen(value), bytes);
        if (r)
                return r;
        for (size_t i = 0; i < sizeof(bytes); i++)
                (void)snprintf(hex + 2 * i, 3, "%02x", bytes[i]);
        return append(form, "rejected_token_sha256", hex);
}

static int append_grant(struct buffer *form, const struct egain_token_request *request)
{
        const char *type = request->subject_token_type;
        int r;

        switch (request->kind) {
        case EGAIN_TOKEN_APPLICATION: return append(form, "grant_type", "client_credentials");
        case EGAIN_TOKEN_EXCHANGE:
                r = append(form, "grant_type", GRANT_EXCHANGE);
                if (r == 0)
                        r = append(form, "subject_token", request->subject_token);
                if (r == 0)
                        r = append(form, "subject_token_type", type ? type : TYPE_DEFAULT);
                if (r == 0)
                        r = append(form, "registration_id", request->registration_id);
                return r;
        default:
                r = append(form, "grant_type", "password");
                if (r == 0)
                        r = append(form, subject_parameters[request->kind], request->subject);
                return r;
        }
}

static int make_form(const struct egain_token_request *request, const struct egain_token *rejected,
                     struct buffer *form)
{
        char min_ttl[16];
        int r;

        (void)snprintf(min_ttl, sizeof(min_ttl), "%u", (unsigned int)request->min_ttl_s);
        r = append_grant(form, request);
        if (r == 0)
                r = append(form, "client_id", request->client);
        if (r == 0)
                r = append(form, "client_secret", request->key);
        if (r == 0)
                r = append(form, "scope", request->scope);
        if (r == 0 && request->min_ttl_s > 0)
                r = append(form, "min_ttl", min_ttl);
        if (r == 0)
                r = append_rejected(form, rejected);
        return r;
}

int question_init(struct question *question, const struct egain_token_request *request,
                  const struct egain_token *rejected, const char **ret_why)
{
        int r;

        *ret_why = find_fault(request);
        if (*ret_why)
                return QUESTION_E_INVALID;
        *question = (struct question){.form = BUFFER_INIT(FORM_MAX_BYTES)};
        r = make_key(request, question->key);
        if (r == 0)
                r = make_form(request, rejected, &question->form);
        if (r == 0)
                return 0;
        question_deinit(question);
        *ret_why = "The request is too large.";
        return r == BUFFER_E_FULL ? QUESTION_E_INVALID : r;
}

void question_deinit(struct question *question)
{
        buffer_deinit(&question->form);
        explicit_bzero(question->key, sizeof(question->key));
}
