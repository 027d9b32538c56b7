/* SPDX-License-Identifier: MIT */

/* Apart from the readers of options, so that these can be tried without a file. */

#include "config-keys.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../lib/error.h"
#include "secrets.h"

int config_keys_read(struct config_reader *reader, int line, const char *path, size_t min_bytes,
                     struct secret *ret)
{
        char *said = NULL;
        size_t said_size;
        FILE *errors;
        int r;

        errors = open_memstream(&said, &said_size);
        if (!errors)
                return error_trace(-ENOMEM);
        r = secrets_read_key(ret, path, min_bytes, geteuid(), "", errors);
        if (fclose(errors) != 0)
                r = -ENOMEM;
        if (r == SECRETS_E_UNUSABLE)
                r = config_mistakes_add(&reader->mistakes, line, "%.*s", (int)strcspn(said, "\n"),
                                        said);
        free(said);
        return error_trace(r);
}
