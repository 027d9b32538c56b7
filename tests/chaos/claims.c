/* SPDX-License-Identifier: MIT */

/*
 * The signature is verified first, with the key that tests/fake-egain/mint.c has: whatever reads as
 * a token then is byte for byte one that the issuer made.
 */

#include "claims.h"

#include <limits.h>
#include <string.h>

#include <json-c/json.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#define PAYLOAD_MAX_BYTES 12288
#define SIGNATURE_BYTES   32

static const char signing_key[] = "fake-egain signs with this; trust nothing that it signed";

static int digit_of(char c)
{
        if (c >= 'A' && c <= 'Z')
                return c - 'A';
        if (c >= 'a' && c <= 'z')
                return c - 'a' + 26;
        if (c >= '0' && c <= '9')
                return c - '0' + 52;
        return c == '-' ? 62 : c == '_' ? 63 : -1;
}

/* Base64url without padding; false: it is none, or there is no room. */
static bool decode(const char *in, size_t size, char *out, size_t max, size_t *ret_size)
{
        unsigned int bits = 0, n_bits = 0;

        *ret_size = 0;
        for (size_t i = 0; i < size; i++) {
                const int digit = digit_of(in[i]);

                if (digit < 0)
                        return false;
                bits = bits << 6 | (unsigned int)digit;
                n_bits += 6;
                if (n_bits < 8)
                        continue;
                if (*ret_size == max)
                        return false;
                n_bits -= 8;
                out[(*ret_size)++] = (char)(bits >> n_bits);
        }
        return true;
}

static bool is_signed(const char *token, size_t size, const char *signature, size_t signature_size)
{
        unsigned char wanted[SIGNATURE_BYTES];
        char given[SIGNATURE_BYTES];
        unsigned int wanted_size = sizeof(wanted);
        size_t given_size;

        return HMAC(EVP_sha256(), signing_key, sizeof(signing_key) - 1,
                    (const unsigned char *)token, size, wanted, &wanted_size) &&
               decode(signature, signature_size, given, sizeof(given), &given_size) &&
               given_size == wanted_size && memcmp(given, wanted, given_size) == 0;
}

static bool get_text(struct json_object *json, const char *name, char out[static CLAIMS_TEXT_BYTES])
{
        struct json_object *value;
        size_t size;

        if (!json_object_object_get_ex(json, name, &value) ||
            !json_object_is_type(value, json_type_string))
                return false;
        size = (size_t)json_object_get_string_len(value);
        if (size >= CLAIMS_TEXT_BYTES)
                return false;
        memcpy(out, json_object_get_string(value), size + 1);
        return strlen(out) == size;
}

static bool get_number(struct json_object *json, const char *name, uint64_t *ret)
{
        struct json_object *value;

        if (!json_object_object_get_ex(json, name, &value) ||
            !json_object_is_type(value, json_type_int) || json_object_get_int64(value) < 0)
                return false;
        *ret = (uint64_t)json_object_get_int64(value);
        return true;
}

bool claims_read(struct claims *claims, const char *token, size_t size)
{
        const char *first = memchr(token, '.', size), *second = NULL;
        char payload[PAYLOAD_MAX_BYTES + 1];
        struct json_object *json;
        uint64_t lifetime_s = 0;
        size_t payload_size;
        bool good;

        if (first)
                second = memchr(first + 1, '.', (size_t)(token + size - first - 1));
        if (!second ||
            !is_signed(token, (size_t)(second - token), second + 1,
                       (size_t)(token + size - second - 1)) ||
            !decode(first + 1, (size_t)(second - first - 1), payload, PAYLOAD_MAX_BYTES,
                    &payload_size))
                return false;
        payload[payload_size] = '\0';
        json = json_tokener_parse(payload);
        claims->exchanged[0] = '\0';
        good = json_object_is_type(json, json_type_object) &&
               get_text(json, "sub", claims->subject) && get_text(json, "kind", claims->kind) &&
               get_text(json, "scope", claims->scope) &&
               get_text(json, "client_id", claims->client_id) &&
               get_text(json, "tenant", claims->tenant) &&
               get_number(json, "serial", &claims->serial) &&
               get_number(json, "minted_ms", &claims->minted_ms) &&
               get_number(json, "lifetime", &lifetime_s) && lifetime_s < INT_MAX;
        if (good && json_object_object_get_ex(json, "exchanged", NULL))
                good = get_text(json, "exchanged", claims->exchanged);
        claims->life_ms = lifetime_s * 1000;
        json_object_put(json);
        return good;
}
