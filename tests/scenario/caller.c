/* SPDX-License-Identifier: MIT */

#include "caller.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>
#include <openssl/evp.h>

#include "client.h"

static size_t append(char *form, size_t at, const char *name, struct text value)
{
        static const char digits[] = "0123456789abcdef";

        if (at > 0)
                form[at++] = '&';
        at = (size_t)(stpcpy(form + at, name) - form);
        form[at++] = '=';
        for (size_t i = 0; i < value.size; i++) {
                form[at++] = '%';
                form[at++] = digits[(unsigned char)value.bytes[i] >> 4];
                form[at++] = digits[value.bytes[i] & 0xf];
        }
        return at;
}

void caller_make_request(struct caller *caller, const struct client_settings *client,
                         const struct wish *wish)
{
        char digits[24];
        size_t size = 0;

        assert_true(3 * (wish->subject.size + wish->subject_token.size +
                         (wish->scope ? strlen(wish->scope) : 0)) +
                            1000 <
                    sizeof(caller->form));
        size = append(caller->form, size, "client_id", TEXT(client->name));
        size = append(caller->form, size, "grant_type", TEXT(subject_kind_grant_type(wish->kind)));
        if (subject_kind_names(wish->kind))
                size = append(caller->form, size, subject_kind_parameter(wish->kind),
                              wish->subject);
        if (wish->kind == SUBJECT_EXCHANGE) {
                size = append(caller->form, size, "subject_token", wish->subject_token);
                size = append(caller->form, size, "subject_token_type",
                              TEXT(subjecttoken_type_name(wish->subject_token_type)));
        }
        if (wish->scope)
                size = append(caller->form, size, "scope", TEXT(wish->scope));
        if (wish->key)
                size = append(caller->form, size, "client_secret", TEXT(wish->key));
        if (wish->min_ttl_s) {
                (void)snprintf(digits, sizeof(digits), "%" PRIu64, wish->min_ttl_s);
                size = append(caller->form, size, "min_ttl", TEXT(digits));
        }
        caller->rejects = wish->rejects;
        if (wish->rejects) {
                char hex[2 * REQUEST_SHA256_BYTES + 1];

                assert_true(wish->rejects->serial > 0);
                caller->rejected_serial = wish->rejects->serial;
                for (size_t i = 0; i < REQUEST_SHA256_BYTES; i++)
                        (void)snprintf(hex + 2 * i, 3, "%02x", wish->rejects->sha256[i]);
                size = append(caller->form, size, "rejected_token_sha256", TEXT(hex));
        }
        request_init(&caller->request);
        assert_int_equal(request_parse(&caller->request, caller->form, size, REQUEST_BODY), 0);
        caller->matter = (struct subject_matter){
                .client_id = TEXT(client_sent_id(client)),
                .kind = client_kind(client, &caller->request),
                .subject = caller->request.subject,
                .subject_token = caller->request.subject_token.value,
                .subject_token_type = caller->request.subject_token.type,
                .scope = wish->scope             ? caller->request.scope
                         : client->default_scope ? TEXT(client->default_scope)
                                                 : (struct text){},
        };
}

struct text caller_subject_token(char ret[static CALLER_TOKEN_MAX_BYTES], int64_t expires_at_s,
                                 const char *who)
{
        unsigned char claims[100], base64[4 * sizeof(claims) / 3 + 4];
        int size;

        /* With what fills up three bytes, so that there is no padding. */
        size = snprintf((char *)claims, sizeof(claims), "{\"exp\":%" PRId64 ",\"sub\":\"%s\"}",
                        expires_at_s, who);
        while (size % 3 > 0)
                claims[size++] = ' ';
        (void)EVP_EncodeBlock(base64, claims, size);
        for (unsigned char *c = base64; *c; c++)
                *c = *c == '+' ? '-' : *c == '/' ? '_' : *c;
        (void)snprintf(ret, CALLER_TOKEN_MAX_BYTES, "eyJhbGciOiJub25lIn0.%s.c2ln", base64);
        return TEXT(ret);
}

void assert_waits(const struct caller *caller)
{
        assert_true(caller->waits);
        assert_int_equal(caller->n_replies, 0);
}

void assert_token(const struct caller *caller, uint64_t serial)
{
        assert_false(caller->waits);
        assert_int_equal(caller->n_replies, 1);
        assert_int_equal(caller->reason, REASON_NONE);
        assert_int_equal(caller->serial, serial);
}

void assert_hit(const struct caller *caller, uint64_t serial)
{
        assert_token(caller, serial);
        assert_int_equal(caller->cache_status, CACHE_STATUS_HIT);
        assert_int_equal(caller->answered_at_ms, caller->asked_at_ms);
        assert_false(caller->collapsed);
}

void assert_reason(const struct caller *caller, enum reason reason)
{
        assert_false(caller->waits);
        assert_int_equal(caller->n_replies, 1);
        assert_int_equal(caller->reason, reason);
        assert_int_equal(caller->serial, 0);
}

void assert_old_token(const struct caller *caller, uint64_t serial, enum reason detail)
{
        assert_token(caller, serial);
        assert_int_equal(caller->detail, detail);
        assert_int_not_equal(caller->cache_status, CACHE_STATUS_HIT);
}

void assert_reason_for(const struct caller *caller, enum reason reason, unsigned int seconds)
{
        assert_reason(caller, reason);
        assert_int_equal(caller->retry_after_s, seconds);
}
