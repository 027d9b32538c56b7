/* SPDX-License-Identifier: MIT */

#include "policy.h"

int policy_check(const struct settings *settings, const struct peer *peer)
{
        if (!peer->known)
                return REASON_PEER_GONE;
        if (peer->uid != 0 && peer->uid != settings->own_uid)
                return REASON_NOT_PERMITTED;
        return 0;
}
