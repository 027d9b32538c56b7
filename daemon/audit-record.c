/* SPDX-License-Identifier: MIT */

/*
 * Texts are copied as they came, cut at a limit; making them fit to be printed is the writer's
 * work, which has the time. A digest is worked out here, for two reasons: a subject that is not to
 * be written in clear does not wait in a queue in clear, and the writer needs no key.
 */

#include "audit-record.h"

#include <assert.h>
#include <errno.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "../lib/error.h"

#define KEY_BYTES    32 /* of one that is made up */
#define SHA256_BYTES 32

/* To look HMAC up and to set its key costs more than to use it once, so that both are kept. */
static int init_mac(struct audit_naming *naming)
{
        char digest[] = "SHA256";
        const OSSL_PARAM parameters[] = {
                OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0),
                OSSL_PARAM_END,
        };
        EVP_MAC *mac = EVP_MAC_fetch(NULL, "HMAC", NULL);

        assert(naming->key.size > 0);
        if (mac)
                naming->mac = EVP_MAC_CTX_new(mac);
        EVP_MAC_free(mac);
        if (!naming->mac || !EVP_MAC_init(naming->mac, (const unsigned char *)naming->key.bytes,
                                          naming->key.size, parameters))
                return error_trace(-ENOMEM);
        return 0;
}

static int hmac(const struct audit_naming *naming, const void *bytes, size_t size,
                uint8_t ret[static SHA256_BYTES])
{
        size_t ret_size;

        if (!EVP_MAC_init(naming->mac, NULL, 0, NULL) ||
            !EVP_MAC_update(naming->mac, bytes, size) ||
            !EVP_MAC_final(naming->mac, ret, &ret_size, SHA256_BYTES))
                return error_trace(-ENOMEM);
        return 0;
}

int audit_naming_init(struct audit_naming *naming, const struct audit_config *config)
{
        uint8_t bytes[SHA256_BYTES];
        int r;

        *naming = (struct audit_naming){.subjects = config->subjects};
        if (config->key.size > 0) {
                r = secret_assign(&naming->key, config->key.bytes, config->key.size);
        } else {
                r = getrandom(bytes, KEY_BYTES, 0) == KEY_BYTES ? 0 : -errno;
                if (r == 0)
                        r = secret_assign(&naming->key, bytes, KEY_BYTES);
                secret_wipe(bytes, sizeof(bytes));
        }
        /* libcrypto reads its configuration at the first use: now, not at the first request. */
        if (r == 0)
                r = init_mac(naming);
        if (r)
                audit_naming_deinit(naming);
        return error_trace(r);
}

void audit_naming_deinit(struct audit_naming *naming)
{
        EVP_MAC_CTX_free(naming->mac);
        naming->mac = NULL;
        secret_deinit(&naming->key);
}

int audit_naming_label(const struct audit_naming *naming, struct token *token)
{
        const struct text value = token_value(token);
        uint8_t digest[SHA256_BYTES];
        int r;

        if (token->label != 0)
                return 0;
        r = hmac(naming, value.bytes, value.size, digest);
        if (r)
                return error_trace(r);
        for (size_t i = 0; i < sizeof(token->label); i++)
                token->label = token->label << 8 | digest[i];
        if (token->label == 0)
                token->label = 1;
        return 0;
}

enum audit_outcome audit_outcome_of(enum reason reason)
{
        if (reason == REASON_NONE)
                return AUDIT_GRANTED;
        return reason_info(reason)->status >= 500 ? AUDIT_FAILED : AUDIT_REFUSED;
}

enum audit_lane audit_lane_of(enum reason reason)
{
        return reason == REASON_NONE ? AUDIT_LANE_GRANTS : AUDIT_LANE_REFUSALS;
}

static struct text text_of(const char *string)
{
        return string ? TEXT(string) : (struct text){};
}

/* Not in the middle of a character, if it is one. */
static struct text cut(struct text text, size_t max, bool *was_cut)
{
        if (text.size <= max)
                return text;
        *was_cut = true;
        text.size = max;
        for (int i = 0; i < 3 && ((uint8_t)text.bytes[text.size] & 0xc0) == 0x80; i++)
                text.size--;
        return text;
}

/* Copies `text` to `*at`, which moves on. */
static struct text keep(char **at, struct text text)
{
        const struct text kept = {*at, text.size};

        if (!text.bytes)
                return text;
        if (text.size > 0)
                memcpy(*at, text.bytes, text.size);
        *at += text.size;
        return kept;
}

static int digest_subject(const struct audit_naming *naming, const struct audit_decision *decision,
                          char ret[static AUDIT_DIGEST_DIGITS + 1])
{
        static const char digits[] = "0123456789abcdef";
        const struct text kind = TEXT(subject_kind_name(decision->subject_kind));
        const size_t size = kind.size + 1 + decision->subject.size;
        uint8_t digest[SHA256_BYTES];
        char *whole;
        int r;

        whole = malloc(size);
        if (!whole)
                return error_trace(-ENOMEM);
        memcpy(whole, kind.bytes, kind.size);
        whole[kind.size] = ':';
        if (decision->subject.size > 0)
                memcpy(whole + kind.size + 1, decision->subject.bytes, decision->subject.size);
        r = hmac(naming, whole, size, digest);
        secret_wipe(whole, size);
        free(whole);
        if (r)
                return error_trace(r);
        for (size_t i = 0; i < AUDIT_DIGEST_DIGITS; i++)
                ret[i] = digits[digest[i / 2] >> (i % 2 ? 0 : 4) & 0xf];
        ret[AUDIT_DIGEST_DIGITS] = '\0';
        return 0;
}

static void fill(struct audit_record *record, const struct audit_decision *decision)
{
        const struct peer *peer = decision->peer;
        const bool has_token = decision->reason == REASON_NONE && decision->token;
        const bool has_count = decision->action == AUDIT_ACTION_LIST ||
                               decision->action == AUDIT_ACTION_PURGE;

        record->outcome = audit_outcome_of(decision->reason);
        record->lane = audit_lane_of(decision->reason);
        record->action = decision->action;
        record->reason = decision->reason ? decision->reason : decision->detail;
        record->count = has_count && !decision->reason ? decision->count : 1;
        record->fingerprint = has_token ? decision->token->label : 0;
        record->cache_status = decision->cache_status;
        record->has_cache_status = has_token;
        record->collapsed = has_token && decision->collapsed;
        record->has_uid = peer && peer->known;
        record->uid = record->has_uid ? peer->uid : 0;
        record->pid = record->has_uid && !peer->tcp ? peer->pid : 0;
        record->has_subject = decision->has_subject;
        record->subject_kind = decision->subject_kind;
}

int audit_record_new(struct audit_record **ret, const struct audit_decision *decision,
                     const struct audit_naming *naming, int64_t wall_ms)
{
        const bool digests = naming->subjects == AUDIT_SUBJECTS_DIGEST;
        const bool has_unit = decision->peer && decision->peer->known && !decision->peer->tcp;
        bool was_cut = false;
        const struct text rule = cut(text_of(decision->rule), AUDIT_NAME_MAX_BYTES, &was_cut);
        const struct text unit = cut(text_of(has_unit ? decision->peer->unit : NULL),
                                     AUDIT_NAME_MAX_BYTES, &was_cut);
        const struct text client = cut(text_of(decision->client), AUDIT_NAME_MAX_BYTES, &was_cut);
        const struct text scope = cut(decision->scope, AUDIT_SCOPE_MAX_BYTES, &was_cut);
        struct text subject = {};
        struct audit_record *record;
        char *at;
        int r = 0;

        if (decision->has_subject && !digests)
                subject = cut(decision->subject, AUDIT_SUBJECT_MAX_BYTES, &was_cut);
        record = malloc(sizeof(*record) + rule.size + unit.size + client.size + subject.size +
                        scope.size);
        if (!record)
                return error_trace(-ENOMEM);
        *record = (struct audit_record){.wall_ms = wall_ms, .cut = was_cut};
        fill(record, decision);
        at = record->bytes;
        record->rule = keep(&at, rule);
        record->unit = keep(&at, unit);
        record->client = keep(&at, client);
        record->subject = keep(&at, subject);
        record->scope = keep(&at, scope);
        if (decision->has_subject && digests && decision->subject.bytes)
                r = digest_subject(naming, decision, record->subject_digest);
        if (r) {
                audit_record_free(record);
                return error_trace(r);
        }
        *ret = record;
        return 0;
}

int audit_record_new_dropped(struct audit_record **ret, enum audit_lane lane, uint64_t count,
                             int64_t since_wall_ms, int64_t wall_ms)
{
        struct audit_record *record;

        record = malloc(sizeof(*record));
        if (!record)
                return error_trace(-ENOMEM);
        *record = (struct audit_record){
                .outcome = AUDIT_DROPPED,
                .lane = lane,
                .count = count,
                .since_wall_ms = since_wall_ms,
                .wall_ms = wall_ms,
        };
        *ret = record;
        return 0;
}

void audit_record_free(struct audit_record *record)
{
        free(record);
}
