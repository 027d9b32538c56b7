/* SPDX-License-Identifier: MIT */

#include "framing.h"

#include <string.h>

void framing_begin(struct framing *framing, const char *version)
{
        *framing = (struct framing){.old = strcmp(version, "HTTP/1.1") != 0};
}

void framing_take_length(struct framing *framing)
{
        framing->doubtful |= framing->has_length;
        framing->has_length = true;
}

void framing_take_coding(struct framing *framing)
{
        framing->doubtful |= framing->has_coding || framing->old;
        framing->has_coding = true;
}

bool framing_is_certain(const struct framing *framing)
{
        return !framing->doubtful && !(framing->has_length && framing->has_coding);
}
