/* SPDX-License-Identifier: MIT */

/*
 * A token is base64url(header).base64url(payload).base64url(HMAC-SHA256). The signature is genuine
 * but its key is in this file: nobody must ever trust it.
 *
 * Everything in a token follows from its key (tenant, client application, subject, scope) and its
 * stamp (serial, times, number of the secret), so repeating one takes a stamp and not a copy. The
 * table of stamps stops taking new keys at MINT_KEYS_MAX; a key beyond that gets a new token each
 * time.
 */

#include "mint.h"

#include <stdlib.h>
#include <string.h>

#include <json-c/linkhash.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "error.h"

#define KEYS_SIZE_INITIAL 1024
#define SIGNATURE_BYTES   32
#define SIGNATURE_CHARS   43

/* {"alg":"HS256","typ":"JWT"} */
static const char header[] = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.";
static const char signing_key[] = "fake-egain signs with this; trust nothing that it signed";

struct stamp {
        uint64_t serial;
        int64_t iat;
        int64_t exp;
        uint64_t minted_ms; /* monotonic clock, which no step of the wall clock moves */
        int64_t lifetime_s;
        unsigned secret_number;
        char key[];
};

static void stamp_free(struct lh_entry *entry)
{
        /* The key lies inside its stamp. */
        free(lh_entry_v(entry));
}

int mint_init(struct mint *mint, size_t token_bytes)
{
        *mint = (struct mint){.token_bytes = token_bytes};
        mint->last = lh_kchar_table_new(KEYS_SIZE_INITIAL, stamp_free);
        return mint->last ? 0 : error_trace(-ENOMEM);
}

void mint_deinit(struct mint *mint)
{
        if (mint->last)
                lh_table_free(mint->last);
        mint->last = NULL;
}

/* Finds the key's stamp or makes one of all zeroes; NULL: none, and no room for it. */
static int get_stamp(struct mint *mint, const struct mint_order *order, struct stamp **ret_stamp)
{
        struct text key = TEXT_INIT;
        struct lh_entry *entry;
        struct stamp *stamp;
        int r;

        text_append_json(&key, order->subject);
        text_append_json(&key, order->scope);
        text_append_json(&key, order->client_id);
        text_append_str(&key, order->tenant);
        text_append_str(&key, order->kind);
        if (order->exchanged)
                text_append_str(&key, order->exchanged);
        r = key.error;
        if (r)
                goto out;

        *ret_stamp = NULL;
        entry = lh_table_lookup_entry(mint->last, key.bytes.bytes);
        if (entry) {
                *ret_stamp = lh_entry_v(entry);
                goto out;
        }
        if (lh_table_length(mint->last) >= MINT_KEYS_MAX)
                goto out;

        stamp = calloc(1, sizeof(*stamp) + key.bytes.size + 1);
        if (!stamp) {
                r = -ENOMEM;
                goto out;
        }
        memcpy(stamp->key, key.bytes.bytes, key.bytes.size + 1);
        if (lh_table_insert(mint->last, stamp->key, stamp) < 0) {
                free(stamp);
                r = -ENOMEM;
                goto out;
        }
        *ret_stamp = stamp;
out:
        text_deinit(&key);
        return error_trace(r);
}

static void append_member(struct text *text, const char *name, const char *value)
{
        text_append_str(text, name);
        text_append_json(text, value);
}

static void append_payload(struct text *text, const struct mint_order *order,
                           const struct stamp *stamp, size_t token_bytes)
{
        static const char pad_member[] = ",\"pad\":\"";
        /* What is left for the payload once header, dots and signature have their place. */
        size_t around = sizeof(header) - 1 + 1 + SIGNATURE_CHARS;
        size_t wanted = token_bytes > around ? (token_bytes - around) / 4 * 3 : 0;

        append_member(text,
                      "{\"sub\":", order->other_subject ? order->other_subject : order->subject);
        append_member(text, ",\"kind\":", order->kind);
        append_member(text, ",\"scope\":", order->scope);
        append_member(text, ",\"client_id\":", order->client_id);
        append_member(text, ",\"tenant\":", order->tenant);
        if (order->exchanged)
                append_member(text, ",\"exchanged\":", order->exchanged);
        text_append_str(text, ",\"serial\":");
        text_append_number(text, (int64_t)stamp->serial);
        text_append_str(text, ",\"iat\":");
        text_append_number(text, stamp->iat);
        text_append_str(text, ",\"exp\":");
        text_append_number(text, stamp->exp);
        text_append_str(text, ",\"minted_ms\":");
        text_append_number(text, (int64_t)stamp->minted_ms);
        text_append_str(text, ",\"lifetime\":");
        text_append_number(text, stamp->lifetime_s);
        text_append_str(text, ",\"secret\":");
        text_append_number(text, stamp->secret_number);
        text_append_str(text, pad_member);
        while (!text->error && text->bytes.size + 2 < wanted) {
                static const char pad[] =
                        "................................................................";
                size_t missing = wanted - 2 - text->bytes.size;

                text_append(text, pad, missing < sizeof(pad) - 1 ? missing : sizeof(pad) - 1);
        }
        text_append_str(text, "\"}");
}

static int sign(struct text *text, size_t start)
{
        unsigned char signature[SIGNATURE_BYTES];
        unsigned size = sizeof(signature);

        if (!HMAC(EVP_sha256(), signing_key, sizeof(signing_key) - 1,
                  (const unsigned char *)text->bytes.bytes + start, text->bytes.size - start,
                  signature, &size))
                return error_trace(-ENOMEM);
        text_append_str(text, ".");
        text_append_base64url(text, signature, size);
        return 0;
}

static int64_t left_s(const struct stamp *stamp, uint64_t now_ms)
{
        return stamp->lifetime_s - (int64_t)((now_ms - stamp->minted_ms + 999) / 1000);
}

static bool repeats(const struct stamp *stamp, const struct mint_order *order)
{
        if (stamp->serial == 0 || !order->repeat)
                return false;
        return !order->repeat_live || left_s(stamp, order->now_ms) >= 1;
}

static void renew(struct stamp *stamp, struct mint *mint, const struct mint_order *order)
{
        stamp->serial = ++mint->serial;
        stamp->iat = order->now_s;
        if (__builtin_add_overflow(order->now_s, order->jwt_lifetime_s, &stamp->exp))
                stamp->exp = INT64_MAX;
        stamp->minted_ms = order->now_ms;
        stamp->lifetime_s = order->lifetime_s;
        stamp->secret_number = order->secret_number;
}

int mint_token(struct mint *mint, const struct mint_order *order, struct text *text,
               int64_t *ret_left_s)
{
        struct text payload = TEXT_INIT;
        struct stamp fresh = {0};
        struct stamp *stamp;
        size_t start;
        int r;

        r = get_stamp(mint, order, &stamp);
        if (r)
                return error_trace(r);
        if (!stamp)
                stamp = &fresh;
        if (!repeats(stamp, order))
                renew(stamp, mint, order);
        *ret_left_s = left_s(stamp, order->now_ms);

        append_payload(&payload, order, stamp, mint->token_bytes);
        start = text->bytes.size;
        text_append_str(text, header);
        text_append_base64url(text, payload.bytes.bytes, payload.bytes.size);
        r = payload.error ? payload.error : text->error;
        text_deinit(&payload);
        if (r)
                return error_trace(r);

        r = sign(text, start);
        return error_trace(r ? r : text->error);
}
