/* SPDX-License-Identifier: MIT */

#include "grant.h"

#include <assert.h>
#include <endian.h>

#include "error.h"

/* In the place of a kind. */
#define KIND_ANY_SUBJECT UINT8_MAX
#define KIND_ANY_TOKEN   (UINT8_MAX - 1)

_Static_assert(REQUEST_REGISTRATION_MAX_BYTES + SUBJECTTOKEN_DIGEST_BYTES <=
                       REQUEST_SUBJECT_MAX_BYTES,
               "no key is longer than one on behalf of a subject");

static uint8_t *put(uint8_t *out, const void *bytes, size_t size)
{
        if (size > 0)
                memcpy(out, bytes, size);
        return out + size;
}

static uint8_t *put_text(uint8_t *out, struct text text)
{
        const uint16_t size = htole16((uint16_t)text.size);

        return put(put(out, &size, sizeof(size)), text.bytes, text.size);
}

static const uint8_t *get(const uint8_t *in, void *ret, size_t size)
{
        memcpy(ret, in, size);
        return in + size;
}

static const uint8_t *get_text(const uint8_t *in, struct text *ret)
{
        uint16_t size;

        in = get(in, &size, sizeof(size));
        *ret = (struct text){(const char *)in, le16toh(size)};
        return in + ret->size;
}

static struct grant_key make(uint8_t *buffer, const uint8_t *hash_key, uint8_t kind,
                             struct text subject, const struct grant *grant)
{
        const uint64_t wire_identity = htole64(grant->identity);
        struct grant_key key = {.bytes = buffer};
        uint8_t *out = buffer;

        assert(grant->scope.size > 0 && grant->scope.size <= REQUEST_SCOPE_MAX_BYTES);

        out = put(out, &wire_identity, sizeof(wire_identity));
        out = put(out, &kind, sizeof(kind));
        out = put_text(out, subject);
        if (kind == SUBJECT_EXCHANGE)
                out = put(out, grant->digest, SUBJECTTOKEN_DIGEST_BYTES);
        out = put_text(out, grant->scope);
        key.size = (size_t)(out - buffer);
        key.hash = siphash(hash_key, key.bytes, key.size);
        return key;
}

struct grant_key grant_key_make(uint8_t buffer[static GRANT_KEY_MAX_BYTES],
                                const uint8_t hash_key[static SIPHASH_KEY_BYTES],
                                const struct grant *grant)
{
        const enum subject_kind kind = grant->subject_kind;

        assert(grant->subject.size <= subject_kind_max_bytes(kind));
        assert(subject_kind_names(kind) == (grant->subject.size > 0));
        assert((kind == SUBJECT_EXCHANGE) == (grant->digest != NULL));
        return make(buffer, hash_key, (uint8_t)kind, grant->subject, grant);
}

struct grant_key grant_key_make_any_subject(uint8_t buffer[static GRANT_KEY_MAX_BYTES],
                                            const uint8_t hash_key[static SIPHASH_KEY_BYTES],
                                            const struct grant *grant)
{
        if (!subject_kind_names(grant->subject_kind))
                return grant_key_make(buffer, hash_key, grant);
        if (grant->subject_kind == SUBJECT_EXCHANGE)
                return make(buffer, hash_key, KIND_ANY_TOKEN, grant->subject, grant);
        return make(buffer, hash_key, KIND_ANY_SUBJECT, (struct text){"", 0}, grant);
}

static uint8_t kind_of(struct grant_key key)
{
        return key.bytes[sizeof(uint64_t)];
}

bool grant_key_is_any_subject(struct grant_key key)
{
        return kind_of(key) == KIND_ANY_SUBJECT || kind_of(key) == KIND_ANY_TOKEN;
}

struct grant grant_of_key(struct grant_key key)
{
        const uint8_t *in = key.bytes;
        struct grant grant = {};

        in = get(in, &grant.identity, sizeof(grant.identity));
        grant.identity = le64toh(grant.identity);
        grant.subject_kind = grant_key_is_any_subject(key) ? _SUBJECT_KIND_N
                                                           : (enum subject_kind)kind_of(key);
        in = get_text(in + 1, &grant.subject);
        if (grant.subject_kind == SUBJECT_EXCHANGE) {
                grant.digest = in;
                in += SUBJECTTOKEN_DIGEST_BYTES;
        }
        in = get_text(in, &grant.scope);
        assert(in == key.bytes + key.size);
        return grant;
}

enum audience grant_audience(enum subject_kind kind)
{
        switch (kind) {
        case SUBJECT_EMAIL: return AUDIENCE_CUSTOMER;
        case SUBJECT_ANONYMOUS: return AUDIENCE_ANONYMOUS;
        default: return AUDIENCE_USER;
        }
}

static bool is_unreserved(char c)
{
        return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
               c == '-' || c == '.' || c == '_' || c == '~';
}

/* Percent-encodes all but RFC 3986's unreserved characters. */
static int append_encoded(struct secret *form, struct text value)
{
        static const char digits[] = "0123456789ABCDEF";
        size_t at = 0;
        int r = 0;

        while (!r && at < value.size) {
                const size_t begin = at;

                while (at < value.size && is_unreserved(value.bytes[at]))
                        at++;
                r = secret_append(form, value.bytes + begin, at - begin);
                if (!r && at < value.size) {
                        const unsigned char c = (unsigned char)value.bytes[at++];

                        r = secret_append(form, (char[]){'%', digits[c >> 4], digits[c & 0xf]}, 3);
                }
        }
        return error_trace(r);
}

static int append_parameter(struct secret *form, const char *name, struct text value)
{
        int r;

        if (form->size > 0) {
                r = secret_append_str(form, "&");
                if (r)
                        return error_trace(r);
        }
        r = secret_append_str(form, name);
        if (r)
                return error_trace(r);
        r = secret_append_str(form, "=");
        if (r)
                return error_trace(r);
        return append_encoded(form, value);
}

int grant_form(struct secret *ret, const struct grant *grant, const char *client_id,
               const struct secret *client_secret, const struct subjecttoken *subject_token)
{
        const bool exchange = grant->subject_kind == SUBJECT_EXCHANGE;
        const struct {
                const char *name; /* NULL: it has no place in this form */
                struct text value;
        } parameters[] = {
                {"grant_type", TEXT(subject_kind_grant_type(grant->subject_kind))},
                {"client_id", TEXT(client_id)},
                {"client_secret", {client_secret->bytes, client_secret->size}},
                {"scope", grant->scope},
                {subject_kind_parameter(grant->subject_kind), grant->subject},
                {exchange ? "subject_token_type" : NULL,
                 exchange ? TEXT(subjecttoken_type_name(subject_token->type)) : (struct text){}},
                {exchange ? "subject_token" : NULL,
                 exchange ? subject_token->value : (struct text){}},
        };
        int r;

        secret_clear(ret);
        for (size_t i = 0; i < sizeof(parameters) / sizeof(parameters[0]); i++) {
                if (!parameters[i].name)
                        continue;
                r = append_parameter(ret, parameters[i].name, parameters[i].value);
                if (r)
                        return error_trace(r);
        }
        return 0;
}
