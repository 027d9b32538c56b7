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

#include "parameters.h"

#include "form.h"

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

const char *parameter_name(enum parameter parameter)
{
        return parameter_names[parameter].bytes;
}

/* Whether something in a form is encoded, perhaps. */
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
static void note_name(struct parameters *parameters, enum parameter parameter, struct text name)
{
        static const char subject[] = "subject_";

        if (parameters->source != REQUEST_BODY &&
            (parameter == PARAMETER_SUBJECT_TOKEN || parameter == PARAMETER_ACTOR_TOKEN))
                parameters->token_in_query = true;
        if (name.size >= sizeof(subject) - 1 &&
            memcmp(name.bytes, subject, sizeof(subject) - 1) == 0)
                parameters->names_subject = true;
}

/* 0 or REASON_REPEATED_PARAMETER. */
static int put(struct parameters *parameters, enum parameter parameter, struct text value)
{
        if (is_ignored(parameter, parameters->source))
                return 0; /* not ours to judge */
        if (is_only_noted(parameter)) {
                parameters->seen[parameter] |= value.size > 0;
                return 0;
        }
        if (parameters->seen[parameter])
                return REASON_REPEATED_PARAMETER;

        parameters->seen[parameter] = true;
        parameters->values[parameter] = value;
        return 0;
}

static int take_pair(struct parameters *parameters, char *pair, size_t size, bool encoded)
{
        char *equals = memchr(pair, '=', size);
        const size_t name_size = equals ? (size_t)(equals - pair) : size;
        char *const value_begin = pair + name_size + (equals ? 1 : 0);
        const size_t value_size = size - (size_t)(value_begin - pair);
        enum parameter parameter;
        struct text name = {pair, name_size}, value = {value_begin, value_size};
        int r = 0;

        if (encoded)
                r = form_decode(pair, name_size, &name);
        if (r)
                return r;
        parameter = parameter_of(name);
        note_name(parameters, parameter, name);
        if (encoded)
                r = form_decode(value_begin, value_size, &value);
        if (parameter == PARAMETER_CLIENT_SECRET && r == 0)
                request_add_key(parameters->keys, value);
        /* One that we do not know, such as client_assertion, may be a secret, too. */
        parameters->held_secret |= parameter == PARAMETER_SUBJECT_TOKEN ||
                                   parameter == _PARAMETER_N;
        if (is_secret(parameter, parameters->source)) {
                parameters->held_secret = true;
                secret_wipe(value_begin, value_size);
        }
        if (r)
                return r;
        return put(parameters, parameter, value);
}

/* Goes on to the end whatever it finds, since a secret may be there. */
int parameters_parse(struct parameters *parameters, char *bytes, size_t size)
{
        const bool encoded = is_encoded(bytes, size);
        char *const end = bytes + size;
        int r, first = 0;

        while (bytes < end) {
                char *separator = memchr(bytes, '&', (size_t)(end - bytes));
                char *const pair_end = separator ? separator : end;

                if (pair_end > bytes) {
                        r = take_pair(parameters, bytes, (size_t)(pair_end - bytes), encoded);
                        if (r && !first)
                                first = r;
                }
                bytes = pair_end + 1;
        }
        return parameters->token_in_query ? REASON_SUBJECT_TOKEN_IN_QUERY : first;
}

int parameters_put(struct parameters *parameters, struct text name, struct text value)
{
        return put(parameters, parameter_of(name), value);
}
