/* SPDX-License-Identifier: MIT */

#include "reason.h"

#include <assert.h>
#include <stddef.h>

static const struct reason_info infos[_REASON_N] = {
#define X(name_, code_, status_, error_, retry_after_s_, description_) \
        [REASON_##name_] = {.code = code_,                             \
                            .status = status_,                         \
                            .error = error_,                           \
                            .retry_after_s = retry_after_s_,           \
                            .description = description_},
        REASON_TABLE(X)
#undef X
};

const struct reason_info *reason_info(enum reason reason)
{
        assert(reason > REASON_NONE && reason < _REASON_N);
        return &infos[reason];
}

enum reason reason_of_error(int r)
{
        return r < 0 ? REASON_OUT_OF_MEMORY : (enum reason)r;
}
