/* SPDX-License-Identifier: MIT */

/*
 * A form is decoded where it stands: decoding never makes it longer, so every name and value ends
 * up inside the bytes it came from. A parameter is looked for among those we read only after it was
 * decoded, so that "sco%70e" is a scope and a second one a repeat. Parameters we do not read may
 * hold anything that is properly encoded.
 *
 * What callers send as a secret is not ours to keep: it is wiped as soon as it was passed over, and
 * its digest taken. A rule of the policy may want to know one.
 */

#include "request.h"

#include <openssl/sha.h>

#include "error.h"
#include "form.h"

#define MIN_TTL_MAX_DIGITS 9
#define LIMIT_MAX_DIGITS   6
#define AFTER_MAX_DIGITS   18

enum parameter {
        PARAMETER_GRANT_TYPE,
        PARAMETER_SUBJECT_USERNAME,
        PARAMETER_SUBJECT_USERID,
        PARAMETER_SUBJECT_EMAIL,
        PARAMETER_SCOPE,
        PARAMETER_CLIENT_ID,
        PARAMETER_CLIENT_SECRET,
        PARAMETER_MIN_TTL,
        PARAMETER_REJECTED_TOKEN_SHA256,
        PARAMETER_LIMIT,
        PARAMETER_AFTER,
        PARAMETER_PASSWORD, /* some libraries insist on sending these two */
        PARAMETER_USERNAME,
        PARAMETER_SUBJECT_TOKEN, /* from here on: of token exchange */
        PARAMETER_SUBJECT_TOKEN_TYPE,
        PARAMETER_REGISTRATION_ID,
        PARAMETER_REQUESTED_TOKEN_TYPE,
        PARAMETER_ACTOR_TOKEN, /* these would change whose token it is, or for what, */
        PARAMETER_ACTOR_TOKEN_TYPE,
        PARAMETER_RESOURCE, /* and RFC 8693 §2.1 lets these two occur more than once */
        PARAMETER_AUDIENCE,
        _PARAMETER_N,
};

/* With its size, since every name of a request is held against them. */
#define NAME(string)                         \
        {                                    \
                (string), sizeof(string) - 1 \
        }

static const struct text parameter_names[_PARAMETER_N] = {
        [PARAMETER_GRANT_TYPE] = NAME("grant_type"),
        [PARAMETER_SUBJECT_USERNAME] = NAME("subject_username"),
        [PARAMETER_SUBJECT_USERID] = NAME("subject_userid"),
        [PARAMETER_SUBJECT_EMAIL] = NAME("subject_email"),
        [PARAMETER_SCOPE] = NAME("scope"),
        [PARAMETER_CLIENT_ID] = NAME("client_id"),
        [PARAMETER_CLIENT_SECRET] = NAME("client_secret"),
        [PARAMETER_MIN_TTL] = NAME("min_ttl"),
        [PARAMETER_REJECTED_TOKEN_SHA256] = NAME("rejected_token_sha256"),
        [PARAMETER_LIMIT] = NAME("limit"),
        [PARAMETER_AFTER] = NAME("after"),
        [PARAMETER_PASSWORD] = NAME("password"),
        [PARAMETER_USERNAME] = NAME("username"),
        [PARAMETER_SUBJECT_TOKEN] = NAME("subject_token"),
        [PARAMETER_SUBJECT_TOKEN_TYPE] = NAME("subject_token_type"),
        [PARAMETER_REGISTRATION_ID] = NAME("registration_id"),
        [PARAMETER_REQUESTED_TOKEN_TYPE] = NAME("requested_token_type"),
        [PARAMETER_ACTOR_TOKEN] = NAME("actor_token"),
        [PARAMETER_ACTOR_TOKEN_TYPE] = NAME("actor_token_type"),
        [PARAMETER_RESOURCE] = NAME("resource"),
        [PARAMETER_AUDIENCE] = NAME("audience"),
};

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

/* The parameters of one form, decoded. */
struct form {
        enum request_source source;
        bool encoded; /* something in it is, perhaps */
        struct request_keys *keys;
        bool token_in_query; /* somebody's token is where tokens never are */
        bool names_subject;  /* a parameter begins with subject_, whether we know it or not */
        bool seen[_PARAMETER_N];
        struct text values[_PARAMETER_N];
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
        return subject_kind_names(kind) ? parameter_names[subject_kinds[kind].parameter].bytes
                                        : NULL;
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

static bool is_encoded(const char *bytes, size_t size)
{
        return size > 0 && (memchr(bytes, '%', size) || memchr(bytes, '+', size));
}

static enum parameter parameter_of(struct text name)
{
        for (int i = 0; i < _PARAMETER_N; i++)
                if (text_equal(name, parameter_names[i]))
                        return i;
        return _PARAMETER_N;
}

void request_add_key(struct request_keys *keys, struct text secret)
{
        if (secret.size == 0 || keys->n == REQUEST_KEYS_MAX)
                return;
        SHA256((const unsigned char *)secret.bytes, secret.size, keys->sha256[keys->n++]);
}

/* Whether a parameter means nothing to us, so that it may hold anything and occur twice. */
static bool is_ignored(enum parameter parameter, enum request_source source)
{
        switch (parameter) {
        case _PARAMETER_N:
        case PARAMETER_PASSWORD:
        case PARAMETER_USERNAME: return true;
        case PARAMETER_LIMIT:
        case PARAMETER_AFTER: return source != REQUEST_FILTER;
        default: return false;
        }
}

/* Whether a parameter is only looked for, and may occur twice. */
static bool is_only_noted(enum parameter parameter)
{
        return parameter >= PARAMETER_ACTOR_TOKEN && parameter <= PARAMETER_AUDIENCE;
}

/* Whether a value is not to be kept. */
static bool is_secret(enum parameter parameter, enum request_source source)
{
        switch (parameter) {
        case PARAMETER_CLIENT_SECRET:
        case PARAMETER_PASSWORD:
        case PARAMETER_USERNAME:
        case PARAMETER_ACTOR_TOKEN: return true;
        case PARAMETER_SUBJECT_TOKEN: return source != REQUEST_BODY;
        default: return false;
        }
}

/* What a name alone tells. */
static void note_name(struct form *form, enum parameter parameter, struct text name)
{
        static const char subject[] = "subject_";

        if (form->source != REQUEST_BODY &&
            (parameter == PARAMETER_SUBJECT_TOKEN || parameter == PARAMETER_ACTOR_TOKEN))
                form->token_in_query = true;
        if (name.size >= sizeof(subject) - 1 &&
            memcmp(name.bytes, subject, sizeof(subject) - 1) == 0)
                form->names_subject = true;
}

/* 0 or REASON_REPEATED_PARAMETER. */
static int form_put(struct form *form, enum parameter parameter, struct text value)
{
        if (is_ignored(parameter, form->source))
                return 0; /* not ours to judge */
        if (is_only_noted(parameter)) {
                form->seen[parameter] |= value.size > 0;
                return 0;
        }
        if (form->seen[parameter])
                return REASON_REPEATED_PARAMETER;

        form->seen[parameter] = true;
        form->values[parameter] = value;
        return 0;
}

static int form_take_pair(struct form *form, char *pair, size_t size)
{
        char *equals = memchr(pair, '=', size);
        const size_t name_size = equals ? (size_t)(equals - pair) : size;
        char *const value_begin = pair + name_size + (equals ? 1 : 0);
        const size_t value_size = size - (size_t)(value_begin - pair);
        enum parameter parameter;
        struct text name = {pair, name_size}, value = {value_begin, value_size};
        int r = 0;

        if (form->encoded)
                r = form_decode(pair, name_size, &name);
        if (r)
                return r;
        parameter = parameter_of(name);
        note_name(form, parameter, name);
        if (form->encoded)
                r = form_decode(value_begin, value_size, &value);
        if (parameter == PARAMETER_CLIENT_SECRET && r == 0)
                request_add_key(form->keys, value);
        if (is_secret(parameter, form->source))
                secret_wipe(value_begin, value_size);
        if (r)
                return r;
        return form_put(form, parameter, value);
}

/* Goes on to the end whatever it finds, since a secret may be there. */
static int form_parse(struct form *form, char *bytes, size_t size)
{
        char *const end = bytes + size;
        int r, first = 0;

        form->encoded = is_encoded(bytes, size);
        while (bytes < end) {
                char *separator = memchr(bytes, '&', (size_t)(end - bytes));
                char *const pair_end = separator ? separator : end;

                if (pair_end > bytes) {
                        r = form_take_pair(form, bytes, (size_t)(pair_end - bytes));
                        if (r && !first)
                                first = r;
                }
                bytes = pair_end + 1;
        }
        return form->token_in_query ? REASON_SUBJECT_TOKEN_IN_QUERY : first;
}

int request_check_query(char *query, size_t size)
{
        struct request_keys unused = {};
        struct form form = {.source = REQUEST_QUERY, .keys = &unused};

        if (size == 0)
                return 0;
        (void)form_parse(&form, query, size); /* what else is in it does not matter */
        return form.token_in_query ? REASON_SUBJECT_TOKEN_IN_QUERY : 0;
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
static int take_subject(struct token_request *request, const struct form *form)
{
        int n = form->seen[PARAMETER_SUBJECT_TOKEN];
        enum subject_kind found = SUBJECT_USERNAME;

        for (enum subject_kind kind = SUBJECT_USERNAME; kind <= SUBJECT_EMAIL; kind++) {
                if (!form->seen[subject_kinds[kind].parameter])
                        continue;
                n++;
                found = kind;
        }
        if (form->source == REQUEST_FILTER && form->seen[PARAMETER_REGISTRATION_ID]) {
                n++;
                found = SUBJECT_EXCHANGE;
        }
        if (n == 0)
                return form->source == REQUEST_FILTER ? 0 : REASON_MISSING_SUBJECT;
        if (n > 1)
                return REASON_AMBIGUOUS_SUBJECT;
        if (form->seen[PARAMETER_SUBJECT_TOKEN])
                return REASON_MISSING_SUBJECT; /* one that this grant does not take is none */
        return take_name(request, found, form->values[subject_kinds[found].parameter]);
}

/* Nobody gets the application's token who meant a subject's, were it one that we do not know. */
static int take_application(struct token_request *request, const struct form *form)
{
        request->has_subject = true;
        request->subject_kind = SUBJECT_APPLICATION;
        return form->names_subject ? REASON_UNWANTED_SUBJECT : 0;
}

static int take_registration(struct token_request *request, struct text value)
{
        if (value.size == 0)
                return REASON_MISSING_REGISTRATION_ID;
        return take_name(request, SUBJECT_EXCHANGE, value) ? REASON_BAD_REGISTRATION_ID : 0;
}

/* RFC 8693 §2.1. What would change the meaning is refused rather than ignored. */
static int take_exchange(struct token_request *request, const struct form *form)
{
        const struct text wanted = form->values[PARAMETER_REQUESTED_TOKEN_TYPE];
        int r;

        request->has_subject = true;
        request->subject_kind = SUBJECT_EXCHANGE;
        if (form->source != REQUEST_BODY)
                return REASON_EXCHANGE_IN_QUERY;
        for (enum subject_kind kind = SUBJECT_USERNAME; kind <= SUBJECT_EMAIL; kind++)
                if (form->seen[subject_kinds[kind].parameter])
                        return REASON_AMBIGUOUS_SUBJECT;
        for (enum parameter i = PARAMETER_ACTOR_TOKEN; i <= PARAMETER_AUDIENCE; i++)
                if (form->seen[i])
                        return REASON_EXCHANGE_PARAMETER;
        if (wanted.size > 0 &&
            !text_equal(wanted, TEXT(subjecttoken_type_name(SUBJECTTOKEN_ACCESS_TOKEN))))
                return REASON_BAD_REQUESTED_TOKEN_TYPE;
        r = take_registration(request, form->values[PARAMETER_REGISTRATION_ID]);
        if (r)
                return r;
        return subjecttoken_read(&request->subject_token, form->values[PARAMETER_SUBJECT_TOKEN],
                                 form->values[PARAMETER_SUBJECT_TOKEN_TYPE]);
}

/* Which grant is asked for, and whose token. Nothing falls through from one to the other. */
static int take_grant(struct token_request *request, const struct form *form)
{
        const struct text type = form->values[PARAMETER_GRANT_TYPE];

        if (form->source == REQUEST_FILTER)
                return take_subject(request, form);
        if (type.size == 0 && form->source == REQUEST_BODY)
                return REASON_MISSING_GRANT_TYPE;
        if (type.size == 0 || text_equal(type, TEXT(PASSWORD)))
                return take_subject(request, form);
        if (text_equal(type, TEXT(CLIENT_CREDENTIALS)))
                return take_application(request, form);
        if (text_equal(type, TEXT(TOKEN_EXCHANGE)))
                return take_exchange(request, form);
        return REASON_UNSUPPORTED_GRANT_TYPE;
}

static int take_scope(struct token_request *request, const struct form *form)
{
        struct text value = form->values[PARAMETER_SCOPE];
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

static int take_min_ttl(struct token_request *request, const struct form *form)
{
        uint64_t seconds = 0;
        int r;

        r = take_number(&seconds, form->values[PARAMETER_MIN_TTL], MIN_TTL_MAX_DIGITS,
                        REASON_BAD_MIN_TTL);
        request->min_ttl_ms = seconds * 1000;
        return r;
}

static int take_page(struct token_request *request, const struct form *form)
{
        int r;

        r = take_number(&request->limit, form->values[PARAMETER_LIMIT], LIMIT_MAX_DIGITS,
                        REASON_BAD_LIMIT);
        if (r)
                return r;
        return take_number(&request->after, form->values[PARAMETER_AFTER], AFTER_MAX_DIGITS,
                           REASON_BAD_AFTER);
}

static int take_rejected_token(struct token_request *request, const struct form *form)
{
        const struct text value = form->values[PARAMETER_REJECTED_TOKEN_SHA256];

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
static int take_form(struct token_request *request, const struct form *form)
{
        int r;

        r = take_grant(request, form);
        if (r)
                return r;
        r = take_scope(request, form);
        if (r)
                return r;
        r = take_min_ttl(request, form);
        if (r)
                return r;
        r = take_rejected_token(request, form);
        if (r)
                return r;
        r = take_page(request, form);
        if (r)
                return r;
        request->client = form->values[PARAMETER_CLIENT_ID];
        return 0;
}

int request_parse(struct token_request *request, char *bytes, size_t size,
                  enum request_source source)
{
        struct form form = {.source = source, .keys = &request->keys};
        int r;

        r = form_parse(&form, bytes, size);
        if (r)
                return r;
        return take_form(request, &form);
}

int request_take_pairs(struct token_request *request, const struct request_pair *pairs, size_t n)
{
        struct form form = {.source = REQUEST_QUERY, .keys = &request->keys};
        struct text *scope = &form.values[PARAMETER_SCOPE];
        int r;

        for (size_t i = 0; i < n; i++) {
                r = form_put(&form, parameter_of(pairs[i].name), pairs[i].value);
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
        return take_form(request, &form);
}
