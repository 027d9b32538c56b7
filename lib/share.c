/* SPDX-License-Identifier: MIT */

/* A small table of chains: there are about as many uids on a host as there are services. Who has
 * subordinate uids (subuid(5)) has as many shares; that is said in SECURITY.md. */

#include "share.h"

#include <assert.h>
#include <stdlib.h>

#include "error.h"

#define BUCKETS  256
#define ROOT_UID 0

struct share {
        struct share *next; /* in its bucket */
        uid_t uid;
        size_t n;
};

void shares_set_limit(struct shares *shares, size_t limit)
{
        shares->max_each = limit < 4 ? 1 : limit / 4;
}

int shares_init(struct shares *shares, size_t limit)
{
        *shares = (struct shares){.mask = BUCKETS - 1};
        shares_set_limit(shares, limit);
        shares->buckets = calloc(BUCKETS, sizeof(struct share *));
        return shares->buckets ? 0 : error_trace(-ENOMEM);
}

void shares_deinit(struct shares *shares)
{
        for (size_t i = 0; shares->buckets && i <= shares->mask; i++) {
                while (shares->buckets[i]) {
                        struct share *share = shares->buckets[i];

                        shares->buckets[i] = share->next;
                        free(share);
                }
        }
        free(shares->buckets);
        *shares = (struct shares){};
}

static struct share **find(const struct shares *shares, uid_t uid)
{
        struct share **at = &shares->buckets[uid & shares->mask];

        while (*at && (*at)->uid != uid)
                at = &(*at)->next;
        return at;
}

int shares_take(struct shares *shares, uid_t uid)
{
        struct share **at, *share;

        if (uid == ROOT_UID)
                return 0;
        at = find(shares, uid);
        share = *at;
        if (!share) {
                share = malloc(sizeof(*share));
                if (!share)
                        return error_trace(-ENOMEM);
                *share = (struct share){.uid = uid};
                *at = share;
                shares->n_uids++;
        }
        if (share->n >= shares->max_each) {
                shares->refused++;
                return SHARE_E_FULL;
        }
        share->n++;
        return 0;
}

void shares_give(struct shares *shares, uid_t uid)
{
        struct share **at, *share;

        if (uid == ROOT_UID)
                return;
        at = find(shares, uid);
        share = *at;
        assert(share && share->n > 0);
        if (--share->n > 0)
                return;
        *at = share->next;
        free(share);
        shares->n_uids--;
}

size_t shares_held(const struct shares *shares, uid_t uid)
{
        const struct share *share = uid == ROOT_UID ? NULL : *find(shares, uid);

        return share ? share->n : 0;
}
