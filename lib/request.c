/* SPDX-License-Identifier: MIT */

/*
 * What parameters mean: which grant is asked for, whose token, and how it has to be. Nothing falls
 * through from one grant to another.
 */

#include "request.h"

#include "error.h"
#include "form.h"
#include "parameters.h"
#include "sha256.h"

#define MIN_TTL_MAX_DIGITS 9
#define LIMIT_MAX_DIGITS   6
#define AFTER_MAX_DIGITS   18

#define PASSWORD           "password"
#define CLIENT_CREDENTIALS "client_credentials"
#define TOKEN_EXCHANGE     "urn:ietf:params:oauth:grant-type:token-exchange"

static const struct {
        const char *name;
        const char *grant_type;
        enum parameter parameter; /* _PARAMETER_N: there is no subject */
} subject_kinds[_SUBJECT_KIND_N] = {
        [SUBJECT_USERNAME] = {"username", PASSWORD, PARAMETER_SUBJECT_USERNAME},
        [SUBJECT_USERID] = {"userid", PASSWORD, PARAMETER_SUBJECT_USERID},
        [SUBJECT_EMAIL] = {"email", PASSWORD, PARAMETER_SUBJECT_EMAIL},
        [SUBJECT_APPLICATION] = {"application", CLIENT_CREDENTIALS, _PARAMETER_N},
        [SUBJECT_ANONYMOUS] = {"anonymous", CLIENT_CREDENTIALS, _PARAMETER_N},
        [SUBJECT_EXCHANGE] = {"exchange", TOKEN_EXCHANGE, PARAMETER_REGISTRATION_ID},
};

const char *subject_kind_name(enum subject_kind kind)
{
        return subject_kinds[kind].name;
}

bool subject_kind_names(enum subject_kind kind)
{
        return subject_kinds[kind].parameter != _PARAMETER_N;
}

size_t subject_kind_max_bytes(enum subject_kind kind)
{
        return kind == SUBJECT_EXCHANGE ? REQUEST_REGISTRATION_MAX_BYTES
                                        : REQUEST_SUBJECT_MAX_BYTES;
}

const char *subject_kind_parameter(enum subject_kind kind)
{
        return subject_kind_names(kind) ? parameter_name(subject_kinds[kind].parameter) : NULL;
}

const char *subject_kind_grant_type(enum subject_kind kind)
{
        return subject_kinds[kind].grant_type;
}

void request_init(struct token_request *request)
{
        *request = (struct token_request){};
}

void request_deinit(struct token_request *request)
{
        secret_deinit(&request->basic);
        secret_deinit(&request->own_scope);
        *request = (struct token_request){};
}

void request_add_key(struct request_keys *keys, struct text secret)
{
        if (secret.size == 0 || keys->n == REQUEST_KEYS_MAX)
                return;
        sha256(secret.bytes, secret.size, keys->sha256[keys->n++]);
}

int request_check_query(char *query, size_t size)
{
        struct request_keys unused = {};
        struct parameters sent = {.source = REQUEST_QUERY, .keys = &unused};

        (void)parameters_parse(&sent, query, size); /* what else is in it does not matter */
        return sent.token_in_query ? REASON_SUBJECT_TOKEN_IN_QUERY : 0;
}

/* The subject of a kind whose parameter is `value`. */
static int take_name(struct token_request *request, enum subject_kind kind, struct text value)
{
        request->has_subject = true;
        request->subject_kind = kind;
        request->subject = value;
        if (value.size == 0)
                return REASON_EMPTY_SUBJECT;
        if (value.size > subject_kind_max_bytes(kind))
                return REASON_LONG_SUBJECT;
        return text_is_plain_utf8(value) ? 0 : REASON_BAD_SUBJECT;
}

/* On behalf of whom: of one subject, and not of another's token besides. */
static int take_subject(struct token_request *request, const struct parameters *sent)
{
        int n = sent->seen[PARAMETER_SUBJECT_TOKEN];
        enum subject_kind found = SUBJECT_USERNAME;

        for (enum subject_kind kind = SUBJECT_USERNAME; kind <= SUBJECT_EMAIL; kind++) {
                if (!sent->seen[subject_kinds[kind].parameter])
                        continue;
                n++;
                found = kind;
        }
        if (sent->source == REQUEST_FILTER && sent->seen[PARAMETER_REGISTRATION_ID]) {
                n++;
                found = SUBJECT_EXCHANGE;
        }
        if (n == 0)
                return sent->source == REQUEST_FILTER ? 0 : REASON_MISSING_SUBJECT;
        if (n > 1)
                return REASON_AMBIGUOUS_SUBJECT;
        if (sent->seen[PARAMETER_SUBJECT_TOKEN])
                return REASON_MISSING_SUBJECT; /* one that this grant does not take is none */
        return take_name(request, found, sent->values[subject_kinds[found].parameter]);
}

/* Nobody gets the application's token who meant a subject's, were it one that we do not know. */
static int take_application(struct token_request *request, const struct parameters *sent)
{
        request->has_subject = true;
        request->subject_kind = SUBJECT_APPLICATION;
        return sent->names_subject ? REASON_UNWANTED_SUBJECT : 0;
}

static int take_registration(struct token_request *request, struct text value)
{
        if (value.size == 0)
                return REASON_MISSING_REGISTRATION_ID;
        return take_name(request, SUBJECT_EXCHANGE, value) ? REASON_BAD_REGISTRATION_ID : 0;
}

/* RFC 8693 §2.1. What would change the meaning is refused rather than ignored. */
static int take_exchange(struct token_request *request, const struct parameters *sent)
{
        const struct text wanted = sent->values[PARAMETER_REQUESTED_TOKEN_TYPE];
        int r;

        request->has_subject = true;
        request->subject_kind = SUBJECT_EXCHANGE;
        if (sent->source != REQUEST_BODY)
                return REASON_EXCHANGE_IN_QUERY;
        for (enum subject_kind kind = SUBJECT_USERNAME; kind <= SUBJECT_EMAIL; kind++)
                if (sent->seen[subject_kinds[kind].parameter])
                        return REASON_AMBIGUOUS_SUBJECT;
        for (enum parameter i = PARAMETER_ACTOR_TOKEN; i <= PARAMETER_AUDIENCE; i++)
                if (sent->seen[i])
                        return REASON_EXCHANGE_PARAMETER;
        if (wanted.size > 0 &&
            !text_equal(wanted, TEXT(subjecttoken_type_name(SUBJECTTOKEN_ACCESS_TOKEN))))
                return REASON_BAD_REQUESTED_TOKEN_TYPE;
        r = take_registration(request, sent->values[PARAMETER_REGISTRATION_ID]);
        if (r)
                return r;
        return subjecttoken_read(&request->subject_token, sent->values[PARAMETER_SUBJECT_TOKEN],
                                 sent->values[PARAMETER_SUBJECT_TOKEN_TYPE]);
}

/* Which grant is asked for, and whose token. Nothing falls through from one to the other. */
static int take_grant(struct token_request *request, const struct parameters *sent)
{
        const struct text type = sent->values[PARAMETER_GRANT_TYPE];

        if (sent->source == REQUEST_FILTER)
                return take_subject(request, sent);
        if (type.size == 0 && sent->source == REQUEST_BODY)
                return REASON_MISSING_GRANT_TYPE;
        if (type.size == 0 || text_equal(type, TEXT(PASSWORD)))
                return take_subject(request, sent);
        if (text_equal(type, TEXT(CLIENT_CREDENTIALS)))
                return take_application(request, sent);
        if (text_equal(type, TEXT(TOKEN_EXCHANGE)))
                return take_exchange(request, sent);
        return REASON_UNSUPPORTED_GRANT_TYPE;
}

static int take_scope(struct token_request *request, const struct parameters *sent)
{
        struct text value = sent->values[PARAMETER_SCOPE];
        int r;

        if (value.size == 0)
                return 0;
        r = scope_canonicalise((char *)value.bytes, &value.size);
        if (r)
                return r;
        request->scope = value;
        return 0;
}

/* 0 where there is none, or where it is 0. 0 or `reason`. */
static int take_number(uint64_t *ret, struct text value, size_t max_digits, int reason)
{
        uint64_t number = 0;

        if (value.size > max_digits)
                return reason;
        for (size_t i = 0; i < value.size; i++) {
                if (value.bytes[i] < '0' || value.bytes[i] > '9')
                        return reason;
                number = number * 10 + (uint64_t)(value.bytes[i] - '0');
        }
        *ret = number;
        return 0;
}

static int take_min_ttl(struct token_request *request, const struct parameters *sent)
{
        uint64_t seconds = 0;
        int r;

        r = take_number(&seconds, sent->values[PARAMETER_MIN_TTL], MIN_TTL_MAX_DIGITS,
                        REASON_BAD_MIN_TTL);
        request->min_ttl_ms = seconds * 1000;
        return r;
}

static int take_page(struct token_request *request, const struct parameters *sent)
{
        int r;

        r = take_number(&request->limit, sent->values[PARAMETER_LIMIT], LIMIT_MAX_DIGITS,
                        REASON_BAD_LIMIT);
        if (r)
                return r;
        return take_number(&request->after, sent->values[PARAMETER_AFTER], AFTER_MAX_DIGITS,
                           REASON_BAD_AFTER);
}

static int take_rejected_token(struct token_request *request, const struct parameters *sent)
{
        const struct text value = sent->values[PARAMETER_REJECTED_TOKEN_SHA256];

        if (value.size == 0)
                return 0;
        if (value.size != (size_t)2 * REQUEST_SHA256_BYTES)
                return REASON_BAD_REJECTED_TOKEN;
        for (size_t i = 0; i < REQUEST_SHA256_BYTES; i++) {
                const int high = form_hex_digit(value.bytes[2 * i]);
                const int low = form_hex_digit(value.bytes[2 * i + 1]);

                if (high < 0 || low < 0)
                        return REASON_BAD_REJECTED_TOKEN;
                request->rejected_sha256[i] = (uint8_t)(high << 4 | low);
        }
        request->rejects = true;
        return 0;
}

/* What is asked for, once all parameters are there. */
static int take_all(struct token_request *request, const struct parameters *sent)
{
        int r;

        r = take_grant(request, sent);
        if (r)
                return r;
        r = take_scope(request, sent);
        if (r)
                return r;
        r = take_min_ttl(request, sent);
        if (r)
                return r;
        r = take_rejected_token(request, sent);
        if (r)
                return r;
        r = take_page(request, sent);
        if (r)
                return r;
        request->client = sent->values[PARAMETER_CLIENT_ID];
        return 0;
}

int request_parse(struct token_request *request, char *bytes, size_t size,
                  enum request_source source)
{
        struct parameters sent = {.source = source, .keys = &request->keys};
        int r;

        r = parameters_parse(&sent, bytes, size);
        request->held_secret = sent.held_secret;
        if (r)
                return r;
        return take_all(request, &sent);
}

int request_take_pairs(struct token_request *request, const struct request_pair *pairs, size_t n)
{
        struct parameters sent = {.source = REQUEST_QUERY, .keys = &request->keys};
        struct text *scope = &sent.values[PARAMETER_SCOPE];
        int r;

        for (size_t i = 0; i < n; i++) {
                r = parameters_put(&sent, pairs[i].name, pairs[i].value);
                if (r)
                        return r;
        }
        if (scope->size > 0) {
                /* Its canonical form is made in place, and what came is not ours to change. */
                r = secret_assign(&request->own_scope, scope->bytes, scope->size);
                if (r)
                        return error_trace(r);
                scope->bytes = request->own_scope.bytes;
        }
        return take_all(request, &sent);
}
