/* SPDX-License-Identifier: MIT */

#include "subjecttoken.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "error.h"
#include "jwt.h"
#include "reason.h"
#include "sha256.h"

/* In milliseconds, and less any time of day, it is no overflow. */
#define EXPIRY_MAX_S (INT64_MAX / 2000)

#define TYPE "urn:ietf:params:oauth:token-type:"

static const char *const type_names[_SUBJECTTOKEN_TYPE_N] = {
        [SUBJECTTOKEN_ACCESS_TOKEN] = TYPE "access_token",
        [SUBJECTTOKEN_ID_TOKEN] = TYPE "id_token",
        [SUBJECTTOKEN_JWT] = TYPE "jwt",
};

const char *subjecttoken_type_name(enum subjecttoken_type type)
{
        return type_names[type];
}

/* A JWT in its compact form (RFC 7515 §3.1) has no other characters. */
static bool is_compact(struct text value)
{
        for (size_t i = 0; i < value.size; i++) {
                const char c = value.bytes[i];

                if ((c < 'A' || c > 'Z') && (c < 'a' || c > 'z') && (c < '0' || c > '9') &&
                    c != '-' && c != '_' && c != '.')
                        return false;
        }
        return true;
}

static int read_type(enum subjecttoken_type *ret, struct text type)
{
        if (type.size == 0)
                return REASON_MISSING_SUBJECT_TOKEN_TYPE;
        for (int i = 0; i < _SUBJECTTOKEN_TYPE_N; i++) {
                if (text_equal(type, TEXT(type_names[i]))) {
                        *ret = (enum subjecttoken_type)i;
                        return 0;
                }
        }
        return REASON_BAD_SUBJECT_TOKEN_TYPE;
}

static int read_expiry(int64_t *ret, struct text value)
{
        int r;

        if (!is_compact(value))
                return REASON_SUBJECT_TOKEN_NOT_JWT;
        r = jwt_expiry_s(value, ret);
        switch (r) {
        case 0: break;
        case JWT_E_MALFORMED: return REASON_SUBJECT_TOKEN_NOT_JWT;
        case JWT_E_NO_EXPIRY: return REASON_SUBJECT_TOKEN_NO_EXP;
        case JWT_E_BAD_EXPIRY: return REASON_SUBJECT_TOKEN_BAD_EXP;
        default: return error_trace(r);
        }
        if (*ret < 0)
                *ret = 0;
        if (*ret > EXPIRY_MAX_S)
                *ret = EXPIRY_MAX_S;
        return 0;
}

int subjecttoken_read(struct subjecttoken *ret, struct text value, struct text type)
{
        int r;

        if (value.size == 0)
                return REASON_MISSING_SUBJECT_TOKEN;
        if (value.size > SUBJECTTOKEN_MAX_BYTES)
                return REASON_LONG_SUBJECT_TOKEN;
        *ret = (struct subjecttoken){.value = value};
        r = read_type(&ret->type, type);
        if (r)
                return r;
        return error_trace(read_expiry(&ret->expires_at_s, value));
}

int subjecttoken_digest(uint8_t ret[static SUBJECTTOKEN_DIGEST_BYTES],
                        const uint8_t key[static SUBJECTTOKEN_KEY_BYTES],
                        const struct subjecttoken *token)
{
        uint8_t typed[1 + SHA256_BYTES] = {(uint8_t)token->type};

        sha256(token->value.bytes, token->value.size, typed + 1);
        if (!HMAC(EVP_sha256(), key, SUBJECTTOKEN_KEY_BYTES, typed, sizeof(typed), ret, NULL))
                return error_trace(-ENOMEM);
        return 0;
}
