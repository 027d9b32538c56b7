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

#include <openssl/evp.h>
#include <openssl/sha.h>
#include <strings.h>

#include "error.h"

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
        _PARAMETER_N,
};

static const char *const parameter_names[_PARAMETER_N] = {
        [PARAMETER_GRANT_TYPE] = "grant_type",
        [PARAMETER_SUBJECT_USERNAME] = "subject_username",
        [PARAMETER_SUBJECT_USERID] = "subject_userid",
        [PARAMETER_SUBJECT_EMAIL] = "subject_email",
        [PARAMETER_SCOPE] = "scope",
        [PARAMETER_CLIENT_ID] = "client_id",
        [PARAMETER_CLIENT_SECRET] = "client_secret",
        [PARAMETER_MIN_TTL] = "min_ttl",
        [PARAMETER_REJECTED_TOKEN_SHA256] = "rejected_token_sha256",
        [PARAMETER_LIMIT] = "limit",
        [PARAMETER_AFTER] = "after",
        [PARAMETER_PASSWORD] = "password",
        [PARAMETER_USERNAME] = "username",
};

static const struct {
        const char *name;
        enum parameter parameter;
} subject_kinds[_SUBJECT_KIND_N] = {
        [SUBJECT_USERNAME] = {"username", PARAMETER_SUBJECT_USERNAME},
        [SUBJECT_USERID] = {"userid", PARAMETER_SUBJECT_USERID},
        [SUBJECT_EMAIL] = {"email", PARAMETER_SUBJECT_EMAIL},
};

/* The parameters of one form, decoded. */
struct form {
        enum request_source source;
        bool encoded; /* something in it is, perhaps */
        struct request_keys *keys;
        bool seen[_PARAMETER_N];
        struct text values[_PARAMETER_N];
};

const char *subject_kind_name(enum subject_kind kind)
{
        return subject_kinds[kind].name;
}

const char *subject_kind_parameter(enum subject_kind kind)
{
        return parameter_names[subject_kinds[kind].parameter];
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

static int hex_digit(char c)
{
        if (c >= '0' && c <= '9')
                return c - '0';
        if (c >= 'a' && c <= 'f')
                return c - 'a' + 10;
        if (c >= 'A' && c <= 'F')
                return c - 'A' + 10;
        return -1;
}

static bool is_encoded(const char *bytes, size_t size)
{
        return size > 0 && (memchr(bytes, '%', size) || memchr(bytes, '+', size));
}

/* Decodes in place. 0 or REASON_MALFORMED_ESCAPE. */
static int decode(char *bytes, size_t size, struct text *ret)
{
        size_t out = 0;

        for (size_t in = 0; in < size; in++) {
                int high, low;

                if (bytes[in] == '+') {
                        bytes[out++] = ' ';
                        continue;
                }
                if (bytes[in] != '%') {
                        bytes[out++] = bytes[in];
                        continue;
                }
                if (size - in < 3)
                        return REASON_MALFORMED_ESCAPE;
                high = hex_digit(bytes[in + 1]);
                low = hex_digit(bytes[in + 2]);
                if (high < 0 || low < 0)
                        return REASON_MALFORMED_ESCAPE;
                bytes[out++] = (char)(high << 4 | low);
                in += 2;
        }
        *ret = (struct text){bytes, out};
        return 0;
}

/* Most names differ in what they begin with. */
static enum parameter parameter_of(struct text name)
{
        for (int i = 0; name.size > 0 && i < _PARAMETER_N; i++)
                if (parameter_names[i][0] == name.bytes[0] &&
                    text_equal(name, TEXT(parameter_names[i])))
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
        return parameter == _PARAMETER_N || parameter == PARAMETER_PASSWORD ||
               parameter == PARAMETER_USERNAME ||
               (source != REQUEST_FILTER &&
                (parameter == PARAMETER_LIMIT || parameter == PARAMETER_AFTER));
}

/* 0 or REASON_REPEATED_PARAMETER. */
static int form_put(struct form *form, enum parameter parameter, struct text value)
{
        if (is_ignored(parameter, form->source))
                return 0; /* not ours to judge */
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
                r = decode(pair, name_size, &name);
        if (r)
                return r;
        parameter = parameter_of(name);
        if (form->encoded)
                r = decode(value_begin, value_size, &value);
        if (parameter == PARAMETER_CLIENT_SECRET && r == 0)
                request_add_key(form->keys, value);
        if (parameter == PARAMETER_CLIENT_SECRET || parameter == PARAMETER_PASSWORD ||
            parameter == PARAMETER_USERNAME)
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
        return first;
}

static int take_grant_type(const struct form *form, enum request_source source)
{
        const struct text value = form->values[PARAMETER_GRANT_TYPE];

        if (source == REQUEST_FILTER)
                return 0;
        if (value.size == 0)
                return source == REQUEST_BODY ? REASON_MISSING_GRANT_TYPE : 0;
        if (!text_equal(value, TEXT("password")))
                return REASON_UNSUPPORTED_GRANT_TYPE;
        return 0;
}

static int take_subject(struct token_request *request, const struct form *form)
{
        int n = 0;

        for (int kind = 0; kind < _SUBJECT_KIND_N; kind++) {
                const enum parameter parameter = subject_kinds[kind].parameter;

                if (!form->seen[parameter])
                        continue;
                n++;
                request->subject_kind = kind;
                request->subject = form->values[parameter];
        }
        request->has_subject = n > 0;
        if (n == 0)
                return form->source == REQUEST_FILTER ? 0 : REASON_MISSING_SUBJECT;
        if (n > 1)
                return REASON_AMBIGUOUS_SUBJECT;
        if (request->subject.size == 0)
                return REASON_EMPTY_SUBJECT;
        if (request->subject.size > REQUEST_SUBJECT_MAX_BYTES)
                return REASON_LONG_SUBJECT;
        if (!text_is_plain_utf8(request->subject))
                return REASON_BAD_SUBJECT;
        return 0;
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
                const int high = hex_digit(value.bytes[2 * i]);
                const int low = hex_digit(value.bytes[2 * i + 1]);

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

        r = take_grant_type(form, form->source);
        if (r)
                return r;
        r = take_subject(request, form);
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

static bool is_base64(const char *text, size_t size)
{
        const size_t padding = size - strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrs"
                                                   "tuvwxyz0123456789+/");

        if (size == 0 || size % 4 != 0 || padding > 2)
                return false;
        return strspn(text + size - padding, "=") == padding;
}

/* Decodes to "user:password" behind what is in `ret`. */
static int append_base64(struct secret *ret, const char *text)
{
        const size_t size = strlen(text), before = ret->size;
        size_t decoded;
        int r;

        if (size > INT32_MAX || !is_base64(text, size))
                return REASON_BAD_AUTHORIZATION;
        decoded = size / 4 * 3;
        r = secret_reserve(ret, before + decoded);
        if (r)
                return r < 0 ? error_trace(r) : REASON_BAD_AUTHORIZATION;
        if (EVP_DecodeBlock((unsigned char *)ret->bytes + before, (const unsigned char *)text,
                            (int)size) < 0)
                return REASON_BAD_AUTHORIZATION;
        decoded -= (size_t)(text[size - 1] == '=') + (size_t)(text[size - 2] == '=');
        ret->size = before + decoded;
        ret->bytes[ret->size] = '\0';
        return 0;
}

/* As it came, and form-decoded; it is rewritten. */
static void take_password(struct request_keys *keys, char *password, size_t size)
{
        struct text decoded;

        request_add_key(keys, (struct text){password, size});
        if ((memchr(password, '%', size) || memchr(password, '+', size)) &&
            decode(password, size, &decoded) == 0)
                request_add_key(keys, decoded);
}

int request_authorization(struct token_request *request, const char *header)
{
        struct secret *basic = &request->basic;
        size_t user_size;
        char *colon;
        int r;

        if (strncasecmp(header, "Basic", 5) != 0 || (header[5] != ' ' && header[5] != '\0'))
                return 0;
        header += 5;
        header += strspn(header, " ");

        request->basic_client = (struct text){};
        request->basic_client_raw = (struct text){};
        secret_clear(basic);
        r = append_base64(basic, header);
        if (r)
                return r;
        colon = memchr(basic->bytes, ':', basic->size);
        if (!colon || colon == basic->bytes)
                return REASON_BAD_AUTHORIZATION;

        /* Keep the user twice: once as it came, once to be decoded. */
        user_size = (size_t)(colon - basic->bytes);
        take_password(&request->keys, colon + 1, basic->size - user_size - 1);
        secret_wipe(colon, basic->size - user_size);
        basic->size = user_size;
        r = secret_reserve(basic, user_size * 2);
        if (r)
                return error_trace(r);
        memcpy(basic->bytes + user_size, basic->bytes, user_size);
        basic->size = user_size * 2;
        basic->bytes[basic->size] = '\0';

        request->basic_client_raw = (struct text){basic->bytes, user_size};
        if (decode(basic->bytes + user_size, user_size, &request->basic_client) != 0)
                request->basic_client = request->basic_client_raw; /* it was sent unencoded */
        return 0;
}
