/* SPDX-License-Identifier: MIT */

#include "grant.h"

#include <assert.h>
#include <endian.h>

#include "error.h"

static uint8_t *put(uint8_t *out, const void *bytes, size_t size)
{
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

static struct grant_key make(uint8_t *buffer, const uint8_t *hash_key, uint64_t identity,
                             uint8_t kind, struct text subject, struct text scope)
{
        const uint64_t wire_identity = htole64(identity);
        struct grant_key key = {.bytes = buffer};
        uint8_t *out = buffer;

        assert(subject.size <= REQUEST_SUBJECT_MAX_BYTES);
        assert(scope.size > 0 && scope.size <= REQUEST_SCOPE_MAX_BYTES);

        out = put(out, &wire_identity, sizeof(wire_identity));
        out = put(out, &kind, sizeof(kind));
        out = put_text(out, subject);
        out = put_text(out, scope);
        key.size = (size_t)(out - buffer);
        key.hash = siphash(hash_key, key.bytes, key.size);
        return key;
}

struct grant_key grant_key_make(uint8_t buffer[static GRANT_KEY_MAX_BYTES],
                                const uint8_t hash_key[static SIPHASH_KEY_BYTES], uint64_t identity,
                                const struct token_request *request, struct text scope)
{
        assert(request->subject.size > 0);
        return make(buffer, hash_key, identity, (uint8_t)request->subject_kind, request->subject,
                    scope);
}

struct grant_key grant_key_make_any_subject(uint8_t buffer[static GRANT_KEY_MAX_BYTES],
                                            const uint8_t hash_key[static SIPHASH_KEY_BYTES],
                                            uint64_t identity, struct text scope)
{
        return make(buffer, hash_key, identity, UINT8_MAX, (struct text){"", 0}, scope);
}

struct grant grant_of_key(struct grant_key key)
{
        const uint8_t *in = key.bytes;
        struct grant grant = {};
        uint8_t kind;

        in = get(in, &grant.identity, sizeof(grant.identity));
        grant.identity = le64toh(grant.identity);
        in = get(in, &kind, sizeof(kind));
        grant.subject_kind = kind;
        in = get_text(in, &grant.subject);
        in = get_text(in, &grant.scope);
        assert(in == key.bytes + key.size);
        return grant;
}

enum audience grant_audience(enum subject_kind kind)
{
        return kind == SUBJECT_EMAIL ? AUDIENCE_CUSTOMER : AUDIENCE_USER;
}

/* How many of RFC 3986's unreserved characters are at the beginning. */
static size_t unreserved_size(const char *bytes, size_t left)
{
        size_t size;

        for (size = 0; size < left; size++) {
                const char c = bytes[size];

                if (!((c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
                      c == '-' || c == '.' || c == '_' || c == '~'))
                        break;
        }
        return size;
}

/* Percent-encodes all but RFC 3986's unreserved characters. */
static int append_encoded(struct secret *form, struct text value)
{
        static const char digits[] = "0123456789ABCDEF";
        int r;

        for (size_t i = 0; i < value.size;) {
                const size_t size = unreserved_size(value.bytes + i, value.size - i);

                if (size > 0) {
                        r = secret_append(form, value.bytes + i, size);
                        i += size;
                } else {
                        const unsigned char c = (unsigned char)value.bytes[i++];
                        const char escaped[3] = {'%', digits[c >> 4], digits[c & 0xf]};

                        r = secret_append(form, escaped, sizeof(escaped));
                }
                if (r)
                        return error_trace(r);
        }
        return 0;
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
               const struct secret *client_secret)
{
        const struct {
                const char *name;
                struct text value;
        } parameters[] = {
                {"grant_type", TEXT("password")},
                {"client_id", TEXT(client_id)},
                {"client_secret", {client_secret->bytes, client_secret->size}},
                {"scope", grant->scope},
                {subject_kind_parameter(grant->subject_kind), grant->subject},
        };
        int r;

        secret_clear(ret);
        for (size_t i = 0; i < sizeof(parameters) / sizeof(parameters[0]); i++) {
                r = append_parameter(ret, parameters[i].name, parameters[i].value);
                if (r)
                        return error_trace(r);
        }
        return 0;
}
