/* SPDX-License-Identifier: MIT */

/*
 * A refusal concerns the secret that a request was sent with, which need not be the first any more
 * by the time the answer comes; ids tell. Reading again costs a file, trying costs a request at the
 * issuer, so within one row of refusals the sources are read once and each secret is tried once.
 * The row ends with a success, with a changed secret, or with the end of a hold.
 */

#include "credentials.h"

#include <string.h>

void credentials_init(struct credentials *credentials)
{
        *credentials = (struct credentials){};
        list_init(&credentials->parked);
        list_init(&credentials->link);
}

void credentials_deinit(struct credentials *credentials)
{
        for (size_t i = 0; i < CREDENTIALS_MAX; i++)
                secret_deinit(&credentials->all[i].secret);
}

static bool is_usable(const struct credential *credential)
{
        return credential->id != 0 && !credential->refused;
}

/* Puts a secret that was not refused first, if there is one. */
static bool choose(struct credentials *credentials)
{
        for (size_t i = 0; i < CREDENTIALS_MAX; i++) {
                const size_t at = (credentials->first + i) % CREDENTIALS_MAX;

                if (is_usable(&credentials->all[at])) {
                        credentials->first = at;
                        return true;
                }
        }
        return false;
}

static bool secret_equal(const struct secret *a, const struct secret *b)
{
        return a->size == b->size && a->size > 0 && memcmp(a->bytes, b->bytes, a->size) == 0;
}

static bool is_among(const struct secret *secret, const struct credential *all, size_t n)
{
        for (size_t i = 0; i < n; i++)
                if (secret_equal(&all[i].secret, secret))
                        return true;
        return false;
}

bool credentials_set(struct credentials *credentials, struct secret secrets[CREDENTIALS_MAX])
{
        struct credential fresh[CREDENTIALS_MAX] = {};
        size_t first = 0;
        bool changed = false;

        for (size_t i = 0; i < CREDENTIALS_MAX; i++) {
                const struct credential *same = NULL;

                if (secrets[i].size == 0)
                        continue;
                if (is_among(&secrets[i], fresh, i)) {
                        secret_deinit(&secrets[i]); /* it need not be tried twice */
                        continue;
                }
                for (size_t k = 0; k < CREDENTIALS_MAX; k++)
                        if (secret_equal(&credentials->all[k].secret, &secrets[i]))
                                same = &credentials->all[k];
                if (same) {
                        fresh[i].id = same->id;
                        fresh[i].refused = same->refused;
                        if (same == credentials_first(credentials))
                                first = i;
                } else {
                        fresh[i].id = ++credentials->last_id;
                        changed = true;
                }
                secret_move(&fresh[i].secret, &secrets[i]);
        }
        credentials_deinit(credentials);
        memcpy(credentials->all, fresh, sizeof(fresh));
        credentials->first = first;
        if (changed) {
                backoff_reset(&credentials->hold);
                credentials->probing = false;
                credentials->read_again = false;
        }
        (void)choose(credentials);
        return changed;
}

const struct credential *credentials_first(const struct credentials *credentials)
{
        return &credentials->all[credentials->first];
}

static struct credential *find(struct credentials *credentials, uint64_t id)
{
        for (size_t i = 0; i < CREDENTIALS_MAX; i++)
                if (credentials->all[i].id == id && id != 0)
                        return &credentials->all[i];
        return NULL;
}

static void forget_refusals(struct credentials *credentials)
{
        for (size_t i = 0; i < CREDENTIALS_MAX; i++)
                credentials->all[i].refused = false;
        credentials->read_again = false;
}

void credentials_accepted(struct credentials *credentials, uint64_t id)
{
        const struct credential *credential = find(credentials, id);

        if (!credential)
                return;
        forget_refusals(credentials);
        credentials->unwell = false;
        credentials->probing = false;
        backoff_reset(&credentials->hold);
        credentials->first = (size_t)(credential - credentials->all);
}

enum credentials_verdict credentials_refused(struct credentials *credentials, uint64_t id)
{
        bool known = false;

        /* While a secret moves from one source to the other it stands in both. */
        for (size_t i = 0; i < CREDENTIALS_MAX; i++) {
                if (credentials->all[i].id == id && id != 0) {
                        credentials->all[i].refused = true;
                        known = true;
                }
        }
        if (!known && choose(credentials))
                return CREDENTIALS_TRY; /* it is gone already, and there is another */
        if (!credentials->read_again)
                return CREDENTIALS_READ;
        return choose(credentials) ? CREDENTIALS_TRY : CREDENTIALS_HOLD;
}

enum credentials_verdict credentials_reread(struct credentials *credentials)
{
        credentials->reading = false;
        credentials->read_again = true;
        return choose(credentials) ? CREDENTIALS_TRY : CREDENTIALS_HOLD;
}

void credentials_hold(struct credentials *credentials, uint64_t now_ms)
{
        if (credentials_are_held(credentials, now_ms) && !credentials->probing)
                return; /* one of several that were sent together */
        credentials->probing = false;
        credentials->unwell = true;
        backoff_extend(&credentials->hold, CREDENTIALS_HOLD_FIRST_MS, CREDENTIALS_HOLD_MAX_MS,
                       now_ms);
}

bool credentials_are_held(const struct credentials *credentials, uint64_t now_ms)
{
        return backoff_holds(&credentials->hold, now_ms);
}

void credentials_unpass(struct credentials *credentials, uint64_t now_ms)
{
        if (!credentials->probing)
                return; /* it has brought one */
        credentials->probing = false;
        credentials->hold.until_ms = now_ms;
}

bool credentials_pass(struct credentials *credentials, uint64_t now_ms)
{
        if (credentials_are_held(credentials, now_ms))
                return false;
        if (credentials->hold.step_ms > 0) {
                /* One goes to see whether the issuer has changed its mind, and the others wait. */
                credentials->hold.until_ms = now_ms + credentials->hold.step_ms;
                credentials->probing = true;
                forget_refusals(credentials);
        }
        return true;
}
