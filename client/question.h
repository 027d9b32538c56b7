/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * What a caller asks for, as the daemon wants to read it, and as what it is kept under: a digest of
 * every part behind its length, so that no two questions share a key, and no subject's token, name
 * or key is held on to.
 */

#include <stdbool.h>

#include "buffer.h"
#include "digest.h"
#include "egain_token.h"

#define QUESTION_KEY_BYTES DIGEST_BYTES

struct question {
        unsigned char key[QUESTION_KEY_BYTES];
        struct buffer form;
};

enum {
        QUESTION_E_INVALID = 1, /* `*ret_why` is a sentence about the request */
};

/* `rejected` is the token that an API refused; NULL: none. 0, -ENOMEM or QUESTION_E_INVALID. Goes
 * to question_deinit() when it is 0. */
int question_init(struct question *question, const struct egain_token_request *request,
                  const struct egain_token *rejected, const char **ret_why);
void question_deinit(struct question *question);
