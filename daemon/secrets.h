/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Reads client secrets and keys from where the configuration says they are. A file is judged after
 * it was opened, so that what is checked is what is read.
 */

#include <stdio.h>

#include "config.h"

/* The longest client secret that is accepted. */
#define SECRETS_MAX_BYTES 4096

enum {
        SECRETS_E_UNUSABLE = 1, /* said on `errors`, one line */
};

/*
 * Checks an opened file that holds a secret: regular, owned by root or by `own_uid`, not writable
 * by its group, closed to others. 0, or SECRETS_E_UNUSABLE with one line on `errors` that begins
 * with `prefix` and tells the chmod or chown that would mend it. `errors` may be NULL: nothing is
 * said.
 */
int secrets_check_file(int fd, const char *path, uid_t own_uid, const char *prefix, FILE *errors);

/* The same of a file that somebody else will read, such as libcurl a private key. It is opened, so
 * it is also refused when it cannot be. */
int secrets_check_path(const char *path, uid_t own_uid, const char *prefix, FILE *errors);

/* What keeps these bytes from being a client secret, as words that follow what they are of; NULL:
 * nothing. */
const char *secrets_fault(const char *bytes, size_t size);

/*
 * Reads a key, which is kept in a file as a client secret is, and must have at least `min_bytes`
 * bytes. Messages begin with `prefix`. 0, -ENOMEM or SECRETS_E_UNUSABLE; `ret` as below.
 */
int secrets_read_key(struct secret *ret, const char *path, size_t min_bytes, uid_t own_uid,
                     const char *prefix, FILE *errors);

/*
 * Reads the secret of `source` into `ret`: one line, its end (LF or CRLF) removed. An empty one,
 * one with a NUL or another control character, and one over SECRETS_MAX_BYTES are refused. Messages
 * begin with `config_path:line: `. Where there is none (SECRET_KIND_NONE), `ret` is empty. 0,
 * -ENOMEM or SECRETS_E_UNUSABLE; `ret`, whose cap is 0 or at least SECRETS_MAX_BYTES, is changed on
 * 0 only.
 */
int secrets_read(struct secret *ret, const struct secret_source *source, const char *config_path,
                 uid_t own_uid, FILE *errors);
