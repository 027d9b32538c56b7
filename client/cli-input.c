/* SPDX-License-Identifier: MIT */

#include "cli-input.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "cli-text.h"
#include "cli.h"

#define PIECE_BYTES 4096

/* Room beside the secret, for line feeds at its end. */
#define SPARE_BYTES 16

static int fail(const char *what, const char *path, const char *why)
{
        cli_say("egain-token: %s cannot be read from %s: %s", what, path ? path : "standard input",
                why);
        return CLI_EXIT_INPUT;
}

/* 0, -errno, or BUFFER_E_FULL. */
static int read_all(int fd, struct buffer *ret)
{
        char piece[PIECE_BYTES];
        ssize_t n;
        int r = 0;

        while (r == 0) {
                n = read(fd, piece, sizeof(piece));
                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        r = -errno;
                if (n <= 0)
                        break;
                r = buffer_append(ret, piece, (size_t)n);
        }
        explicit_bzero(piece, sizeof(piece));
        return r;
}

static bool is_blank(char c)
{
        return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static void trim(struct buffer *secret)
{
        size_t begin = 0, end = secret->size;

        while (begin < end && is_blank(secret->bytes[begin]))
                begin++;
        while (end > begin && is_blank(secret->bytes[end - 1]))
                end--;
        if (secret->size == 0)
                return;
        memmove(secret->bytes, secret->bytes + begin, end - begin);
        explicit_bzero(secret->bytes + (end - begin), secret->size - (end - begin));
        secret->size = end - begin;
}

int cli_read_secret(const char *path, const char *what, size_t max, struct buffer *ret)
{
        int fd = STDIN_FILENO, r;

        *ret = BUFFER_INIT(max + SPARE_BYTES);
        if (path) {
                fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
                if (fd < 0)
                        return fail(what, path, strerror(errno));
        } else if (isatty(fd)) {
                return fail(what, path, "it is a terminal, which would show it; use a pipe");
        }
        r = read_all(fd, ret);
        if (path)
                close(fd);
        if (r < 0)
                return fail(what, path, strerror(-r));
        if (r == 0)
                trim(ret);
        if (r == 0 && ret->size == 0)
                return fail(what, path, "there is nothing in it");
        if (r || ret->size > max) {
                cli_say("egain-token: %s in %s is over %zu bytes", what,
                        path ? path : "standard input", max);
                return CLI_EXIT_DATA;
        }
        return CLI_EXIT_OK;
}
