/* SPDX-License-Identifier: MIT */

#include "jwt.h"

#include <openssl/evp.h>

#include "error.h"
#include "json.h"
#include "secret.h"

/* The second of three parts that dots separate. */
static bool find_payload(struct text token, struct text *ret)
{
        const char *const end = token.bytes + token.size;
        const char *first = memchr(token.bytes, '.', token.size);
        const char *second = first ? memchr(first + 1, '.', (size_t)(end - first - 1)) : NULL;

        if (!second || memchr(second + 1, '.', (size_t)(end - second - 1)))
                return false;
        *ret = (struct text){first + 1, (size_t)(second - first - 1)};
        return ret->size > 0;
}

/* Base64url without padding (RFC 7515 §2), by way of the base64 that libcrypto knows; to which an
 * equals sign in the midst of it is six bits that are zero. */
static int decode_base64url(struct secret *ret, struct text text)
{
        const size_t padding = (4 - text.size % 4) % 4;
        struct secret base64 = SECRET_INIT(0);
        int r;

        r = secret_append(&base64, text.bytes, text.size);
        if (r == 0)
                r = secret_append(&base64, "===", padding);
        if (r == 0)
                r = secret_reserve(ret, base64.size);
        if (r)
                goto out;
        for (size_t i = 0; i < text.size; i++) {
                const char c = text.bytes[i];

                if (c == '+' || c == '/' || c == '=') {
                        r = JWT_E_MALFORMED;
                        goto out;
                }
                if (c == '-')
                        base64.bytes[i] = '+';
                else if (c == '_')
                        base64.bytes[i] = '/';
        }
        /* It skips space at both ends, and then decodes less. */
        if (padding == 3 ||
            EVP_DecodeBlock((unsigned char *)ret->bytes, (const unsigned char *)base64.bytes,
                            (int)base64.size) != (int)(base64.size / 4 * 3)) {
                r = JWT_E_MALFORMED;
                goto out;
        }
        ret->size = base64.size / 4 * 3 - padding;
        ret->bytes[ret->size] = '\0';
out:
        secret_deinit(&base64);
        return error_trace(r);
}

/* *ret goes to json_release(), whatever the outcome. 0, -ENOMEM or JWT_E_MALFORMED. */
static int read_claims(struct text token, struct json **ret)
{
        struct secret payload = SECRET_INIT(0);
        struct text part;
        int r;

        *ret = NULL;
        if (!find_payload(token, &part) || token.size > INT32_MAX / 2)
                return JWT_E_MALFORMED;
        r = decode_base64url(&payload, part);
        if (r == 0) {
                r = json_parse_object(ret, (struct text){payload.bytes, payload.size});
                if (r > 0)
                        r = JWT_E_MALFORMED;
        }
        secret_deinit(&payload);
        return error_trace(r);
}

int jwt_lifetime_s(struct text token, int64_t *ret)
{
        struct json *claims;
        int64_t exp, iat;
        int r;

        r = read_claims(token, &claims);
        if (r)
                return r < 0 ? error_trace(r) : JWT_E_NO_LIFETIME;
        if (json_get_integer(claims, "exp", &exp) != JSON_MEMBER_PRESENT ||
            json_get_integer(claims, "iat", &iat) != JSON_MEMBER_PRESENT ||
            __builtin_sub_overflow(exp, iat, ret))
                r = JWT_E_NO_LIFETIME;
        json_release(claims);
        return r;
}

int jwt_expiry_s(struct text token, int64_t *ret)
{
        struct json *claims;
        int r;

        r = read_claims(token, &claims);
        if (r)
                return error_trace(r);
        switch (json_get_number(claims, "exp", ret)) {
        case JSON_MEMBER_PRESENT: break;
        case JSON_MEMBER_ABSENT: r = JWT_E_NO_EXPIRY; break;
        case JSON_MEMBER_INVALID: r = JWT_E_BAD_EXPIRY; break;
        }
        json_release(claims);
        return r;
}
